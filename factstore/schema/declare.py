"""Declarations: the schema that classes say, as tx-data.

Law: only what the classes given say is declared, each attribute once; two classes that declare one attribute say the same of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, get_args, get_origin
from uuid import UUID

from factstore.errors import SchemaError
from factstore.schema.classes import Slot, is_shape, slots_of
from factstore.values.quoting import quoted
from factstore.values.types import LONG_MAX, LONG_MIN, VALUE_TYPES, Keyword, Symbol, Uri

_TYPES: Final[Mapping[Any, str]] = {
    bool: "boolean",
    bytes: "bytes",
    datetime: "instant",
    Decimal: "bigdec",
    float: "double",
    int: "long",
    Keyword: "keyword",
    str: "string",
    Symbol: "symbol",
    Uri: "uri",
    UUID: "uuid",
}


def schema_of(*classes: type) -> list[dict[str, Any]]:
    """Return the tx-data that declares the attributes of dataclasses.

    A field's Python type gives the value type, a collection makes it many-valued, another dataclass a reference; `Attr` in its
    annotation says the rest. Fields that go back along a reference, and `:db/id`, declare nothing; nor do classes that are only
    referred to.
    Raises: SchemaError(:db.error/invalid-install-attribute).

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class City:
    ...     name: str
    >>> schema_of(City)
    [{':db/ident': ':city/name', ':db/valueType': ':db.type/string', ':db/cardinality': ':db.cardinality/one'}]
    """
    found: dict[str, dict[str, Any]] = {}
    for shape in classes:
        if not is_shape(shape):
            raise SchemaError(
                ":db.error/invalid-install-attribute",
                f"expected a dataclass to declare, got {quoted(shape)}",
                got=shape,
            )
        for slot in slots_of(shape):
            if slot.attribute == ":db/id" or slot.attribute.rpartition("/")[2].startswith("_"):
                continue
            form = _declaration(shape, slot)
            known = found.setdefault(slot.attribute, form)
            if known != form:
                raise SchemaError(
                    ":db.error/invalid-install-attribute",
                    f"{slot.attribute} is declared twice, and {shape.__name__}.{slot.name} says {form}, not {known}",
                    attribute=slot.attribute,
                    expected=known,
                    got=form,
                )
    return list(found.values())


def type_of_value(value: Any) -> str | None:
    """Return the value type that a value by itself is of; None when it says none. Text that reads as a keyword is one.

    >>> type_of_value(":red"), type_of_value(1), type_of_value(1 << 80), type_of_value(None)
    ('keyword', 'long', 'bigint', None)
    """
    if type(value) is str and value.startswith(":"):
        return "keyword" if Keyword.is_one(value) else "string"
    if type(value) is int and not LONG_MIN <= value <= LONG_MAX:
        return "bigint"
    return _TYPES.get(type(value))


def _declaration(shape: type, slot: Slot) -> dict[str, Any]:
    said = slot.declared
    form: dict[str, Any] = {
        ":db/ident": slot.attribute,
        ":db/valueType": f":db.type/{_type_name(shape, slot)}",
        ":db/cardinality": f":db.cardinality/{'one' if slot.collection is None else 'many'}",
    }
    if said.members:
        form[":db/tupleAttrs"] = _members(shape, slot)
    elif get_origin(slot.hint) is tuple:
        form[":db/tupleTypes"] = [f":db.type/{_type_of(shape, slot, part)}" for part in get_args(slot.hint)]
    more = {
        ":db/unique": said.unique and f":db.unique/{said.unique}",
        ":db/isComponent": said.component,
        ":db/index": said.index,
        ":db/fulltext": said.fulltext,
        ":db/noHistory": said.no_history,
        ":db/stamp": said.stamp and f":db.stamp/{said.stamp}",
        ":db/doc": said.doc,
        ":db.attr/preds": list(said.preds),
    }
    return form | {key: value for key, value in more.items() if value}


def _members(shape: type, slot: Slot) -> list[str]:
    """Return the attributes of a composite tuple, each by the name of its field or its own."""
    fields = {other.name: other.attribute for other in slots_of(shape)}
    unknown = [name for name in slot.declared.members if name not in fields and not name.startswith(":")]
    if (
        unknown
        or slot.collection is not None
        or get_origin(slot.hint) is not tuple
        or len(get_args(slot.hint)) != len(slot.declared.members)
    ):
        expected = (
            f"a tuple with a type for each of its members, which are fields of {shape.__name__} ({', '.join(fields)})"
        )
        raise _no_type(shape, slot, expected, unknown[0] if unknown else slot.hint)
    return [fields.get(name, name) for name in slot.declared.members]


def _type_name(shape: type, slot: Slot) -> str:
    if slot.declared.type is None:
        return "tuple" if get_origin(slot.hint) is tuple else _type_of(shape, slot, slot.hint)
    name = slot.declared.type.removeprefix(":db.type/")
    if f":db.type/{name}" not in VALUE_TYPES:
        raise _no_type(shape, slot, f"one of {', '.join(VALUE_TYPES)}", slot.declared.type)
    return name


def _type_of(shape: type, slot: Slot, hint: Any) -> str:
    found = "ref" if is_shape(hint) else _TYPES.get(hint)
    if found is None:
        raise _no_type(
            shape, slot, f"a dataclass, one of {', '.join(kind.__name__ for kind in _TYPES)}, or an Attr(type=…)", hint
        )
    return found


def _no_type(shape: type, slot: Slot, expected: str, got: Any) -> SchemaError:
    return SchemaError(
        ":db.error/invalid-install-attribute",
        f"{shape.__name__}.{slot.name} needs {expected} as its type, got {quoted(got)}",
        attribute=slot.attribute,
        expected=expected,
        got=got,
    )
