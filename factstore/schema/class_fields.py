"""The attributes of the fields of classes, for transactions, declarations and pulls.

    @dataclass(frozen=True)
    class Person:
        email: Annotated[str, Attr(unique="identity")]    # :person/email
        name: Annotated[str, ":contact/name"]             # with an explicit name
        mood: Mood = Mood.GOOD                            # an enum: the entity of an ident
        friends: frozenset[Person] = frozenset()
        eid: Annotated[int | None, ":db/id"] = None

The class is a dataclass, or one of attrs or pydantic (class_kinds.py). A field is the attribute with its name in the
namespace of the class name, or the attribute named by its annotation.
Law: this module uses no store; an instance means the same as the map form of its fields.
"""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from factstore.errors import SchemaError, TransactError
from factstore.rendering import shown_as_record
from factstore.schema.class_kinds import Field, fields_of, is_instance, is_shape
from factstore.schema.class_values import Convention, convention_of

__all__ = ["Attr", "Slot", "is_instance", "is_shape", "map_of", "name_of", "slots_of"]

_COLLECTIONS: Final[Mapping[Any, Callable[[Any], Any]]] = {list: list, tuple: tuple, set: set, frozenset: frozenset}


@shown_as_record
@dataclasses.dataclass(frozen=True, slots=True)
class Attr:
    """The properties of an attribute besides its Python type, in the `Annotated` of a field of a class.

    Args:
        ident: its name; by default that of the field in the namespace of the class: `Person.year_born` is
            `:person/year-born`.
        type: its value type, such as "bigint", if it differs from that of the Python type.
        unique: "identity": a value identifies its entity, and asserting it again finds that entity; "value": no second
            entity can have the value.
        component: the referenced entity is a part, and is retracted with the whole.
        stamp: maintained by the store: the instant at which an entity was "created", or last "updated".
        preds: names of registered functions that must return True for a value.
        members: fields of the same class that form a composite tuple, which is derived from them.
        unordered: the order of a list has no meaning, and no value is in it twice. The store keeps neither, so
            `schema_of` rejects other lists.

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
    unordered: bool = False
    doc: str | None = None


class Slot(NamedTuple):
    """One field of a class."""

    shape_name: str
    name: str
    parameter: str  # the keyword of the constructor
    attribute: str
    collection: Callable[[Any], Any] | None  # the type that collects many values
    shape: type | None  # the class of the referenced entities
    optional: bool
    has_default: bool
    hint: Any  # the type of one value
    declared: Attr
    convention: Convention | None  # of the type of one value

    def stored(self, value: Any) -> Any:
        """Return the value of the field as a value of a transaction.

        Raises: TransactError(:db.error/wrong-type-for-attribute).
        """
        if self.convention is None or value is None:
            return value
        if self.collection is not None and isinstance(value, list | tuple | set | frozenset):
            return [self.one_stored(each) for each in value]
        return self.one_stored(value)

    def one_stored(self, value: Any) -> Any:
        """Return one of the values of the field as a value of a transaction. Raises: as `stored`."""
        try:
            return value if self.convention is None else self.convention.stored(value)
        except ValueError as error:
            text = f"{self.shape_name}.{self.name}: {error}"
            code = ":db.error/wrong-type-for-attribute"
            raise TransactError(code, text, attribute=self.attribute, field=self.name, value=value) from None

    def read(self, value: Any) -> Any:
        """Return one pulled value as a value of the field. Raises: ValueError, if the field cannot have it."""
        return value if self.convention is None else self.convention.read(value)


def name_of(words: str) -> str:
    """Return the name of an attribute for a Python name.

    >>> name_of("LineItem"), name_of("year_born")
    ('line-item', 'year-born')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", words).lower().replace("_", "-")


@lru_cache(maxsize=512)
def slots_of(shape: type) -> tuple[Slot, ...]:
    """Return the fields of a class. Raises: SchemaError for annotations that cannot be evaluated."""
    try:
        hints = get_type_hints(shape, include_extras=True)
    except Exception as error:  # an annotation that is text may be any code
        why = f"the annotations of {shape.__name__} cannot be evaluated where the class is defined"
        reason = f"{why}: {type(error).__name__}: {error}"
        raise SchemaError(":db.error/invalid-install-attribute", reason, got=shape) from error
    return tuple(_slot(shape, field, hints.get(field.name, Any)) for field in fields_of(shape))


def _slot(shape: type, field: Field, hint: Any) -> Slot:
    declared, ident = Attr(), None
    if get_origin(hint) is Annotated:
        hint, *annotations = get_args(hint)
        declared = next((each for each in annotations if isinstance(each, Attr)), declared)
        ident = next((each for each in annotations if isinstance(each, str) and each.startswith(":")), declared.ident)
    hint, optional = _without_none(hint)
    collection = None if _is_pair(hint) else _COLLECTIONS.get(get_origin(hint))
    inner = get_args(hint)[0] if collection is not None else hint
    try:
        convention = convention_of(inner, declared.type, name_of)
    except ValueError as error:
        text = f"{shape.__name__}.{field.name}: {error}"
        raise SchemaError(":db.error/invalid-install-attribute", text, got=inner) from None
    return Slot(
        shape_name=shape.__name__,
        name=field.name,
        parameter=field.parameter,
        attribute=ident or f":{name_of(shape.__name__)}/{name_of(field.name)}",
        collection=collection,
        shape=inner if is_shape(inner) else None,
        optional=optional,
        has_default=field.has_default,
        hint=inner,
        declared=declared,
        convention=convention,
    )


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) is Literal:
        return hint, None in get_args(hint)
    if get_origin(hint) not in (Union, types.UnionType):
        return hint, False
    chosen = [arg for arg in get_args(hint) if arg is not types.NoneType]
    return (chosen[0] if len(chosen) == 1 else Any), len(chosen) < len(get_args(hint))


def _is_pair(hint: Any) -> bool:
    """Return whether a hint is a tuple of fixed length, which is one value; other tuples collect many values."""
    return get_origin(hint) is tuple and len(get_args(hint)) > 1 and get_args(hint)[-1] is not Ellipsis


def _is_derived(declared: Attr) -> bool:
    """Return whether the store derives the attribute: after a change of an instance, its field has the old value."""
    return bool(declared.members) or declared.stamp == "updated"


@dataclasses.dataclass(eq=False, slots=True)
class Described:
    """An instance of a class that this process does not have, as its map form."""

    form: dict[str, Any]


def map_of(instance: Any) -> dict[str, Any]:
    """Return the map form of an instance, without an entity id of None; other Nones are kept."""
    if type(instance) is Described:
        return dict(instance.form)
    form = {
        slot.attribute: slot.stored(getattr(instance, slot.name))
        for slot in slots_of(instance.__class__)
        if not _is_derived(slot.declared)
    }
    if form.get(":db/id", ...) is None:
        del form[":db/id"]
    return form
