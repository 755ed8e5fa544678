"""The heartbeat: a thread that renews the leases of all attempts under way, whatever their handlers are doing.

It also ends the attempts that exceed their timeout, because a handler that hangs cannot do so itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from threading import Condition, Thread

from overseer.jobs.states import Lease
from overseer.jobs.store import JobStore

log = logging.getLogger("overseer")


class HeldLeases:
    """The leases of the attempts under way, and when each attempt times out. Any thread may use it."""

    def __init__(self) -> None:
        self._changed = Condition()  # guards the attributes below
        self._by_job: dict[int, Lease] = {}
        self._deadlines: dict[Lease, float] = {}  # on the monotonic clock
        self._closed = False
        self.are_watched = False  # whether a heartbeat renews the leases and ends the attempts that time out

    def add(self, *leases: Lease) -> None:
        """Hold these leases from now on."""
        with self._changed:
            self._by_job.update((lease.job, lease) for lease in leases)

    def remove(self, *leases: Lease) -> None:
        """Hold these leases no longer."""
        with self._changed:
            for lease in leases:
                self._deadlines.pop(lease, None)
                if self._by_job.get(lease.job) == lease:
                    del self._by_job[lease.job]

    def limit(self, lease: Lease, timeout: timedelta) -> None:
        """Let an attempt time out if its lease is still held after `timeout`."""
        with self._changed:
            self._deadlines[lease] = time.monotonic() + timeout.total_seconds()
            self._changed.notify_all()

    def has_job(self, job: int) -> bool:
        """Return whether the lease of a job is held."""
        return job in self._by_job

    def is_held(self, lease: Lease) -> bool:
        """Return whether the lease is held, as of the last heartbeat."""
        return self._by_job.get(lease.job) == lease

    @property
    def all(self) -> list[Lease]:
        """The held leases."""
        with self._changed:
            return list(self._by_job.values())

    def take_overdue(self) -> list[Lease]:
        """Return the leases whose attempts have timed out since the last call."""
        now = time.monotonic()
        with self._changed:
            overdue = [lease for lease, deadline in self._deadlines.items() if deadline <= now]
            for lease in overdue:
                del self._deadlines[lease]
        return overdue

    def wait(self, until: float) -> bool:
        """Wait until a time on the monotonic clock, or until an attempt times out; False once `close` was called."""
        with self._changed:
            while not self._closed:
                left = min((until, *self._deadlines.values())) - time.monotonic()
                if left <= 0:
                    return True
                self._changed.wait(left)
            return False

    def close(self) -> None:
        """End `wait`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Heartbeat:
    """Renews the held leases until it is stopped.

    Args:
        every: seconds between two heartbeats.
        lease: how long a heartbeat extends a lease.
        time_out: is called with the lease of each attempt that times out.
        look: is called regularly, and returns the seconds until the next call.
    """

    def __init__(
        self,
        store: JobStore,
        leases: HeldLeases,
        *,
        every: float,
        lease: timedelta,
        time_out: Callable[[Lease], None],
        look: Callable[[], float],
    ) -> None:
        self._store = store
        self._leases = leases
        self._every = every
        self._lease = lease
        self._time_out = time_out
        self._look = look
        self._thread = Thread(target=self._run, name="overseer-heartbeat", daemon=True)
        self.error: BaseException | None = None  # the exception that ended the thread

    def start(self) -> None:
        """Start the thread."""
        self._leases.are_watched = True
        self._thread.start()

    def stop(self) -> None:
        """End the thread. Leases that are still held expire."""
        self._leases.close()
        self._thread.join()

    def beat(self) -> None:
        """Renew all leases once, and remove those that are lost."""
        held = self._leases.all
        if not held:
            return
        for lease in self._store.beat(held, lease=self._lease):
            # The lease of an attempt that was settled during this heartbeat is not held any more: it was not lost.
            if self._leases.is_held(lease):
                log.warning("attempt %d of %s %s lost its lease", lease.attempt, lease.type, lease.id)
                self._leases.remove(lease)

    def _run(self) -> None:
        try:
            next_beat, next_look = time.monotonic() + self._every, 0.0
            while self._leases.wait(min(next_beat, next_look)):
                for lease in self._leases.take_overdue():
                    self._time_out(lease)
                if time.monotonic() >= next_look:
                    next_look = time.monotonic() + self._look()
                if time.monotonic() >= next_beat:
                    self.beat()
                    next_beat = time.monotonic() + self._every
        except BaseException as error:
            log.exception("the heartbeat failed; the worker will stop")
            self.error = error
