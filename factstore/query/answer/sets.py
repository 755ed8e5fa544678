"""Sets of tuples made of columns: the last step of most queries, and for long answers the longest.

    numbers that repeat become one object each · rows go in by the order of the table's slots · no collection of garbage meanwhile

Knows columns only. Law: the set is that of the rows as Python's `zip` makes them, whatever was done to have it sooner.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import numpy as np

from factstore.query.relations.relation import Array, Column
from factstore.values.exact import rows_apart

_COLLECTING_COSTS: Final = 4_096  # rows from which the collector would look at tuples while they are made
_SLOTS_PAY: Final = 30_000  # rows whose set no longer fits into the caches near a core
_SLOT_BITS: Final = 16  # of a hash; numpy sorts numbers of that size by counting

# CPython hashes a tuple of small whole numbers like this. Were it to change, sets would be as right and take longer to make.
_FIRST, _SECOND, _FIFTH = (
    np.uint64(prime) for prime in (11400714785074694791, 14029467366897019727, 2870177450012600261)
)
_ROTATED: Final = np.uint64(31), np.uint64(33)
_LENGTH_SALT: Final = _FIFTH ^ np.uint64(3527539)


def set_of_rows(columns: Sequence[Column]) -> set[tuple[Any, ...]]:
    """Return the rows of columns of one length, no two of which are the same row, as a set.

    Rows that Python takes for one although their types differ are kept apart, as `ExactRow`s.
    Raises: TypeError for a value that Python cannot hash.
    """
    size = columns[0].size
    found = _set_of_rows(columns, size)
    if len(found) < size:
        return rows_apart(zip(*(column.values() for column in columns), strict=True))
    return found


def _set_of_rows(columns: Sequence[Column], size: int) -> set[tuple[Any, ...]]:
    if size < _COLLECTING_COSTS:
        return set(zip(*(column.values() for column in columns), strict=True))
    with _uncollected():
        if size >= _SLOTS_PAY:
            columns = _by_slot(columns, size)
        return set(zip(*map(_shared, columns), strict=True))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Keep the collector from walking tuples that hold no circles, unless somebody else does."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _shared(column: Column) -> list[Any]:
    """Return the values of a column, whole numbers that occur more than once as one object where that is easy to have."""
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
    """Put rows about in the order of the slots that their set will keep them in, so that it is filled from one end to the other."""
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
    """Return Python's hashes of a column's values where they can be had for the whole column at once."""
    if column.dictionary is not None:
        return np.array([hash(value) for value in column.dictionary.values.tolist()], np.int64).view(np.uint64)[
            column.data
        ]
    if column.kind is int and isinstance(column.data, np.ndarray) and column.data.dtype == np.int64:
        return column.data.view(np.uint64)
    return None
