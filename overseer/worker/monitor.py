"""The monitor: every worker looks for jobs whose worker went silent; there is no leader to lose.

A lease that has run out by the store's clock is not enough, for that clock may have jumped, or the whole machine have slept: the
same lease must be seen to have run out for a while of the monitor's own time, in which a worker that lives would have renewed it.
"""

from __future__ import annotations

import logging
import time
from datetime import datetime
from random import Random
from typing import Final

from overseer.events import Listeners, Rescued
from overseer.lookout import Lookout
from overseer.store import JobStore, expired

log = logging.getLogger("overseer")

_MISSED: Final = 1.25  # heartbeats that a worker must have missed before our eyes
_LOOKS_PER_LEASE: Final = 4  # so that a job runs again well within twice its lease


class Monitor(Lookout):
    """Rescues jobs until it is stopped.

    Args:
        lease: seconds that a lease lasts.
        every: seconds between two of a worker's heartbeats.
        max_crashes: how many workers a job may take with it.
        random: spreads the monitors of several workers in time.
        listeners: are told of what was rescued.
    """

    def __init__(self, store: JobStore, *, lease: float, every: float, max_crashes: int, random: Random, listeners: Listeners) -> None:
        super().__init__("monitor")
        self._store = store
        self._lease = lease
        self._grace = min(every * _MISSED, lease / 2)
        self._since: dict[tuple[int, datetime], float] = {}  # job and when its lease ran out → seen so since, on the monotonic clock
        self._max_crashes = max_crashes
        self._random = random
        self._listeners = listeners

    def look(self) -> int:
        """Rescue what there is to rescue now, and return how many jobs that was."""
        rescued = self._store.rescue(self._ripe(), max_crashes=self._max_crashes)
        for lease, status in rescued:
            log.warning("took %s %s from %s, which went silent in attempt %d", lease.type, lease.id, lease.worker, lease.attempt)
            now, worker = self._store.conn.now(), self._store.worker
            self._listeners.tell(Rescued(at=now, worker=worker, lease=lease, attributes={}, status=status))
        return len(rescued)

    def _ripe(self) -> list[int]:
        """Return the jobs whose lease has been seen to have run out, and not been renewed, for long enough."""
        now = time.monotonic()
        seen = expired(self._store.conn.db(), self._store.conn.now())
        self._since = {lease: self._since.get(lease, now) for lease in seen.items()}
        return [job for (job, _), since in self._since.items() if now - since >= self._grace]

    def pause(self) -> float:
        """Return the seconds until the next look: some of them left to chance, and no more than until what was seen is ripe."""
        usual = self._lease / _LOOKS_PER_LEASE * (0.5 + self._random.random() / 2)
        ripe = min(self._since.values(), default=float("inf")) + self._grace - time.monotonic()
        return min(usual, max(ripe, self._grace / _LOOKS_PER_LEASE))
