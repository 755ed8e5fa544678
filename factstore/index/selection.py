"""A selection of the events of index and novelty, and the rows of a region or of a whole attribute in it.

    rows = (live ∪ past rows of the index), changed by the events of novelty and of speculation, up to a basis

Time filters, speculation and user filters are implemented here for columns, and in `view` for single facts.
Law: the result does not depend on which transactions are in blocks and which are in novelty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np

from factstore.columns import column
from factstore.columns.column import Everything, FactArrays, Folded, Region
from factstore.columns.kind import KINDS, Kind
from factstore.datom import Fact
from factstore.index.cache import Cache
from factstore.index.directory import Index
from factstore.index.novelty import EMPTY_STRAND, Novelty, Strand
from factstore.index.versions import Versions
from factstore.schema.attribute import Schema

_BYTES_OF_KEY: Final = 200


class Layer(NamedTuple):
    """A novelty up to one t; speculation adds layers on top of the committed one."""

    novelty: Novelty
    upto: int


@dataclass(slots=True, eq=False)
class Selection:
    """The events that `upto`, `after` and `is_history` define.

    Immutable, but not frozen: that would double the time of creating one, which every `as_of` and `history` does.
    """

    index: Index
    layers: tuple[Layer, ...]
    schema: Schema
    cache: Cache
    upto: int  # events with t <= upto
    after: int = -1  # only facts asserted at t > after
    is_history: bool = False
    keep: Callable[[Fact], bool] | None = None
    is_branch: bool = False  # the upper layers continue from an earlier t of the first layer and the index

    def _kind(self, a: int) -> Kind:
        return KINDS[self.schema.attribute(a).value_type.ident]

    def _is_many(self, a: int) -> bool:
        return self.schema.attribute(a).many

    def _strands(self, a: int) -> Iterator[tuple[Strand, int]]:
        for layer in self.layers:
            strand = layer.novelty.strands.get(a, EMPTY_STRAND)
            if strand.facts or strand.loaded:
                yield strand, min(layer.upto, self.upto)

    @property
    def _committed(self) -> int:
        """The t up to which this view contains committed facts, and so rows of the index."""
        return min(self.upto, self.layers[0].upto) if self.is_branch else self.upto

    @property
    def _sees_index_as_is(self) -> bool:
        return not self.is_history and self._committed >= self.index.basis_t

    @property
    def _is_newest(self) -> bool:
        """Whether no later event is excluded; earlier, an attribute of cardinality one may have had many values."""
        return self.upto >= self.layers[-1].upto and not self.is_branch

    # -- whole attributes

    def read_column(self, a: int, order: str) -> FactArrays:
        """Return all rows of an attribute, read from the index and novelty."""
        if not self._versions_pay(a, order):
            return self._rows(a, Everything(order))
        versions, upto = self._versions(a, order), self._last_seen(a)
        rows = versions.events(upto, self.after) if self.is_history else versions.at(upto, self.after)
        return self._kept(a, rows)

    def shared_key(self, a: int, order: str) -> tuple[Any, ...] | None:
        """Return the key under which views share this column; None if this view contains other events."""
        if self.keep is not None or self._is_speculative(a):
            return None
        newest = max(self._newest_of(a), self.index.basis_t)
        return (*self._key(a, order), min(self._last_seen(a), newest), self.after, self.is_history)

    def _key(self, a: int, order: str) -> tuple[Any, ...]:
        return a, order, self.index.version, self.layers[0].novelty.truncations

    def _is_speculative(self, a: int) -> bool:
        """Tell whether this view contains facts of an attribute that were not committed."""
        return self.upto > self.layers[0].upto and any(a in layer.novelty.strands for layer in self.layers[1:])

    def _last_seen(self, a: int) -> int:
        """Return the t up to which this view contains events of an attribute."""
        return self.upto if self._is_speculative(a) else min(self.upto, self.layers[0].upto)

    def _newest_of(self, a: int) -> int:
        """Return the t of the newest committed event of an attribute in novelty, which can be later; -1 without one."""
        return self.layers[0].novelty.strands.get(a, EMPTY_STRAND).last_t

    def _versions_pay(self, a: int, order: str) -> bool:
        """Tell whether to read all versions of an attribute: for a history, and for the second moment of the past.

        They are not read if they would take more than twice as long as the rows.
        """
        if not self.is_history and self.after < 0 and self._is_present(a):
            return False
        live, past = self.index.count(a), self.index.count_past(a)
        read = novelty = sum(strand.count for strand, _ in self._strands(a))
        if self.after < self.index.basis_t:
            read += live if self._sees_index_as_is else live + past
        return live + past + novelty <= 2 * read and (self.is_history or self._is_second_moment(a, order))

    def _is_second_moment(self, a: int, order: str) -> bool:
        """Tell whether an attribute was read at another moment before; this moment counts for the next ones."""
        key = (*self._key(a, order), "moments")
        is_second = self.cache.use(key) is not None
        if not is_second:
            self.cache.put(key, True, _BYTES_OF_KEY)
        return is_second

    def _is_present(self, a: int) -> bool:
        """Tell whether this view contains every event of an attribute, or adds others to earlier ones."""
        return self._is_speculative(a) or max(self._newest_of(a), self.index.basis_t) <= self._last_seen(a)

    def _versions(self, a: int, order: str) -> Versions:
        """Return the versions of an attribute at every t up to that of this view."""
        kind, key = self._kind(a), (*self._key(a, order), "versions")
        committed: Versions | None = self.cache.use(key)
        upto = self.layers[0].upto
        if committed is None or committed.upto < min(self.upto, upto, self._newest_of(a)):
            committed = committed or Versions.indexed(self.index, a, order, kind)
            events = self._events(a, Everything(order), committed.upto, upto)
            committed = committed.extended(events, upto, order, kind)
            self.cache.put(key, committed, committed.nbytes)
        if not self._is_speculative(a):
            return committed
        events = self._events(a, Everything(order), upto, self.upto)
        return committed.limited(upto).extended(events, self.upto, order, kind)

    def _rows(self, a: int, region: Region) -> FactArrays:
        order, kind = region.order, self._kind(a)
        base, events = self._base(a, region), self._events(a, region, self.after, self.upto)
        if self.is_history:
            rows = column.sort(column.concat([base, events], kind), order, kind)
        elif events.size:
            folded: Folded = column.fold(events)
            rows = column.without(base, folded.touched, order, kind)
            if folded.live.size:
                rows = column.merge([rows, folded.live], order, kind)
        else:
            rows = base
        return self._kept(a, rows if self.after < 0 else rows.take(rows.t > self.after))

    def _kept(self, a: int, rows: FactArrays) -> FactArrays:
        """Return the rows that the filter of this view keeps."""
        if self.keep is None:
            return rows
        added = [True] * rows.size if rows.added is None else rows.added.tolist()
        facts = zip(rows.e.tolist(), rows.v.tolist(), rows.t.tolist(), added, strict=True)
        keep = self.keep
        return rows.take(np.fromiter((keep((e, a, v, t, op)) for e, v, t, op in facts), bool, rows.size))

    def _base(self, a: int, region: Region) -> FactArrays:
        """Return the rows of the index in a region, as of this view, sorted; in a history view all events."""
        kind = self._kind(a)
        if self.after >= self.index.basis_t:
            return column.empty(kind)  # the index has no newer row
        live = self.index.live(a, region, kind)
        if self.after >= 0:
            live = live.take(live.t > self.after)
        if self._sees_index_as_is:
            return live
        upto = self._committed
        if upto < self.index.basis_t:
            live = live.take(live.t <= upto)
        past = self.index.past(a, region, kind)
        past = past.take(past.rows.t <= upto)
        if not self.is_history:
            alive = past.rows.take(past.t1 > upto)
            return column.merge([alive, live], region.order, kind)
        began = past.rows.take(past.rows.t > self.after)
        ended = past.take((past.t1 <= upto) & (past.t1 > self.after))
        retractions = ended.rows._replace(t=ended.t1, added=np.zeros(ended.rows.size, bool))
        events = column.concat([live, began, retractions], kind)
        events = events if events.added is not None else events._replace(added=np.ones(events.size, bool))
        return column.sort(events, region.order, kind)

    def _events(self, a: int, region: Region, after: int, upto: int) -> FactArrays:
        """Return the events of all layers in a region, after one t and up to another, sorted."""
        kind = self._kind(a)
        parts = []
        for layer in self.layers:
            strand, last = layer.novelty.strands.get(a, EMPTY_STRAND), min(layer.upto, upto)
            if strand.last_t <= after:
                continue
            for run in strand.runs(kind):
                events = run.events(region)
                if events.size and (events.t.max() > last or events.t.min() <= after):
                    events = events.take((events.t <= last) & (events.t > after))
                parts.append(events)
        events = column.merge(parts, region.order, kind)
        return events if events.added is not None else events._replace(added=np.ones(events.size, bool))
