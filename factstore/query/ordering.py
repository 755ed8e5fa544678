"""Ordering rows for `:order-by`: numbers by numpy, anything else by Python, mixtures by type first.

Law: the order is that of `compare` where it has one; rows that are equal in every key keep the order they had.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np

from factstore.query.ast import Order
from factstore.query.functions import compare
from factstore.query.relation import PLAIN, Array, Column, column_of

_NUMBERS: Final = frozenset((int, float, bool, datetime))
_UNORDERED: Final = frozenset((type(None),))


def ordered(columns: Sequence[Column], order: Sequence[Order]) -> list[int]:
    """Return the positions of rows in order, the first key deciding first."""
    which: list[int] = list(range(len(columns[0].data)))
    for key in reversed(order):
        which = _sorted(columns[key.place], which, descending=key.descending)
    return which


def _sorted(column: Column, which: list[int], *, descending: bool) -> list[int]:
    column = _of_one_kind(column)
    if column.kind in _NUMBERS:
        return _sorted_numbers(column.array(), np.array(which), descending).tolist()  # type: ignore[no-any-return]
    values = column.values()
    if column.kind in PLAIN - _UNORDERED:
        return sorted(which, key=values.__getitem__, reverse=descending)
    return sorted(which, key=lambda i: _Ordered(values[i]), reverse=descending)


def _of_one_kind(column: Column) -> Column:
    """Return a column of values whose kind nobody looked at as one of that kind, if they have one."""
    return column_of(column.values()) if column.kind is object else column


def _sorted_numbers(data: Array, which: Array, descending: bool) -> Array:
    keys = data[which]
    if descending:  # from behind, so that a stable sort leaves equal rows as they were
        return which[len(which) - 1 - np.argsort(keys[::-1], kind="stable")[::-1]]
    return which[np.argsort(keys, kind="stable")]


class _Ordered:
    """A value that sorts as `compare` says; values that it cannot compare by their types."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __lt__(self, other: _Ordered) -> bool:
        try:
            return compare(self.value, other.value) < 0
        except TypeError:
            return type(self.value).__name__ < type(other.value).__name__
