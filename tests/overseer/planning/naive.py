"""Plans and backlogs job by job: slow, and plainly right. The law of the fast ones is that they give the same answers."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import factstore
from factstore import Database, Keyword
from overseer.jobs import lookup
from overseer.jobs.dependency_rules import DOOMED, READY, readiness, rule_named
from overseer.jobs.queues import queues
from overseer.jobs.states import ENDED, STARTED, UNSTARTED, Status
from overseer.planning import timing
from overseer.planning.plan import Plan, PlannedJob
from overseer.status import Backlog, jobs_dead, jobs_ready

NEVER: Final = -1  # the needs of a job that never starts
_NO_TYPE: Final = Keyword(":overseer/none")
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


def plan(db: Database, *, now: datetime, workers: int, seconds: Mapping[Keyword, float], unless_known: float) -> Plan:
    """Return when the live jobs of a database would run."""
    tasks = _tasks(db, seconds, unless_known)
    steps = simulate(tasks, now, workers)
    free = simulate(tasks, now, len(tasks) + 1)
    planned = {step.id for step in steps}
    return Plan(
        steps=tuple(steps),
        critical=_chain(free),
        never=tuple(sorted(task.id for task in tasks.values() if task.id not in planned)),
        ends=max((step.end for step in steps), default=now),
        soonest=max((step.end for step in free), default=now),
    )


@dataclass(frozen=True, slots=True)
class Task:
    """A live job, as the simulation uses it."""

    job: int
    id: str
    type: Keyword
    priority: int
    takes: timedelta
    not_before: datetime | None
    began: datetime | None  # the start of the attempt that runs now
    waits_for: frozenset[int]  # parents that have not ended
    needs: int  # how many of them have to end, or NEVER

    @property
    def rank(self) -> tuple[int, int]:
        """The order among jobs that could start."""
        return (-self.priority, self.job)


def simulate(tasks: Mapping[int, Task], now: datetime, workers: int) -> list[PlannedJob]:
    """Return when jobs run, in order of start, if each starts as soon as a worker is free, by priority."""
    return _Simulation(tasks, now, workers).run()


class _Simulation:
    """The state of a simulation: its clock, and the jobs that run, are ready, or wait for their time."""

    def __init__(self, tasks: Mapping[int, Task], now: datetime, workers: int) -> None:
        self._tasks = tasks
        self._now = self._clock = now
        self._workers = workers
        self._needs = {job: task.needs for job, task in tasks.items()}
        self._after: dict[int, str | None] = dict.fromkeys(tasks)
        self._children = _children(tasks.values())
        self._planned: list[PlannedJob] = []
        # Heaps: by rank, by the earliest time of start, by the time of the end.
        self._ready: list[tuple[tuple[int, int], int]] = []
        self._timed: list[tuple[datetime, int]] = []
        self._running: list[tuple[datetime, int]] = []

    def run(self) -> list[PlannedJob]:
        for job, task in self._tasks.items():
            if task.began is not None:
                self._start(job, task.began)
            elif task.needs == 0:
                self._free(job)
        while self._running or self._ready or self._timed:
            while self._timed and self._timed[0][0] <= self._clock:
                job = heapq.heappop(self._timed)[1]
                heapq.heappush(self._ready, (self._tasks[job].rank, job))
            while self._ready and len(self._running) < self._workers:
                self._start(heapq.heappop(self._ready)[1], self._clock)
            if self._running and not self._starts_before_the_next_end():
                self._end_next()
            elif self._timed:
                self._clock = max(self._clock, self._timed[0][0])
        return sorted(self._planned, key=lambda planned: (planned.start, planned.end, planned.id))

    def _starts_before_the_next_end(self) -> bool:
        has_worker = len(self._running) < self._workers
        return has_worker and bool(self._timed) and self._timed[0][0] < self._running[0][0]

    def _free(self, job: int) -> None:
        """Let a job start that waits for no other."""
        heapq.heappush(self._timed, (self._tasks[job].not_before or self._now, job))

    def _start(self, job: int, began: datetime) -> None:
        task = self._tasks[job]
        # An attempt that takes longer than usual may end at any moment; no attempt ends after the last datetime.
        end = max(began + min(task.takes, _END_OF_TIME - began), self._now)
        self._planned.append(PlannedJob(task.id, task.type, began, end, self._after[job]))
        heapq.heappush(self._running, (end, job))

    def _end_next(self) -> None:
        self._clock, ended = heapq.heappop(self._running)
        for child in self._children.get(ended, ()):
            self._needs[child] -= 1
            if self._needs[child] == 0:
                self._after[child] = self._tasks[ended].id
                self._free(child)


def _children(tasks: Iterable[Task]) -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for task in tasks:
        for parent in task.waits_for if task.needs > 0 else ():
            children.setdefault(parent, []).append(task.job)
    return children


def _tasks(db: Database, seconds: Mapping[Keyword, float], unless_known: float) -> dict[int, Task]:
    """Read all live jobs at once, and the statuses of the ended jobs that they depend on."""
    live = [datom.e for status in (UNSTARTED, STARTED) for datom in db.datoms("avet", ":job/status", status)]
    jobs = {job: about for job, about in zip(live, lookup.attributes_of(db, live), strict=True) if ":job/id" in about}
    others = list({parent for about in jobs.values() for parent in about.get(":job/dep", ())} - jobs.keys())
    statuses: dict[int, Status | None] = {job: about[":job/status"] for job, about in jobs.items()}
    pulled = factstore.pull_many(db, "[:job/status]", others)
    statuses.update((other, (about or {}).get(":job/status")) for other, about in zip(others, pulled, strict=True))
    paused = {name for name, queue in queues(db).items() if queue.paused}
    return {
        job: _task(db, job, about, statuses, paused, seconds.get(about.get(":job/type", _NO_TYPE), unless_known))
        for job, about in jobs.items()
    }


def _task(
    db: Database,
    job: int,
    about: Mapping[str, Any],
    statuses: Mapping[int, Status | None],
    paused: Collection[Keyword],
    takes: float,
) -> Task:
    parents = {parent: statuses[parent] or UNSTARTED for parent in about.get(":job/dep", ())}
    waits_for = frozenset(parent for parent, status in parents.items() if status not in ENDED)
    is_started = about[":job/status"] == STARTED
    is_claimable = ":job/type" in about and about.get(":job/queue") not in paused
    return Task(
        job=job,
        id=about[":job/id"],
        type=about.get(":job/type", _NO_TYPE),
        priority=about.get(":job/priority", 0),
        takes=timedelta(seconds=takes),
        not_before=about.get(":job/run-at"),
        began=timing.started_at(db, job) if is_started else None,
        waits_for=waits_for,
        needs=0 if is_started else _needs(about, parents, len(waits_for)) if is_claimable else NEVER,
    )


def _needs(about: Mapping[str, Any], parents: Mapping[int, Status], waits_for: int) -> int:
    """Return how many parents an unstarted job still needs to end."""
    state, rule = readiness(about.get(":job/rule"), parents.values()), rule_named(about.get(":job/rule"))
    if state == READY:
        return 0
    return NEVER if state == DOOMED or rule is None else rule.required(waits_for)


def _chain(steps: Iterable[PlannedJob]) -> tuple[PlannedJob, ...]:
    """Return the chain of jobs that leads to the last end, first to last."""
    by_id = {step.id: step for step in steps}
    step = max(by_id.values(), key=lambda step: step.end, default=None)
    chain: list[PlannedJob] = []
    while step is not None:
        chain.append(step)
        step = by_id.get(step.after) if step.after is not None else None
    return tuple(reversed(chain))


def backlog(db: Database, *, at: datetime) -> dict[Keyword | None, Backlog]:
    """Return the backlog of each queue, without the oldest job."""
    ready, silent = jobs_ready(db, at=at), jobs_dead(db, at=at)
    some_day = jobs_ready(db, at=datetime.max.replace(tzinfo=UTC))
    backlogs: dict[Keyword | None, Backlog] = {name: Backlog(paused=queue.paused) for name, queue in queues(db).items()}
    for status in (UNSTARTED, STARTED):
        for job in [datom.e for datom in db.datoms("avet", ":job/status", status)]:
            id, queue = lookup.value(db, job, ":job/id"), lookup.value(db, job, ":job/queue")
            if id is None:
                continue
            of = backlogs.get(queue, Backlog())
            if status == STARTED:
                of = of._replace(running=of.running + 1, silent=of.silent + (id in silent))
            elif id in ready:
                since = timing.ready_since(db, job)
                of = of._replace(ready=of.ready + 1, since=since if of.since is None else min(of.since, since))
            elif id in some_day:
                of = of._replace(later=of.later + 1)
            else:
                of = of._replace(blocked=of.blocked + 1)
            backlogs[queue] = of
    return backlogs
