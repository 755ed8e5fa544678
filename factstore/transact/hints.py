"""Hints: what to tell somebody who used an attribute that there is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from factstore.values import Keyword, Symbol, Uri

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


def hint_for(key: Any, value: Any, forms: Sequence[Any], nearest: Sequence[str]) -> str:
    """Return what could be meant by an unknown attribute, and how to declare it."""
    if any(isinstance(form, Mapping) and form.get(":db/ident") == key for form in forms):
        return "; this very transaction declares it, so it can be used from the next one on"
    meant = f"; did you mean {' or '.join(nearest)}?" if nearest else "."
    return f"{meant} To declare it, transact this first: {declaration_of(key, value)}"


def declaration_of(key: Any, value: Any) -> str:
    """Return a form that would declare an unknown attribute, its type guessed from the value that came for it."""
    many = isinstance(value, list | tuple | set | frozenset)
    sample = next(iter(value), None) if many else value
    guess = "keyword" if isinstance(sample, str) and sample[:1] == ":" else _GUESSES.get(type(sample), "string")
    ident = str(key) if isinstance(key, str) and key[:1] == ":" else f":{key}"
    return (
        f'{{":db/ident": "{ident}", ":db/valueType": ":db.type/{guess}", ":db/cardinality": ":db.cardinality/{"many" if many else "one"}"}}'
    )
