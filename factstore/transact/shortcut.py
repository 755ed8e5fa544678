"""The short cut: transactions of simple forms, prepared in one pass.

Most transactions add plain values to entities, swap them, or create entities from maps. These forms need only a check
of the type. All other forms, and all errors, are left to `prepare`.
Law: if the short cut returns a result, it is the result of `prepare`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from factstore.columns.kind import INTEGERS, OBJECTS
from factstore.concurrency.bounded_cache import BoundedCache
from factstore.datom import TX_BASE, USER_BASE, Fact
from factstore.db.database import Database
from factstore.db.snapshot import Snapshot
from factstore.errors import TransactError
from factstore.registry import lookup
from factstore.schema.attribute import FIRST_FREE_ID, TX_INSTANT, Attribute, Schema
from factstore.transact.registered_functions import called_at, forms_of
from factstore.transact.stages import Prepared
from factstore.values.types import INSTANT, LONG_MAX, LONG_MIN, Keyword

# Value types for which the exact Python type of a value, and at most `_checked`, is a sufficient check.
_KINDS: Final[dict[str, type]] = {
    "long": int,
    "double": float,
    "boolean": bool,
    "string": str,
    "instant": datetime,
    "keyword": Keyword,
}


_NONE: Final = frozenset[str]()
_SWAPS: Final = frozenset({":db/cas"})
_ALL: Final = frozenset({":db/add", ":db/cas"})
_NO_TEMPIDS: Final[Mapping[str | int, int]] = MappingProxyType({})


class _Plain(NamedTuple):
    """The properties of an attribute that the short cut uses."""

    a: int
    kind: type
    checks: bool  # whether the value needs more than the right Python type
    is_identity: bool
    verbs: frozenset[str]  # the operations on an existing entity that the short cut performs


def prepare_simple(before: Snapshot, tx_data: Any, now: int) -> Prepared | None:
    """Return the prepared transaction of simple forms; None if `prepare` must be used."""
    if type(tx_data) is not list:
        return None
    plain = _plain_of.get(before.schema) or plain_attributes(before.schema)
    t = before.t + 1
    instant = before.instant if before.instant > now else now
    facts: list[Fact] = [(TX_BASE | t, TX_INSTANT, instant, t, True)]
    form = tx_data[0] if tx_data else None
    if type(form) is list:
        if len(tx_data) > 1:
            done: object = _writes(before, plain, tx_data, (instant, now), facts, set(), may_call=True)
        else:
            done = _write(before, plain, form, t, facts) if len(form) != 2 else _retract_entity(before, form, t, facts)
        return Prepared(facts, _NO_TEMPIDS, before.next_n, instant) if done else None
    tempids: dict[str | int, int] = {}
    n = _maps(before, plain, tx_data, t, facts, tempids)
    return None if n is None else Prepared(facts, tempids, n, instant)


def _write(
    before: Snapshot, plain: PlainAttributes, form: list[Any], t: int, facts: list[Fact]
) -> tuple[int, int] | None:
    """Do one `[":db/add", e, a, v]` or `[":db/cas", e, a, old, new]` of an existing entity and a plain attribute.

    Returns: the entity and the attribute; None for any other form, and if the comparison fails.
    """
    if len(form) == 4 and form[0] == ":db/add":
        _, e, key, v = form
    elif len(form) == 5 and form[0] == ":db/cas":
        _, e, key, expected, v = form
    else:
        return None
    attribute = plain[key] if isinstance(key, str) else None
    if attribute is None or type(e) is not int or not USER_BASE <= e < USER_BASE + before.next_n:
        return None
    a, kind, checks, _, verbs = attribute
    if type(v) is not kind or form[0] not in verbs:
        return None
    if checks:
        v = _checked(kind, v)
        if v is None:
            return None
    current = _current(before, e, a)
    if current is _UNSURE or (len(form) == 5 and current != _expected(attribute, expected)):
        return None
    if current != v:
        if current is not None:
            facts.append((e, a, current, t, False))
        facts.append((e, a, v, t, True))
    return e, a


def _writes(
    before: Snapshot,
    plain: PlainAttributes,
    forms: list[Any],
    times: tuple[int, int],  # instant and clock
    facts: list[Fact],
    seen: set[tuple[int, int]],
    *,
    may_call: bool,
) -> bool:
    """Do several such forms of different values, and calls of functions that return such forms; False for others."""
    t = before.t + 1
    for form in forms:
        if type(form) is not list:
            return False
        written = _write(before, plain, form, t, facts)
        if written is None:
            returned = _returned(before, form, times) if may_call else None
            if returned is None or not _writes(before, plain, returned, times, facts, seen, may_call=False):
                return False
        elif written in seen:
            return False
        else:
            seen.add(written)
    return True


def _returned(before: Snapshot, call: list[Any], times: tuple[int, int]) -> list[Any] | None:
    """Return the forms that a transaction function returns; None if the form is no such call, or it fails."""
    name = call[0] if call else None
    if type(name) is not str or "/" not in name:
        return None
    function = lookup(name)
    if function is None:
        return None
    try:
        return called_at(*times, _forms, before.database, name, function, call[1:])
    except TransactError:
        return None  # `prepare` reports the place


def _forms(db: Database, name: str, function: Callable[..., Any], arguments: list[Any]) -> list[Any]:
    return list(forms_of(db, name, function, arguments))


_UNSURE: Final = object()


def _current(before: Snapshot, e: int, a: int) -> Any:
    """Return the value of an attribute of cardinality one; None if there is none; `_UNSURE` if more must be read."""
    strand = before.novelty.strands.get(a)
    chain = None if strand is None else strand.of_entity(e)
    if chain is not None:
        # The newest assertion is the only value.
        return chain[0][2] if chain[0][4] else _UNSURE
    if strand is not None and strand.loaded:
        return _UNSURE
    rows = before.index.values_of(a, e) if before.index.may_hold(e, a) else None
    return rows[0][0] if rows else None


def _expected(attribute: _Plain, value: Any) -> Any:
    if value is None:
        return None
    if type(value) is not attribute.kind:
        return _UNSURE
    if not attribute.checks:
        return value
    stored = _checked(attribute.kind, value)
    # An invalid value must not be treated as None, which expects no value. `prepare` reports the error.
    return _UNSURE if stored is None else stored


def _retract_entity(before: Snapshot, form: list[Any], t: int, facts: list[Fact]) -> bool:
    """Do one `[":db/retractEntity", e]` of an entity without components that nothing refers to; else return False."""
    if len(form) != 2 or form[0] != ":db/retractEntity" or type(form[1]) is not int:
        return False
    e, schema = form[1], before.schema
    if not USER_BASE <= e < USER_BASE + before.next_n or _may_be_referred_to(before, e):
        return False
    for a in sorted(before.novelty.attributes_of(e)):
        if (
            a < FIRST_FREE_ID
            or schema.attribute(a).is_component
            or schema.composites_of(a)
            or before.index.may_hold(e, a)
        ):
            return False
        strand = before.novelty.strands[a]
        chain = None if strand.loaded else strand.of_entity(e)
        if chain is None or chain[1] is not None:
            return False
        facts.append((e, a, chain[0][2], t, False))
    return not before.index.attributes_of(e)


def _may_be_referred_to(before: Snapshot, e: int) -> bool:
    for a in before.schema.references:
        strand = before.novelty.strands.get(a)
        if strand is not None and (strand.loaded or strand.with_value(e) is not None):
            return True
        if a >= FIRST_FREE_ID and before.index.count(a) and before.index.holders_of(a, e, INTEGERS):
            return True
    return False


def _maps(
    before: Snapshot, plain: PlainAttributes, forms: list[Any], t: int, facts: list[Fact], tempids: dict[str | int, int]
) -> int | None:
    """Create an entity from each map, and return the next n; None if `prepare` must be used."""
    n = before.next_n
    taken: set[Any] = set()
    for form in forms:
        if type(form) is not dict or not form:
            return None
        e = USER_BASE | n
        n += 1
        for key, v in form.items():
            attribute = plain[key]
            if attribute is None:
                if key != ":db/id" or type(v) is not str or v in tempids or v[:1] in ":" or v.startswith("datomic"):
                    return None
                if len(form) == 1:
                    return None
                tempids[v] = e
                continue
            a, kind, checks, is_identity, _ = attribute
            if type(v) is not kind:
                return None
            if checks:
                v = _checked(kind, v)
                if v is None:
                    return None
            if is_identity:
                unique = (a, v)
                if unique in taken or _is_held(before, a, v):
                    return None
                taken.add(unique)
            facts.append((e, a, v, t, True))
    return n


def _checked(kind: type, v: Any) -> Any:
    """Return the stored value; None if the value is invalid."""
    if kind is int:
        return v if LONG_MIN <= v <= LONG_MAX else None
    if kind is str:
        # `prepare` reports text that UTF-8 cannot represent.
        return v if v.isascii() or v.isprintable() else None
    if kind is float:
        return v if v == v else None
    try:
        return INSTANT.store(v)
    except ValueError:
        return None


def _is_held(before: Snapshot, a: int, v: Any) -> bool:
    strand = before.novelty.strands.get(a)
    if strand is not None and (strand.with_value(v) is not None or strand.loaded):
        return True
    # Novelty has no event of this value, so the index is current; no plain value needs a key to be ordered.
    return bool(before.index.holders_of(a, v, OBJECTS))


class PlainAttributes(dict[str, "_Plain | None"]):
    """The attributes that the short cut handles, by their present ident; an entry is created on first use.

    A schema can have thousands of attributes, and each declaration creates a new schema.
    """

    def __init__(self, schema: Schema) -> None:
        super().__init__({":db/id": None})
        self._schema = schema

    def __missing__(self, key: str) -> _Plain | None:
        """Create the entry of an attribute; None if the short cut does not handle it."""
        schema = self._schema
        attribute = schema.find(key) if isinstance(key, str) else None
        # If entities are stamped, no transaction is that simple.
        if attribute is None or schema.stamps:
            return None
        plain = self[key] = _plain(attribute) if attribute.ident == key and _is_plain(schema, attribute) else None
        return plain


_SCHEMAS: Final = 8  # The newest schema of a store is needed for each transaction, older ones hardly ever.
_plain_of: BoundedCache[Schema, PlainAttributes] = BoundedCache(max_entries=_SCHEMAS)


def plain_attributes(schema: Schema) -> PlainAttributes:
    """Return the attributes of a schema that the short cut handles, by their present ident."""
    plain = _plain_of.get(schema)
    return _plain_of.put(schema, PlainAttributes(schema)) if plain is None else plain


def _is_plain(schema: Schema, a: Attribute) -> bool:
    return (
        a.id >= FIRST_FREE_ID
        and a.value_type.name in _KINDS
        and not (a.preds or a.many or schema.composites_of(a.id))
        and (a.unique is None or a.is_identity)
        and schema.ident(a.id) == a.ident
    )


def _plain(a: Attribute) -> _Plain:
    name = a.value_type.name
    verbs = _NONE if a.is_identity or a.insert_only else _SWAPS if a.cas_only else _ALL
    return _Plain(a.id, _KINDS[name], name in ("long", "double", "string", "instant"), a.is_identity, verbs)
