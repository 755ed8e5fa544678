"""Shapes: dataclasses as pull patterns, and the maps that were found as instances of them.

    @dataclass(frozen=True)
    class Person:
        name: str                                         # :person/name
        email: Annotated[str | None, ":contact/email"]    # named outright; None when there is none
        friends: list[Person]                             # a pattern of its own; of the same class a recursion

Which attribute a field is, `factstore.fields` says. A field with a default has it where the attribute is absent; one that may
be None is None, a collection is empty.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from pyrsistent import PSet, pset

from factstore.errors import PullError
from factstore.schema.classes import Slot, is_shape, slots_of
from factstore.values.quoting import quoted

DB_ID: Final = ":db/id"


@lru_cache(maxsize=512)
def form_of(shape: type, outer: tuple[type, ...] = ()) -> list[Any]:
    """Return the pattern that a shape stands for.

    Raises: PullError(:db.error/invalid-pull) for shapes that lead back to one another by way of a third.
    """
    if not is_shape(shape):
        raise PullError(
            ":db.error/invalid-pull", f"a class that is a pattern is a dataclass; got {quoted(shape)}", fragment=shape
        )
    if shape in outer:
        names = " → ".join(one.__name__ for one in (*outer, shape))
        raise PullError(
            ":db.error/invalid-pull", f"a shape may lead to itself, not around through others: {names}", fragment=shape
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
    """Tell whether the ids of entities are pulled although no field asks for them: a recursion may come round, and ids show it."""
    slots = slots_of(shape)
    return any(slot.shape is shape for slot in slots) and all(slot.attribute != DB_ID for slot in slots)


def _is_known(kind: type, part: Mapping[Any, Any]) -> bool:
    """Tell whether anything was found but an id that no field asks for."""
    return len(part) > 1 or DB_ID not in part or not _adds_ids(kind)


def build(shape: type, found: dict[Any, Any]) -> Any:
    """Return the instance of a shape that a map describes; None where nothing was found that a field asks for.

    Raises: PullError(:db.error/missing-value) for a field that nothing was found for and that cannot do without;
        PullError(:db.error/circular-value) for an entity that leads back to itself, which no finite nesting of instances can show.
    """
    if not _is_known(shape, found):
        return None
    parts = _parts(shape, found)
    built: dict[int, Any] = {}
    for kind, part in reversed(parts):  # what is referred to before what refers to it
        fields = {
            slot.name: value
            for slot in slots_of(kind)
            if (value := _value(kind, slot, part, built)) is not dataclasses.MISSING
        }
        built[id(part)] = kind(**fields)
    return built[id(found)]


def _parts(shape: type, found: dict[Any, Any]) -> list[tuple[type, dict[Any, Any]]]:
    """Return the maps that are instances, each with its class: what refers to another before it."""
    waiting: list[tuple[type, dict[Any, Any], PSet[int]]] = [(shape, found, pset())]
    parts = []
    while waiting:
        kind, part, above = waiting.pop()
        parts.append((kind, part))
        eid = part.get(DB_ID)
        for slot in slots_of(kind):
            below = part.get(slot.attribute) if slot.shape is not None else None
            if below is None or slot.shape is None:
                continue
            # A class leads back to itself only; within another one, the entity is shown by other fields.
            around = above.add(eid) if slot.shape is kind and eid is not None else pset()
            for each in below if isinstance(below, list) else [below]:
                if each.get(DB_ID) in around:
                    raise _circular(kind, slot, each[DB_ID])
                if _is_known(slot.shape, each):
                    waiting.append((slot.shape, each, around))
    return parts


def _circular(shape: type, slot: Slot, eid: int) -> PullError:
    return PullError(
        ":db.error/circular-value",
        f"entity {eid} leads back to itself by {shape.__name__}.{slot.name} ({slot.attribute}); "
        "pull such a circle as maps, or walk it with `entity`",
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
        else:  # an entity of which only the id is known
            return _value(shape, slot, {**part, slot.attribute: None}, built)
    if slot.collection is None:
        return value
    return slot.collection(value if isinstance(value, list) else [value])
