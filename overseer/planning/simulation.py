"""A simulation of workers that run jobs: a discrete-event simulation, in which every attempt succeeds.

Law: no job starts before the jobs that it waits for have ended, and never more jobs run at a time than there are
workers.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from factstore import Keyword

NEVER: Final = -1  # the needs of a job that never starts
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


class PlannedJob(NamedTuple):
    """One job of a plan."""

    id: str
    type: Keyword
    start: datetime
    end: datetime
    after: str | None  # the job whose end it waited for last; None if it waited for no job


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
