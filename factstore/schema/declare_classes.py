"""The tx-data that declares the attributes of classes.

Law: only the fields of the given classes, and the idents of their enums, are declared, each once; two declarations of
an attribute are equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, get_args, get_origin
from uuid import UUID

from factstore.errors import SchemaError
from factstore.schema.class_fields import Slot, is_shape, slots_of
from factstore.schema.class_kinds import KINDS
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
    """Return the tx-data that declares the attributes of dataclasses, and of classes of attrs and pydantic.

    The Python type of a field determines the value type; a set means cardinality many, another class means a
    reference. An enum is a reference to the entity of an ident, which is declared too; a `date` is the instant at which
    the day begins in UTC; a `Literal` has the type of its values. `Attr` in the annotation has the other properties.
    Fields of reverse references and `:db/id` are not declared, nor are the fields of classes that are only referenced.
    Raises: SchemaError(:db.error/invalid-install-attribute), also for a list without `Attr(unordered=True)`, because an
        attribute keeps neither order nor repetition.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class City:
    ...     name: str
    >>> schema_of(City)
    [{':db/ident': ':city/name', ':db/valueType': ':db.type/string', ':db/cardinality': ':db.cardinality/one'}]
    """
    forms: dict[str, dict[str, Any]] = {}
    for shape in classes:
        if not is_shape(shape):
            raise SchemaError(
                ":db.error/invalid-install-attribute",
                f"expected {KINDS}, got {quoted(shape)}",
                got=shape,
            )
        for slot in slots_of(shape):
            if not is_declared(slot):
                continue
            form = _declaration(shape, slot)
            earlier = forms.setdefault(slot.attribute, form)
            if earlier != form:
                raise SchemaError(
                    ":db.error/invalid-install-attribute",
                    f"{slot.attribute} is declared twice, and {shape.__name__}.{slot.name} says {form}, not {earlier}",
                    attribute=slot.attribute,
                    expected=earlier,
                    got=form,
                )
        forms |= {ident: {":db/ident": ident} for ident in _idents(shape)}
    return list(forms.values())


def _idents(shape: type) -> list[str]:
    """Return the idents of the enums of the declared fields of a class."""
    conventions = [slot.convention for slot in slots_of(shape) if is_declared(slot)]
    return [ident for convention in conventions if convention is not None for ident in convention.idents]


def is_declared(slot: Slot) -> bool:
    """Return whether a field has an attribute of its own: not an entity id, and not a reverse reference."""
    return slot.attribute != ":db/id" and not slot.attribute.rpartition("/")[2].startswith("_")


def type_of_value(value: Any) -> str | None:
    """Return the value type of a value; None if it has none. Text that reads as a keyword is a keyword.

    >>> type_of_value(":red"), type_of_value(1), type_of_value(1 << 80), type_of_value(None)
    ('keyword', 'long', 'bigint', None)
    """
    if type(value) is str and value.startswith(":"):
        return "keyword" if Keyword.is_one(value) else "string"
    if type(value) is int and not LONG_MIN <= value <= LONG_MAX:
        return "bigint"
    return _TYPES.get(type(value))


def _declaration(shape: type, slot: Slot) -> dict[str, Any]:
    declared = slot.declared
    if slot.collection in (list, tuple) and not declared.unordered:
        hint = f"{slot.collection.__name__}[…]"
        expected = "set[…] or frozenset[…], or Attr(unordered=True) if order and repetition have no meaning,"
        raise _no_type(shape, slot, expected, f"{hint}, whose order and repetition would be lost")
    form: dict[str, Any] = {
        ":db/ident": slot.attribute,
        ":db/valueType": f":db.type/{_type_name(shape, slot)}",
        ":db/cardinality": f":db.cardinality/{'one' if slot.collection is None else 'many'}",
    }
    if declared.members:
        form[":db/tupleAttrs"] = _members(shape, slot)
    elif get_origin(slot.hint) is tuple:
        form[":db/tupleTypes"] = [f":db.type/{_type_of(shape, slot, part)}" for part in get_args(slot.hint)]
    more = {
        ":db/unique": declared.unique and f":db.unique/{declared.unique}",
        ":db/isComponent": declared.component,
        ":db/index": declared.index,
        ":db/fulltext": declared.fulltext,
        ":db/noHistory": declared.no_history,
        ":db/stamp": declared.stamp and f":db.stamp/{declared.stamp}",
        ":db/doc": declared.doc,
        ":db.attr/preds": list(declared.preds),
    }
    return form | {key: value for key, value in more.items() if value}


def _members(shape: type, slot: Slot) -> list[str]:
    """Return the member attributes of a composite tuple, given by field or by ident."""
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
    if slot.convention is not None and hint is slot.hint:
        hint = slot.convention.value_type
    name = hint if isinstance(hint, str) else "ref" if is_shape(hint) else _TYPES.get(hint)
    if name is None:
        types = ", ".join(kind.__name__ for kind in _TYPES)
        expected = f"{KINDS}, an Enum, a date, a Literal, one of {types}, or an Attr(type=…)"
        raise _no_type(shape, slot, expected, hint)
    return name


def _no_type(shape: type, slot: Slot, expected: str, got: Any) -> SchemaError:
    return SchemaError(
        ":db.error/invalid-install-attribute",
        f"{shape.__name__}.{slot.name} needs {expected} as its type, got {quoted(got)}",
        attribute=slot.attribute,
        expected=expected,
        got=got,
    )
