"""The live jobs of a database as columns, read by a few queries, and judged by their dependency rules all at once.

Law: the state of each job is the one that `lookup.readiness` returns for it alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

import factstore
from overseer.jobs.dependency_rules import ALL_SUCCESS, RULES, DependencyRule
from overseer.jobs.states import ENDED, LIVE, STARTED, Status

if TYPE_CHECKING:
    from factstore import Database

Ints: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]

_LIVE: Final = "[:find ?j ?id ?status ?tx :in $ [?status ...] :where [?j :job/status ?status ?tx] [?j :job/id ?id]]"
_VALUES: Final = "[:find ?j ?v :in $ [?status ...] ?a :where [?j :job/status ?status] [?j ?a ?v]]"
_EDGES: Final = "[:find ?j ?parent :in $ [?status ...] :where [?j :job/status ?status] [?j :job/dep ?parent]]"
_PARENTS: Final = """[:find ?parent ?end ?tx :in $ [?status ...]
  :where [?j :job/status ?status] [?j :job/dep ?parent] [?parent :job/status ?end ?tx]]"""
_INSTANTS: Final = "[:find ?tx ?at :in $ [?tx ...] :where [?tx :db/txInstant ?at]]"

_UNKNOWN: Final = -1  # the code of an unknown status
_CODES: Final[Mapping[Status, int]] = {**dict.fromkeys(LIVE, 0), **{end: n for n, end in enumerate(sorted(ENDED), 1)}}


class LiveJobs:
    """The jobs of a database that have not ended, in order of entity id; each column has one value for each of them."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._statuses = sorted(LIVE)
        found = factstore.rows(_LIVE, db, self._statuses)
        columns = found.numpy()
        order = np.argsort(columns["j"])
        self.jobs: Ints = columns["j"][order].astype(np.int64)
        self.ids: list[str] = columns["id"][order].tolist()
        self.is_started: Mask = columns["status"][order] == STARTED
        self.status_tx: Ints = columns["tx"][order].astype(np.int64)  # the transaction that made the status
        self._read_parents()

    def __len__(self) -> int:
        return len(self.ids)

    def _read_parents(self) -> None:
        """Read which job depends on which parent, and the ends of the parents."""
        edges = factstore.rows(_EDGES, self._db, self._statuses).numpy()
        place, is_here = _places(self.jobs, edges["j"])
        self.child: Ints = place[is_here]  # the place of a job, for each of its parents
        self.parent: Ints = edges["parent"][is_here].astype(np.int64)
        parents = factstore.rows(_PARENTS, self._db, self._statuses).numpy()
        order = np.argsort(parents["parent"])
        place, has_status = _places(parents["parent"][order], self.parent)
        codes = np.fromiter((_CODES.get(end, _UNKNOWN) for end in parents["end"][order].tolist()), np.int64, len(order))
        self.end: Ints = _taken(codes, place, has_status)  # how the parent ended; 0 or less if it has not
        self.end_tx: Ints = _taken(parents["tx"][order], place, has_status)

    def values(self, attribute: str) -> tuple[Ints, list[Any]]:
        """Return the places of the jobs that have an attribute of cardinality one, and their values."""
        found = factstore.rows(_VALUES, self._db, self._statuses, self._db.entid(attribute))
        place, is_here = _places(self.jobs, found.numpy()["j"])
        if is_here.all():
            return place, found["v"]
        return place[is_here], [value for value, here in zip(found["v"], is_here.tolist(), strict=True) if here]

    def column(self, attribute: str, default: Any = None) -> list[Any]:
        """Return the value of an attribute of cardinality one for each job."""
        column = [default] * len(self)
        places, values = self.values(attribute)
        for place, value in zip(places.tolist(), values, strict=True):
            column[place] = value
        return column

    def instants(self, txs: Ints) -> Ints:
        """Return the instants of transactions, in microseconds since 1970."""
        distinct, back = np.unique(txs, return_inverse=True)
        found = factstore.rows(_INSTANTS, self._db, distinct.tolist()).numpy()
        order = np.argsort(found["tx"])
        assert len(order) == len(distinct), "every transaction has an instant"
        instants: Ints = found["at"][order].astype("datetime64[us]").astype(np.int64)[back]
        return instants

    @cached_property
    def waits_for(self) -> Ints:
        """The number of parents that have not ended."""
        return np.bincount(self.child[self.end <= 0], minlength=len(self))

    def children(self, waiting: Mask) -> list[list[int]]:
        """Return for each job the waiting jobs that depend on it."""
        children: list[list[int]] = [[] for _ in self.ids]
        place, is_here = _places(self.jobs, self.parent)
        edges = is_here & (self.end <= 0) & waiting[self.child]
        for parent, child in zip(place[edges].tolist(), self.child[edges].tolist(), strict=True):
            children[parent].append(child)
        return children

    @cached_property
    def states(self) -> tuple[Mask, Mask]:
        """Which jobs are ready, and which can never become ready, by their rules and the ends of their parents.

        The others wait. A job with an unknown rule waits.
        """
        ready, doomed = np.zeros(len(self), bool), np.zeros(len(self), bool)
        waits = self.waits_for > 0
        for rule, of_rule in self.by_rule:
            accepted, rejected = self._has_end(rule.accepts), self._has_end(rule.rejects)
            if rule.one_suffices:
                is_ready = accepted | ~(waits | rejected)
                is_doomed = ~(is_ready | waits)
            else:
                is_ready, is_doomed = ~(waits | rejected), rejected
            ready |= of_rule & is_ready
            doomed |= of_rule & is_doomed
        return ready, doomed

    @cached_property
    def by_rule(self) -> list[tuple[DependencyRule, Mask]]:
        """The known rules, each with the jobs that have it, or that name none if it is the default."""
        places, names = self.values(":job/rule")
        by_rule = [(rule, np.full(len(self), name == ALL_SUCCESS)) for name, rule in RULES.items()]
        for name, (_, of_rule) in zip(RULES, by_rule, strict=True):
            of_rule[places] = [named == name for named in names]
        return by_rule

    def _has_end(self, statuses: Iterable[Status]) -> Mask:
        """Return which jobs have a parent that ended with one of these statuses."""
        ends = np.isin(self.end, [_CODES[status] for status in statuses])
        mask = np.zeros(len(self), bool)
        mask[self.child[ends]] = True
        return mask


def _places(sorted_values: NDArray[Any], values: NDArray[Any]) -> tuple[Ints, Mask]:
    """Return where values are in a sorted array, and which are there at all."""
    if not len(sorted_values):
        return np.zeros(len(values), np.int64), np.zeros(len(values), bool)
    values = values.astype(np.int64)
    place = np.minimum(np.searchsorted(sorted_values.astype(np.int64), values), len(sorted_values) - 1)
    return place, sorted_values[place] == values


def _taken(values: NDArray[Any], place: Ints, is_there: Mask) -> Ints:
    """Return the values at some places, and 0 where there is none."""
    if not len(values):
        return np.zeros(len(place), np.int64)
    return np.where(is_there, values[place], 0).astype(np.int64)
