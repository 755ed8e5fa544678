"""The jobs that may start now, kept up to date by following the log.

`absorb` takes the datoms of transactions; its cost depends on their number, not on the number of jobs. There is no
counter that could become wrong: each unstarted job has the *set* of its unfinished parents, and a job whose own facts
changed is read again.

Law: after `absorb` of every transaction up to a database, the answers are those of `load` on that database.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import factstore
from factstore import Keyword
from overseer.jobs import lookup, queues
from overseer.jobs.dependency_rules import DOOMED, READY, readiness
from overseer.jobs.queues import Allowance
from overseer.jobs.states import ENDED, LIVE, STARTED, UNSTARTED, Status
from overseer.worker.choice import NO_LANE, Choice, Rank

if TYPE_CHECKING:
    from factstore import Database, Datom

_DEFAULT_RANK: Final[Rank] = (0, NO_LANE)
_NOTHING: Final[frozenset[Any]] = frozenset()

# `absorb` needs the datoms of these attributes, and no others.
_OWN: Final = (":job/dep", ":job/type", ":job/rule", ":job/run-at", ":job/queue", ":job/priority", ":job/partition")
TAILED: Final = (":job/status", *_OWN, *queues.SETTINGS)

# The facts that `look` reads for one job, for many jobs at once.
_LIVE = """[:find [?j ...] :where (or [?j :job/status :job.status/unstarted] [?j :job/status :job.status/started])]"""
_UNSTARTED = "[:find (count ?j) . :where [?j :job/status :job.status/unstarted]]"
_ABOUT = """[:find ?j ?type ?status :in $ [?j ...]
             :where [?j :job/status ?status] [?j :job/type ?type] [?j :job/id _]]"""
_PARENTS = """[:find ?j ?parent ?status :in $ [?j ...]
               :where [?j :job/dep ?parent] [(get-else $ ?parent :job/status :job.status/unstarted) ?status]]"""
_RULES = "[:find ?j ?rule :in $ [?j ...] :where [?j :job/rule ?rule]]"
_TIMES = "[:find ?j ?at :in $ [?j ...] :where [?j :job/run-at ?at]]"
# Only a pause of the same transaction as the job's time: another time may have been asserted since.
_PAUSES = """[:find ?j ?pause :in $ [?j ...]
              :where [?j :job/pause ?pause] [?j :job/run-at _ ?tx] [?j :job/status :job.status/unstarted ?tx]]"""
_PRIORITIES = "[:find ?j ?p :in $ [?j ...] :where [?j :job/priority ?p]]"
_LANES = """[:find ?j ?queue ?partition :in $ [?j ...]
             :where [?j :job/queue ?queue] [(get-else $ ?j :job/partition "") ?partition]]"""


class ReadJob(NamedTuple):
    """What decides whether a job may start."""

    attributes: Mapping[str, Any]
    parents: Sequence[tuple[int, Status | None]] = ()  # with their statuses; only of an unstarted job
    pauses: bool = False  # whether the job waits for a pause after its last attempt


def read_job(db: Database, job: int) -> ReadJob:
    """Read a job."""
    attributes = lookup.attributes(db, job)
    if attributes.get(":job/status") != UNSTARTED:
        return ReadJob(attributes)
    parents = [(parent, lookup.status(db, parent)) for parent in attributes.get(":job/dep", ())]
    pauses = ":job/pause" in attributes and _tx(db, job, ":job/run-at") == _tx(db, job, ":job/status")  # see _PAUSES
    return ReadJob(attributes, parents, pauses)


class ReadySet:
    """The ready, waiting and doomed jobs of the types and queues that a worker handles.

    Args:
        types: the handled types; None is all types.
        queues: the handled queues; None is all queues, and jobs without a queue.
        many: the number of changed jobs from which they are read by queries instead of one by one.
        elapsed: a monotonic clock in seconds, which measures pauses; None: only the clock ends them.
        read: returns what `read_job` does.
    """

    def __init__(
        self,
        types: Iterable[Keyword] | None = None,
        *,
        queues: Iterable[Keyword] | None = None,
        many: int = 50,
        elapsed: Callable[[], float] | None = None,
        read: Callable[[Database, int], ReadJob] = read_job,
    ) -> None:
        self._many = many
        self._read = read
        self._types = None if types is None else frozenset(types)
        self._queues = None if queues is None else frozenset(queues)
        self._ready = Choice()
        self.limited = False  # whether any queue has settings, so that `pick` needs an allowance
        self.settings_changed = False  # whether settings of queues have changed; the caller that reads them resets it
        self._unstarted: set[int] = set()
        # Most jobs depend on no others: only those that do have sets.
        self._unmet: dict[int, set[int]] = {}  # unstarted job → parents that have not ended
        self._ended: dict[int, set[Status]] = {}  # unstarted job → statuses of its other parents
        self._waiting_for: dict[int, set[int]] = {}  # parent that has not ended → unstarted jobs
        self._rule: dict[int, Keyword] = {}
        self._not_before: dict[int, datetime] = {}
        self._rank: dict[int, Rank] = {}  # priority and lane, unless they are the default
        self._timed: dict[int, datetime] = {}  # jobs that wait only for their time
        self._due: list[tuple[datetime, int]] = []  # heap of the same; an entry that differs from `_timed` is obsolete
        self._elapsed = elapsed
        self._pause: dict[int, int] = {}  # milliseconds that a job waits after its last attempt
        self._pauses: list[tuple[float, datetime, int]] = []  # heap: end of the pause by elapsed time, and `_timed`
        self.doomed: set[int] = set()
        self.live: set[int] = set()  # unstarted or started
        self.unstarted = 0  # unstarted jobs of all types and queues
        self._status_id = self._dep_id = -1
        self._own: frozenset[int] = frozenset()
        self._settings: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self._ready)

    def __contains__(self, job: object) -> bool:
        return job in self._ready

    @property
    def others(self) -> int:
        """The number of unstarted jobs that this worker does not handle."""
        return self.unstarted - len(self._unstarted)

    def load(self, db: Database) -> None:
        """Read all live jobs of a database."""
        self.limited = self.settings_changed = bool(queues.queues(db))
        self.unstarted = factstore.q(_UNSTARTED, db) or 0
        self._look_at_many(db, factstore.q(_LIVE, db))

    def absorb(self, db: Database, datoms: Iterable[Datom]) -> None:
        """Take in the changes up to a database.

        Args:
            datoms: all datoms since the previous database.
        """
        statuses, changed, edges = self._sorted(db, datoms)
        for job, status in statuses.items():
            if not self._moved_on(job, status):
                changed.add(job)
        if len(changed) < self._many:
            for job in changed:
                self.look(db, job)
        else:
            self._look_at_many(db, list(changed))
        for job, parent in edges:
            if job in self._unstarted and job not in changed:
                self._depend(job, parent, lookup.status(db, parent))
                self._classify_again(job)
        for job, status in statuses.items():
            if status in ENDED:
                self._end(job, status)

    def _sorted(
        self, db: Database, datoms: Iterable[Datom]
    ) -> tuple[dict[int, Status | None], set[int], list[tuple[int, int]]]:
        """Return the new status of jobs, the jobs to read again, and the new parents of unstarted jobs."""
        status_id, dep_id, own, settings = self._ids(db)
        statuses: dict[int, Status | None] = {}
        changed: set[int] = set()
        edges: list[tuple[int, int]] = []
        for datom in datoms:
            if datom.a == status_id:
                if datom.v == UNSTARTED:
                    self.unstarted += 1 if datom.added else -1
                if datom.added:
                    statuses[datom.e] = datom.v
                elif statuses.get(datom.e, datom.v) == datom.v:
                    statuses[datom.e] = None
                if not datom.added and datom.v not in LIVE:  # its end, which its children depended on, is retracted
                    changed.update(lookup.children(db, datom.e))
            elif datom.a == dep_id and datom.added and datom.e in self._unstarted:
                edges.append((datom.e, datom.v))
            elif datom.a in own:
                changed.add(datom.e)
            elif datom.a in settings:
                self.limited = self.settings_changed = True
        return statuses, changed, edges

    def _moved_on(self, job: int, status: Status | None) -> bool:
        """Note that a job has started or ended; False if the job must be read."""
        if status is None or status == UNSTARTED or (status == STARTED and job not in self.live):
            return False
        self._forget(job)
        if status == STARTED:
            self.live.add(job)
        return True

    def look(self, db: Database, job: int) -> None:
        """Read one job again."""
        self._forget(job)
        attributes, parents, pauses = self._read(db, job)
        status = attributes.get(":job/status")
        queue = attributes.get(":job/queue")
        if status not in LIVE or not self.handles(attributes):
            return
        self.live.add(job)
        if status == STARTED:
            return
        self._unstarted.add(job)
        if ":job/rule" in attributes:
            self._rule[job] = attributes[":job/rule"]
        if ":job/run-at" in attributes:
            self._not_before[job] = attributes[":job/run-at"]
        if pauses:
            self._pause[job] = attributes[":job/pause"]
        if queue is not None or ":job/priority" in attributes:
            lane = NO_LANE if queue is None else (queue, attributes.get(":job/partition") or None)
            self._rank[job] = attributes.get(":job/priority", 0), lane
        for parent, status in parents:
            self._depend(job, parent, status)
        self._classify(job)

    def _look_at_many(self, db: Database, jobs: Sequence[int]) -> None:
        for job in jobs:
            self._forget(job)
        lanes = {job: (queue, partition or None) for job, queue, partition in factstore.q(_LANES, db, jobs)}
        for job, type, status in factstore.q(_ABOUT, db, jobs):
            if status in LIVE and self._handles(type, lanes.get(job, NO_LANE)[0]):
                self.live.add(job)
                if status == UNSTARTED:
                    self._unstarted.add(job)
        unstarted = [job for job in jobs if job in self._unstarted]
        self._rule.update(factstore.q(_RULES, db, unstarted))
        self._not_before.update(factstore.q(_TIMES, db, unstarted))
        self._pause.update(factstore.q(_PAUSES, db, unstarted))
        priorities = dict(factstore.q(_PRIORITIES, db, unstarted))
        ranks: dict[Rank, Rank] = {}  # jobs with the same rank share one tuple
        for job in priorities.keys() | (lanes.keys() & self._unstarted):
            rank = priorities.get(job, 0), lanes.get(job, NO_LANE)
            self._rank[job] = ranks.setdefault(rank, rank)
        for job, parent, status in factstore.q(_PARENTS, db, unstarted):
            self._depend(job, parent, status)
        for job in unstarted:
            self._classify(job)

    def pick(self, most: int, *, now: datetime, random: Random, allowed: Allowance | None = None) -> list[int]:
        """Remove up to `most` ready jobs and return them: higher priorities first, and at random within a priority.

        The caller passes the jobs that it does not claim to `look` again.

        Args:
            allowed: the jobs that the queues let start; None is all jobs.
        """
        self.wake(now)
        return self._ready.draw(most, random, allowed)

    def wake(self, now: datetime) -> None:
        """Make jobs ready whose time has come; before that, `len` does not count them."""
        while self._due and self._due[0][0] <= now:
            at, job = heapq.heappop(self._due)
            if self._timed.get(job) == at:
                del self._timed[job]
                self._ready.add(job, self._rank.get(job, _DEFAULT_RANK))
        while self._elapsed is not None and self._pauses and self._pauses[0][0] <= self._elapsed():
            _, at, job = heapq.heappop(self._pauses)
            if self._timed.get(job) == at:
                del self._timed[job]
                self._ready.add(job, self._rank.get(job, _DEFAULT_RANK))

    def next_pause(self) -> float:
        """Return the seconds until the next pause ends, by elapsed time."""
        while self._pauses and self._timed.get(self._pauses[0][2]) != self._pauses[0][1]:
            heapq.heappop(self._pauses)
        return self._pauses[0][0] - self._elapsed() if self._elapsed is not None and self._pauses else float("inf")

    def next_due(self) -> datetime | None:
        """Return the time at which the next job becomes ready; None if no job waits for its time."""
        while self._due and self._timed.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def take_doomed(self) -> list[int]:
        """Remove the jobs that can never run because of how their parents ended, and return them."""
        doomed, self.doomed = list(self.doomed), set()
        return doomed

    def _ids(self, db: Database) -> tuple[int, int, frozenset[int], frozenset[int]]:
        if self._status_id < 0:
            self._status_id, self._dep_id = (db.schema.attribute(n).id for n in (":job/status", ":job/dep"))
            self._own, self._settings = (
                frozenset(db.schema.attribute(n).id for n in names) for names in (_OWN, queues.SETTINGS)
            )
        return self._status_id, self._dep_id, self._own, self._settings

    def handles(self, attributes: Mapping[str, Any]) -> bool:
        """Return whether a job, given by its attributes, is of a handled type and queue."""
        return ":job/id" in attributes and self._handles(attributes.get(":job/type"), attributes.get(":job/queue"))

    def _handles(self, type: Keyword | None, queue: Keyword | None) -> bool:
        return (self._types is None or type in self._types) and (self._queues is None or queue in self._queues)

    def _depend(self, job: int, parent: int, status: Status | None) -> None:
        """Note that a job depends on a parent. One that is no job (yet), or has an unknown status, has not ended."""
        if status not in ENDED:
            self._unmet.setdefault(job, set()).add(parent)
            self._waiting_for.setdefault(parent, set()).add(job)
        else:
            self._ended.setdefault(job, set()).add(status)

    def _end(self, parent: int, status: Status) -> None:
        """Note how a parent ended, for the jobs that wait for it."""
        for job in self._waiting_for.pop(parent, ()):
            self._unmet[job].discard(parent)
            self._ended.setdefault(job, set()).add(status)
            self._classify(job)

    def _classify(self, job: int) -> None:
        """Make an unstarted job ready, waiting or doomed, by its rule."""
        ended = self._ended.get(job, _NOTHING)
        state = readiness(self._rule.get(job), {UNSTARTED, *ended} if self._unmet.get(job) else ended)
        if state == DOOMED:
            self.doomed.add(job)
        elif state == READY:
            not_before = self._not_before.get(job)
            if not_before is None:
                self._ready.add(job, self._rank.get(job, _DEFAULT_RANK))
            else:
                self._timed[job] = not_before
                heapq.heappush(self._due, (not_before, job))
                if self._elapsed is not None and job in self._pause:
                    heapq.heappush(self._pauses, (self._elapsed() + self._pause[job] / 1000, not_before, job))

    def _classify_again(self, job: int) -> None:
        self._ready.discard(job)
        self._timed.pop(job, None)
        self.doomed.discard(job)
        self._classify(job)

    def _forget(self, job: int) -> None:
        if job not in self.live:
            return
        self.live.remove(job)
        if job not in self._unstarted:
            return
        self._unstarted.remove(job)
        for parent in self._unmet.pop(job, ()):
            waiting = self._waiting_for[parent]
            waiting.discard(job)
            if not waiting:
                del self._waiting_for[parent]
        self._ended.pop(job, None)
        self._rule.pop(job, None)
        self._not_before.pop(job, None)
        self._pause.pop(job, None)
        self._timed.pop(job, None)
        self._rank.pop(job, None)
        self._ready.discard(job)
        self.doomed.discard(job)


def _tx(db: Database, job: int, attribute: str) -> int | None:
    """Return the transaction of the value of an attribute; None if there is none."""
    return next((datom.tx for datom in db.datoms("eavt", job, attribute)), None)
