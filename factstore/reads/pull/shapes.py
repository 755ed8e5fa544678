"""Shapes: classes as pull patterns, and pulled maps as instances of the classes.

    @dataclass(frozen=True)
    class Person:
        name: str                                         # :person/name
        email: Annotated[str | None, ":contact/email"]    # the attribute is named; None if the entity has none
        friends: list[Person]                             # a nested pattern; the same class: a recursion

`schema/class_fields.py` defines the attribute of a field. If the attribute is absent, a field with a default has its
default, an optional field is None, and a collection is empty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from pyrsistent import PSet, pset

from factstore.errors import PullError
from factstore.schema.class_fields import Slot, is_shape, slots_of
from factstore.schema.class_kinds import KINDS
from factstore.values.quoting import quoted

DB_ID: Final = ":db/id"


@lru_cache(maxsize=512)
def form_of(shape: type, outer: tuple[type, ...] = ()) -> list[Any]:
    """Return the pattern of a shape.

    Raises: PullError(:db.error/invalid-pull) for a shape that refers to itself through another shape.
    """
    if not is_shape(shape):
        raise PullError(":db.error/invalid-pull", f"expected {KINDS} as a pattern; got {quoted(shape)}", fragment=shape)
    if shape in outer:
        names = " → ".join(one.__name__ for one in (*outer, shape))
        raise PullError(
            ":db.error/invalid-pull",
            f"a shape may refer to itself, but not through other shapes: {names}",
            fragment=shape,
        )
    form: list[Any] = []
    for slot in slots_of(shape):
        spec = slot.attribute if slot.collection is None else [slot.attribute, ":limit", None]
        key = slot.attribute if slot.collection is None else tuple(spec)
        if slot.shape is None:
            form.append(spec)
        else:
            form.append({key: "..." if slot.shape is shape else form_of(slot.shape, (*outer, shape))})
    if _adds_ids(shape):
        form.append(DB_ID)
    return form


def _adds_ids(shape: type) -> bool:
    """Tell whether ids are pulled although no field needs them: they show that a recursion returns to an entity."""
    slots = slots_of(shape)
    return any(slot.shape is shape for slot in slots) and all(slot.attribute != DB_ID for slot in slots)


def _has_values(kind: type, part: Mapping[Any, Any]) -> bool:
    """Tell whether a map contains more than an id that no field needs."""
    return len(part) > 1 or DB_ID not in part or not _adds_ids(kind)


def build(shape: type, entity: dict[Any, Any]) -> Any:
    """Return the instance of a shape for a map; None if the map has a value for no field.

    Raises: PullError(:db.error/missing-value) for a required field without a value;
        PullError(:db.error/unexpected-value) for a value that is none of the values of an enum, or no date;
        PullError(:db.error/circular-value) for an entity that refers back to itself.
    """
    if not _has_values(shape, entity):
        return None
    parts = _parts(shape, entity)
    built: dict[int, Any] = {}
    for kind, part in reversed(parts):  # referenced maps before the maps that refer to them
        fields = {
            slot.parameter: value
            for slot in slots_of(kind)
            if (value := _value(kind, slot, part, built)) is not dataclasses.MISSING
        }
        built[id(part)] = kind(**fields)
    return built[id(entity)]


def _parts(shape: type, entity: dict[Any, Any]) -> list[tuple[type, dict[Any, Any]]]:
    """Return the maps of the instances, each with its class; a map comes before the maps that it refers to."""
    waiting: list[tuple[type, dict[Any, Any], PSet[int]]] = [(shape, entity, pset())]
    parts = []
    while waiting:
        kind, part, above = waiting.pop()
        parts.append((kind, part))
        eid = part.get(DB_ID)
        for slot in slots_of(kind):
            below = part.get(slot.attribute) if slot.shape is not None else None
            if below is None or slot.shape is None:
                continue
            # Only the same class is a recursion; another class has other fields of the entity.
            around = above.add(eid) if slot.shape is kind and eid is not None else pset()
            for each in below if isinstance(below, list) else [below]:
                if each.get(DB_ID) in around:
                    raise _circular(kind, slot, each[DB_ID])
                if _has_values(slot.shape, each):
                    waiting.append((slot.shape, each, around))
    return parts


def _circular(shape: type, slot: Slot, eid: int) -> PullError:
    return PullError(
        ":db.error/circular-value",
        f"entity {eid} refers back to itself by {shape.__name__}.{slot.name} ({slot.attribute}); "
        "pull such a cycle as maps, or follow it with `entity`",
        shape=shape.__name__,
        field=slot.name,
        attribute=slot.attribute,
        entity=eid,
    )


def _value(shape: type, slot: Slot, part: dict[Any, Any], built: dict[int, Any]) -> Any:
    value = part.get(slot.attribute)
    if value is None:
        if slot.has_default:
            return dataclasses.MISSING
        if slot.optional:
            return None
        if slot.collection is not None:
            return slot.collection(())
        raise PullError(
            ":db.error/missing-value",
            f"{shape.__name__}.{slot.name} needs a {slot.attribute}, and {quoted(part)} has none",
            shape=shape.__name__,
            field=slot.name,
            attribute=slot.attribute,
        )
    if slot.shape is not None:
        if isinstance(value, list):
            value = [built[id(each)] for each in value if id(each) in built]
        elif id(value) in built:
            value = built[id(value)]
        else:  # an entity with no selected fact
            return _value(shape, slot, {**part, slot.attribute: None}, built)
    if slot.convention is not None:
        value = _read(slot, value)
    if slot.collection is None:
        return value
    return slot.collection(value if isinstance(value, list) else [value])


def _read(slot: Slot, value: Any) -> Any:
    try:
        return [slot.read(each) for each in value] if isinstance(value, list) else slot.read(value)
    except ValueError as error:
        raise PullError(
            ":db.error/unexpected-value",
            f"{slot.shape_name}.{slot.name} cannot have this {slot.attribute}: {error}",
            shape=slot.shape_name,
            field=slot.name,
            attribute=slot.attribute,
        ) from None
