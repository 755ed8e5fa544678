"""Hints: what to tell somebody who used an attribute that there is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from factstore.schema.reverse import forward_of
from factstore.values import LONG_MAX, LONG_MIN, Keyword, Symbol, Uri

# What a value that came for an unknown attribute could be declared as.
_GUESSES: Final[Mapping[type, str]] = {
    bool: "boolean",
    int: "long",
    float: "double",
    Decimal: "bigdec",
    datetime: "instant",
    UUID: "uuid",
    bytes: "bytes",
    Keyword: "keyword",
    Symbol: "symbol",
    Uri: "uri",
    dict: "ref",
}


NO_FUNCTIONS: Final = "functions are not stored: write it in Python and register it by its name, with factstore.register"
_FUNCTIONS: Final = frozenset({":db/fn", ":db/lang", ":db/code", ":db/params", ":db.install/function"})


def hint_for(key: Any, value: Any, forms: Sequence[Any], nearest: Sequence[str]) -> str:
    """Return what could be meant by an unknown attribute, and how to declare it."""
    if any(isinstance(form, Mapping) and form.get(":db/ident") == key for form in forms):
        return "; this very transaction declares it, so it can be used from the next one on"
    forward = _forward(key)
    if forward in _FUNCTIONS:
        return f"; {NO_FUNCTIONS}"
    meant = f"; did you mean {' or '.join(nearest)}?" if nearest else ""
    declaration = declaration_of(key, value)
    if declaration is None:
        return "; the namespaces :db and :db.* are reserved" * forward.startswith((":db/", ":db.")) + meant
    return f"{meant or '.'} To declare it, transact this first: {declaration}"


def declaration_of(key: Any, value: Any) -> str | None:
    """Return a form that would declare an unknown attribute, its type guessed from the value that came for it; None when none could."""
    name = _forward(key)
    if not isinstance(key, str):  # an id
        return None
    try:
        ident = Keyword(name if name.startswith(":") else f":{name}")
    except ValueError:
        return None
    if (ident.namespace or ident.name).split(".")[0] == "db":
        return None
    if name != key and str(key).startswith(":"):  # a reverse name
        return _declaration(ident, "ref", many=False)
    many = isinstance(value, list | tuple | set | frozenset)
    return _declaration(ident, _type_of(next(iter(value), None) if many else value), many=many)


def _forward(key: Any) -> str:
    return (forward_of(key) if isinstance(key, str) and key.startswith(":") else None) or str(key)


def _type_of(value: Any) -> str:
    if isinstance(value, str) and value[:1] == ":":
        return "keyword"
    if type(value) is int and not LONG_MIN <= value <= LONG_MAX:
        return "bigint"
    return _GUESSES.get(type(value), "string")


def _declaration(ident: str, value_type: str, *, many: bool) -> str:
    cardinality = "many" if many else "one"
    return f'{{":db/ident": "{ident}", ":db/valueType": ":db.type/{value_type}", ":db/cardinality": ":db.cardinality/{cardinality}"}}'
