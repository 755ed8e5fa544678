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
from functools import lru_cache
from typing import Any

from factstore.errors import PullError
from factstore.fields import Slot, is_shape, slots_of
from factstore.quoting import quoted


@lru_cache(maxsize=512)
def form_of(shape: type, outer: tuple[type, ...] = ()) -> list[Any]:
    """Return the pattern that a shape stands for.

    Raises: PullError(:db.error/invalid-pull) for shapes that lead back to one another by way of a third.
    """
    if not is_shape(shape):
        raise PullError(":db.error/invalid-pull", f"a class that is a pattern is a dataclass; got {quoted(shape)}", fragment=shape)
    if shape in outer:
        names = " → ".join(one.__name__ for one in (*outer, shape))
        raise PullError(":db.error/invalid-pull", f"a shape may lead to itself, not around through others: {names}", fragment=shape)
    form: list[Any] = []
    for slot in slots_of(shape):
        spec = slot.attribute if slot.collection is None else [slot.attribute, ":limit", None]
        key = slot.attribute if slot.collection is None else tuple(spec)
        if slot.shape is None:
            form.append(spec)
        else:
            form.append({key: "..." if slot.shape is shape else form_of(slot.shape, (*outer, shape))})
    return form


def build(shape: type, found: dict[Any, Any]) -> Any:
    """Return the instance of a shape that a map describes.

    Raises: PullError(:db.error/missing-value) for a field that nothing was found for and that cannot do without.
    """
    waiting, parts = [(shape, found)], []
    while waiting:
        kind, part = waiting.pop()
        parts.append((kind, part))
        for slot in slots_of(kind):
            below = part.get(slot.attribute) if slot.shape is not None else None
            if below is not None and slot.shape is not None:
                waiting += [(slot.shape, each) for each in (below if isinstance(below, list) else [below])]
    built: dict[int, Any] = {}
    for kind, part in reversed(parts):  # what is referred to before what refers to it
        fields = {slot.name: value for slot in slots_of(kind) if (value := _value(kind, slot, part, built)) is not dataclasses.MISSING}
        built[id(part)] = kind(**fields)
    return built[id(found)]


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
        value = [built[id(each)] for each in value] if isinstance(value, list) else built[id(value)]
    if slot.collection is None:
        return value
    return slot.collection(value if isinstance(value, list) else [value])
