"""A simulation of workers that run jobs: a discrete-event simulation, in which every attempt succeeds.

Jobs are places in the columns of `Work`, in order of entity id, and times are microseconds from the beginning: so an
event is one number, `time * jobs + job`, and a heap of numbers is several times as fast as one of objects.
Law: no job starts before the jobs that it waits for have ended, and never more jobs run at a time than there are
workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

NEVER: Final = -1  # the needs of a job that never starts


class Work(NamedTuple):
    """The live jobs, as the simulation uses them: one value for each job in each column."""

    takes: Sequence[int]  # microseconds
    ranks: Sequence[int]  # the order among jobs that could start
    not_before: Sequence[int]  # the earliest time of start, at least 0
    began: Sequence[int | None]  # the start of the attempt that runs now
    needs: Sequence[int]  # how many of the parents that have not ended have to end, or NEVER
    children: Sequence[Sequence[int]]  # the jobs that wait for each job
    end_of_time: int  # no attempt ends later


class Schedule(NamedTuple):
    """When jobs run: one value for each job in each column."""

    starts: list[int | None]  # None if the job never starts
    ends: list[int]  # 0 if the job never starts
    after: list[int | None]  # the job whose end it waited for last

    @property
    def last_end(self) -> int:
        """The end of the last job; 0 if no job starts."""
        return max(self.ends, default=0)


def simulate(work: Work, workers: int) -> Schedule:
    """Return when jobs run if each starts as soon as a worker is free, by rank."""
    count, takes, ranks, needs = len(work.takes), work.takes, work.ranks, list(work.needs)
    starts, ends, after = schedule = Schedule([None] * count, [0] * count, [None] * count)
    job_of = [0] * count
    for job, rank in enumerate(ranks):
        job_of[rank] = job
    timed, running = _beginning(work, schedule)
    ready: list[int] = []  # heap of ranks
    clock = 0
    while running or ready or timed:
        while timed and timed[0] < (clock + 1) * count:
            heappush(ready, ranks[heappop(timed) % count])
        while ready and len(running) < workers:
            job = job_of[heappop(ready)]
            starts[job], end = clock, clock + takes[job]
            if not 0 <= end <= work.end_of_time:
                end = max(min(end, work.end_of_time), 0)
            ends[job] = end
            heappush(running, end * count + job)
        if running and not (len(running) < workers and timed and timed[0] // count < running[0] // count):
            clock, ended = divmod(heappop(running), count)
            for child in work.children[ended]:
                needs[child] -= 1
                if needs[child] == 0:
                    after[child] = ended
                    heappush(timed, work.not_before[child] * count + child)
        elif timed:
            clock = max(clock, timed[0] // count)
    return schedule


def _beginning(work: Work, schedule: Schedule) -> tuple[list[int], list[int]]:
    """Return two heaps: the jobs that wait only for their time, and the ends of the jobs that run."""
    count = len(work.takes)
    timed: list[int] = []
    running: list[int] = []
    for job, began in enumerate(work.began):
        if began is not None:
            # An attempt that takes longer than usual may end at any moment.
            end = max(min(began + work.takes[job], work.end_of_time), 0)
            schedule.starts[job], schedule.ends[job] = began, end
            running.append(end * count + job)
        elif work.needs[job] == 0:
            timed.append(work.not_before[job] * count + job)
    heapify(timed)
    heapify(running)
    return timed, running
