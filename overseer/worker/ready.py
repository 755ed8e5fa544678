"""The jobs that may start now, kept by tailing the log.

`absorb` takes what a transaction changed; its cost follows that, not how many jobs there are. There is no counter to drift:
for each unstarted job the *set* of its unfinished parents is kept, and a job whose own facts changed is read anew.

Law: after `absorb` of every transaction up to a database, the answers are those of `load` on that database.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING, Any, Final

import factstore
from factstore import Keyword
from overseer.jobs import lookup, queues
from overseer.jobs.dependency_rules import DOOMED, READY, readiness
from overseer.jobs.queues import Allowance, Lane
from overseer.jobs.states import ENDED, LIVE, STARTED, UNSTARTED, Status
from overseer.worker.choice import NO_LANE, Choice

if TYPE_CHECKING:
    from factstore import Database, Datom

_USUAL: Final = (0, NO_LANE)

# What of a transaction is of concern here: `absorb` needs the datoms of these attributes, and no others.
_OWN: Final = (":job/dep", ":job/type", ":job/rule", ":job/run-at", ":job/queue", ":job/priority", ":job/partition")
TAILED: Final = (":job/status", *_OWN, *queues.SETTINGS)

# The same facts as `look` reads one job at a time, of many jobs at once.
_LIVE = """[:find [?j ...] :where (or [?j :job/status :job.status/unstarted] [?j :job/status :job.status/started])]"""
_ABOUT = """[:find ?j ?type ?status :in $ [?j ...]
             :where [?j :job/status ?status] [?j :job/type ?type] [?j :job/id _]]"""
_PARENTS = """[:find ?j ?parent ?status :in $ [?j ...]
               :where [?j :job/dep ?parent] [(get-else $ ?parent :job/status :job.status/unstarted) ?status]]"""
_RULES = "[:find ?j ?rule :in $ [?j ...] :where [?j :job/rule ?rule]]"
_TIMES = "[:find ?j ?at :in $ [?j ...] :where [?j :job/run-at ?at]]"
# Only a pause that came with the time for which the job waits now: somebody may have set another since.
_PAUSES = """[:find ?j ?pause :in $ [?j ...]
              :where [?j :job/pause ?pause] [?j :job/run-at _ ?tx] [?j :job/status :job.status/unstarted ?tx]]"""
_PRIORITIES = "[:find ?j ?p :in $ [?j ...] :where [?j :job/priority ?p]]"
_LANES = """[:find ?j ?queue ?partition :in $ [?j ...]
             :where [?j :job/queue ?queue] [(get-else $ ?j :job/partition "") ?partition]]"""


class ReadySet:
    """Ready, waiting and doomed jobs of the types and queues that a worker handles.

    Args:
        types: the types that count; None is all of them.
        queues: the queues that count; None is all of them, and jobs without any.
        many: from so many jobs on, a few queries cost less than looking at each.
        elapsed: seconds that only go on, to measure pauses by; None: only the clock ends them.
    """

    def __init__(
        self,
        types: Iterable[Keyword] | None = None,
        *,
        queues: Iterable[Keyword] | None = None,
        many: int = 50,
        elapsed: Callable[[], float] | None = None,
    ) -> None:
        self._many = many
        self._types = None if types is None else frozenset(types)
        self._queues = None if queues is None else frozenset(queues)
        self._ready = Choice()
        self.limited = False  # whether any queue has settings, so that a pick must ask what it lets start
        self.settings_changed = (
            False  # whether settings of queues have come in; whoever has looked at them sets it back
        )
        self._unmet: dict[int, set[int]] = {}  # unstarted job → parents that have not ended
        self._ended: dict[int, set[Status]] = {}  # unstarted job → how its other parents ended
        self._waiting_for: dict[int, set[int]] = {}  # parent that has not ended → unstarted jobs
        self._rule: dict[int, Keyword] = {}
        self._not_before: dict[int, datetime] = {}
        self._rank: dict[int, tuple[int, Lane]] = {}  # priority and lane, where they are not the usual ones
        self._timed: dict[int, datetime] = {}  # jobs that are ready but for their time
        self._due: list[tuple[datetime, int]] = []  # heap of them; an entry counts only while `_timed` says the same
        self._elapsed = elapsed
        self._pause: dict[int, int] = {}  # milliseconds that a job shall wait after its last attempt
        self._pauses: list[
            tuple[float, datetime, int]
        ] = []  # heap: when, by elapsed time, the pause before that time has been waited for
        self.doomed: set[int] = set()
        self.live: set[int] = set()  # unstarted or started
        self._status_id = self._dep_id = -1
        self._own: frozenset[int] = frozenset()
        self._settings: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self._ready)

    def __contains__(self, job: object) -> bool:
        return job in self._ready

    def load(self, db: Database) -> None:
        """Read all live jobs of a database."""
        self.limited = self.settings_changed = bool(queues.queues(db))
        self._look_at_many(db, factstore.q(_LIVE, db))

    def absorb(self, db: Database, datoms: Iterable[Datom]) -> None:
        """Take in what changed up to a database.

        Args:
            datoms: everything asserted and retracted since the database that was known before; more does no harm.
        """
        status_id, dep_id, own, settings = self._ids(db)
        now: dict[int, Status | None] = {}
        anew: set[int] = set()
        edges: list[tuple[int, int]] = []  # new ones, of jobs of which the others are known
        for datom in datoms:
            if datom.a == status_id:
                if datom.added:
                    now[datom.e] = datom.v
                elif now.get(datom.e, datom.v) == datom.v:
                    now[datom.e] = None
                if not datom.added and datom.v not in LIVE:  # whoever counted on its end must look again
                    anew.update(lookup.children(db, datom.e))
            elif datom.a == dep_id and datom.added and datom.e in self._unmet:
                edges.append((datom.e, datom.v))
            elif datom.a in own:
                anew.add(datom.e)
            elif datom.a in settings:
                self.limited = self.settings_changed = True
        for job, status in now.items():
            if not self._moved_on(job, status):
                anew.add(job)
        if len(anew) < self._many:
            for job in anew:
                self.look(db, job)
        else:
            self._look_at_many(db, list(anew))
        for job, parent in edges:
            if job in self._unmet and job not in anew:
                self._depend(job, parent, lookup.status(db, parent))
                self._judge_anew(job)
        for job, status in now.items():
            if status in ENDED:
                self._end(job, status)

    def _moved_on(self, job: int, status: Status | None) -> bool:
        """Note that a job has started or ended, for which nothing needs to be read; False when something does."""
        if status is None or status == UNSTARTED or (status == STARTED and job not in self.live):
            return False
        self._forget(job)
        if status == STARTED:
            self.live.add(job)
        return True

    def look(self, db: Database, job: int) -> None:
        """Read one job anew."""
        self._forget(job)
        known = lookup.attributes(db, job)
        status = known.get(":job/status")
        queue = known.get(":job/queue")
        if status not in LIVE or not self.handles(known):
            return
        self.live.add(job)
        if status == STARTED:
            return
        self._unmet[job], self._ended[job] = set(), set()
        if ":job/rule" in known:
            self._rule[job] = known[":job/rule"]
        if ":job/run-at" in known:
            self._not_before[job] = known[":job/run-at"]
        if ":job/pause" in known:
            self._pause.update(factstore.q(_PAUSES, db, [job]))
        if queue is not None or ":job/priority" in known:
            self._rank[job] = known.get(":job/priority", 0), (queue, known.get(":job/partition"))
        for parent in known.get(":job/dep", ()):
            self._depend(job, parent, lookup.status(db, parent))
        self._judge(job)

    def _look_at_many(self, db: Database, jobs: Sequence[int]) -> None:
        for job in jobs:
            self._forget(job)
        lanes = {job: (queue, partition or None) for job, queue, partition in factstore.q(_LANES, db, jobs)}
        for job, type, status in factstore.q(_ABOUT, db, jobs):
            if status in LIVE and self._handles(type, lanes.get(job, NO_LANE)[0]):
                self.live.add(job)
                if status == UNSTARTED:
                    self._unmet[job], self._ended[job] = set(), set()
        unstarted = [job for job in jobs if job in self._unmet]
        self._rule.update(factstore.q(_RULES, db, unstarted))
        self._not_before.update(factstore.q(_TIMES, db, unstarted))
        self._pause.update(factstore.q(_PAUSES, db, unstarted))
        priorities = dict(factstore.q(_PRIORITIES, db, unstarted))
        self._rank.update(
            (job, (priorities.get(job, 0), lanes.get(job, NO_LANE)))
            for job in unstarted
            if job in priorities or job in lanes
        )
        for job, parent, status in factstore.q(_PARENTS, db, unstarted):
            self._depend(job, parent, status)
        for job in unstarted:
            self._judge(job)

    def pick(self, most: int, *, now: datetime, random: Random, allowed: Allowance | None = None) -> list[int]:
        """Take out up to `most` ready jobs: of higher priority first, each with the same chance.

        What is not claimed then has to be looked at again.

        Args:
            allowed: what the queues let start; None is everything.
        """
        while self._due and self._due[0][0] <= now:
            at, job = heapq.heappop(self._due)
            if self._timed.get(job) == at:
                del self._timed[job]
                self._ready.add(job, *self._rank.get(job, _USUAL))
        while self._elapsed is not None and self._pauses and self._pauses[0][0] <= self._elapsed():
            _, at, job = heapq.heappop(self._pauses)
            if self._timed.get(job) == at:
                del self._timed[job]
                self._ready.add(job, *self._rank.get(job, _USUAL))
        return self._ready.draw(most, random, allowed)

    def next_pause(self) -> float:
        """Return the seconds until the next pause has been waited for, by elapsed time."""
        while self._pauses and self._timed.get(self._pauses[0][2]) != self._pauses[0][1]:
            heapq.heappop(self._pauses)
        return self._pauses[0][0] - self._elapsed() if self._elapsed is not None and self._pauses else float("inf")

    def next_due(self) -> datetime | None:
        """Return when the next job that waits for its time becomes ready; None when none waits."""
        while self._due and self._timed.get(self._due[0][1]) != self._due[0][0]:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else None

    def take_doomed(self) -> list[int]:
        """Take out the jobs that can never run because of how their parents ended."""
        doomed, self.doomed = list(self.doomed), set()
        return doomed

    def _ids(self, db: Database) -> tuple[int, int, frozenset[int], frozenset[int]]:
        if self._status_id < 0:
            self._status_id, self._dep_id = (db.schema.attribute(n).id for n in (":job/status", ":job/dep"))
            self._own, self._settings = (
                frozenset(db.schema.attribute(n).id for n in names) for names in (_OWN, queues.SETTINGS)
            )
        return self._status_id, self._dep_id, self._own, self._settings

    def handles(self, about: Mapping[str, Any]) -> bool:
        """Tell whether a job, given by its attributes, is of the types and queues that count."""
        return ":job/id" in about and self._handles(about.get(":job/type"), about.get(":job/queue"))

    def _handles(self, type: Keyword | None, queue: Keyword | None) -> bool:
        return (self._types is None or type in self._types) and (self._queues is None or queue in self._queues)

    def _depend(self, job: int, parent: int, status: Status | None) -> None:
        """Note that a job depends on a parent; one that is no job (yet), or of a status that is none, counts as not ended."""
        if status not in ENDED:
            self._unmet[job].add(parent)
            self._waiting_for.setdefault(parent, set()).add(job)
        else:
            self._ended[job].add(status)

    def _end(self, parent: int, status: Status) -> None:
        """Tell those that wait for a parent how it ended."""
        for job in self._waiting_for.pop(parent, ()):
            self._unmet[job].discard(parent)
            self._ended[job].add(status)
            self._judge(job)

    def _judge(self, job: int) -> None:
        """Put an unstarted job where its rule says it belongs."""
        statuses = self._ended[job] | ({UNSTARTED} if self._unmet[job] else set())
        state = readiness(self._rule.get(job), statuses)
        if state == DOOMED:
            self.doomed.add(job)
        elif state == READY:
            not_before = self._not_before.get(job)
            if not_before is None:
                self._ready.add(job, *self._rank.get(job, _USUAL))
            else:
                self._timed[job] = not_before
                heapq.heappush(self._due, (not_before, job))
                if self._elapsed is not None and job in self._pause:
                    heapq.heappush(self._pauses, (self._elapsed() + self._pause[job] / 1000, not_before, job))

    def _judge_anew(self, job: int) -> None:
        self._ready.discard(job)
        self._timed.pop(job, None)
        self.doomed.discard(job)
        self._judge(job)

    def _forget(self, job: int) -> None:
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
        self.live.discard(job)
