"""Fields: which attribute each field of a dataclass is, as its annotations say. One reading, for writing, declaring and pulling.

    @dataclass(frozen=True)
    class Person:
        email: Annotated[str, Attr(unique="identity")]    # :person/email
        name: Annotated[str, ":contact/name"]             # named outright
        friends: list[Person] = field(default_factory=list)
        eid: Annotated[int | None, ":db/id"] = None

A field is the attribute of its name in the namespace of its class's name, or the one that its annotation names.
Law: knows classes and nothing of any store; an instance is read as the map form that says the same.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from factstore.errors import SchemaError

_COLLECTIONS: Final[Mapping[Any, Callable[[Any], Any]]] = {list: list, tuple: tuple, set: set, frozenset: frozenset}


@dataclasses.dataclass(frozen=True, slots=True)
class Attr:
    """What an attribute is beyond its Python type: stands in the `Annotated` of a field of a dataclass.

    Args:
        ident: its name; without one it is the field's, in the namespace of the class: `Person.year_born` is `:person/year-born`.
        type: its value type, such as "bigint", where the Python type does not say it.
        unique: "identity": a value names its entity, and asserting it again finds that entity; "value": nobody else may have it.
        component: what it refers to is a part, and goes with the whole.
        stamp: the store keeps it: "created" or "updated" is the instant at which an entity was made, or last changed.
        preds: registered functions that must be true of a value.
        members: fields of the same class that a composite tuple is made of; it is read, and written by writing those.

    >>> Attr(unique="identity", doc="Where letters go.").unique
    'identity'
    """

    ident: str | None = None
    _: dataclasses.KW_ONLY
    type: str | None = None
    unique: Literal["identity", "value"] | None = None
    component: bool = False
    index: bool = False
    fulltext: bool = False
    no_history: bool = False
    stamp: Literal["created", "updated"] | None = None
    preds: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    doc: str | None = None


class Slot(NamedTuple):
    """One field of a class."""

    name: str
    attribute: str
    collection: Callable[[Any], Any] | None  # what many values are collected in
    shape: type | None  # of the entities referred to
    optional: bool
    has_default: bool
    hint: Any  # the type of one value
    declared: Attr


def is_shape(thing: object) -> bool:
    """Tell whether a thing is a dataclass, not an instance of one."""
    return isinstance(thing, type) and dataclasses.is_dataclass(thing)


def is_instance(thing: object) -> bool:
    """Tell whether a thing is an instance of a dataclass."""
    return dataclasses.is_dataclass(thing) and not isinstance(thing, type)


def name_of(words: str) -> str:
    """Return a Python name as names of attributes are written.

    >>> name_of("LineItem"), name_of("year_born")
    ('line-item', 'year-born')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", words).lower().replace("_", "-")


@lru_cache(maxsize=512)
def slots_of(shape: type) -> tuple[Slot, ...]:
    """Return the fields of a class that its instances are made from. Raises: SchemaError, for annotations that cannot be evaluated."""
    try:
        hints = get_type_hints(shape, include_extras=True)
    except Exception as error:  # an annotation that is text may be any code
        why = f"the annotations of {shape.__name__} cannot be evaluated where the class is defined: {type(error).__name__}: {error}"
        raise SchemaError(":db.error/invalid-install-attribute", why, got=shape) from error
    return tuple(_slot(shape, field, hints[field.name]) for field in dataclasses.fields(shape) if field.init)


def _slot(shape: type, field: dataclasses.Field[Any], hint: Any) -> Slot:
    declared, ident = Attr(), None
    if get_origin(hint) is Annotated:
        hint, *said = get_args(hint)
        declared = next((each for each in said if isinstance(each, Attr)), declared)
        ident = next((each for each in said if isinstance(each, str) and each.startswith(":")), declared.ident)
    hint, optional = _without_none(hint)
    collection = None if _is_pair(hint) else _COLLECTIONS.get(get_origin(hint))
    inner = get_args(hint)[0] if collection is not None else hint
    has_default = field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING
    attribute = ident or f":{name_of(shape.__name__)}/{name_of(field.name)}"
    return Slot(
        field.name, attribute, collection, inner if is_shape(inner) else None, optional, has_default, inner, declared
    )


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) not in (Union, types.UnionType):
        return hint, False
    chosen = [arg for arg in get_args(hint) if arg is not types.NoneType]
    return (chosen[0] if len(chosen) == 1 else Any), len(chosen) < len(get_args(hint))


def _is_pair(hint: Any) -> bool:
    """Tell a tuple of some length, which is one value, from a tuple of any length, which collects many."""
    return get_origin(hint) is tuple and len(get_args(hint)) > 1 and get_args(hint)[-1] is not Ellipsis


def _follows(declared: Attr) -> bool:
    """Tell what the store makes of the rest: an instance that was read and changed has what it was made of before."""
    return bool(declared.members) or declared.stamp == "updated"


def map_of(instance: Any) -> dict[str, Any]:
    """Return the map form that says what an instance says; an entity id of None is left out, other Nones are the reader's."""
    said = {
        slot.attribute: getattr(instance, slot.name)
        for slot in slots_of(instance.__class__)
        if not _follows(slot.declared)
    }
    if said.get(":db/id", ...) is None:
        del said[":db/id"]
    return said
