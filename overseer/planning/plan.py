"""A plan: which jobs of a database would run when, and which of them determine the end.

    plan(db)                                 the current state
    plan(with_(db, tx_data).db_after)        a hypothetical state

A plan assumes that every attempt succeeds and takes as long as jobs of its type usually take. Of the settings of
queues, it uses only whether they are paused. It is computed without a claim or a write.
Law: no job of a plan starts before the jobs that it waits for have ended, and never more jobs run at a time than there
are workers.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from factstore import Keyword
from overseer.errors import OverseerError
from overseer.planning import timing
from overseer.planning.simulation import Schedule, simulate
from overseer.sources import of_database
from overseer.times import aware

if TYPE_CHECKING:
    from factstore import Database
    from overseer.planning.columns import LiveJobs

_NO_TYPE: Final = Keyword(":overseer/none")
_UNIT: Final = timedelta.resolution
_DRAWN: Final = 60  # jobs in the picture of a plan


class PlannedJob(NamedTuple):
    """One job of a plan."""

    id: str
    type: Keyword
    start: datetime
    end: datetime
    after: str | None  # the job whose end it waited for last; None if it waited for no job


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

    def _repr_svg_(self) -> str:
        """Return the picture of the plan for notebooks: its first jobs, those that determine the end in blue."""
        from overseer.drawing.attempts import Bar, bars_picture

        critical = {step.id for step in self.critical}
        bars = [
            Bar(
                f"{step.type} {step.id}".removeprefix(":"),
                step.start,
                step.end,
                "started" if step.id in critical else "finished",
                f"{step.type} {step.id}" + (f" after {step.after}" if step.after else ""),
            )
            for step in self.steps[:_DRAWN]
        ]
        more = f", the first {_DRAWN} of {len(self.steps):,} jobs" if len(self.steps) > _DRAWN else ""
        return bars_picture(bars, now=self.ends, name="plan", title=f"Plan{more}")


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
    aware(now, "now")
    if not workers >= 1:  # nor NaN
        raise OverseerError(":job.error/bad-plan", f"a plan is for at least one worker, got {workers}", workers=workers)
    from overseer.planning.columns import LiveJobs  # it loads numpy, which programs that plan nothing do not need
    from overseer.planning.work import work_of

    taken = timing.typical_seconds(db) if seconds is None else seconds
    jobs = LiveJobs(db)
    types = jobs.column(":job/type", _NO_TYPE)
    lasts = {type: timedelta(seconds=taken.get(type, unless_known)) // _UNIT for type in set(types)}
    work = work_of(db, jobs, [lasts[type] for type in types], now)
    steps = simulate(work, workers)
    free = simulate(work, len(jobs) + 1)
    return Plan(
        steps=_planned(jobs, types, steps, now),
        critical=_chain(jobs, types, free, now),
        never=tuple(sorted(id for id, start in zip(jobs.ids, steps.starts, strict=True) if start is None)),
        ends=now + steps.last_end * _UNIT,
        soonest=now + free.last_end * _UNIT,
    )


def _planned(jobs: LiveJobs, types: list[Keyword], schedule: Schedule, now: datetime) -> tuple[PlannedJob, ...]:
    """Return the jobs that start, in order of start, end and id."""
    started = [
        (start, end, id, type, after)
        for start, end, id, type, after in zip(
            schedule.starts, schedule.ends, jobs.ids, types, schedule.after, strict=True
        )
        if start is not None
    ]
    started.sort()
    ids = jobs.ids
    return tuple(
        PlannedJob(id, type, now + start * _UNIT, now + end * _UNIT, None if after is None else ids[after])
        for start, end, id, type, after in started
    )


def _chain(jobs: LiveJobs, types: list[Keyword], free: Schedule, now: datetime) -> tuple[PlannedJob, ...]:
    """Return the chain of jobs that leads to the last end, first to last."""
    last = free.last_end
    ending = [
        (start, jobs.ids[job], job)
        for job, (start, end) in enumerate(zip(free.starts, free.ends, strict=True))
        if start is not None and end == last
    ]
    job: int | None = min(ending)[2] if ending else None
    chain: list[PlannedJob] = []
    while job is not None:
        start, end, after = free.starts[job], free.ends[job], free.after[job]
        assert start is not None
        id = None if after is None else jobs.ids[after]
        chain.append(PlannedJob(jobs.ids[job], types[job], now + start * _UNIT, now + end * _UNIT, id))
        job = after
    return tuple(reversed(chain))
