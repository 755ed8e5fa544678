"""Positions of entities in a column, guessed where a guess is likely to be right, so that most reads need no search.

    EntityLookup    one entity at a time: if rows are spread evenly over entity ids, the position is computed
    LastPositions   many entities at a time: their positions in the previous column, as most have the same attributes

Law: a guess is verified before it is used; the result is always that of a binary search.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

import numpy as np
from numpy.typing import NDArray

from factstore.columns.column import FactArrays, Ints
from factstore.values.types import Stored

_FEW: Final = 8  # rows up to which stepping over them is faster than a search


class EntityLookup:
    """Reads a column sorted by entity, one entity at a time."""

    __slots__ = ("_end", "_first", "_ids", "_is_one_each", "_span", "_value_at", "_values")

    def __init__(self, rows: FactArrays, *, is_one_each: bool) -> None:
        # A memoryview returns an id in half the time that an array takes.
        self._ids = ids = rows.e.data
        self._values, self._value_at = rows.v, rows.v.item
        self._is_one_each = is_one_each  # whether it is known that no entity has two rows
        self._end = len(ids)
        self._first = ids[0] if ids else 0
        self._span = ids[-1] - self._first + 1 if ids else 1

    def values_of(self, e: int) -> tuple[Stored, ...]:
        """Return the values of an entity, in the order of the column."""
        ids, end = self._ids, self._end
        at = (e - self._first) * end // self._span
        if not (0 <= at < end and ids[at] == e and (self._is_one_each or not at or ids[at - 1] != e)):
            at = bisect_left(ids, e)
            if at == end or ids[at] != e:
                return ()
        after = at + 1
        if self._is_one_each or after == end or ids[after] != e:
            return (self._value_at(at),)
        while after < end and ids[after] == e:
            after += 1
            if after - at == _FEW:
                after = bisect_right(ids, e, after)
        return tuple(self._values[at:after].tolist())


class LastPositions:
    """The positions of some entities in the last column in which they were searched."""

    __slots__ = ("_positions",)

    def __init__(self) -> None:
        self._positions: Ints | None = None

    def find(self, column_es: Ints, es: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Return for each entity a position in a column, which must not be empty, and whether it is there."""
        positions = self._positions
        if positions is not None:
            is_there = column_es.take(positions, mode="clip") == es
            if is_there.all() and positions.max(initial=0) < len(column_es):
                return positions, is_there
        positions = np.searchsorted(column_es, es)
        positions[positions == len(column_es)] = 0
        self._positions = positions
        return positions, column_es[positions] == es


def one_each(rows: FactArrays, es: Ints, last: LastPositions) -> tuple[Ints, Ints]:
    """Return the positions of the rows of these entities, at most one each, and for each row the position in `es`."""
    if not rows.size:
        none = np.empty(0, np.int64)
        return none, none
    positions, is_there = last.find(rows.e, es)
    return (positions, np.arange(len(es))) if is_there.all() else (positions[is_there], np.flatnonzero(is_there))


def is_one_each(rows: FactArrays) -> bool:
    """Tell whether no entity has two rows."""
    return bool((rows.e[1:] > rows.e[:-1]).all())
