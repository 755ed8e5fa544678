"""Sets of tuples from columns: the last step of most queries, and the longest step of long answers.

    a repeated number becomes one object · rows are added in the order of the set's slots · garbage collection is paused

Uses columns only. Law: the set equals that of the rows as Python's `zip` makes them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from factstore.query.relations.relation import Array, Column
from factstore.values.exact import rows_apart

_COLLECTING_COSTS: Final = 4_096  # rows from which the garbage collector would run in between
_SLOTS_PAY: Final = 30_000  # rows whose set no longer fits into the caches near a core
_SLOT_BITS: Final = 16  # of a hash; numpy sorts numbers of that size by counting

# CPython hashes a tuple of small whole numbers like this. If that changes, sets stay correct but take longer to build.
_FIRST, _SECOND, _FIFTH = (
    np.uint64(prime) for prime in (11400714785074694791, 14029467366897019727, 2870177450012600261)
)
_ROTATED: Final = np.uint64(31), np.uint64(33)
_LENGTH_SALT: Final = _FIFTH ^ np.uint64(3527539)


def set_of_rows(columns: Sequence[Column]) -> set[tuple[Any, ...]]:
    """Return the rows of columns of one length, no two of which are the same row, as a set.

    Rows that are equal in Python but differ in types are kept apart, as `ExactRow`s.
    Raises: TypeError for a value that Python cannot hash.
    """
    size = columns[0].size
    rows = _set_of_rows(columns, size)
    if len(rows) < size:
        return rows_apart(zip(*(column.values() for column in columns), strict=True))
    return rows


def _set_of_rows(columns: Sequence[Column], size: int) -> set[tuple[Any, ...]]:
    if size < _COLLECTING_COSTS:
        return set(zip(*[column.values() for column in columns], strict=True))
    with _uncollected():
        if size >= _SLOTS_PAY:
            columns = _by_slot(columns, size)
        return set(zip(*map(_shared, columns), strict=True))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Pause the garbage collector, which would walk tuples without cycles; nothing if it is already off."""
    if not gc.isenabled():
        yield
        return
    try:
        gc.disable()  # within the block: an interrupt before it would leave the collector off
        yield
    finally:
        gc.enable()


def _shared(column: Column) -> list[Any]:
    """Return the values of a column; repeated whole numbers of a narrow range share one object."""
    data = column.data
    if column.kind is not int or not isinstance(data, np.ndarray):
        return column.values()
    least = int(data.min())
    width = int(data.max()) - least + 1
    if width * 2 > len(data):
        return column.values()
    objects = np.array(range(least, least + width), object)
    return objects[data - least].tolist()  # type: ignore[no-any-return]


def _by_slot(columns: Sequence[Column], size: int) -> Sequence[Column]:
    """Sort rows roughly by their slots in the set, so that the memory of the set is filled from start to end."""
    hashes = [_hashes(column) for column in columns]
    mixed = np.full(size, _FIFTH, np.uint64)
    for each in hashes:
        if each is None:
            return columns
        mixed += each * _SECOND
        mixed = (mixed << _ROTATED[0]) | (mixed >> _ROTATED[1])
        mixed *= _FIRST
    mixed += np.uint64(len(columns)) ^ _LENGTH_SALT
    table_bits = (size * 5 // 3).bit_length()
    slots = (mixed >> np.uint64(max(table_bits - _SLOT_BITS, 0))).astype(np.uint16)
    order = np.argsort(slots, kind="stable")
    return [column.take(order) for column in columns]


def _hashes(column: Column) -> Array | None:
    """Return Python's hashes of a column's values if they can be computed for the whole column at once."""
    if column.dictionary is not None:
        return np.array([hash(value) for value in column.dictionary.values.tolist()], np.int64).view(np.uint64)[
            column.data
        ]
    if column.kind is int and isinstance(column.data, np.ndarray) and column.data.dtype == np.int64:
        return column.data.view(np.uint64)
    return None
