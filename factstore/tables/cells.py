"""Cells: a batch of a table as columns of stored values, each by its attribute, with the rows that have one.

    text of a file ──► values, by the type of the attribute ─┐
    values of rows and columns ──────────────────────────────┴─► the user's converter ──► stored values; references found

Law: a value that an attribute cannot have is a TransactError that names its row and its column, whatever the source.
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
from factstore.schema.attribute import Attribute
from factstore.tables.batches import Batch, invalid, listed
from factstore.tables.texts import READERS
from factstore.values.quoting import described, quoted
from factstore.values.types import ANOTHER_TYPE, Stored, is_missing, is_nan

_THERE: Final = frozenset((str, int, bool, bytes, datetime, UUID))  # types of which every value is one
_THERE_OR_NONE: Final = _THERE | {type(None)}
_FLOATS: Final = _THERE_OR_NONE | {float}


@dataclass(frozen=True, slots=True)
class Into:
    """Where a column goes, when its attribute's name alone does not say it all."""

    attribute: str
    lookup: str | None = None  # for references: the unique attribute that the column's values are values of
    convert: Callable[[Any], Any] | None = None  # applied to each value that is there


class Goal(NamedTuple):
    """Where a column goes, as a database has it."""

    name: Any  # of the column
    attribute: Attribute
    into: Into
    lookup: Attribute | None  # the attribute of a reference's `lookup`


class Typed(NamedTuple):
    """A column of a batch."""

    column: Goal
    values: Sequence[Any]  # as users would write them, None for what is missing
    stored: Array  # what is there
    present: Array | None  # which rows have a value; None: all


def says_nothing(value: Any) -> bool:
    """Tell whether a value of a table stands for none: None, NaN, NaT, pandas.NA."""
    return value is None or (type(value) not in _THERE and (is_missing(value) or is_nan(value)))


def _with_nones(values: Sequence[Any]) -> Sequence[Any]:
    """Return values with None for each that stands for none."""
    kinds = set(map(type, values))
    if kinds <= _THERE_OR_NONE:
        return values
    if kinds <= _FLOATS:
        return [None if value != value else value for value in values]
    return [None if says_nothing(value) else value for value in values]


def goals(db: Database, mapping: Mapping[Any, str | Into]) -> list[Goal]:
    """Return where the columns go. Raises: TransactError(:db.error/invalid-load); DatabaseError(:db.error/not-an-attribute)."""
    found = [_goal(db, name, into) for name, into in mapping.items()]
    first: dict[int, Any] = {}
    for goal in found:
        other = first.setdefault(goal.attribute.id, goal.name)
        if other != goal.name and not goal.attribute.many:
            text = f"{goal.attribute.ident} takes one value, and columns {other!r} and {goal.name!r} both go there"
            raise invalid(text, column=goal.name, attribute=goal.attribute.ident)
    return found


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
    """Return a column of a batch with its values checked and its references found, as a database has them."""
    values = _converted(goal, batch, missing, is_text=is_text)
    return Typed(goal, values, *_stored(db, goal, batch, values))


# -- values as users would write them


def _converted(goal: Goal, batch: Batch, missing: Set[str], *, is_text: bool) -> Sequence[Any]:
    """Return a column's values, None for what is missing."""
    values, convert = batch.columns[goal.name], goal.into.convert
    if convert is None and isinstance(values, np.ndarray) and values.dtype.kind in "iufb":
        return values
    if is_text:
        there: Sequence[Any] = [None if text in missing else text for text in values]
    else:
        there = _with_nones(listed(values))
    if convert is not None:
        return _each(there, convert, lambda value, row, error: _unconverted(goal, batch, value, row, error))
    reader = READERS.get((goal.lookup or goal.attribute).value_type.name) if is_text else None
    if reader is not None:
        return _each(there, reader, lambda value, row, error: _rejected(goal, batch, value, row, str(error)))
    return there


def _each(
    values: Sequence[Any], convert: Callable[[Any], Any], failed: Callable[[Any, int, Exception], TransactError]
) -> list[Any]:
    """Return the values converted; what is converted to NaN and the like is missing."""
    found: list[Any] = []
    try:
        for value in values:
            result = None if value is None else convert(value)
            found.append(result if type(result) in _THERE or not says_nothing(result) else None)
    except Exception as error:  # of the user's converter: whatever it raises
        row = len(found)
        raise failed(values[row], row, error) from error
    return found


def _unconverted(goal: Goal, batch: Batch, value: Any, row: int, error: Exception) -> TransactError:
    where, place = batch.place(row)
    why = f"{type(error).__name__}: {quoted(str(error))}"
    return invalid(
        f"the converter of column {goal.name!r} raised {why}; it was given {described(value)}, in {where}",
        column=goal.name,
        attribute=goal.attribute.ident,
        value=value,
        **place,
    )


def _rejected(
    goal: Goal, batch: Batch, value: Any, row: int, why: str, attribute: Attribute | None = None
) -> TransactError:
    attribute = attribute or goal.lookup or goal.attribute
    where, place = batch.place(row)
    reason = "" if why == ANOTHER_TYPE else f": {why}"
    return TransactError(
        ":db.error/wrong-type-for-attribute",
        f"{attribute.ident} takes {attribute.value_type.wants}, got {described(value)}{reason}, in column {goal.name!r}, {where}",
        attribute=attribute.ident,
        value=value,
        column=goal.name,
        **place,
    )


# -- stored values


def _stored(db: Database, goal: Goal, batch: Batch, values: Sequence[Any]) -> tuple[Array, Array | None]:
    """Return the stored values that are there, and the mask of the rows that have one (None: all)."""
    if isinstance(values, np.ndarray) and not goal.attribute.is_ref:
        return _stored_array(goal, batch, values)
    everything = _with_nones(listed(values)) if isinstance(values, np.ndarray) else values
    present, there = None, everything
    rows: Sequence[int] = range(len(everything))
    if type(None) in set(map(type, everything)):
        present = np.fromiter((value is not None for value in everything), bool, len(everything))
        rows = np.flatnonzero(present).tolist()
        there = [value for value in everything if value is not None]
    stored = _references(db, goal, batch, there, rows) if goal.lookup else _checked(goal, batch, there, rows)
    return column.array_of(stored, goal.attribute.value_type.dtype), present


def _stored_array(goal: Goal, batch: Batch, values: Array) -> tuple[Array, Array | None]:
    kind, value_type = values.dtype.kind, goal.attribute.value_type
    present = ~np.isnan(values) if kind == "f" and np.isnan(values).any() else None
    rows = range(len(values)) if present is None else np.flatnonzero(present).tolist()
    there = values if present is None else values[present]
    dtype = value_type.dtype
    fits = {"i8": kind in "iu", "f8": kind == "f" and values.dtype.itemsize <= 8, "?": kind == "b"}.get(dtype, False)
    too_wide = kind == "u" and values.dtype.itemsize == 8 and len(there) and int(there.max()) >> 63
    rounds = value_type.name == "float" and values.dtype.itemsize > 4
    if not fits or value_type.load is not None or too_wide or rounds:
        return column.array_of(_checked(goal, batch, listed(there), rows), dtype), present
    return there.astype(np.dtype(dtype)), present


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
    known: dict[Any, int] = {}
    found: list[int] = []
    for value, row in zip(values, rows, strict=True):
        key = (type(value), value)
        try:
            eid = known.get(key)
        except TypeError:  # a list, which no unique attribute takes but a tuple
            key, eid = (list, repr(value)), None
        if eid is None:
            eid = known[key] = _reference(db, goal, batch, value, row)
        found.append(eid)
    return found


def _reference(db: Database, goal: Goal, batch: Batch, value: Any, row: int) -> int:
    lookup = goal.lookup
    assert lookup is not None
    try:
        eid = db.entid([lookup.ident, value])
    except FactStoreError as error:
        raise _rejected(goal, batch, value, row, error.message) from error
    if eid is None:
        where, place = batch.place(row)
        raise TransactError(
            ":db.error/not-an-entity",
            f"no entity has {lookup.ident} {quoted(value)}, which column {goal.name!r} refers to, in {where}",
            attribute=goal.attribute.ident,
            column=goal.name,
            value=value,
            **place,
        )
    return eid
