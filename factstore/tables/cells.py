"""Cells: the columns of a batch as stored values of their attributes, and the rows that have a value.

    text of a file ──► values, by the type of the attribute ─┐
    values of rows and columns ──────────────────────────────┴─► the user's converter ──► stored values and references

Law: for every kind of source, an invalid value of an attribute causes a TransactError that names its row and column.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import numpy as np

from factstore.columns import column
from factstore.columns.column import Array
from factstore.db.database import Database
from factstore.errors import FactStoreError, TransactError
from factstore.rendering import shown_as_record
from factstore.schema.attribute import Attribute
from factstore.tables.batch import Batch, invalid
from factstore.tables.sources import listed
from factstore.tables.texts import READERS
from factstore.values.quoting import described, quoted
from factstore.values.types import ANOTHER_TYPE, Stored, is_missing, is_nan

_PRESENT: Final = frozenset((str, int, bool, bytes, datetime, UUID))  # types without a missing value such as NaN
_PRESENT_OR_NONE: Final = _PRESENT | {type(None)}
_FLOATS: Final = _PRESENT_OR_NONE | {float}


@shown_as_record
@dataclass(frozen=True, slots=True)
class Into:
    """The attribute of a column, with options for references and conversion."""

    attribute: str
    lookup: str | None = None  # for references: the unique attribute whose values the column contains
    convert: Callable[[Any], Any] | None = None  # applied to each value that is not missing


class Goal(NamedTuple):
    """The attribute of a column, resolved in a database."""

    name: Any  # of the column
    attribute: Attribute
    into: Into
    lookup: Attribute | None  # the attribute of a reference's `lookup`


class Typed(NamedTuple):
    """A column of a batch."""

    column: Goal
    values: Sequence[Any]  # as users would write them, None for missing ones
    stored: Array  # of the rows that have a value
    present: Array | None  # the mask of the rows that have a value; None: all


def is_missing_cell(value: Any) -> bool:
    """Return whether a value of a table means that there is none: None, NaN, NaT, pandas.NA."""
    return value is None or (type(value) not in _PRESENT and (is_missing(value) or is_nan(value)))


def _with_nones(values: Sequence[Any]) -> Sequence[Any]:
    """Return values with None for each missing one."""
    kinds = set(map(type, values))
    if kinds <= _PRESENT_OR_NONE:
        return values
    if kinds <= _FLOATS:
        return [None if value != value else value for value in values]
    return [None if is_missing_cell(value) else value for value in values]


def goals(db: Database, mapping: Mapping[Any, str | Into]) -> list[Goal]:
    """Return the attributes of the columns.

    Raises: TransactError(:db.error/invalid-load); DatabaseError(:db.error/not-an-attribute).
    """
    resolved = [_goal(db, name, into) for name, into in mapping.items()]
    first: dict[int, Any] = {}
    for goal in resolved:
        other = first.setdefault(goal.attribute.id, goal.name)
        if other != goal.name and not goal.attribute.many:
            text = f"{goal.attribute.ident} takes one value, and columns {other!r} and {goal.name!r} both go there"
            raise invalid(text, column=goal.name, attribute=goal.attribute.ident)
    return resolved


def _goal(db: Database, name: Any, into: str | Into) -> Goal:
    into = Into(into) if isinstance(into, str) else into
    if not isinstance(into, Into) or not (into.convert is None or callable(into.convert)):
        raise invalid(
            f"column {name!r} goes to an attribute, or to Into(attribute, …); got {quoted(into)}", column=name, got=into
        )
    attribute = db.attribute(into.attribute)
    if (into.lookup is not None) != attribute.is_ref:
        wants = "needs a `lookup` attribute" if attribute.is_ref else "is no reference, so it takes no `lookup`"
        raise invalid(
            f"{attribute.ident}, which column {name!r} goes to, {wants}", column=name, attribute=attribute.ident
        )
    lookup = None if into.lookup is None else db.attribute(into.lookup)
    if lookup is not None and lookup.unique is None:
        raise invalid(
            f"the `lookup` of column {name!r} needs a unique attribute, {lookup.ident} is not",
            column=name,
            attribute=lookup.ident,
        )
    return Goal(name, attribute, into, lookup)


def typed_column(db: Database, goal: Goal, batch: Batch, missing: Set[str], *, is_text: bool) -> Typed:
    """Return a column of a batch with checked values, and with references resolved in a database."""
    values = _converted(goal, batch, missing, is_text=is_text)
    return Typed(goal, values, *_stored(db, goal, batch, values))


# -- values as users would write them


def _converted(goal: Goal, batch: Batch, missing: Set[str], *, is_text: bool) -> Sequence[Any]:
    """Return the values of a column, with None for missing ones."""
    values, convert = batch.columns[goal.name], goal.into.convert
    if convert is None and isinstance(values, np.ndarray) and values.dtype.kind in "iufb":
        return values
    if is_text:
        cells: Sequence[Any] = [None if text in missing else text for text in values]
    else:
        cells = _with_nones(listed(values))
    if convert is not None:
        return _each(cells, convert, lambda value, row, error: _unconverted(goal, batch, value, row, error))
    reader = READERS.get((goal.lookup or goal.attribute).value_type.name) if is_text else None
    if reader is not None:
        return _each(cells, reader, lambda value, row, error: _rejected(goal, batch, value, row, str(error)))
    return cells


def _each(
    values: Sequence[Any], convert: Callable[[Any], Any], failed: Callable[[Any, int, Exception], TransactError]
) -> list[Any]:
    """Return the converted values; a result such as NaN or NaT is missing."""
    converted: list[Any] = []
    try:
        for value in values:
            result = None if value is None else convert(value)
            converted.append(result if type(result) in _PRESENT or not is_missing_cell(result) else None)
    except Exception as error:  # any exception of the user's converter
        row = len(converted)
        raise failed(values[row], row, error) from error
    return converted


def _unconverted(goal: Goal, batch: Batch, value: Any, row: int, error: Exception) -> TransactError:
    where, position = batch.position(row)
    why = f"{type(error).__name__}: {quoted(str(error))}"
    return invalid(
        f"the converter of column {goal.name!r} raised {why}; its argument was {described(value)}, in {where}",
        column=goal.name,
        attribute=goal.attribute.ident,
        value=value,
        **position,
    )


def _rejected(
    goal: Goal, batch: Batch, value: Any, row: int, why: str, attribute: Attribute | None = None
) -> TransactError:
    attribute = attribute or goal.lookup or goal.attribute
    where, position = batch.position(row)
    reason = "" if why == ANOTHER_TYPE else f": {why}"
    return TransactError(
        ":db.error/wrong-type-for-attribute",
        f"{attribute.ident} takes {attribute.value_type.wants}, got {described(value)}{reason},"
        f" in column {goal.name!r}, {where}",
        attribute=attribute.ident,
        value=value,
        column=goal.name,
        **position,
    )


# -- stored values


def _stored(db: Database, goal: Goal, batch: Batch, values: Sequence[Any]) -> tuple[Array, Array | None]:
    """Return the stored values, and the mask of the rows that have one (None: all)."""
    if isinstance(values, np.ndarray) and not goal.attribute.is_ref:
        return _stored_array(goal, batch, values)
    everything = _with_nones(listed(values)) if isinstance(values, np.ndarray) else values
    present, cells = None, everything
    rows: Sequence[int] = range(len(everything))
    if type(None) in set(map(type, everything)):
        present = np.fromiter((value is not None for value in everything), bool, len(everything))
        rows = np.flatnonzero(present).tolist()
        cells = [value for value in everything if value is not None]
    stored = _references(db, goal, batch, cells, rows) if goal.lookup else _checked(goal, batch, cells, rows)
    return column.array_of(stored, goal.attribute.value_type.dtype), present


def _stored_array(goal: Goal, batch: Batch, values: Array) -> tuple[Array, Array | None]:
    kind, value_type = values.dtype.kind, goal.attribute.value_type
    present = ~np.isnan(values) if kind == "f" and np.isnan(values).any() else None
    rows = range(len(values)) if present is None else np.flatnonzero(present).tolist()
    cells = values if present is None else values[present]
    dtype = value_type.dtype
    fits = {"i8": kind in "iu", "f8": kind == "f" and values.dtype.itemsize <= 8, "?": kind == "b"}.get(dtype, False)
    too_wide = kind == "u" and values.dtype.itemsize == 8 and len(cells) and int(cells.max()) >> 63
    rounds = value_type.name == "float" and values.dtype.itemsize > 4
    if not fits or value_type.load is not None or too_wide or rounds:
        return column.array_of(_checked(goal, batch, listed(cells), rows), dtype), present
    return cells.astype(np.dtype(dtype)), present


def _checked(goal: Goal, batch: Batch, values: Sequence[Any], rows: Sequence[int]) -> Sequence[Stored]:
    value_type = goal.attribute.value_type
    if value_type.name == "string" and set(map(type, values)) <= {str} and "".join(values).isascii():
        return values
    store = value_type.store
    stored: list[Stored] = []
    try:
        for value in values:
            stored.append(store(value))
    except ValueError as why:
        at = len(stored)
        raise _rejected(goal, batch, values[at], rows[at], str(why)) from None
    return stored


def _references(db: Database, goal: Goal, batch: Batch, values: Sequence[Any], rows: Sequence[int]) -> Sequence[int]:
    lookup = goal.lookup
    assert lookup is not None
    eid_of: dict[Any, int] = {}
    eids: list[int] = []
    for value, row in zip(values, rows, strict=True):
        key = (type(value), value)
        try:
            eid = eid_of.get(key)
        except TypeError:  # a list: only a unique tuple attribute accepts it
            key, eid = (list, repr(value)), None
        if eid is None:
            eid = eid_of[key] = _reference(db, goal, batch, value, row)
        eids.append(eid)
    return eids


def _reference(db: Database, goal: Goal, batch: Batch, value: Any, row: int) -> int:
    lookup = goal.lookup
    assert lookup is not None
    try:
        eid = db.entid([lookup.ident, value])
    except FactStoreError as error:
        raise _rejected(goal, batch, value, row, error.message) from error
    if eid is None:
        where, position = batch.position(row)
        raise TransactError(
            ":db.error/not-an-entity",
            f"no entity has {lookup.ident} {quoted(value)}, which column {goal.name!r} refers to, in {where}",
            attribute=goal.attribute.ident,
            column=goal.name,
            value=value,
            **position,
        )
    return eid
