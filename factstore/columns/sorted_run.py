"""Sorted runs of events, for scans of novelty.

A run contains all events of one attribute in a part of the log, in both orders. The novelty of an attribute consists of
a few runs whose sizes grow geometrically, so that after an append only its own events are sorted.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from factstore.columns import column
from factstore.columns.column import BY_ENTITY, FactArrays, Range, Region
from factstore.columns.kind import Kind
from factstore.datom import Fact
from factstore.values.types import Stored


class Run:
    """Events sorted by (e, v, t); they are sorted by (v, e, t) at the first use."""

    __slots__ = ("_by_value", "_values", "by_entity", "kind")

    def __init__(self, by_entity: FactArrays, kind: Kind) -> None:
        self.by_entity = by_entity
        self._by_value: FactArrays | None = None
        self._values: frozenset[Stored] | None = None
        self.kind = kind

    @classmethod
    def sorted(cls, events: FactArrays, kind: Kind) -> Run:
        """Return a run of events that come in any order."""
        return cls(column.sort(events, BY_ENTITY, kind), kind)

    @classmethod
    def loaded(cls, parts: Sequence[FactArrays], kind: Kind) -> Run:
        """Return a run of assertions from sequences that are each in order of (e, v)."""
        rows = column.concat(parts, kind)
        return cls.sorted(rows._replace(added=np.ones(rows.size, bool)), kind)

    @property
    def size(self) -> int:
        """The number of events."""
        return self.by_entity.size

    @property
    def by_value(self) -> FactArrays:
        """The events sorted by (v, e, t)."""
        if self._by_value is None:
            self._by_value = column.to_value_order(self.by_entity, self.kind)
        return self._by_value

    @property
    def values(self) -> frozenset[Stored]:
        """The set of all values."""
        if self._values is None:
            self._values = frozenset(self.by_entity.v.tolist())
        return self._values

    def count_with(self, v: Stored) -> int:
        """Return the number of events with a value."""
        chosen = column.range_of(self.by_value.v, Range(v, v), self.kind.order_key)
        return int(chosen.stop - chosen.start)

    def holds(self, e: int, v: Stored, upto: int) -> bool:
        """Tell whether a run of distinct assertions contains a fact, with a t up to `upto`."""
        rows = self.by_entity
        none = np.zeros(1, np.int64)
        wanted = FactArrays(none + e, column.array_of([v], self.kind.dtype), none)
        at = int(column.positions_of(rows, wanted, BY_ENTITY, self.kind)[0])
        return at >= 0 and int(rows.t[at]) <= upto

    def events(self, region: Region) -> FactArrays:
        """Return the events in a region."""
        rows = self.by_entity if region.order == BY_ENTITY else self.by_value
        return rows.take(column.select(rows, region, self.kind))


def extend_runs(runs: tuple[Run, ...], facts: Sequence[Fact], kind: Kind) -> tuple[Run, ...]:
    """Return the runs with these facts added."""
    return joined(runs, Run.sorted(column.events_of(facts, kind), kind))


def joined(runs: tuple[Run, ...], run: Run) -> tuple[Run, ...]:
    """Return the runs with one more; each but the last is at least twice as large as the next."""
    kept = list(runs)
    while kept and kept[-1].size < 2 * run.size:
        run = Run(column.merge([kept.pop().by_entity, run.by_entity], BY_ENTITY, run.kind), run.kind)
    return (*kept, run)
