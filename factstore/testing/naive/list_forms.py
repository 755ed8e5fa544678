"""Transaction data as list forms: EDN text, maps, nested maps and calls of functions are replaced.

Law: the list forms have the same meaning as the data. A map without `:db/id` gets an unused tempid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any, Final

from factstore import registry
from factstore.db.database import Database
from factstore.schema.attribute import Attribute
from factstore.schema.class_fields import is_instance
from factstore.schema.reverse import forward_of
from factstore.transact.forms import read_forms
from factstore.transact.registered_functions import forms_of

ListForm = tuple[Any, ...]
OPERATIONS: Final = frozenset({":db/add", ":db/retract", ":db/retractEntity", ":db/cas"})
_SYNONYMS: Final = {
    ":db.fn/retractAttribute": ":db/retract",
    ":db.fn/retractEntity": ":db/retractEntity",
    ":db.fn/cas": ":db/cas",
}
_COLLECTIONS: Final = (list, tuple, set, frozenset)


class NotModelled(Exception):
    """The transaction uses a feature that the model does not have; the store may accept it or not."""


class Invalid(Exception):
    """A form that has no meaning."""


def list_forms(db: Database, tx_data: Any) -> list[ListForm]:
    """Return the list forms of tx-data. Raises: NotModelled; Invalid."""
    return [flat for form in read_forms(tx_data) for flat in _Reader(db).form(form)]


_NAMES: Final = count(1)


class _Reader:
    """Reads the forms of one transaction."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._find = db.schema.find

    def form(self, form: Any) -> Iterator[ListForm]:
        if is_instance(form):
            raise NotModelled("an instance of a dataclass")
        if isinstance(form, Mapping):
            yield from self._map(form, self._subject(form))
        elif isinstance(form, list | tuple) and form and isinstance(form[0], str):
            yield from self._list(form)
        else:
            raise Invalid(form)

    def _list(self, form: Any) -> Iterator[ListForm]:
        op = _SYNONYMS.get(form[0], form[0])
        if op == ":db/add" and len(form) == 4 and isinstance(form[3], Mapping):
            raise NotModelled("a map as the value of :db/add")
        if op in OPERATIONS:
            yield (op, *form[1:])
            return
        if op.startswith((":db/", ":db.")):
            raise NotModelled(op)
        name = op.removeprefix(":")
        function = registry.lookup(name)
        if function is None:
            raise Invalid(form)
        for inner in forms_of(self._db, name, function, form[1:]):
            yield from self.form(inner)

    def _subject(self, form: Any) -> Any:
        return form[":db/id"] if ":db/id" in form else f"unnamed {next(_NAMES)}"

    def _map(self, form: Any, e: Any) -> Iterator[ListForm]:
        for key, value in form.items():
            if key == ":db/id":
                continue
            attribute = self._find(key)
            if attribute is None:
                yield from self._reverse(e, key, value)
                continue
            for item in value if self._is_many(attribute, value) else (value,):
                if attribute.is_ref and _is_map(item):
                    yield from self._nested(e, attribute, item)
                else:
                    yield (":db/add", e, key, item)

    def _is_many(self, attribute: Attribute, value: Any) -> bool:
        if not attribute.many or not isinstance(value, _COLLECTIONS):
            return False
        if attribute.is_ref:
            return not self._is_lookup(value)
        return not attribute.is_tuple or all(isinstance(item, list | tuple) for item in value)

    def _is_lookup(self, value: Any) -> bool:
        if not isinstance(value, list | tuple) or len(value) != 2 or not isinstance(value[0], str):
            return False
        attribute = self._find(value[0])
        return attribute is not None and attribute.unique is not None

    def _nested(self, e: Any, attribute: Attribute, form: Any) -> Iterator[ListForm]:
        if is_instance(form):
            raise NotModelled("an instance of a dataclass")
        keys = [self._find(key) for key, value in form.items() if value is not None]
        if not (attribute.is_component or ":db/id" in form or any(key and key.unique for key in keys)) or not form:
            raise Invalid(form)
        child = self._subject(form)
        yield (":db/add", e, str(attribute.ident), child)
        yield from self._map(form, child)

    def _reverse(self, e: Any, key: Any, value: Any) -> Iterator[ListForm]:
        forward = forward_of(key) if isinstance(key, str) else None
        attribute = None if forward is None else self._find(forward)
        if attribute is None or not attribute.is_ref:
            raise Invalid(key)
        several = isinstance(value, _COLLECTIONS) and not self._is_lookup(value)
        for item in value if several else (value,):
            other = self._subject(item) if _is_map(item) else item
            yield (":db/add", other, str(attribute.ident), e)
            if _is_map(item):
                yield from self._map(item, other)


def _is_map(value: Any) -> bool:
    return is_instance(value) or (isinstance(value, Mapping) and not hasattr(value, "eid"))
