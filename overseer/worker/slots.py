"""The slots of an executor: which jobs wait for one, which handlers run, and which attempts have no outcome yet."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from threading import Condition

from factstore import Keyword
from overseer.events import Elsewhere
from overseer.jobs.job import Job
from overseer.jobs.states import Lease
from overseer.worker.pacing.ahead import PATIENCE, SOON, Ahead
from overseer.worker.pools.perform import Performed


@dataclass(eq=False, slots=True)
class Slot:
    """A job whose handler was submitted to the pool, or runs."""

    job: Job
    timeout: timedelta | None = None
    future: Future[Performed] | None = None
    surround: Elsewhere | None = None
    since: float = 0.0  # when the job got the slot, on the monotonic clock
    began: bool = False
    over_since: float | None = None  # when the attempt ended, if the handler still runs; on the monotonic clock


class Slots:
    """Counts what a worker holds. A handler keeps its slot until it ends, even if its attempt has ended before.

    Methods that change something require the lock `changed`.

    Args:
        count: the number of handlers that may run at a time.
        ahead: decides how many jobs may wait for a slot.
        clock: the monotonic clock.
    """

    def __init__(self, count: int, *, ahead: Ahead, clock: Callable[[], float] = time.monotonic) -> None:
        self.count = count
        self.ahead = ahead
        self._clock = clock
        self.changed = Condition()  # guards the attributes below
        self.open: dict[Lease, Job] = {}  # attempts without an outcome
        self.backlog: deque[Job] = deque()
        self.running: dict[Lease, Slot] = {}
        self.moved = clock()  # when a handler last began or ended
        self.busy = 0.0  # seconds that handlers have run in all
        self._over = 0  # the number of running handlers whose attempt has ended

    @property
    def occupied(self) -> int:
        """The number of jobs that wait for a slot or have one."""
        return len(self.backlog) + len(self.running)

    @property
    def free(self) -> int:
        """The number of jobs that could begin at once."""
        return max(0, self.count - len(self.running) - len(self.backlog))

    @property
    def room(self) -> int:
        """The number of jobs that may be claimed now: those that can begin, and some that will wait for a slot."""
        usable, ahead = self.count - self._over, self.ahead.count
        if usable <= 0 or not ahead or self.stand_still():
            return self.free if usable > 0 else 0
        return max(0, usable - (len(self.running) - self._over) - len(self.backlog) + ahead)

    def fits(self, types: Sequence[Keyword], *, within: float = inf) -> int:
        """Return how many jobs of these types, in their order, may be claimed.

        Args:
            within: seconds within which all of them are expected to begin.
        """
        waiting, ages = self._held()
        queue = [*(job.type for job in waiting), *types]
        count = self.ahead.may_wait(SOON, queue, ages)
        if within < inf:
            count = min(count, self.ahead.begin_within(within, queue, ages))
        return max(0, count - len(waiting))

    def most(self, limit: int, *, within: float) -> int:
        """Return how many jobs, up to a limit, would be expected to begin within a time if all were short ones."""
        shortest = self.ahead.shortest
        return min(limit, self.free) if shortest is None else self.fits([shortest] * limit, within=within)

    def late(self) -> list[Job]:
        """Return the jobs that wait for a slot and are not expected to begin soon, because others took too long."""
        waiting, ages = self._held()
        count = self.ahead.may_wait(PATIENCE, [job.type for job in waiting], ages)
        return [job for n, job in enumerate(waiting) if n >= count or self.is_late(job)]

    def limit_wait(self, job: Job, seconds: float) -> None:
        """Let a job begin only within a time from now."""
        job.begin_by = self._clock() + seconds

    def is_late(self, job: Job) -> bool:
        """Tell whether it is too late to begin a job."""
        return self._clock() > job.begin_by

    def _held(self) -> tuple[list[Job], list[tuple[Keyword, float]]]:
        """Return the jobs that wait for a slot, and for each taken slot the type of its job and its age."""
        with self.changed:
            now = self._clock()
            ages = [(slot.job.type, inf if slot.over_since else now - slot.since) for slot in self.running.values()]
            return list(self.backlog), ages

    def stand_still(self) -> bool:
        """Return whether all slots are taken, and no handler has begun or ended for too long."""
        return len(self.running) >= self.count and self._clock() - self.moved >= self.ahead.patience

    def hang(self, seconds: float) -> bool:
        """Return whether every slot has a handler that still runs `seconds` after its attempt ended."""
        if self._over < self.count:
            return False
        limit = self._clock() - seconds
        with self.changed:
            return all(slot.over_since is not None and slot.over_since <= limit for slot in self.running.values())

    def overdue(self) -> Sequence[Slot]:
        """Return the slots whose handlers still run although their attempts have ended."""
        if not self._over:
            return ()
        with self.changed:
            return [slot for slot in self.running.values() if slot.over_since is not None]

    def wait_for_room(self, timeout: float) -> None:
        """Wait up to `timeout` seconds until a job may be claimed."""
        with self.changed:
            self.changed.wait_for(lambda: self.room > 0, timeout)

    def take(self) -> Slot | None:
        """Give a slot to the next job of the backlog; None if no slot is free or no job waits."""
        if not self.backlog or len(self.running) >= self.count:
            return None
        self.moved = self._clock()
        slot = Slot(self.backlog.popleft(), since=self.moved)
        self.running[slot.job.lease] = slot
        return slot

    def give_back(self, slot: Slot) -> None:
        """Free a slot whose handler has ended, or did not begin."""
        self.moved = self._clock()
        if self.running.pop(slot.job.lease, None) is not None:
            self._over -= slot.over_since is not None
            self.busy += self.moved - slot.since
            if slot.began:
                self.ahead.ended(slot.job.type, self.moved - slot.since)
        self.changed.notify_all()

    def end_attempt(self, slot: Slot) -> None:
        """Note that the attempt of a slot has ended although its handler may still run."""
        if slot.over_since is None and slot.job.lease in self.running:
            slot.over_since = self._clock()
            self._over += 1
            self.changed.notify_all()
