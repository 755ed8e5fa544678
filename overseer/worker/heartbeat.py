"""The heartbeat: a thread that renews the leases of all attempts under way, whatever their handlers are doing.

It also ends the attempts that exceed their timeout, because a handler that hangs cannot do so itself.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from math import inf
from threading import Condition, Thread

from factstore.concurrency.limits import started
from overseer.jobs.states import Lease
from overseer.jobs.store import JobStore

log = logging.getLogger("overseer")


class HeldLeases:
    """The leases of the attempts under way, and when each attempt times out. Any thread may use it."""

    def __init__(self) -> None:
        self._changed = Condition()  # guards the attributes below
        self._by_job: dict[int, Lease] = {}
        self._deadlines: dict[Lease, float] = {}  # on the monotonic clock
        self._reports: dict[Lease, str] = {}  # progress that the next heartbeat writes
        self._closed = False
        self._is_resting = False  # whether `wait` ends when a lease is added
        self.are_watched = False  # whether a heartbeat renews the leases and ends the attempts that time out

    def add(self, *leases: Lease) -> None:
        """Hold these leases from now on."""
        with self._changed:
            self._by_job.update((lease.job, lease) for lease in leases)
            if leases and self._is_resting:
                self._changed.notify_all()

    def remove(self, *leases: Lease) -> None:
        """Hold these leases no longer."""
        with self._changed:
            for lease in leases:
                self._deadlines.pop(lease, None)
                self._reports.pop(lease, None)
                if self._by_job.get(lease.job) == lease:
                    del self._by_job[lease.job]

    def limit(self, lease: Lease, timeout: timedelta) -> None:
        """Let an attempt time out if its lease is still held after `timeout`."""
        with self._changed:
            self._deadlines[lease] = time.monotonic() + timeout.total_seconds()
            self._changed.notify_all()

    def report(self, lease: Lease, text: str) -> None:
        """Let the next heartbeat write what an attempt reports of its progress."""
        with self._changed:
            if self._by_job.get(lease.job) == lease:
                self._reports[lease] = text

    def take_reports(self) -> dict[Lease, str]:
        """Return the reports since the last call."""
        with self._changed:
            reports, self._reports = self._reports, {}
        return reports

    def has_job(self, job: int) -> bool:
        """Return whether the lease of a job is held."""
        return job in self._by_job

    def is_held(self, lease: Lease) -> bool:
        """Return whether the lease is held, as of the last heartbeat."""
        return self._by_job.get(lease.job) == lease

    def __bool__(self) -> bool:
        return bool(self._by_job)

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

    def wait(self, until: float, *, rests: bool) -> bool:
        """Wait until a time on the monotonic clock, or until an attempt times out; False once `close` was called.

        Args:
            rests: no longer than until a lease is held.
        """
        with self._changed:
            while not self._closed:
                left = min((until, *self._deadlines.values())) - time.monotonic()
                if left <= 0 or (rests and self._by_job):
                    return True
                self._is_resting = rests
                self._changed.wait(left)
                self._is_resting = False
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
        look: is called regularly, and returns the seconds until the next call; inf: none is needed before a lease is
            held.
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
        started(self._thread)

    def stop(self) -> None:
        """End the thread. Leases that are still held expire."""
        self._leases.close()
        if self._thread.ident is not None:
            self._thread.join()

    def beat(self) -> None:
        """Renew all leases once, and remove those that are lost."""
        held = self._leases.all
        if not held:
            return
        for lease in self._store.beat(held, lease=self._lease, reports=self._leases.take_reports()):
            # The lease of an attempt that was settled during this heartbeat is not held any more: it was not lost.
            if self._leases.is_held(lease):
                log.warning("attempt %d of %s %s lost its lease", lease.attempt, lease.type, lease.id)
                self._leases.remove(lease)

    def _run(self) -> None:
        try:
            next_beat, next_look = time.monotonic() + self._every, 0.0
            while self._leases.wait(min(next_beat, next_look), rests=next_look == inf):
                for lease in self._leases.take_overdue():
                    self._time_out(lease)
                if next_look == inf or time.monotonic() >= next_look:
                    next_look = time.monotonic() + self._look()
                if time.monotonic() >= next_beat:
                    self.beat()
                    self._store.presence.write_lost()
                    next_beat = time.monotonic() + self._every
        except BaseException as error:
            log.exception("the heartbeat failed; the worker will stop")
            self.error = error
