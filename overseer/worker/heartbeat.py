"""Heartbeats: a thread of its own renews the leases of all attempts under way, whatever their handlers are doing.

It is also the one that watches the time that an attempt may take: a handler that hangs cannot be asked to.
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


class Heartbeat:
    """Holds the leases of one worker, and renews them until they are let go.

    Args:
        every: seconds between two beats.
        lease: how long each beat makes a lease last.
        time_out: is called with the lease of each attempt that takes longer than it may.
        look: is called now and then, and returns the seconds until it wants to be called again.
    """

    def __init__(
        self,
        store: JobStore,
        *,
        every: float,
        lease: timedelta,
        time_out: Callable[[Lease], None] = lambda lease: None,
        look: Callable[[], float] = lambda: 3600.0,
    ) -> None:
        self._store = store
        self._every = every
        self._lease = lease
        self._time_out = time_out
        self._look = look
        self._next_look = 0.0  # on the monotonic clock
        self._turn = Condition()  # guards what follows
        self._held: dict[int, Lease] = {}
        self._deadlines: dict[Lease, float] = {}  # on the monotonic clock
        self._stopped = False
        self._thread = Thread(target=self._run, name="overseer-heartbeat", daemon=True)
        self.error: BaseException | None = None  # what ended the thread, if not `stop`

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Beat no more; leases still held run out by themselves."""
        with self._turn:
            self._stopped = True
            self._turn.notify_all()
        self._thread.join()

    @property
    def beats(self) -> bool:
        """Whether it was started."""
        return self._thread.ident is not None

    def hold(self, *leases: Lease) -> None:
        """Renew these leases from now on."""
        with self._turn:
            self._held.update((lease.job, lease) for lease in leases)

    def let_go(self, *leases: Lease) -> None:
        """Stop renewing these leases."""
        with self._turn:
            for lease in leases:
                self._deadlines.pop(lease, None)
                if self._held.get(lease.job) == lease:
                    del self._held[lease.job]

    def limit(self, lease: Lease, timeout: timedelta) -> None:
        """Call `time_out` when the lease is still held after so long."""
        with self._turn:
            self._deadlines[lease] = time.monotonic() + timeout.total_seconds()
            self._turn.notify_all()

    def holds(self, job: int) -> bool:
        """Tell whether the lease of a job is held."""
        return job in self._held

    def is_held(self, lease: Lease) -> bool:
        """Tell whether the lease is held, as far as the last beat told."""
        return self._held.get(lease.job) == lease

    @property
    def held(self) -> list[Lease]:
        """The leases under way."""
        with self._turn:
            return list(self._held.values())

    def beat(self) -> None:
        """Renew all leases once; those that turn out to be lost are let go."""
        held = self.held
        if not held:
            return
        for lease in self._store.beat(held, lease=self._lease):
            # An attempt that settled while we were beating has let its lease go; then nothing was lost.
            if self.is_held(lease):
                log.warning("attempt %d of %s %s lost its lease", lease.attempt, lease.type, lease.id)
                self.let_go(lease)

    def _run(self) -> None:
        try:
            next_beat = time.monotonic() + self._every
            while self._wait(next_beat):
                for lease in self._overdue():
                    self._time_out(lease)
                if time.monotonic() >= self._next_look:
                    self._next_look = time.monotonic() + self._look()
                if time.monotonic() >= next_beat:
                    self.beat()
                    next_beat = time.monotonic() + self._every
        except BaseException as error:
            log.exception("the heartbeat failed; the worker will stop")
            self.error = error

    def _wait(self, next_beat: float) -> bool:
        """Wait until the next beat or the next deadline, whichever comes first; False when there is to be no more of either."""
        with self._turn:
            while not self._stopped:
                until = min(next_beat, self._next_look, *self._deadlines.values())
                left = until - time.monotonic()
                if left <= 0:
                    return True
                self._turn.wait(left)
            return False

    def _overdue(self) -> list[Lease]:
        now = time.monotonic()
        with self._turn:
            overdue = [lease for lease, deadline in self._deadlines.items() if deadline <= now]
            for lease in overdue:
                del self._deadlines[lease]
        return overdue
