"""What would run next, in which order, and what holds up the end: a plan of the jobs in a database value, real or imagined.

    plan(db)                                 as things stand
    plan(with_(db, tx_data).db_after)        what if

A plan assumes that every attempt succeeds and takes as long as its type usually does, and knows of queues only whether they are paused.
Pure: nothing is claimed, nothing is written.
Law: no job of a plan starts before those it waits for have ended, and at no time do more run than there are workers.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import factstore
from factstore import Keyword
from overseer.errors import OverseerError
from overseer.jobs import lookup
from overseer.jobs.queues import queues
from overseer.jobs.states import ANY, DOOMED, LIVE, READY, STARTED, UNSTARTED, Status, verdict
from overseer.planning import timing
from overseer.sources import of_database

if TYPE_CHECKING:
    from factstore import Database

_NO_TYPE: Final = Keyword(":overseer/none")
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


class Step(NamedTuple):
    """One job of a plan."""

    id: str
    type: Keyword
    start: datetime
    end: datetime
    after: str | None  # the job whose end it waited for last, if it had to


class Plan(NamedTuple):
    """What would run when."""

    steps: tuple[Step, ...]  # in order of start
    critical: tuple[Step, ...]  # the chain that sets the end, however many workers there are
    never: tuple[
        str, ...
    ]  # live jobs that would not run: their queue is paused, or what they wait for ends badly, or never
    ends: datetime  # with so many workers
    soonest: datetime  # with any number of workers

    @property
    def next(self) -> tuple[Step, ...]:
        """What would run first."""
        return tuple(step for step in self.steps if step.start == self.steps[0].start)


@of_database
def plan(
    db: Database,
    *,
    now: datetime,
    workers: int = 1,
    seconds: Mapping[Keyword, float] | None = None,
    unless_known: float = 1.0,
) -> Plan:
    """Return what would run when.

    Args:
        workers: how many jobs run at a time.
        seconds: how long jobs of a type take; None takes what they took so far.
        unless_known: for types that nothing is known of.
    Raises: OverseerError(:job.error/bad-plan) without workers.
    """
    if workers < 1:
        raise OverseerError(":job.error/bad-plan", f"a plan is for at least one worker, got {workers}", workers=workers)
    taken = timing.typical_seconds(db) if seconds is None else seconds
    tasks = _tasks(db, taken, unless_known)
    steps = _simulate(tasks, now, workers)
    free = _simulate(tasks, now, len(tasks) + 1)
    planned = {step.id for step in steps}
    return Plan(
        steps=tuple(steps),
        critical=_chain(free),
        never=tuple(sorted(task.id for task in tasks.values() if task.id not in planned)),
        ends=max((step.end for step in steps), default=now),
        soonest=max((step.end for step in free), default=now),
    )


@dataclass(frozen=True, slots=True)
class _Task:
    job: int
    id: str
    type: Keyword
    priority: int
    takes: timedelta
    not_before: datetime | None
    began: datetime | None  # an attempt is under way since
    waits_for: frozenset[int]  # live parents
    needs: int  # how many of them have to end; -1: it never runs

    @property
    def rank(self) -> tuple[int, int]:
        """The order among jobs that could start."""
        return (-self.priority, self.job)


def _tasks(db: Database, seconds: Mapping[Keyword, float], unless_known: float) -> dict[int, _Task]:
    """Read all live jobs at once, and the statuses of the ended jobs that they depend on."""
    live = [datom.e for status in (UNSTARTED, STARTED) for datom in db.datoms("avet", ":job/status", status)]
    jobs = {job: about for job, about in zip(live, lookup.attributes_of(db, live), strict=True) if ":job/id" in about}
    others = list({parent for about in jobs.values() for parent in about.get(":job/dep", ())} - jobs.keys())
    statuses: dict[int, Status | None] = {job: about[":job/status"] for job, about in jobs.items()}
    found = factstore.pull_many(db, "[:job/status]", others)
    statuses.update((other, (known or {}).get(":job/status")) for other, known in zip(others, found, strict=True))
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
) -> _Task:
    parents = [statuses[parent] for parent in about.get(":job/dep", ())]
    waits_for = frozenset(parent for parent in about.get(":job/dep", ()) if (statuses[parent] or UNSTARTED) in LIVE)
    is_started, rule = about[":job/status"] == STARTED, about.get(":job/rule")
    judged = READY if is_started else verdict(rule, [status or UNSTARTED for status in parents])
    if (":job/type" not in about or about.get(":job/queue") in paused) and not is_started:
        judged = DOOMED
    needs = 0 if judged == READY else -1 if judged == DOOMED else 1 if rule == ANY else len(waits_for) or -1
    return _Task(
        job=job,
        id=about[":job/id"],
        type=about.get(":job/type", _NO_TYPE),
        priority=about.get(":job/priority", 0),
        takes=timedelta(seconds=takes),
        not_before=about.get(":job/run-at"),
        began=timing.started_at(db, job) if is_started else None,
        waits_for=waits_for,
        needs=needs,
    )


def _simulate(tasks: Mapping[int, _Task], now: datetime, workers: int) -> list[Step]:
    """Let jobs start as soon as a worker is free, the most important first, and return what that came to, in order of start."""
    clock, steps = now, list[Step]()
    needs = {job: task.needs for job, task in tasks.items()}
    after: dict[int, str | None] = dict.fromkeys(tasks)
    children = _children(tasks.values())
    ready: list[tuple[tuple[int, int], int]] = []
    timed: list[tuple[datetime, int]] = []
    running: list[tuple[datetime, int]] = []

    def make_ready(job: int) -> None:
        heapq.heappush(timed, (tasks[job].not_before or now, job))

    def start(job: int, began: datetime) -> None:
        task = tasks[job]
        # One that takes longer than usual could end any moment; one that is due at the end of time ends there.
        end = max(began + min(task.takes, _END_OF_TIME - began), now)
        steps.append(Step(task.id, task.type, began, end, after[job]))
        heapq.heappush(running, (end, job))

    for job, task in tasks.items():
        if task.began is not None:
            start(job, task.began)
        elif task.needs == 0:
            make_ready(job)
    while running or ready or timed:
        while timed and timed[0][0] <= clock:
            job = heapq.heappop(timed)[1]
            heapq.heappush(ready, (tasks[job].rank, job))
        while ready and len(running) < workers:
            start(heapq.heappop(ready)[1], clock)
        if running and not (timed and len(running) < workers and timed[0][0] < running[0][0]):
            clock, ended = heapq.heappop(running)
            for child in children.get(ended, ()):
                needs[child] -= 1
                if needs[child] == 0:
                    after[child] = tasks[ended].id
                    make_ready(child)
        elif timed:
            clock = max(clock, timed[0][0])
    return sorted(steps, key=lambda step: (step.start, step.end, step.id))


def _children(tasks: Iterable[_Task]) -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for task in tasks:
        for parent in task.waits_for if task.needs > 0 else ():
            children.setdefault(parent, []).append(task.job)
    return children


def _chain(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Return the steps that lead to the last end, first to last."""
    by_id = {step.id: step for step in steps}
    step = max(by_id.values(), key=lambda step: step.end, default=None)
    chain: list[Step] = []
    while step is not None:
        chain.append(step)
        step = by_id.get(step.after) if step.after is not None else None
    return tuple(reversed(chain))
