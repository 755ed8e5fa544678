"""The slots of an executor: which jobs wait for one, which handlers run, and which attempts have no outcome yet."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import timedelta
from threading import Condition

from overseer.events import Elsewhere
from overseer.jobs.job import Job
from overseer.jobs.states import Lease
from overseer.worker.pools.perform import Performed


@dataclass(eq=False, slots=True)
class Slot:
    """A job whose handler was submitted to the pool, or runs."""

    job: Job
    timeout: timedelta | None = None
    future: Future[Performed] | None = None
    surround: Elsewhere | None = None
    began: bool = False
    over_since: float | None = None  # when the attempt ended, if the handler still runs; on the monotonic clock


class Slots:
    """Counts what a worker holds. A handler keeps its slot until it ends, even if its attempt has ended before.

    Methods that change something require the lock `changed`.

    Args:
        count: the number of handlers that may run at a time.
        ahead: the number of jobs that may wait for a slot.
        lease: seconds without any handler beginning or ending, after which no job may wait for a slot.
    """

    def __init__(self, count: int, *, ahead: int, lease: float) -> None:
        self.count = count
        self._ahead = ahead
        self._lease = lease
        self.changed = Condition()  # guards the attributes below
        self.open: dict[Lease, Job] = {}  # attempts without an outcome
        self.backlog: deque[Job] = deque()
        self.running: dict[Lease, Slot] = {}
        self.moved = time.monotonic()  # when a handler last began or ended
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
        usable = self.count - self._over
        if usable <= 0 or not self._ahead or self.stand_still():
            return self.free if usable > 0 else 0
        return max(0, usable - (len(self.running) - self._over) - len(self.backlog) + self._ahead)

    def stand_still(self) -> bool:
        """Return whether all slots are taken, and no handler has begun or ended for as long as a lease lasts."""
        return len(self.running) >= self.count and time.monotonic() - self.moved >= self._lease

    def hang(self, seconds: float) -> bool:
        """Return whether every slot has a handler that still runs `seconds` after its attempt ended."""
        if self._over < self.count:
            return False
        limit = time.monotonic() - seconds
        with self.changed:
            return all(slot.over_since is not None and slot.over_since <= limit for slot in self.running.values())

    def overdue(self) -> Sequence[Slot]:
        """Return the slots whose handlers still run although their attempts have ended."""
        if not self._over:
            return ()
        with self.changed:
            return [slot for slot in self.running.values() if slot.over_since is not None]

    def take(self) -> Slot | None:
        """Give a slot to the next job of the backlog; None if no slot is free or no job waits."""
        if not self.backlog or len(self.running) >= self.count:
            return None
        slot = Slot(self.backlog.popleft())
        self.running[slot.job.lease] = slot
        self.moved = time.monotonic()
        return slot

    def give_back(self, slot: Slot) -> None:
        """Free a slot whose handler has ended, or did not begin."""
        if self.running.pop(slot.job.lease, None) is not None and slot.over_since is not None:
            self._over -= 1
        self.moved = time.monotonic()
        self.changed.notify_all()

    def end_attempt(self, slot: Slot) -> None:
        """Note that the attempt of a slot has ended although its handler may still run."""
        if slot.over_since is None and slot.job.lease in self.running:
            slot.over_since = time.monotonic()
            self._over += 1
            self.changed.notify_all()
