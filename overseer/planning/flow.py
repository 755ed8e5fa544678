"""How jobs flowed in a period: how many ended, how long they waited and ran. All of it is history; nothing is measured.

A job waits from the last of these to its start: it became unstarted, it was due, a parent ended. Law: the flow of a
period up to a database `as_of` a time is the one that was returned then.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

import factstore
from factstore import Keyword
from overseer.jobs.states import ABORTED, ENDED, FAILED, FINISHED, STARTED, UNSTARTED, as_keyword
from overseer.planning.columns import Ints
from overseer.sources import of_database

if TYPE_CHECKING:
    from factstore import Database

MOST: Final = 50_000  # jobs of a period; of more jobs, these are the ones that changed last
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CHANGED: Final = "[:find ?j (max ?tx) :where [?j :job/status _ ?tx true]]"
_STATUSES: Final = """[:find ?j ?s ?tx :in $ [?j ...] :where [?j :job/status ?s ?tx true]]"""
_INSTANTS: Final = "[:find ?tx ?at :in $ [?tx ...] :where [?tx :db/txInstant ?at]]"
_TYPES: Final = "[:find ?j ?type :in $ [?j ...] :where [?j :job/type ?type]]"
_OF_TYPE: Final = "[:find [?j ...] :in $ [?j ...] ?type :where [?j :job/type ?type]]"
_OF_QUEUE: Final = "[:find [?j ...] :in $ [?j ...] ?queue :where [?j :job/queue ?queue]]"
_DUE: Final = "[:find ?j ?at ?tx :in $ [?j ...] :where [?j :job/run-at ?at ?tx true]]"
_PARENTS: Final = "[:find ?j ?tx :in $ [?j ...] [?end ...] :where [?j :job/dep ?p] [?p :job/status ?end ?tx]]"
_CODES: Final = (UNSTARTED, STARTED, FINISHED, FAILED, ABORTED)


class Step(NamedTuple):
    """One part of a period. Times are in seconds: the median, and the one that 95 of 100 attempts kept to."""

    start: datetime
    finished: int
    failed: int
    aborted: int
    waiting: tuple[float, float] | None  # of the attempts that began; None if there were none
    running: tuple[float, float] | None  # of the attempts that ended


class OfType(NamedTuple):
    """The jobs of one type in a period."""

    type: Keyword | None
    finished: int
    failed: int
    aborted: int
    waiting: tuple[float, float] | None
    running: tuple[float, float] | None


class Flow(NamedTuple):
    """What happened to jobs in a period."""

    start: datetime
    end: datetime
    steps: tuple[Step, ...]
    types: tuple[OfType, ...]
    is_all: bool  # whether the period had at most MOST jobs


@of_database
def flow(
    db: Database,
    *,
    start: datetime,
    end: datetime,
    steps: int = 60,
    type: str | None = None,
    queue: str | None = None,
) -> Flow:
    """Return the flow of jobs in a period.

    Args:
        start: the beginning of the period.
        end: its end.
        steps: the number of parts of the period.
        type: only jobs of this type.
        queue: only jobs of this queue.
    """
    until = db.as_of(end) if db.moment is None or end < db.moment else db
    changed = factstore.rows(_CHANGED, until.since(start).history()).numpy()
    newest = np.argsort(changed[next(name for name in changed if name != "j")])[-MOST:]
    jobs = changed["j"][newest].tolist()
    is_all = len(changed["j"]) <= MOST
    for query, name in ((_OF_TYPE, type), (_OF_QUEUE, queue)):
        if name is not None:
            jobs = factstore.q(query, until, jobs, as_keyword(name))
    lives = _Lives(until, jobs)
    return Flow(start, end, lives.steps(start, end, steps), lives.types(start, end), is_all)


class _Lives:
    """The statuses of jobs as columns, in order of job and time."""

    def __init__(self, db: Database, jobs: list[int]) -> None:
        found = factstore.rows(_STATUSES, db.history(), jobs).numpy()
        code = {status: n for n, status in enumerate(_CODES)}
        statuses = np.fromiter((code.get(status, -1) for status in found["s"].tolist()), np.int64, len(found["j"]))
        order = np.lexsort((found["tx"], found["j"]))
        self._db = db
        self._jobs = jobs
        self.job: Ints = found["j"][order].astype(np.int64)
        self.status: Ints = statuses[order]
        self.at = _instants(db, found["tx"][order].astype(np.int64))
        same = np.zeros(len(self.job), bool)
        same[1:] = self.job[1:] == self.job[:-1]
        self._same = same
        before = np.full(len(self.job), -1)
        before[1:] = np.where(same[1:], self.status[:-1], -1)
        since = self.at.copy()
        since[1:] = np.where(same[1:], self.at[:-1], self.at[1:])
        self.begins = (self.status == 1) & (before == 0)
        self.ends = (self.status != 1) & (before == 1)
        self.took = np.where(self.ends, self.at - since, 0) / 1e6
        self.waited = np.maximum(self.at - np.maximum(since, self._ready()), 0) / 1e6

    def _ready(self) -> Ints:
        """Return for each change when its job was due, and when its last parent had ended, if that was before."""
        ready = np.full(len(self.job), np.iinfo(np.int64).min)
        due = factstore.rows(_DUE, self._db.history(), self._jobs)
        times = [(at - _EPOCH) // timedelta.resolution for at in due["at"]]
        parents = factstore.rows(_PARENTS, self._db, self._jobs, sorted(ENDED)).numpy()
        jobs = np.concatenate([np.asarray(due["j"], np.int64), parents["j"].astype(np.int64)])
        ends = _instants(self._db, parents["tx"].astype(np.int64))
        when = np.concatenate([np.asarray(times, np.int64), ends])
        first, last = (np.searchsorted(self.job, jobs, side) for side in ("left", "right"))
        for place, stop, time in zip(first.tolist(), last.tolist(), when.tolist(), strict=True):
            later = self.at[place:stop] >= time
            ready[place:stop][later] = np.maximum(ready[place:stop][later], time)
        return ready

    def steps(self, start: datetime, end: datetime, count: int) -> tuple[Step, ...]:
        low, high = _micros(start), _micros(end)
        width = max(1, -(-(high - low) // count))
        place = (self.at - low) // width
        return tuple(
            Step(start + timedelta(microseconds=n * width), *self._of((place == n) & (self.at <= high)))
            for n in range(count)
        )

    def types(self, start: datetime, end: datetime) -> tuple[OfType, ...]:
        type_of = dict(factstore.q(_TYPES, self._db, self._jobs))
        names = sorted(set(type_of.values()))
        number = {name: n for n, name in enumerate(names)}
        column = np.fromiter((number.get(type_of.get(job), -1) for job in self.job.tolist()), np.int64, len(self.job))
        inside = (self.at > _micros(start)) & (self.at <= _micros(end))
        return tuple(OfType(name, *self._of(inside & (column == n))) for n, name in enumerate(names))

    def _of(self, mask: Any) -> tuple[int, int, int, tuple[float, float] | None, tuple[float, float] | None]:
        finished, failed, aborted = (int(np.count_nonzero(mask & (self.status == code))) for code in (2, 3, 4))
        return finished, failed, aborted, _shares(self.waited[mask & self.begins]), _shares(self.took[mask & self.ends])


def _shares(seconds: Any) -> tuple[float, float] | None:
    if not len(seconds):
        return None
    middle, most = np.percentile(seconds, (50, 95))
    return float(middle), float(most)


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta.resolution


def _instants(db: Database, txs: Ints) -> Ints:
    distinct, back = np.unique(txs, return_inverse=True)
    found = factstore.rows(_INSTANTS, db, distinct.tolist()).numpy()
    order = np.argsort(found["tx"])
    instants: Ints = found["at"][order].astype("datetime64[us]").astype(np.int64)[back]
    return instants
