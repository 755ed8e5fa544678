"""The waker of a worker makes jobs ready that wait for a query, once it holds. Every worker has one."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Final

from overseer.worker.lookout import Lookout
from overseer.worker.pacing.arrivals import Arrivals

if TYPE_CHECKING:
    from overseer.jobs.store import JobStore

_SOON: Final = 0.05  # seconds between two looks while jobs wait
_SHARE: Final = 1 / 20  # of the time of a thread, for the queries


class Waker(Lookout):
    """Wakes jobs until it is stopped.

    Queries are asked only after commits, and take a small part of the time, however many jobs wait.

    Args:
        random: spreads the wakers of several workers in time.
        every: seconds between two looks while no job waits.
        rests: whether another worker is certainly at work, which then wakes the jobs.
    """

    def __init__(
        self, store: JobStore, *, random: Random, every: float = 0.5, rests: Callable[[], bool] = lambda: False
    ) -> None:
        super().__init__("waker", rests)
        self._store = store
        self._random = random
        self._every = every
        self._t = -1  # the newest transaction at the last look
        self._arrivals = Arrivals(store.conn, ":job/wait")
        self._has_waits = True  # whether a job waited at the last look
        self._pause = every

    def look(self) -> list[int]:
        """Wake the jobs whose query holds now, and return them."""
        if not (self._arrivals.any() or self._has_waits):
            return []
        began, t = monotonic(), self._store.conn.db().basis_t
        if t == self._t:
            return []
        woken = self._store.wake()
        self._has_waits = woken is not None
        self._t = t
        self._pause = self._every if woken is None else max(_SOON, (monotonic() - began) / _SHARE)
        return woken or []

    @property
    def awaits_commit(self) -> bool:
        """True: only a commit changes the answer of a query."""
        return True

    def pause(self) -> float:
        """Return the seconds until the next look."""
        return self._pause * self._random.uniform(0.75, 1.25)
