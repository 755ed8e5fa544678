"""Places: where in a column the rows of an entity are, without searching where a guess is likely to be right.

    Glance     one entity at a time: where rows are spread evenly over ids, the place is computed
    Places     many at a time: the place they had in the column before, as entities mostly have the same attributes

Law: a guess is looked at before it is believed; the answer is what a search would find.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import Final

import numpy as np
from numpy.typing import NDArray

from factstore.columns.column import Ints, Rows
from factstore.values.types import Stored

_FEW: Final = 8  # rows that are sooner stepped over than searched past


class Glance:
    """A column sorted by entity, read one entity at a time; a memoryview gives its ids at half of numpy's price."""

    __slots__ = ("_end", "_first", "_ids", "_span", "_values")

    def __init__(self, rows: Rows) -> None:
        self._ids = ids = rows.e.data
        self._values = rows.v
        self._end = len(ids)
        self._first = ids[0] if ids else 0
        self._span = ids[-1] - self._first + 1 if ids else 1

    def values_of(self, e: int) -> tuple[Stored, ...]:
        """Return the values of an entity, in the column's order."""
        ids, end = self._ids, self._end
        at = (e - self._first) * end // self._span
        if not (0 <= at < end and ids[at] == e and (not at or ids[at - 1] != e)):
            at = bisect_left(ids, e)
            if at == end or ids[at] != e:
                return ()
        after = at + 1
        if after == end or ids[after] != e:
            return (self._values.item(at),)
        while after < end and ids[after] == e:
            after += 1
            if after - at == _FEW:
                after = bisect_right(ids, e, after)
        return tuple(self._values[at:after].tolist())


class Places:
    """Where some entities were found in the last column they were looked for in."""

    __slots__ = ("_at",)

    def __init__(self) -> None:
        self._at: Ints | None = None

    def find(self, column_es: Ints, es: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Return for each entity a place in a column that is not empty, and whether it is there."""
        at = self._at
        if at is not None:
            hit = column_es.take(at, mode="clip") == es
            if hit.all() and at.max(initial=0) < len(column_es):
                return at, hit
        at = np.searchsorted(column_es, es)
        at[at == len(column_es)] = 0
        self._at = at
        return at, column_es[at] == es


def one_each(rows: Rows, es: Ints, places: Places) -> tuple[Ints, Ints]:
    """Return where the rows of these entities are, each of which has one at most, and the positions in `es` that they answer."""
    if not rows.size:
        none = np.empty(0, np.int64)
        return none, none
    at, hit = places.find(rows.e, es)
    return (at, np.arange(len(es))) if hit.all() else (at[hit], np.flatnonzero(hit))


def is_one_each(rows: Rows) -> bool:
    """Tell whether no entity has two rows."""
    return bool((rows.e[1:] > rows.e[:-1]).all())
