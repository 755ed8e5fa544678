"""The kinds of classes whose objects are entities: dataclasses, and classes of attrs and of pydantic.

A class is recognised by an attribute that its package gives it, so neither package is imported or required.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from importlib import import_module
from typing import Any, Final, NamedTuple

KINDS: Final = "a dataclass, or a class of attrs or pydantic"


class Field(NamedTuple):
    """One field of a class."""

    name: str
    parameter: str  # the keyword of the constructor
    has_default: bool


def is_shape(thing: object) -> bool:
    """Return whether a thing is a class of objects, not one of the objects."""
    return isinstance(thing, type) and _is_kind(thing)


def is_instance(thing: object) -> bool:
    """Return whether a thing is an object of such a class."""
    return not isinstance(thing, type) and _is_kind(type(thing))


def _is_kind(kind: type) -> bool:
    return (
        hasattr(kind, "__dataclass_fields__")
        or hasattr(kind, "__attrs_attrs__")
        or hasattr(kind, "__pydantic_fields__")
    )


def fields_of(shape: Any) -> Iterator[Field]:
    """Yield the fields that the constructor of a class takes, in order."""
    if hasattr(shape, "__pydantic_fields__"):
        by_alias = shape.model_config.get("validate_by_alias", True)
        for name, field in shape.__pydantic_fields__.items():
            alias = field.validation_alias if by_alias and isinstance(field.validation_alias, str) else name
            yield Field(name, alias, not field.is_required())
    elif hasattr(shape, "__attrs_attrs__"):
        nothing = import_module("attr").NOTHING
        for field in shape.__attrs_attrs__:
            if field.init:
                yield Field(field.name, field.alias, field.default is not nothing)
    else:
        for field in dataclasses.fields(shape):
            if field.init:
                has_default = {field.default, field.default_factory} != {dataclasses.MISSING}
                yield Field(field.name, field.name, has_default)
