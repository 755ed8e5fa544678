"""Ordering rows for `:order-by`: numbers by numpy, anything else by Python, mixtures by type first.

Law: the order is that of `compare` where it is defined; rows with equal keys keep their order.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np

from factstore.clojure.order import compare
from factstore.query.language.ast import Order
from factstore.query.relations import array_tables, orders
from factstore.query.relations.relation import PLAIN, Array, Column, Ints, column_of

_NUMBERS: Final = frozenset((int, float, bool, datetime))
_UNORDERED: Final = frozenset((type(None),))


def ordered(columns: Sequence[Column], order: Sequence[Order], limit: int | None = None) -> Ints:
    """Return the positions of rows in order of their keys; with a limit, at least those of the first `limit` rows."""
    keys = {key.position: _of_one_kind(columns[key.position]) for key in order}
    which = _candidates(keys[order[0].position], order[0], limit)
    for key in reversed(order):
        which = _sorted(keys[key.position], which, descending=key.descending)
    return which


def _candidates(column: Column, key: Order, limit: int | None) -> Ints:
    """Return the rows that can be among the first by the first key, including those equal to the last of them."""
    size = column.size
    if limit is None or column.kind not in _NUMBERS or not 0 < limit < size // 8:
        return np.arange(size)
    data = column.array()
    if column.kind is float and bool(np.isnan(data).any()):  # NaN is neither below nor above a bound
        return np.arange(size)
    order = array_tables.order_of(data)
    if order is not None:
        return _in_order(data, order, size - limit if key.descending else limit - 1, descending=key.descending)
    if key.descending:
        return np.flatnonzero(data >= np.partition(data, size - limit)[size - limit])
    return np.flatnonzero(data <= np.partition(data, limit - 1)[limit - 1])


def _in_order(data: Array, order: Ints, place: int, *, descending: bool) -> Ints:
    """Return the rows up to a place in ascending order, or from it on, and all rows equal to the one at the place."""
    last = data[order[place]]
    if descending:
        return np.sort(order[bisect_left(order, last, key=data.__getitem__) :])
    return np.sort(order[: bisect_right(order, last, key=data.__getitem__)])


def _sorted(column: Column, which: Ints, *, descending: bool) -> Ints:
    if column.kind in _NUMBERS:
        return _sorted_numbers(column.array(), which, descending)
    values = column.values()
    if column.kind in PLAIN - _UNORDERED:
        return np.array(sorted(which.tolist(), key=values.__getitem__, reverse=descending), np.int64)
    return np.array(sorted(which.tolist(), key=lambda i: _Ordered(values[i]), reverse=descending), np.int64)


def _of_one_kind(column: Column) -> Column:
    """Return a column of mixed kind as a column of one kind if all its values have the same."""
    return column_of(column.values()) if column.kind is object else column


def _sorted_numbers(data: Array, which: Ints, descending: bool) -> Ints:
    keys = data[which]
    if descending:  # reversed, so that a stable sort keeps the order of equal rows
        return which[len(which) - 1 - orders.order_of(keys[::-1])[::-1]]
    return which[orders.order_of(keys)]


class _Ordered:
    """A value that sorts as by `compare`; values that cannot be compared sort by type."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Ordered) -> bool:
        try:
            return compare(self.value, other.value) < 0
        except TypeError:
            return type(self.value).__name__ < type(other.value).__name__
