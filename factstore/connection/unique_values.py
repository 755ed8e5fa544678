"""The unique values that exist, for a load, which checks each of its rows against them.

A load of random keys would read nearly every block of the index for each batch. So once it has checked many values, it
makes a Bloom filter of all values that exist, and follows the log. Only values that may be in the filter are searched
in the database.
Law: the values found are the same with and without the filter; it takes two to five bytes for each existing value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from factstore import log
from factstore.columns import column
from factstore.columns.column import Array
from factstore.columns.kind import KINDS
from factstore.db.database import Database
from factstore.storage import Storage
from factstore.values.types import Stored

_FILTER_PAYS: Final = 16  # a filter is made when a sixteenth of the existing values has been checked
_BITS: Final = 20  # of a filter, at least, for each of its values
_PROBES: Final = 4  # bits for each value: 0.1 percent of other values are found too
_LEAST_BITS: Final = 1 << 16


class UniqueValues:
    """The existing values of unique attributes, in the newest database of a load."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._filters: dict[int, Filter] = {}  # by attribute
        self._checked: dict[int, int] = {}
        self._t = 0  # the filters contain all values up to this t

    def existing(self, db: Database, a: int, values: set[Stored]) -> set[Stored]:
        """Return those of these values that an entity has, and perhaps some that were retracted."""
        self._follow(db)
        filter_ = self._filters.get(a)
        if filter_ is None:
            checked = self._checked[a] = self._checked.get(a, 0) + len(values)
            if checked * _FILTER_PAYS > db.view.count(a):
                filter_ = self._filters[a] = Filter(db.view.count(a))
                for part in db.view.value_arrays(a):
                    filter_.add(part)
        if filter_ is not None:
            array = column.array_of(list(values), _dtype(db, a))
            values = set(array[filter_.may_contain(array)].tolist())
        if len(values) * _FILTER_PAYS > db.view.count(a):
            return db.view.known_values(a, values)
        return {v for v in values if db.view.holders_of(a, v)}

    def _follow(self, db: Database) -> None:
        """Add the values of the transactions since the last call."""
        if self._filters and db.basis_t > self._t:
            single: dict[int, list[Stored]] = {a: [] for a in self._filters}
            for transaction in log.read(self._storage, self._t, db.basis_t, only=self._filters):
                for fact in transaction.facts:
                    if fact[1] in single:
                        single[fact[1]].append(fact[2])
                for a, rows in (transaction.columns or {}).items():
                    self._filters[a].add(rows.v)
            for a, values in single.items():
                if values:
                    self._filters[a].add(column.array_of(values, _dtype(db, a)))
        self._t = db.basis_t


def _dtype(db: Database, a: int) -> str:
    return KINDS[db.schema.attribute(a).value_type.ident].dtype


class Filter:
    """A Bloom filter of values, with more layers as values are added."""

    def __init__(self, count: int) -> None:
        """Make an empty filter for a number of values."""
        self._layers: list[Array] = []  # bytes; the number of bits is a power of two
        self._free = 0  # values for which the last layer has room
        self._add_layer(count)

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return sum(layer.nbytes for layer in self._layers)

    def _add_layer(self, count: int) -> None:
        bits = max(_LEAST_BITS, 1 << (count * _BITS - 1).bit_length())
        self._layers.append(np.zeros(bits // 8, np.uint8))
        self._free = bits // _BITS

    def add(self, values: Array) -> None:
        """Add values."""
        if len(values) > self._free:
            self._add_layer(max(len(values), len(self._layers[-1]) * 16 // _BITS))  # twice as large as the last
        self._free -= len(values)
        layer = self._layers[-1]
        for positions in _positions(_hashes(values), layer):
            places, bits = positions >> np.uint64(3), positions & np.uint64(7)
            for bit in range(8):  # a place that occurs twice loses no bit, because each bit is set by itself
                layer[places[bits == bit]] |= np.uint8(1 << bit)

    def may_contain(self, values: Array) -> Array:
        """Tell for each value whether it may have been added; for one that was added, always True."""
        found = np.zeros(len(values), bool)
        hashes = _hashes(values)
        for layer in self._layers:
            in_layer = np.ones(len(values), bool)
            for positions in _positions(hashes, layer):
                bits = layer[positions >> np.uint64(3)] >> (positions & np.uint64(7)).astype(np.uint8)
                in_layer &= (bits & 1).astype(bool)
            found |= in_layer
        return found


def _hashes(values: Array) -> Array:
    numbers = values if values.dtype == np.int64 else column.ints(map(hash, values.tolist()), len(values))
    return numbers.astype(np.uint64)


def _positions(mixed: Array, layer: Array) -> Iterator[Array]:
    """Yield the positions of the bits of all values in a layer, one array for each probe."""
    for _ in range(_PROBES):
        # One step of splitmix64 for each probe; unsigned arithmetic wraps.
        mixed = mixed + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed = mixed ^ (mixed >> np.uint64(31))
        yield mixed & np.uint64(len(layer) * 8 - 1)
