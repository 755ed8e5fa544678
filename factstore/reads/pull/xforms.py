"""The functions that `:xform` finds without registration, by their names in Clojure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from factstore.clojure import numbers, sequences, text
from factstore.values.types import Keyword, Symbol


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def _name(value: Any) -> str:
    return (
        value.name
        if isinstance(value, Keyword)
        else str(value).rpartition("/")[2]
        if isinstance(value, Symbol)
        else str(value)
    )


def _namespace(value: Any) -> str | None:
    return value.namespace if isinstance(value, Keyword) else str(value).rpartition("/")[0] or None


def _count(value: Any) -> int:
    return 0 if value is None else len(value)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else list(value)


def _first(value: Any) -> Any:
    return next(iter(_listed(value)), None)


def _truth(value: Any) -> bool:
    return value is not None and value is not False


def built_in(name: str) -> Callable[[Any], Any] | None:
    """Return the function with this name, with or without the namespace clojure.core; None if there is none."""
    plain = name.removeprefix("clojure.core/")
    return (
        BUILT_IN.get(plain)
        or numbers.FUNCTIONS.get(plain)
        or sequences.FUNCTIONS.get(plain)
        or text.FUNCTIONS.get(plain)
    )


BUILT_IN: Final[Mapping[str, Callable[[Any], Any]]] = {
    "identity": lambda value: value,
    "count": _count,
    "name": _name,
    "namespace": _namespace,
    "vec": _listed,
    "vector": lambda value: [value],
    "set": lambda value: frozenset(_listed(value)),
    "first": _first,
    "last": lambda value: _first(_listed(value)[-1:]),
    "inc": lambda value: value + 1,
    "dec": lambda value: value - 1,
    "-": lambda value: -value,
    "zero?": lambda value: value == 0,
    "pos?": lambda value: value > 0,
    "neg?": lambda value: value < 0,
    "even?": lambda value: value % 2 == 0,
    "odd?": lambda value: value % 2 == 1,
    "not": lambda value: not _truth(value),
    "boolean": _truth,
    "true?": lambda value: value is True,
    "false?": lambda value: value is False,
    "some?": lambda value: value is not None,
    "nil?": lambda value: value is None,
    "empty?": lambda value: _count(value) == 0,
    "clojure.string/upper-case": lambda value: _text(value).upper(),
    "clojure.string/lower-case": lambda value: _text(value).lower(),
    "clojure.string/capitalize": lambda value: _text(value).capitalize(),
    "clojure.string/trim": lambda value: _text(value).strip(),
}
