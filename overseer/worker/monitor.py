"""The monitor: every worker looks for jobs whose worker went silent; there is no leader to lose."""

from __future__ import annotations

import logging
from random import Random
from threading import Event, Thread
from typing import Final

from overseer.events import Listeners, Rescued
from overseer.store import JobStore

log = logging.getLogger("overseer")

_LOOKS_PER_LEASE: Final = 4  # so that a job runs again well within twice its lease


class Monitor:
    """Rescues jobs until it is stopped.

    Args:
        lease: seconds that a lease lasts.
        max_crashes: how many workers a job may take with it.
        random: spreads the monitors of several workers in time.
        listeners: are told of what was rescued.
    """

    def __init__(self, store: JobStore, *, lease: float, max_crashes: int, random: Random, listeners: Listeners) -> None:
        self._store = store
        self._lease = lease
        self._max_crashes = max_crashes
        self._random = random
        self._listeners = listeners
        self._stopped = Event()
        self._thread = Thread(target=self._run, name="overseer-monitor", daemon=True)
        self.error: BaseException | None = None  # what ended the thread, if not `stop`

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()

    def look(self) -> int:
        """Rescue what there is to rescue now, and return how many jobs that was."""
        rescued = self._store.rescue(max_crashes=self._max_crashes)
        for lease, status in rescued:
            log.warning("took %s %s from %s, which went silent in attempt %d", lease.type, lease.id, lease.worker, lease.attempt)
            now, worker = self._store.conn.now(), self._store.worker
            self._listeners.tell(Rescued(at=now, worker=worker, lease=lease, attributes={}, status=status))
        return len(rescued)

    def _run(self) -> None:
        try:
            while not self._stopped.wait(self._lease / _LOOKS_PER_LEASE * (0.5 + self._random.random() / 2)):
                self.look()
        except BaseException as error:
            log.exception("the monitor failed; the worker will stop")
            self.error = error
