"""Hints for the error about an unknown attribute.

Law: a suggested attribute exists, and a suggested declaration can be transacted.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Final

from factstore.schema.class_fields import is_instance
from factstore.schema.declare_classes import type_of_value
from factstore.schema.reverse import forward_of
from factstore.values.quoting import did_you_mean
from factstore.values.types import Keyword

_COLLECTIONS: Final = (list, tuple, set, frozenset)
_PART: Final = "part"
NO_FUNCTIONS: Final = (
    "functions are not stored: write it in Python and register it by its name, with factstore.register"
)
_FUNCTIONS: Final = frozenset(
    {":db/fn", ":db/lang", ":db/code", ":db/params", ":db.install/function", ":db.install/_function"}
)


def hint_for(key: Any, value: Any, asserted: Container[Any], nearest: Sequence[str]) -> str:
    """Return the attributes that an unknown name may mean, and how to declare the name.

    Args:
        asserted: the idents that the same transaction asserts.
    """
    if key in asserted:
        return "; this transaction declares it, so it can be used from the next transaction on"
    if isinstance(key, str) and key in _FUNCTIONS:
        return f"; {NO_FUNCTIONS}"
    if isinstance(key, str) and f":{key}" in nearest:
        return f"; did you mean :{key}? The names of attributes begin with a colon"
    declared = declaration_of(key, value, nearest)
    meant = did_you_mean(nearest)
    if declared is None:
        return (
            f"; the namespaces :db and :db.* are reserved{meant}"
            if _is_reserved(key)
            else meant or "; declare it first"
        )
    return f"{meant or '.'} To declare it, transact this first: {declared}"


def declaration_of(key: Any, value: Any, nearest: Sequence[str]) -> str | None:
    """Return a form that declares an unknown attribute with the type of its value; None if the type is uncertain."""
    ident = _ident_of(key)
    if ident is None or _is_reserved(ident) or ident in nearest:
        return None
    forward = forward_of(ident)
    form = declaration(forward or ident, [Reference()] if forward else [value])
    return None if form is None else _text(form)


def _ident_of(key: Any) -> str | None:
    if not isinstance(key, str):
        return None
    try:
        return Keyword(key if key.startswith(":") else f":{key}")
    except ValueError:
        return None


def _is_reserved(key: Any) -> bool:
    namespace = str(key).removeprefix(":").partition("/")[0] if isinstance(key, str) else ""
    return namespace == "db" or namespace.startswith("db.")


def _text(form: Mapping[str, Any]) -> str:
    return (
        "{"
        + ", ".join(f'"{key}": {value if isinstance(value, bool) else _quoted(value)}' for key, value in form.items())
        + "}"
    )


def _quoted(value: Any) -> str:
    return '"' + str(value).replace('"', '\\"') + '"'


# -- the type of an attribute by its values


class Reference:
    """A value that is known to be a reference, and nothing else."""

    eid = 0


def declaration(ident: str, values: Sequence[Any]) -> dict[str, Any] | None:
    """Return the form that declares an attribute by its values; None if they have no type, or several."""
    kinds = kinds_of(values)
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    form = {
        ":db/ident": str(ident),
        ":db/valueType": f":db.type/{'ref' if kind == _PART else kind}",
        ":db/cardinality": f":db.cardinality/{'many' if any(map(_is_many, values)) else 'one'}",
    }
    return form | {":db/isComponent": True} if kind == _PART else form


def kinds_of(values: Sequence[Any]) -> set[str]:
    """Return the value types of these values."""
    kinds = {kind for value in values for kind in _kinds(value)}
    if kinds == {"long", "bigint"}:
        return {"bigint"}
    return {_PART} if kinds == {"ref", _PART} else kinds


def _is_many(value: Any) -> bool:
    return isinstance(value, _COLLECTIONS)


def _kinds(value: Any) -> Iterable[str]:
    if _is_many(value):
        return [kind for item in value for kind in ([] if _is_many(item) else _kinds(item))]
    if isinstance(getattr(value, "eid", None), int):
        return ["ref"]
    if isinstance(value, Mapping) or is_instance(value):
        return [_PART]
    name = type_of_value(value)
    return [] if name is None else [name]
