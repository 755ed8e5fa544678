"""Novelty: the facts of the log that are not in the blocks of the index yet.

    Novelty    the transactions after some t, and a Strand for each attribute
    Strand     the events of one attribute, in order of t
    Chain      the events of one entity, or with one value, as a linked list; newest first

Facts are plain tuples. The garbage collector stops tracking a fact whose value is a plain str, int, float or bool. An
instance of a Python class as its value, a keyword for example, keeps a fact tracked.

Dicts of chains, for point reads, and sorted runs, for scans, are built at the first read and extended later. Nothing is
ever changed, only added, so any number of database values read novelty at the same time, each up to its own t.

Law: in one transaction, a retraction comes before the assertion that replaces it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from factstore.columns.column import Entities, FactArrays, Ints, Region, ints
from factstore.columns.kind import Kind, plain_kind
from factstore.columns.sorted_run import Run, extend_runs, joined
from factstore.concurrency.locks import CallLock
from factstore.datom import Fact
from factstore.index.entity_rows import EntityRows
from factstore.index.timeline import Timeline

# Newest first. A chain never changes, so later appends do not affect a reader that has one.
Chain = tuple[Fact, "Chain"] | None
Timelines: TypeAlias = dict[Any, tuple[Chain, Timeline]]  # by key, with the newest event that each of them contains

_catch_up = CallLock()
_UNSURE: Final = -1  # instead of the number of facts in the chains, if an extension of them was interrupted
_LAST: Final = 6  # events that need not be in the chains for reading the newest event
_FEW: Final = 64  # events up to which reading them one by one is faster than other ways


class Strand:
    """The novelty of one attribute."""

    __slots__ = (
        "_by_e",
        "_by_fact",
        "_by_v",
        "_in_by_e",
        "_in_by_fact",
        "_in_by_v",
        "_joined",
        "_runs",
        "_timelines_by_e",
        "_timelines_by_v",
        "facts",
        "loaded",
    )

    def __init__(self) -> None:
        self.facts: list[Fact] = []
        self.loaded: list[FactArrays] = []  # loaded in bulk, each sorted and of one t; the arrays are those of the log
        self._joined: tuple[int, tuple[Run, ...]] = (0, ())  # how many of them are merged into runs, and the runs
        self._by_e: dict[int, Chain] = {}
        self._by_v: dict[Any, Chain] = {}
        self._in_by_e = 0
        self._in_by_v = 0
        self._by_fact: dict[tuple[int, Any], Chain] = {}  # made only if entities have many values
        self._in_by_fact = 0
        self._timelines_by_e: Timelines = {}  # of entities with many events that were read
        self._timelines_by_v: Timelines = {}  # of values with many events that were read
        self._runs: tuple[int, tuple[Run, ...]] = (
            0,
            (),
        )  # the number of facts in them, and the runs; one tuple, so that both change at once

    def of_entity(self, e: int) -> Chain:
        """Return the events of an entity, newest first."""
        chains = self._by_e  # read first: `truncate` may replace it by an empty one
        if self._in_by_e != len(self.facts):
            _catch_up.enter()  # a `with` statement takes 1.5 times as long, at every fact of an existing entity
            try:
                start = self._in_by_e
                if start == _UNSURE:
                    self._by_e, start = {}, 0
                chains, end = self._by_e, len(self.facts)
                self._in_by_e = _UNSURE
                for fact in self.facts[start:end]:
                    chains[fact[0]] = (fact, chains.get(fact[0]))
                self._in_by_e = end
            finally:
                _catch_up.leave()
        return chains.get(e)

    def with_value(self, v: Any) -> Chain:
        """Return the events with a value, newest first."""
        chains = self._by_v
        if self._in_by_v != len(self.facts):
            _catch_up.enter()  # a `with` statement takes 1.5 times as long, at every fact of an existing entity
            try:
                start = self._in_by_v
                if start == _UNSURE:
                    self._by_v, start = {}, 0
                chains, end = self._by_v, len(self.facts)
                self._in_by_v = _UNSURE
                for fact in self.facts[start:end]:
                    chains[fact[2]] = (fact, chains.get(fact[2]))
                self._in_by_v = end
            finally:
                _catch_up.leave()
        return chains.get(v)

    def newest(self, e: int) -> Fact | None:
        """Return the newest event of an entity; None if it has none that was not loaded in bulk.

        The last few events are read one by one: to extend the dict at every commit would take longer.
        """
        chains, start = self._by_e, self._in_by_e  # in this order: `truncate` may replace the dict by an empty one
        if start == _UNSURE or len(self.facts) - start > _LAST:
            chain = self.of_entity(e)
        else:
            for fact in self.facts[: start - 1 if start else None : -1]:
                if fact[0] == e:
                    return fact
            chain = chains.get(e)
        return None if chain is None else chain[0]

    def newest_with(self, v: Any) -> Fact | None:
        """Return the newest event with a value, as `newest` does for an entity."""
        chains, start = self._by_v, self._in_by_v
        if start == _UNSURE or len(self.facts) - start > _LAST:
            chain = self.with_value(v)
        else:
            for fact in self.facts[: start - 1 if start else None : -1]:
                if fact[2] == v:
                    return fact
            chain = chains.get(v)
        return None if chain is None else chain[0]

    def newest_of(self, e: int, v: Any, upto: int) -> Fact | None:
        """Return the newest event of an entity with a value, up to a t, without events that were loaded in bulk.

        The time does not depend on the number of values of the entity, nor on the number of entities with the value.
        """
        count, chain = 0, self.of_entity(e)
        while chain is not None and count < _FEW:
            if chain[0][2] == v and chain[0][3] <= upto:
                return chain[0]
            count, chain = count + 1, chain[1]
        if chain is not None:
            chain = self._of_fact(e, v)
            while chain is not None and chain[0][3] > upto:
                chain = chain[1]
        return None if chain is None else chain[0]

    def _of_fact(self, e: int, v: Any) -> Chain:
        """Return the events of one entity and one value, newest first."""
        chains = self._by_fact
        if self._in_by_fact != len(self.facts):
            with _catch_up:
                if self._in_by_fact == _UNSURE:
                    self._by_fact, self._in_by_fact = {}, 0
                chains, start = self._by_fact, self._in_by_fact
                self._in_by_fact = _UNSURE
                end = len(self.facts)
                for fact in self.facts[start:end]:
                    chains[fact[0], fact[2]] = (fact, chains.get((fact[0], fact[2])))
                self._in_by_fact = end
        return chains.get((e, v))

    def now_of(self, e: int, older: list[Fact], upto: int, *, is_newest: bool, is_one: bool) -> list[Fact] | None:
        """Return the facts of an entity as of a t; None if it is faster to read its events one by one.

        Neither the number of its events nor later ones matter for the time.

        Args:
            older: the facts before the first event.
            is_newest: no event is excluded by `as_of`; later events can still exist.
            is_one: the attribute has cardinality one.
        """
        chain = self.of_entity(e)
        if is_one and is_newest and chain is not None and chain[0][4] and chain[0][3] <= upto:
            return [chain[0]]
        return self._facts_at(self._timelines_by_e, 2, e, chain, older, upto)

    def now_with(self, v: Any, older: list[Fact], upto: int) -> list[Fact] | None:
        """Return the facts with a value as of a t, a status for example; None if few events have the value.

        Neither the number of events with the value nor later ones matter for the time. Not for strands with facts that
        were loaded in bulk.
        """
        return self._facts_at(self._timelines_by_v, 0, v, self.with_value(v), older, upto)

    def _facts_at(
        self, timelines: Timelines, component: int, key: Any, newest: Chain, older: list[Fact], upto: int
    ) -> list[Fact] | None:
        """Return the facts of one entity, or with one value, as of a t; None if there are few events.

        Args:
            component: of a fact, by which those of the key are distinguished: 2, the value, or 0, the entity.
            newest: all events, newest first.
        """
        if key not in timelines and not _is_long(newest):
            return None
        with _catch_up:
            seen, timeline = timelines.get(key, (None, Timeline(component)))
            events, rest = [], newest
            while rest is not None and rest is not seen:
                events.append(rest[0])
                rest = rest[1]
            if rest is not seen:  # facts were removed, or another thread has read more: start again
                timeline = Timeline(component)
            timelines.pop(key, None)  # until it is complete again
            timeline.extend(events[::-1])
            timelines[key] = newest, timeline
            live, gone = timeline.at(upto)
            kept = [fact for fact in older if fact[component] not in gone and fact[component] not in live]
            return [*kept, *live.values()]

    @property
    def count(self) -> int:
        """The number of events."""
        return len(self.facts) + sum(rows.size for rows in self.loaded)

    def count_with(self, v: Any, kind: Kind) -> int:
        """Return the number of events with a value."""
        count, chain = 0, self.with_value(v)
        while chain is not None and count < _FEW:
            count, chain = count + 1, chain[1]
        runs = self.runs(kind) if chain is not None else self.loaded_runs()
        in_runs = sum(run.count_with(v) for run in runs)
        return in_runs if chain is not None else count + in_runs

    @property
    def last_t(self) -> int:
        """The t of the newest event; -1 if there is none."""
        last = self.facts[-1][3] if self.facts else -1
        return max(last, int(self.loaded[-1].t[0])) if self.loaded else last

    def loaded_runs(self) -> tuple[Run, ...]:
        """Return the facts that were loaded in bulk as sorted runs, which are made at the first read."""
        done, runs = self._joined
        if done != len(self.loaded):
            with _catch_up:
                end, (done, runs) = len(self.loaded), self._joined
                if done < end:
                    kind = plain_kind(self.loaded[done].v)
                    runs = joined(runs, Run.loaded(self.loaded[done:end], kind))
                    self._joined = end, runs
        return runs

    def events(self, kind: Kind) -> list[FactArrays]:
        """Return all events as sorted sequences, some of them loaded in bulk, and keep no copy of these."""
        return [*self.loaded, *(run.by_entity for run in self._fact_runs(kind))]

    def entities(self, kind: Kind, upto: int) -> Ints:
        """Return the entities of the events up to a t that were not loaded in bulk, sorted within each run."""
        runs = [run.by_entity for run in self._fact_runs(kind)]
        return np.concatenate([ints(()), *(events.e[events.t <= upto] for events in runs)])

    def loaded_facts(self, a: int, region: Region, upto: int) -> list[Fact]:
        """Return the facts in a region that were loaded in bulk, up to a t."""
        facts: list[Fact] = []
        for run in self.loaded_runs():
            events = run.events(region)
            rows = zip(events.e.tolist(), events.v.tolist(), events.t.tolist(), strict=True)
            facts += ((e, a, v, t, True) for e, v, t in rows if t <= upto)
        return facts

    def runs(self, kind: Kind) -> tuple[Run, ...]:
        """Return the events as sorted runs.

        Two runs are merged if the older one is less than twice as large as the newer one, not at every append. So a
        query after a transaction with one datom sorts that datom, not the whole novelty.
        """
        return (*self.loaded_runs(), *self._fact_runs(kind)) if self.loaded else self._fact_runs(kind)

    def _fact_runs(self, kind: Kind) -> tuple[Run, ...]:
        done, runs = self._runs
        if done != len(self.facts):
            with _catch_up:
                end, (done, runs) = len(self.facts), self._runs
                if done < end:
                    runs = extend_runs(runs, self.facts[done:end], kind)
                    self._runs = end, runs
        return runs

    def truncate(self, t: int) -> None:
        """Remove the facts after t, which no database value contains yet."""
        with _catch_up:
            while self.loaded and self.loaded[-1].t[0] > t:
                self.loaded.pop()
            if self._joined[0] > len(self.loaded):
                self._joined = (0, ())
            while self.facts and self.facts[-1][3] > t:
                self.facts.pop()
            end = len(self.facts)
            # Rare: an append lost its race. The dicts and runs that contain removed facts are built again when needed.
            if self._in_by_e > end:
                self._by_e, self._in_by_e, self._timelines_by_e = {}, 0, {}
            if self._in_by_v > end:
                self._by_v, self._in_by_v, self._timelines_by_v = {}, 0, {}
            if self._in_by_fact > end:
                self._by_fact, self._in_by_fact = {}, 0
            if self._runs[0] > end:
                self._runs = (0, ())


def _weight(rows: FactArrays) -> int:
    """Return the number of facts that take the memory of these rows; a number takes less of it than an object."""
    return rows.size // (4 if rows.v.dtype == object else 8)


def _is_long(chain: Chain) -> bool:
    """Tell whether reading events one by one is slower than other ways, because there are many."""
    count = 0
    while chain is not None and count < _FEW:
        count, chain = count + 1, chain[1]
    return chain is not None


class TxFacts(NamedTuple):
    """The facts of one transaction, and the columns that it loaded in bulk; all of one t, columns are asserted."""

    t: int
    facts: Sequence[Fact]
    columns: Mapping[int, FactArrays] | None = None

    @property
    def size(self) -> int:
        """How many facts there are in all."""
        return len(self.facts) + sum(rows.size for rows in (self.columns or {}).values())


class Novelty:
    """The facts of the transactions after some t, by attribute."""

    __slots__ = (
        "_attributes_of",
        "_in_attributes_of",
        "_light",
        "_loaded",
        "_log",
        "count",
        "rows",
        "strands",
        "truncations",
    )

    def __init__(self, facts: Iterable[Fact] = ()) -> None:
        self.strands: dict[int, Strand] = {}
        self.count = 0
        self.truncations = 0  # how often facts were removed: before and after, the same t has different facts
        self._light = 0  # the facts that `weight` does not count
        # Plain tuples: the garbage collector stops tracking those in which all facts are untracked.
        self._log: list[tuple[int, tuple[Fact, ...], Mapping[int, FactArrays] | None]] = []
        self._attributes_of: dict[int, tuple[int, ...]] = {}
        self._in_attributes_of = 0
        self._loaded: frozenset[int] = frozenset()  # attributes with facts that were loaded in bulk
        self.rows: EntityRows | None = None  # that its databases share; None until an entity is read
        first = tuple(facts)
        if first:
            self.append(0, first)

    def append(self, t: int, facts: Sequence[Fact], columns: Mapping[int, FactArrays] | None = None) -> None:
        """Add the facts of one transaction, which must be newer than all others."""
        strands = self.strands
        for fact in facts:
            try:
                strands[fact[1]].facts.append(fact)
            except KeyError:
                strands[fact[1]] = strand = Strand()
                strand.facts.append(fact)
        self._log.append((t, tuple(facts), columns))
        self.count += len(facts)
        if columns:
            self._load(columns)

    def _load(self, columns: Mapping[int, FactArrays]) -> None:
        self._loaded |= columns.keys()
        for a, rows in columns.items():
            strand = self.strands.setdefault(a, Strand())
            self.count += rows.size
            self._light += rows.size - _weight(rows)
            strand.loaded.append(rows)

    def repair(self, t: int) -> None:
        """Remove the facts after t, which no database value contains yet, and the rest of an interrupted `append`."""
        self.truncations += 1
        self.rows = None
        while self._log and self._log[-1][0] > t:
            self._log.pop()
        for a, strand in list(self.strands.items()):
            if strand.last_t > t:
                strand.truncate(t)
            if not strand.count:
                del self.strands[a]
        self._loaded = frozenset(a for a, strand in self.strands.items() if strand.loaded)
        self._light = sum(rows.size - _weight(rows) for strand in self.strands.values() for rows in strand.loaded)
        self.count = sum(strand.count for strand in self.strands.values())
        if self._in_attributes_of > len(self._log):
            with _catch_up:
                self._attributes_of, self._in_attributes_of = {}, 0

    @property
    def weight(self) -> int:
        """The size, in facts that were transacted; those that were loaded in bulk take less memory."""
        return self.count - self._light

    def transactions(self) -> Iterator[TxFacts]:
        """Yield the transactions, oldest first."""
        return (TxFacts(*entry) for entry in self._log)

    def loads(self, upto: int) -> list[Mapping[int, FactArrays]]:
        """Return the columns of each bulk load up to a t."""
        return [columns for t, _, columns in self._log if columns and t <= upto] if self._loaded else []

    @property
    def newest_t(self) -> int:
        """The t of the newest transaction; -1 if there is none."""
        return self._log[-1][0] if self._log else -1

    def between(self, after: int, upto: int) -> list[tuple[int, tuple[Fact, ...], Mapping[int, FactArrays] | None]]:
        """Return the transactions after one t and up to another, each as its t, facts and columns."""
        start = bisect_right(self._log, after, key=_t)
        return self._log[start : bisect_right(self._log, upto, start, key=_t)]

    def attributes_of(self, e: int) -> tuple[int, ...]:
        """Return the ids of the attributes of an entity's events."""
        attributes_of = self._attributes_of
        if self._in_attributes_of != len(self._log):
            with _catch_up:
                end, attributes_of = len(self._log), self._attributes_of
                for _, facts, _ in self._log[self._in_attributes_of : end]:
                    for fact in facts:
                        noted = attributes_of.get(fact[0], ())
                        if fact[1] not in noted:
                            attributes_of[fact[0]] = (*noted, fact[1])
                self._in_attributes_of = end
        attributes = attributes_of.get(e, ())
        return (*attributes, *self._loaded_attributes_of(e)) if self._loaded else attributes

    def _loaded_attributes_of(self, e: int) -> list[int]:
        region = Entities(ints((e,)))
        # A strand can appear or disappear meanwhile: a load is running, or has lost its race.
        strands = ((a, self.strands.get(a, EMPTY_STRAND)) for a in self._loaded)
        return [a for a, strand in strands if any(run.events(region).size for run in strand.loaded_runs())]

    def after(self, t: int) -> Novelty:
        """Return the novelty that remains when the index contains all transactions up to t."""
        rest = Novelty()
        for entry in list(self._log):
            if entry[0] > t:
                rest.append(*entry)
        return rest


class Speculation(Novelty):
    """The facts of transactions that are not committed.

    The next transaction on top of the newest one is added in place, as a commit is: each database value has the t up to
    which it counts. Another transaction on top of the same value is not; then the value gets a further layer.
    """

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        super().__init__()
        self._ends = [-1]  # the t of the newest transaction; empty while a thread adds one

    def append_once(self, after_t: int, t: int, facts: Sequence[Fact]) -> bool:
        """Add a transaction on top of that of `after_t`, and return True; False if that is not the newest any more."""
        try:
            self._ends.remove(after_t)  # one step, so only one thread gets it
        except ValueError:
            return False
        self.append(t, facts)
        self._ends.append(t)
        return True


_t = itemgetter(0)  # of an entry in the log
EMPTY_STRAND: Final = Strand()
