"""Sorted columns: parallel arrays of the rows of one attribute, and the operations that the index is made of.

It orders (by `keys`), selects and folds rows. It uses neither blocks nor time filters.
Law: both orders, `(e, v, t)` and `(v, e, t)`, are total: equal sets of rows have equal order, however they were made.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from operator import itemgetter
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from factstore.columns.keys import order_of, order_of_two, ranks, stable_positions
from factstore.columns.kind import Kind, OrderKey
from factstore.datom import Fact
from factstore.values.types import Stored

Array = NDArray[Any]
Ints = NDArray[np.int64]

BY_ENTITY: Final = "ev"
BY_VALUE: Final = "ve"


class FactArrays(NamedTuple):
    """Facts of one attribute as parallel arrays; `added` is None if all are assertions."""

    e: Ints
    v: Array
    t: Ints
    added: Array | None = None

    def take(self, which: Array | slice) -> FactArrays:
        """Return the rows at these positions, under this mask or in this slice."""
        return FactArrays(
            self.e[which], self.v[which], self.t[which], None if self.added is None else self.added[which]
        )

    @property
    def size(self) -> int:
        """The number of rows; `len` is the number of columns."""
        return len(self.e)

    @property
    def nbytes(self) -> int:
        """Size in bytes; an object counts as a pointer and a short string."""
        added = 0 if self.added is None else self.added.nbytes
        return int(self.e.nbytes + self.t.nbytes + self.v.nbytes * (8 if self.v.dtype == object else 1) + added)


OPEN: Final = (1 << 63) - 1  # the t of retraction of a fact that is live


class Spans(NamedTuple):
    """Facts that were retracted: asserted at t, retracted at t1; or OPEN, where rows can also be live."""

    rows: FactArrays
    t1: Ints

    def take(self, which: Array | slice) -> Spans:
        """Return the spans at these positions or under this mask."""
        return Spans(self.rows.take(which), self.t1[which])


def empty(kind: Kind) -> FactArrays:
    """Return no rows, with a column of values of this kind."""
    none = np.empty(0, np.int64)
    return FactArrays(none, np.empty(0, kind.numpy_dtype), none)


def array_of(values: Sequence[Stored], dtype: str) -> Array:
    """Return stored values as an array; each tuple is one element."""
    if dtype != "O":
        return np.fromiter(values, dtype=np.dtype(dtype), count=len(values))
    array = np.empty(len(values), object)
    array[:] = values if not (values and type(values[0]) is tuple) else None
    if values and type(values[0]) is tuple:
        for i, value in enumerate(values):
            array[i] = value
    return array


def ints(values: Iterable[int], count: int = -1) -> Ints:
    """Return integers as an int64 array."""
    return np.fromiter(values, dtype=np.int64, count=count)


def constant(number: int, count: int) -> Ints:
    """Return an array with one number everywhere, which takes no memory; it cannot be written."""
    return np.broadcast_to(np.int64(number), count)


def events_of(facts: Sequence[Fact], kind: Kind) -> FactArrays:
    """Return facts of one attribute as rows with `added`, in the same order."""
    if not facts:
        return empty(kind)._replace(added=np.empty(0, bool))
    # Not `zip(*facts)`: its iterators, one per fact, would start the garbage collector.
    e, v, t, added = (map(itemgetter(place), facts) for place in (0, 2, 3, 4))
    n = len(facts)
    return FactArrays(ints(e, n), array_of(list(v), kind.dtype), ints(t, n), np.fromiter(added, bool, n))


def concat(parts: Sequence[FactArrays], kind: Kind) -> FactArrays:
    """Return the rows of all parts, one after the other."""
    parts = [part for part in parts if part.size]
    if not parts:
        return empty(kind)
    if len(parts) == 1:
        return parts[0]
    added = None
    if any(part.added is not None for part in parts):
        added = np.concatenate([np.ones(part.size, bool) if part.added is None else part.added for part in parts])
    e, v, t = (np.concatenate(columns) for columns in zip(*(part[:3] for part in parts), strict=True))
    return FactArrays(e, v, t, added)


def sort(rows: FactArrays, order: str, kind: Kind) -> FactArrays:
    """Return the rows in this order."""
    return rows if _ascends_by_entity(rows, order) else rows.take(sort_positions(rows, order, kind))


def _ascends_by_entity(rows: FactArrays, order: str) -> bool:
    """Tell whether the rows are in order already, because each has a greater entity than the one before."""
    return rows.size < 2 or (order == BY_ENTITY and bool((rows.e[1:] > rows.e[:-1]).all()))


def sort_positions(rows: FactArrays, order: str, kind: Kind) -> Ints:
    """Return the positions of the rows in this order, equal facts by t, a retraction before an assertion."""
    if _ascends_by_entity(rows, order):
        return np.arange(rows.size)
    if order == BY_ENTITY and rows.v.dtype == object:
        return _by_entity_first(rows, kind)
    return order_of(_keys(rows, order, kind))


def _keys(rows: FactArrays, order: str, kind: Kind) -> list[Array]:
    rank = ranks(rows.v, kind.order_key)
    keys = [rows.t, rank, rows.e] if order == BY_ENTITY else [rows.t, rows.e, rank]
    return keys if rows.added is None else [rows.added, *keys]


def _by_entity_first(rows: FactArrays, kind: Kind) -> Ints:
    """Return the positions of rows by entity; values, which take long to compare, matter only where it has several."""
    positions = np.argsort(rows.e, kind="stable")
    es = rows.e[positions]
    same = np.append(es[1:] == es[:-1], False)
    same[1:] |= same[:-1].copy()
    several = positions[same]
    if len(several) * 2 > rows.size:
        return order_of(_keys(rows, BY_ENTITY, kind))
    if len(several):
        positions[same] = several[order_of(_keys(rows.take(several), BY_ENTITY, kind))]
    return positions


def merge(parts: Sequence[FactArrays], order: str, kind: Kind) -> FactArrays:
    """Return the rows of parts in this order; each part is sorted, and equal facts of a later part have a later t."""
    rows = concat(parts, kind)
    return rows if sum(part.size > 0 for part in parts) < 2 else rows.take(merge_positions(parts, order, kind))


def merge_positions(parts: Sequence[FactArrays], order: str, kind: Kind) -> Ints:
    """Return the positions, in the concatenation of the parts, of the rows in the order of `merge`."""
    if order != BY_ENTITY or kind.dtype != "O":
        return sort_positions(concat(parts, kind), order, kind)
    # Few rows of each entity have to be compared; a sort compares all values.
    (e, v, t, _), count = parts[0], parts[0].size
    merged: tuple[Array, ...] = e, v, t, np.arange(count)
    for part in parts[1:]:
        at = insertion(FactArrays(*merged[:3]), part, order, kind, "right")
        count += part.size
        merged = tuple(inserted(merged, (*part[:3], np.arange(count - part.size, count)), at))
    return merged[3]


def to_value_order(rows: FactArrays, kind: Kind) -> FactArrays:
    """Return rows that are in order of (e, v, t) in order of (v, e, t), by one stable sort."""
    return rows if rows.size < 2 else rows.take(stable_positions(ranks(rows.v, kind.order_key)))


def same_as_next(rows: FactArrays) -> Array:
    """Tell for each row but the last whether the next one has the same entity and value; rows must be sorted."""
    same: Array = rows.e[1:] == rows.e[:-1]
    return same & equal(rows.v[1:], rows.v[:-1])


def equal(left: Array, right: Array) -> Array:
    """Compare values one by one; NaN equals NaN."""
    result: Array = np.asarray(left == right, dtype=bool)
    if left.dtype == np.float64:
        result |= np.isnan(left) & np.isnan(right)
    return result


def positions_in(starts: Array, counts: Array) -> tuple[Ints, Ints]:
    """Return all positions in ranges of `counts` from `starts`, and for each position the number of its range.

    >>> [x.tolist() for x in positions_in(np.array([4, 0]), np.array([2, 1]))]
    [[4, 5, 0], [0, 0, 1]]
    """
    ranges = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return np.arange(len(ranges)) - np.repeat(before - starts, counts), ranges


# A region defines which rows to read, in one of the two orders.


@dataclass(frozen=True, slots=True)
class Everything:
    """All rows, in this order."""

    order: str


@dataclass(frozen=True, slots=True)
class Entities:
    """The rows of these entities, which are sorted and distinct."""

    es: Ints
    order: str = BY_ENTITY


@dataclass(frozen=True, slots=True)
class Values:
    """The rows with these values, which are sorted and distinct."""

    vs: Sequence[Stored] | Array
    order: str = BY_VALUE


@dataclass(frozen=True, slots=True)
class Range:
    """The rows with values from low to high; None means no limit."""

    low: Stored | None
    high: Stored | None
    low_open: bool = False
    high_open: bool = False
    order: str = BY_VALUE


Region = Everything | Entities | Values | Range


def search(sorted_values: Array, wanted: Stored, side: str, order_key: OrderKey) -> int:
    """Return the position of a value, or where it would be inserted, in sorted values."""
    if sorted_values.dtype == object:
        bisect = bisect_left if side == "left" else bisect_right
        return bisect(sorted_values, wanted if order_key is None else order_key(wanted), key=order_key)
    return int(np.searchsorted(sorted_values, wanted, side=side))  # type: ignore[call-overload]


def bounds(sorted_values: Array, wanted: Sequence[Stored] | Array, order_key: OrderKey = None) -> tuple[Ints, Ints]:
    """Return for each wanted value where its range of positions begins and ends."""
    if sorted_values.dtype == object:
        count = len(wanted)
        return (
            ints(map(search, repeat(sorted_values), wanted, repeat("left"), repeat(order_key)), count),
            ints(map(search, repeat(sorted_values), wanted, repeat("right"), repeat(order_key)), count),
        )
    return np.searchsorted(sorted_values, wanted, "left"), np.searchsorted(sorted_values, wanted, "right")


def positions_of_values(
    sorted_values: Array, wanted: Sequence[Stored] | Array, order_key: OrderKey = None
) -> tuple[Ints, Ints]:
    """Return the positions that have one of the wanted values, and for each position the number of that value."""
    low, high = bounds(sorted_values, wanted, order_key)
    return positions_in(low, high - low)


def range_of(sorted_values: Array, region: Range, order_key: OrderKey = None) -> slice:
    """Return the slice of the sorted values in a range."""
    low = 0
    if region.low is not None:
        low = search(sorted_values, region.low, "right" if region.low_open else "left", order_key)
    high = len(sorted_values)
    if region.high is not None:
        high = search(sorted_values, region.high, "left" if region.high_open else "right", order_key)
    return slice(low, max(low, high))


def select(rows: FactArrays, region: Region, kind: Kind) -> Array | slice:
    """Return the positions of the rows in a region; the rows are sorted in its order."""
    if isinstance(region, Everything):
        return slice(None)
    if isinstance(region, Range):
        return range_of(rows.v, region, kind.order_key)
    if isinstance(region, Entities):
        return positions_of_values(rows.e, region.es)[0]
    return positions_of_values(rows.v, region.vs, kind.order_key)[0]


class Folded(NamedTuple):
    """The result of a sorted sequence of events."""

    touched: FactArrays  # one row for each fact that has an event
    live: FactArrays  # the facts whose last event is an assertion, with the t of that event


def fold(events: FactArrays) -> Folded:
    """Fold events in order of (e, v, t) or (v, e, t): the last event of each fact counts."""
    if not events.size:
        return Folded(events, events._replace(added=None))
    assert events.added is not None
    last = np.append(~same_as_next(events), True)
    touched = events.take(last)
    assert touched.added is not None
    live = touched.take(touched.added)
    return Folded(touched, live._replace(added=None))


def versions_of(events: FactArrays) -> tuple[FactArrays, Spans]:
    """Split sorted events into first retractions, and assertions with the t of their retraction, OPEN without one.

    If the first event of a fact is a retraction, it ends a row that is older than these events.
    """
    assert events.added is not None
    if not events.size:
        return events._replace(added=None), Spans(events._replace(added=None), events.t)
    same = same_as_next(events)
    first = np.append(True, ~same)
    t1 = np.append(np.where(same, events.t[1:], OPEN), OPEN)
    ends_older = events.take(first & ~events.added)
    asserted = np.flatnonzero(events.added)
    return ends_older._replace(added=None), Spans(events.take(asserted)._replace(added=None), t1[asserted])


def spans_of(events: FactArrays) -> tuple[FactArrays, FactArrays, Spans]:
    """Split sorted events into first retractions, last assertions, and spans that begin and end in them."""
    ends_older, versions = versions_of(events)
    is_open = versions.t1 == OPEN
    return ends_older, versions.rows.take(is_open), versions.take(~is_open)


def without(rows: FactArrays, touched: FactArrays, order: str, kind: Kind) -> FactArrays:
    """Return the rows without those of the touched facts; both are sorted in this order."""
    if not rows.size or not touched.size:
        return rows
    positions = positions_of(rows, touched, order, kind)
    keep = np.ones(rows.size, bool)
    keep[positions[positions >= 0]] = False
    return rows if keep.all() else rows.take(keep)


def positions_of(rows: FactArrays, wanted: FactArrays, order: str, kind: Kind) -> Ints:
    """Return the position of each wanted fact in rows of distinct facts, or -1; both are sorted in this order."""
    at, high, within, sought = _insertion(rows, wanted, order, kind, "left")
    there = at < high
    there[there] = equal(within[at[there]], sought[there])
    return np.where(there, at, -1)


_SORT_PAYS: Final = 16  # old rows for a new one, up to which a sort of both is faster than a search for each new one


def merged(
    old: Sequence[Array], new: Sequence[Array], values: tuple[Array, Array], order: str, kind: Kind
) -> tuple[Array, ...]:
    """Return the columns of rows and of others, both sorted in this order, as one; equal facts of `new` come last.

    Args:
        values: the values of both as arrays that compare as they do.
        kind: the kind of these arrays.
    """
    if len(new[0]) * _SORT_PAYS >= len(old[0]) > 0:
        keys = [np.concatenate(values), np.concatenate([old[0], new[0]])]
        positions = order_of_two(keys if order == BY_ENTITY else keys[::-1])
        if positions is not None:
            return tuple(np.concatenate(columns)[positions] for columns in zip(old, new, strict=True))
    before, after = (FactArrays(e, v, t) for (e, _, t), v in zip((old[:3], new[:3]), values, strict=True))
    return inserted(old, new, insertion(before, after, order, kind, "right"))


def insertion(rows: FactArrays, wanted: FactArrays, order: str, kind: Kind, side: str) -> Ints:
    """Return where each wanted row would be inserted, before ("left") or after equal facts; both are sorted."""
    return _insertion(rows, wanted, order, kind, side)[0]


def _insertion(
    rows: FactArrays, wanted: FactArrays, order: str, kind: Kind, side: str
) -> tuple[Ints, Ints, Array, Array]:
    """Return the positions for `insertion`; where the rows with the same first part end; and the second parts."""
    # Not `positions_in`: many rows can have the same value or entity, and comparing all of them with each wanted fact
    # takes as many steps as the product of both numbers.
    if order == BY_ENTITY:
        low, high = bounds(rows.e, wanted.e)
        within, sought, order_key = rows.v, wanted.v, kind.order_key
    else:
        low, high = bounds(rows.v, wanted.v, kind.order_key)
        within, sought, order_key = rows.e, wanted.e, None
    return _bisect(within, sought, low, high, order_key, side), high, within, sought


def _bisect(values: Array, wanted: Array, low: Ints, high: Ints, order_key: OrderKey, side: str) -> Ints:
    """Return where each wanted value would be inserted in its own range [low, high)."""
    open_ = low < high
    middle = high - 1  # first the last value: new entities come after all others
    while open_.any():
        there, sought = values[middle[open_]], wanted[open_]
        passes = open_.copy()
        passes[open_] = _less(there, sought, order_key) if side == "left" else ~_less(sought, there, order_key)
        low, high = np.where(passes, middle + 1, low), np.where(open_ & ~passes, middle, high)
        open_ = low < high
        middle = (low + high) // 2
    return low


def inserted(old: Sequence[Array], new: Sequence[Array], at: Ints) -> tuple[Array, ...]:
    """Return columns with the rows of others inserted before these positions, which ascend."""
    of_new = at + np.arange(len(at))
    is_old = np.ones(len(old[0]) + len(at), bool)
    is_old[of_new] = False
    of_old = np.flatnonzero(is_old)
    columns = []
    for one, other in zip(old, new, strict=True):
        both = np.empty(len(is_old), one.dtype)
        both[of_new] = other
        both[of_old] = one
        columns.append(both)
    return tuple(columns)


def comparable(one: Array, other: Array, order_key: OrderKey) -> tuple[Array, Array]:
    """Return arrays that compare as the values of both do, and that numpy searches fast."""
    if one.dtype != object:
        return one, other
    both = ranks(np.concatenate([one, other]), order_key)
    return both[: len(one)], both[len(one) :]


def _less(left: Array, right: Array, order_key: OrderKey) -> Array:
    """Tell for each pair whether left comes before right in the sort order; NaN comes last."""
    if order_key is not None:
        pairs = zip(map(order_key, left), map(order_key, right), strict=True)
        return np.fromiter((one < other for one, other in pairs), bool, len(left))
    result: Array = np.asarray(left < right, dtype=bool)
    if left.dtype == np.float64:
        result |= np.isnan(right) & ~np.isnan(left)
    return result
