"""The forms of a transaction as the caller wrote them (EDN text or Python data), and the problems in them.

    place = index | (step …)        step = index | key of a map | Call

A place is the index of a form, or a path of steps from the tx-data to a value. The text of a path is built only for a
problem, so valid tx-data costs nothing extra. All problems of a stage are reported together.

EDN text may contain the tags that Datomic files use:

    #db/id[partition]           a tempid that is used only once
    #db/id[partition number]    the same tempid for the same partition and number within one transaction
    #db/id[:db.part/tx]         the transaction
    #db/fn                      rejected: functions are registered in Python

Law: reading a text twice returns equal forms, tempids included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias, cast

from factstore import edn
from factstore.edn.read import Tags
from factstore.errors import TransactError
from factstore.schema.attribute import Attribute, Schema
from factstore.schema.class_fields import is_instance, map_of
from factstore.schema.hints import NO_FUNCTIONS
from factstore.values.quoting import described, quoted
from factstore.values.types import Keyword

Place: TypeAlias = int | tuple[Any, ...]

_TRANSACTION: Final = "datomic.tx"
_TX_PARTITION: Final = ":db.part/tx"
_LONGEST: Final = 80  # characters of a value in a message
_LONGEST_PATH: Final = 300  # characters
_MOST_SEARCHES: Final = 100  # different unknown names for which similar ones are searched


class Call(NamedTuple):
    """A step into the forms that a transaction function returned."""

    name: str
    forms: Sequence[Any]


def steps_of(place: Place) -> tuple[Any, ...]:
    """Return a place as its steps."""
    return (place,) if type(place) is int else place  # type: ignore[return-value]


def read_forms(tx_data: Any) -> list[Any]:
    """Return the forms of tx-data. Raises: TransactError(:db.error/invalid-tx-data); ReadError for invalid EDN."""
    forms = read_text(tx_data) if isinstance(tx_data, str) else tx_data
    if type(forms) is list:
        return forms
    if isinstance(forms, str | bytes | Mapping) or not isinstance(forms, Iterable):
        hint = "; put it into a list" if isinstance(forms, Mapping) else ""
        raise TransactError(
            ":db.error/invalid-tx-data",
            f"expected a list of forms as tx-data, got {shown(forms)}{hint}",
            got=forms,
            path="tx-data",
        )
    return list(forms)


def set_exactly(e: Any, a: Any, values: Iterable[Any]) -> list[Any]:
    """Return a form after which the entity has exactly these values of the attribute, and no others.

    Args:
        e: an entity in any form, also a tempid.
        values: in any order, with nested maps for references; at most one for an attribute of cardinality one.
    Raises: TransactError(:db.error/invalid-tx-form) for values that are not several, such as None or a text.
    Another form of the transaction that asserts a further value is a conflict: `:db.error/datoms-conflict`.

    >>> set_exactly([":person/email", "ann@x"], ":person/nick", ["Annie"])
    [':db/setExactly', [':person/email', 'ann@x'], ':person/nick', ['Annie']]
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        why = f"expected the values of {shown(a)} as a list or another iterable, got {shown(values)}"
        raise TransactError(":db.error/invalid-tx-form", why, got=values)
    return [":db/setExactly", e, a, list(values)]


# -- EDN text


def tags() -> Tags:
    """Return the functions that read the tags of one text."""
    return {"db/id": _tempids(), "db/fn": _no_function}


def read_text(text: str) -> Any:
    """Return the forms in the EDN text of a transaction. Raises: ReadError."""
    return edn.read(text, tags=tags())


def _tempids() -> Callable[[Any], str]:
    numbers = count(1)

    def tempid(form: Any) -> str:
        partition, number = _parts(form)
        if partition == _TX_PARTITION:
            return _TRANSACTION
        # A number >= 0 would be the id of an existing entity, possibly of another database.
        return f"#db/id[{partition} {number}]" if number is not None else f"#db/id[{partition}] {next(numbers)}"

    return tempid


def _parts(form: Any) -> tuple[Keyword, int | None]:
    parts = list(form) if isinstance(form, list | tuple) else []
    if (
        len(parts) not in (1, 2)
        or type(parts[0]) is not Keyword
        or any(type(part) is not int or part >= 0 for part in parts[1:])
    ):
        raise ValueError("expected [partition], or [partition number] with a number below zero")
    return parts[0], parts[1] if len(parts) == 2 else None


def _no_function(_form: Any) -> NoReturn:
    raise ValueError(NO_FUNCTIONS)


# -- problems


class Problems:
    """The problems found in a transaction, collected stage by stage."""

    __slots__ = ("_declared", "_forms", "_schema", "_similar", "found")

    def __init__(self, forms: Sequence[Any], schema: Schema) -> None:
        self._forms = forms
        self._schema = schema
        self._declared: frozenset[str] | None = None
        self._similar: dict[tuple[Any, str | int], list[str]] = {}  # by the search and the name
        self.found: list[TransactError] = []

    @property
    def declared(self) -> frozenset[str]:
        """The idents that maps in the tx-data assert."""
        if self._declared is None:
            idents = [form.get(":db/ident") for form in self._forms if isinstance(form, Mapping)]
            self._declared = frozenset([ident for ident in idents if isinstance(ident, str)])
        return self._declared

    def similar(self, search: Callable[[Any], list[str]], name: str | int) -> list[str]:
        """Return the names that a search finds similar to a name; none after many different names.

        A search takes a millisecond or more, and other transactions wait for this one.
        """
        found = self._similar.get((search, name))
        if found is None:
            if len(self._similar) >= _MOST_SEARCHES:
                return []
            found = self._similar[search, name] = search(name)
        return found

    def add(
        self,
        code: str,
        message: str,
        place: Place | None = None,
        attribute: Attribute | None = None,
        kind: type[TransactError] = TransactError,
        **data: Any,
    ) -> None:
        """Add a problem at a place; with an attribute, the path includes its key if the form is a map."""
        if attribute is not None:
            data["attribute"] = attribute.ident
        if place is not None:
            path, form = self.locate(place, attribute)
            message, data = f"{message}, at {path}", {**data, "path": path, "form": form}
        self.found.append(kind(code, message, **data))

    def locate(self, place: Place, attribute: Attribute | None = None) -> tuple[str, Any]:
        """Return the text of a path, and the form or value at this path."""
        path, at = "tx-data", cast(Any, self._forms)
        for step in steps_of(place):
            if is_instance(at):
                at = map_of(at)
            if type(step) is Call:
                path, at = f"{path} → {step.name}", step.forms
            else:
                path, at = f"{path}[{_step(step)}]", _into(at, step)
        if attribute is not None and is_instance(at):
            at = map_of(at)
        if attribute is not None and isinstance(at, Mapping):
            path += "".join(f"[{_step(key)}]" for key in at if self._is_named(key, attribute))
        return path if len(path) <= _LONGEST_PATH else f"{path[: _LONGEST_PATH - 1]}…", at

    def _is_named(self, key: object, attribute: Attribute) -> bool:
        return isinstance(key, str | int) and self._schema.find(key) is attribute

    def raise_any(self) -> None:
        """Raise the first problem; its data contains all of them as `problems`."""
        if not self.found:
            return
        first, *others = self.found
        more = f" (and {len(others)} more problem{'s' * (len(others) > 1)}, see `problems`)" if others else ""
        problems = tuple(problem.to_dict() for problem in self.found)
        raise type(first)(first.code, first.message + more, **first.data, problems=problems)


def _into(at: Any, step: Any) -> Any:
    if isinstance(at, Mapping):
        return at.get(step)
    if not isinstance(step, int):
        return at
    return at[step] if isinstance(at, Sequence) else list(at)[step]


def _step(step: Any) -> str:
    return quoted(str(step) if isinstance(step, str) else step, _LONGEST)


def shown(value: Any) -> str:
    """Return the text of a value for an error message: shortened, with its Python type."""
    return described(value, _LONGEST)
