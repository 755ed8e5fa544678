"""Heartbeats: a thread of its own renews the leases of all attempts under way, whatever their handlers are doing."""

from __future__ import annotations

import logging
from datetime import timedelta
from threading import Event, Lock, Thread

from overseer.job import Lease
from overseer.store import JobStore

log = logging.getLogger("overseer")


class Heartbeat:
    """Holds the leases of one worker, and renews them until they are let go.

    Args:
        every: seconds between two beats.
        lease: how long each beat makes a lease last.
    """

    def __init__(self, store: JobStore, *, every: float, lease: timedelta) -> None:
        self._store = store
        self._every = every
        self._lease = lease
        self._lock = Lock()
        self._held: dict[int, Lease] = {}
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="overseer-heartbeat", daemon=True)
        self.error: BaseException | None = None  # what ended the thread, if not `stop`

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Beat no more; leases still held run out by themselves."""
        self._stopped.set()
        self._thread.join()

    def hold(self, lease: Lease) -> None:
        """Renew this lease from now on."""
        with self._lock:
            self._held[lease.job] = lease

    def let_go(self, lease: Lease) -> None:
        """Stop renewing this lease."""
        with self._lock:
            if self._held.get(lease.job) == lease:
                del self._held[lease.job]

    def is_held(self, lease: Lease) -> bool:
        """Tell whether the lease is held, as far as the last beat told."""
        return self._held.get(lease.job) == lease

    @property
    def held(self) -> list[Lease]:
        """The leases under way."""
        with self._lock:
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
            while not self._stopped.wait(self._every):
                self.beat()
        except BaseException as error:
            log.exception("the heartbeat failed; the worker will stop")
            self.error = error
