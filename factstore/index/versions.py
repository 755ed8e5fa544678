"""Versions: all rows that an attribute ever had, each with the t of its assertion and of its retraction.

Each moment is a selection of them, without a sort: the rows that began by then and had not ended. So the second moment
takes a fraction of the time of the first one.
Law: a selection contains the facts of a replay of the log up to that moment; the events are those of the log.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from factstore.columns import column
from factstore.columns.column import OPEN, Everything, FactArrays, Spans
from factstore.columns.kind import Kind
from factstore.index.directory import Index


class Versions(NamedTuple):
    """The rows of one attribute after all events up to a t, in one order."""

    spans: Spans
    upto: int

    @classmethod
    def indexed(cls, index: Index, a: int, order: str, kind: Kind) -> Versions:
        """Return the rows of an index."""
        region = Everything(order)
        live, past = index.live(a, region, kind), index.past(a, region, kind)
        return cls(_merged([past, _open(live)], order, kind), index.basis_t)

    def extended(self, events: FactArrays, upto: int, order: str, kind: Kind) -> Versions:
        """Return the rows after later events up to a t; the events are sorted in the same order."""
        upto = max(upto, self.upto)
        if not events.size:
            return Versions(self.spans, upto)
        ended, spans = column.versions_of(events)
        rows, t1 = self.spans
        if ended.size:
            is_open = np.flatnonzero(t1 == OPEN)
            at = column.positions_of(rows.take(is_open), ended, order, kind)
            t1 = t1.copy()
            t1[is_open[at[at >= 0]]] = ended.t[at >= 0]
        return Versions(_merged([Spans(rows, t1), spans], order, kind), upto)

    def limited(self, upto: int) -> Versions:
        """Return the rows as if there were no events after a t."""
        if self.upto <= upto:
            return self
        began = self.spans.take(self.spans.rows.t <= upto)
        return Versions(Spans(began.rows, np.where(began.t1 > upto, OPEN, began.t1)), upto)

    def at(self, upto: int, after: int) -> FactArrays:
        """Return the facts that were live at a t, if they were asserted after another t."""
        rows, t1 = self.spans
        chosen = t1 > upto
        chosen &= rows.t <= upto
        if after >= 0:
            chosen &= rows.t > after
        return rows if chosen.all() else rows.take(np.flatnonzero(chosen))

    def events(self, upto: int, after: int) -> FactArrays:
        """Return all assertions and retractions after one t and up to another, those of a fact in order of t."""
        rows, t1 = self.spans
        ended = t1 != OPEN
        # Each row becomes an assertion and, right behind it, a retraction if it has one.
        asserted_at = np.arange(rows.size) + np.cumsum(ended) - ended
        events = rows.take(np.repeat(np.arange(rows.size), 1 + ended))
        added = np.zeros(events.size, bool)
        added[asserted_at] = True
        events.t[asserted_at[ended] + 1] = t1[ended]
        chosen = (events.t <= upto) & (events.t > after)
        events = events._replace(added=added)
        return events if chosen.all() else events.take(chosen)

    @property
    def nbytes(self) -> int:
        """Size in bytes, as `FactArrays` counts it."""
        return self.spans.rows.nbytes + int(self.spans.t1.nbytes)


def _open(live: FactArrays) -> Spans:
    return Spans(live, np.full(live.size, OPEN))


def _merged(parts: list[Spans], order: str, kind: Kind) -> Spans:
    parts = [part for part in parts if part.rows.size]
    if len(parts) < 2:
        return parts[0] if parts else Spans(column.empty(kind), column.ints(()))
    rows = column.concat([part.rows for part in parts], kind)
    positions = column.merge_positions([part.rows for part in parts], order, kind)
    return Spans(rows.take(positions), np.concatenate([part.t1 for part in parts])[positions])
