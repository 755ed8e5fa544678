"""A plan: which jobs of a database would run when, and which of them determine the end.

    plan(db)                                 the current state
    plan(with_(db, tx_data).db_after)        a hypothetical state

A plan assumes that every attempt succeeds and takes as long as jobs of its type usually take. Of the settings of
queues, it uses only whether they are paused. It is computed without a claim or a write.
Law: no job of a plan starts before the jobs that it waits for have ended, and never more jobs run at a time than there
are workers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import factstore
from factstore import Keyword
from overseer.errors import OverseerError
from overseer.jobs import lookup
from overseer.jobs.dependency_rules import DOOMED, READY, readiness, rule_named
from overseer.jobs.queues import queues
from overseer.jobs.states import ENDED, STARTED, UNSTARTED, Status
from overseer.planning import timing
from overseer.planning.simulation import NEVER, PlannedJob, Task, simulate
from overseer.sources import of_database

if TYPE_CHECKING:
    from factstore import Database

_NO_TYPE: Final = Keyword(":overseer/none")


class Plan(NamedTuple):
    """When the live jobs of a database would run."""

    steps: tuple[PlannedJob, ...]  # in order of start
    critical: tuple[PlannedJob, ...]  # the chain of jobs that determines the end with any number of workers
    # live jobs that would not run: their queue is paused, or a job that they wait for ends badly or never ends
    never: tuple[str, ...]
    ends: datetime  # the end with the given number of workers
    soonest: datetime  # the end with any number of workers

    @property
    def next(self) -> tuple[PlannedJob, ...]:
        """The jobs that would start first."""
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
    """Return when the live jobs of a database would run.

    Args:
        workers: how many jobs run at a time.
        seconds: how long jobs of a type take; None uses the past jobs of the type.
        unless_known: how long jobs of other types take.
    Raises: OverseerError(:job.error/bad-plan) without workers.
    """
    if workers < 1:
        raise OverseerError(":job.error/bad-plan", f"a plan is for at least one worker, got {workers}", workers=workers)
    taken = timing.typical_seconds(db) if seconds is None else seconds
    tasks = _tasks(db, taken, unless_known)
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
