"""The monitor: every worker checks for jobs whose worker no longer renews their leases. There is no leader.

A job is rescued if its lease was not renewed for as long as it lasts, on the monotonic clock of this monitor
(`leases.Watch`). Time in which its worker could not renew it does not count. So before a rescue, and during the second
half of that time if no other worker commits, each check commits something, as a worker would. If that takes too long,
the monitor begins to count again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from random import Random
from typing import Final

from overseer.events import Listeners, Rescued
from overseer.jobs.leases import Watch, standing
from overseer.jobs.store import JobStore
from overseer.worker.lookout import Lookout

log = logging.getLogger("overseer")

_LOOKS_PER_LEASE: Final = 4  # checks, so that a job runs again within twice its lease
_SUSPECT: Final = 0.5  # of a lease without a renewal, after which each check tries whether the store accepts commits
_PROMPT: Final = 1 / 8  # of a lease: if a commit takes no longer, the worker could have renewed its lease
_LEAST_PROMPT: Final = 0.05  # seconds: ordinary commits of other processes take no longer


class Monitor(Lookout):
    """Rescues jobs until it is stopped.

    Args:
        lease: seconds that this worker's own leases last.
        max_crashes: the number of crashes at which a job fails.
        random: spreads the checks of several workers in time.
        listeners: are notified of rescued jobs.
        rests: whether another worker is certainly at work, which then checks the leases.
    """

    def __init__(
        self,
        store: JobStore,
        *,
        lease: float,
        max_crashes: int,
        random: Random,
        listeners: Listeners,
        rests: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__("monitor", rests)
        self._store = store
        self._watch = Watch(lease)
        self._lease = lease
        self._planned = lease / _LOOKS_PER_LEASE  # seconds from the last check to the next
        self._max_crashes = max_crashes
        self._random = random
        self._listeners = listeners

    def look(self) -> int:
        """Rescue the jobs whose leases have expired, and return their number."""
        self._watch.look(standing(self._store.conn.db()), planned=self._planned)
        ripe = self._watch.ripe()
        if not ripe and (self._watch.saw_commit or not self._watch.ripe(_SUSPECT)):
            return 0
        within = max(self._watch.shortest() * _PROMPT, _LEAST_PROMPT)
        is_prompt = self._store.could_renew(within=within)
        rescued = self._store.rescue(ripe, max_crashes=self._max_crashes, within=within) if is_prompt else None
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
        """Return the seconds until the next check: partly random, and at most until a lease can expire."""
        shortest = min(self._lease, self._watch.shortest()) / _LOOKS_PER_LEASE
        usual = shortest * (0.5 + self._random.random() / 2)
        self._planned = min(usual, max(self._watch.next_ripe(), shortest / _LOOKS_PER_LEASE))
        return self._planned
