"""The monitor: every worker looks for jobs whose worker went silent; there is no leader to lose.

A job is taken once its lease was seen without a renewal for as long as it lasts, on the monotonic clock of this monitor (`leases.Watch`).
Time in which the worker could not have renewed it counts for nothing: for the second half of that time each look asks for the
writer's turn, as a worker would, and if somebody else kept it, the monitor begins to count again.
"""

from __future__ import annotations

import logging
from random import Random
from typing import Final

from overseer.events import Listeners, Rescued
from overseer.jobs.leases import Watch, standing
from overseer.jobs.store import JobStore
from overseer.worker.lookout import Lookout

log = logging.getLogger("overseer")

_LOOKS_PER_LEASE: Final = 4  # so that a job runs again well within twice its lease
_SUSPECT: Final = 0.5  # of a lease without a renewal, from which on each look asks for the writer's turn
_PROMPT: Final = 1 / 8  # of a lease: who gets the writer's turn within this was not kept from renewing
_LEAST_PROMPT: Final = 0.05  # seconds: others who commit in the usual way are no hindrance


class Monitor(Lookout):
    """Rescues jobs until it is stopped.

    Args:
        lease: seconds that this worker's own leases last.
        max_crashes: how many workers a job may take with it.
        random: spreads the monitors of several workers in time.
        listeners: are told of what was rescued.
    """

    def __init__(
        self, store: JobStore, *, lease: float, max_crashes: int, random: Random, listeners: Listeners
    ) -> None:
        super().__init__("monitor")
        self._store = store
        self._watch = Watch(lease)
        self._lease = lease
        self._planned = lease / _LOOKS_PER_LEASE  # seconds from the last look to the next
        self._max_crashes = max_crashes
        self._random = random
        self._listeners = listeners

    def look(self) -> int:
        """Rescue what there is to rescue now, and return how many jobs that was."""
        self._watch.look(standing(self._store.conn.db()), planned=self._planned)
        if not self._watch.ripe(_SUSPECT):
            return 0
        within = max(self._watch.shortest() * _PROMPT, _LEAST_PROMPT)
        rescued = self._store.rescue(self._watch.ripe(), max_crashes=self._max_crashes, within=within)
        if rescued is None:
            self._watch.forget()
            return 0
        for lease, status in rescued:
            log.warning(
                "took %s %s from %s, which went silent in attempt %d", lease.type, lease.id, lease.worker, lease.attempt
            )
            now, worker = self._store.conn.now(), self._store.worker
            self._listeners.tell(Rescued(at=now, worker=worker, lease=lease, attributes={}, status=status))
        return len(rescued)

    def pause(self) -> float:
        """Return the seconds until the next look: some of them left to chance, and no more than until a lease is ripe."""
        shortest = min(self._lease, self._watch.shortest()) / _LOOKS_PER_LEASE
        usual = shortest * (0.5 + self._random.random() / 2)
        self._planned = min(usual, max(self._watch.next_ripe(), shortest / _LOOKS_PER_LEASE))
        return self._planned
