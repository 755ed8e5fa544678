"""Databases of DataScript, printed by `(pr-str db)`: #datascript/DB {:schema {…} :datoms [[e a v tx] …]}.

Entities get new ids. The types of values, which a schema of DataScript does not have, are guessed.
Law: the forms assert each datom of the database, without those of composite tuples, which the store derives.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from factstore import edn
from factstore.errors import ReadError, SchemaError
from factstore.schema.hints import kinds_of
from factstore.values.quoting import quoted
from factstore.values.types import Keyword

_KEPT: Final = (":db/unique", ":db/isComponent", ":db/doc", ":db/index", ":db/noHistory", ":db/tupleAttrs")


class _Printed(NamedTuple):
    """The value after the tag of a database."""

    value: Any


def is_printed(text: str) -> bool:
    """Return whether a text of EDN begins as a printed database does."""
    return _BEGIN.match(text) is not None


_BEGIN: Final = re.compile(r"(?:[\s,]|;[^\n]*(?:\n|$))*#datascript/DB")


def read(text: str) -> tuple[list[dict[str, Any]], list[list[Any]]]:
    """Return the declarations and the list forms of a printed database.

    Raises: ReadError(:db.error/invalid-edn) for a text that is none; SchemaError(:db.error/cannot-infer) for an
        attribute whose values have several types.
    """
    printed = edn.read(text, tags={"datascript/DB": _Printed})
    if not isinstance(printed, _Printed) or not isinstance(printed.value, Mapping):
        message = f"expected #datascript/DB {{:schema … :datoms …}}, got {quoted(printed)}"
        raise ReadError(":db.error/invalid-edn", message, got=printed)
    schema = {_ident(name): dict(about or {}) for name, about in (printed.value.get(":schema") or {}).items()}
    datoms = [_datom(datom) for datom in printed.value.get(":datoms") or ()]
    values: dict[str, list[Any]] = {}
    for _, a, v in datoms:
        values.setdefault(a, []).append(v)
    derived = {name for name, about in schema.items() if ":db/tupleAttrs" in about}
    declared = [_declaration(name, schema.get(name, {}), values.get(name, [])) for name in (schema | values)]
    refs = {form[":db/ident"] for form in declared if form and form[":db/valueType"] == ":db.type/ref"}
    forms = [[":db/add", str(e), a, str(v) if a in refs else v] for e, a, v in datoms if a not in derived]
    return [form for form in declared if form], forms


def _ident(name: Any) -> str:
    return str(name) if str(name).startswith(":") else f":{name}"


def _datom(datom: Any) -> tuple[int, str, Any]:
    if not isinstance(datom, list | tuple) or len(datom) < 3 or type(datom[0]) is not int:
        message = f'expected datoms such as [1 :name "Ann" 536870913], got {quoted(datom)}'
        raise ReadError(":db.error/invalid-edn", message, got=datom)
    return datom[0], _ident(datom[1]), datom[2]


def _declaration(name: str, about: Mapping[Any, Any], values: list[Any]) -> dict[str, Any] | None:
    """Return the declaration of an attribute; None for one that the store has, or without values."""
    if name.startswith(":db/"):
        return None
    kind = str(about.get(":db/valueType", "")).removeprefix(":db.type/") or _kind(name, values)
    kind = "tuple" if ":db/tupleAttrs" in about else kind
    if not kind:
        return None
    return {
        ":db/ident": Keyword(name),
        ":db/valueType": Keyword(f":db.type/{kind}"),
        ":db/cardinality": about.get(":db/cardinality", Keyword(":db.cardinality/one")),
        **{key: about[key] for key in _KEPT if key in about},
    }


def _kind(name: str, values: list[Any]) -> str:
    kinds = kinds_of(values)
    kinds = {"double"} if kinds == {"long", "double"} else kinds
    if len(kinds) > 1 or (values and not kinds):
        raise SchemaError(
            ":db.error/cannot-infer",
            f"{name} has values of {' and '.join(sorted(kinds)) or 'no type that a store has'}",
            attribute=name,
        )
    return next(iter(kinds), "")
