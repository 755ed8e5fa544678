"""Tables derived from columns of an index, kept as long as these: positions by number, dictionaries of values.

A view returns the same arrays until something changes. A table that costs as much as a few reads is built only when
an array is seen for the second time, so a column that is read once has no such cost.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from factstore.columns.column import positions_in
from factstore.query.relations import orders
from factstore.query.relations.relation import Array, Dictionary, Ints, Numbers

_SEEN: Final = object()
_derived_from: dict[int, tuple[weakref.ref[Array], dict[str, Any]]] = {}
_SAMPLE: Final = 4096  # values of which at least half must be repeated for a dictionary
_WIDEST: Final = 1 << 62
_SPARSE: Final = 8  # numbers for each row that a table may span


def _derived(array: Array, what: str, make: Callable[[Array], Any]) -> Any:
    """Return the cached result of `make` for an array; None when the array is seen for the first time."""
    key = id(array)
    entry = _derived_from.get(key)
    if entry is None or entry[0]() is not array:
        _derived_from[key] = weakref.ref(array, lambda _: _derived_from.pop(key, None)), {what: _SEEN}
        return None
    found = entry[1].get(what)
    if found is None:
        entry[1][what] = _SEEN
        return None
    if found is _SEEN:
        found = entry[1][what] = make(array)
    return found


class PositionTable(NamedTuple):
    """The positions of each whole number in a sorted array: from `starts[n - least]` to `starts[n - least + 1]`."""

    least: int
    starts: Ints
    is_unique: bool  # then `starts` has the only position, or -1


def _table(numbers: Array) -> PositionTable | bool:
    if not len(numbers) or numbers.dtype != np.int64:
        return False
    least, width = int(numbers[0]), int(numbers[-1]) - int(numbers[0]) + 1
    if width > _SPARSE * len(numbers) + 1024:
        return False
    shifted = numbers - least
    if bool((shifted[1:] != shifted[:-1]).all()):
        places = np.full(width, -1, np.int64)
        places[shifted] = np.arange(len(numbers))
        return PositionTable(least, places, is_unique=True)
    starts = np.zeros(width + 1, np.int64)
    np.cumsum(np.bincount(shifted, minlength=width), out=starts[1:])
    return PositionTable(least, starts, is_unique=False)


def positions_of(numbers: Array, wanted: Array) -> tuple[Ints | slice, Ints | slice]:
    """Find numbers in a sorted array.

    Returns: positions in the array, and for each of them the position in `wanted`; a slice of everything for `wanted`
        if each number is found once, and for the array if both are the same.
    """
    ascends = len(numbers) <= len(wanted) and bool((numbers[1:] > numbers[:-1]).all())
    if ascends and len(numbers) == len(wanted) and np.array_equal(numbers, wanted):
        return slice(None), slice(None)
    table = _derived(numbers, "table", _table)
    if table and table.is_unique:
        shifted = wanted - table.least
        inside = (shifted >= 0) & (shifted < len(table.starts))
        everywhere = bool(inside.all())
        places = (
            table.starts[shifted] if everywhere else np.where(inside, table.starts[np.where(inside, shifted, 0)], -1)
        )
        hits = places >= 0
    elif ascends and len(numbers):
        places = np.searchsorted(numbers, wanted)
        hits = numbers.take(places, mode="clip") == wanted
    else:
        return positions_in(*_ranges(numbers, wanted))
    return (places, slice(None)) if bool(hits.all()) else (places[hits], np.flatnonzero(hits))


def count_of(numbers: Array, wanted: Array) -> int:
    """Return the greatest number of positions that `positions_of` can return."""
    table = _derived(numbers, "table", _table)
    return len(wanted) if table and table.is_unique else int(_ranges(numbers, wanted)[1].sum())


def _ranges(numbers: Array, wanted: Array) -> tuple[Ints, Ints]:
    """Return for each number its first position in a sorted array with repeated numbers, and how often it occurs."""
    table = _derived(numbers, "table", _table)
    if not table or table.is_unique:
        low = np.searchsorted(numbers, wanted, "left")
        return low, np.searchsorted(numbers, wanted, "right") - low
    shifted = wanted - table.least
    inside = (shifted >= 0) & (shifted < len(table.starts) - 1)
    everywhere = bool(inside.all())
    shifted = shifted if everywhere else np.where(inside, shifted, 0)
    low = table.starts[shifted]
    counts = table.starts[shifted + 1] - low
    return low, counts if everywhere else np.where(inside, counts, 0)


class Pairs(NamedTuple):
    """The pairs of two columns as sorted numbers, one for each pair."""

    least: tuple[int, int]
    widths: tuple[int, int]
    keys: Ints

    def holds(self, first: Array, second: Array) -> Array:
        """Return the mask of the pairs that are among these."""
        wanted = first - self.least[0]
        wanted *= self.widths[1]
        wanted += second - self.least[1]
        places = np.searchsorted(self.keys, wanted)
        found: Array = self.keys.take(places, mode="clip") == wanted
        if not (_lies_in(first, self.least[0], self.widths[0]) and _lies_in(second, self.least[1], self.widths[1])):
            found &= (
                (first - self.least[0] >= 0) & (second - self.least[1] >= 0) & (second - self.least[1] < self.widths[1])
            )
        return found


def _lies_in(numbers: Array, least: int, width: int) -> bool:
    return not len(numbers) or (int(numbers.min()) >= least and int(numbers.max()) < least + width)


def pairs_of(first: Array, second: Array) -> Pairs | None:
    """Return the pairs of two columns of whole numbers, sorted by both; None if a pair does not fit into one number."""
    if not len(first):
        return None
    least = int(first[0]), int(second.min())
    widths = int(first[-1]) - least[0] + 1, int(second.max()) - least[1] + 1
    if widths[0] * widths[1] >= _WIDEST:
        return None
    keys = (first - least[0]) * widths[1] + (second - least[1])
    return Pairs(least, widths, keys) if bool((keys[1:] >= keys[:-1]).all()) else None


def order_of(numbers: Array) -> Ints | None:
    """Return the positions of numbers in ascending order; None while that does not pay off."""
    return _derived(numbers, "order", orders.order_of)  # type: ignore[no-any-return]


def dictionary_of(values: Array) -> tuple[Ints, Dictionary] | None:
    """Return a column of Python values as indexes into a dictionary; None while or where that does not pay off."""
    return _derived(values, "dictionary", _dictionary) or None


def _dictionary(values: Array) -> tuple[Ints, Dictionary] | bool:
    listed = values.tolist()
    if len(set(listed[:_SAMPLE])) * 2 > min(len(listed), _SAMPLE):
        return False
    numbers = Numbers()
    return numbers.of(listed), Dictionary(dict(numbers))
