"""Objects made of the rows of an answer: the columns are the fields of a class, by their names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from factstore.errors import QueryError
from factstore.query.language.dialect import nearest
from factstore.schema.class_fields import Slot, is_shape, slots_of
from factstore.values.quoting import did_you_mean

Row = tuple[Any, ...]


def builder_of(shape: Any, columns: tuple[str, ...]) -> Callable[[Row], Any]:
    """Return the function that makes an object of a row.

    Args:
        shape: a class with fields, or a callable that takes the columns as keywords.
    Raises: QueryError(:db.error/unknown-field), if the columns are not the fields.
    """
    names = [column.replace("-", "_") for column in columns]
    if not is_shape(shape):
        return lambda row: shape(**dict(zip(names, row, strict=True)))
    slots = {slot.name: slot for slot in slots_of(shape)}
    for name in names:
        if name not in slots:
            meant = did_you_mean(nearest(name, slots))
            text = f"{shape.__name__} has no field {name}{meant}, which is a column of the answer"
            raise _unknown(text, shape, name)
    for slot in slots.values():
        if slot.name not in names and not slot.has_default:
            text = f"{shape.__name__}.{slot.name} needs a column; the answer has {', '.join(columns)}"
            raise _unknown(text, shape, slot.name)
    fields = [slots[name] for name in names]
    return lambda row: shape(**{slot.parameter: _read(slot, value) for slot, value in zip(fields, row, strict=True)})


def _unknown(text: str, shape: type, field: str) -> QueryError:
    return QueryError(":db.error/unknown-field", text, shape=shape.__name__, field=field)


def _read(slot: Slot, value: Any) -> Any:
    if slot.convention is None or value is None:
        return value
    try:
        return slot.read(value)
    except ValueError as error:
        text = f"{slot.shape_name}.{slot.name}: {error}"
        raise QueryError(":db.error/unexpected-value", text, shape=slot.shape_name, field=slot.name) from None
