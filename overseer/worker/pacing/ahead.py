"""How many jobs a worker claims: those that begin at once, and others that wait for a slot, ahead of their start.

    Fixed       as many as the settings say
    Adaptive    as many as begin soon, by how long the jobs of each type have taken

Laws of `Adaptive`: a job is claimed only if it is expected to begin within `SOON` seconds. Nothing is expected of a
type that has not run yet, so no job is claimed to wait for it. When a handler takes longer than expected, the jobs that
are no longer expected to begin within `PATIENCE` seconds are released, while it runs (`Executor.look`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heapreplace
from math import inf
from typing import Final

from factstore import Keyword

SOON: Final = 0.02  # seconds within which a claimed job is expected to begin
PATIENCE: Final = (
    0.1  # seconds within which a job that waits for a slot is still expected to begin; others are released
)
MOST: Final = 200  # jobs that an adaptive worker holds; larger claims save little, and delay the commits of others

_MEMORY: Final = 0.9  # of an earlier, longer duration that remains after a shorter one


class Ahead:
    """Decides how many jobs may wait for a slot. It remembers how long the jobs of each type took.

    Args:
        slots: the number of handlers that may run at a time.
    """

    patience: float  # seconds without any handler beginning or ending, after which no job may wait for a slot

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._expected: dict[Keyword, float] = {}  # by the types that have run

    @property
    def count(self) -> int:
        """The largest number of jobs that may wait for a slot."""
        raise NotImplementedError

    def may_wait(self, seconds: float, types: Sequence[Keyword], ages: Iterable[tuple[Keyword, float]]) -> int:
        """Return how many jobs, waiting in this order, may wait if they are to begin within a time."""
        raise NotImplementedError

    def begin_within(self, seconds: float, types: Iterable[Keyword], ages: Iterable[tuple[Keyword, float]]) -> int:
        """Return how many jobs, waiting in this order, are expected to begin within a time.

        Args:
            types: the types of the waiting jobs.
            ages: for each slot that is taken, the type of its job and the seconds for which it has been taken.
        """
        expected = self._expected
        # A handler that runs longer than expected may end at any moment at first; later it is not expected to end.
        taken = [
            expected.get(type, inf) - age if age < expected.get(type, inf) else 0.0 if age < seconds else inf
            for type, age in ages
        ]
        free_at = [*taken, *[0.0] * (self._slots - len(taken))]
        heapify(free_at)
        count = 0
        for type in types:
            if free_at[0] > seconds:
                break
            heapreplace(free_at, free_at[0] + expected.get(type, inf))
            count += 1
        return count

    @property
    def shortest(self) -> Keyword | None:
        """The type of which the next job is expected to take the shortest time; None if no job has run."""
        return min(self._expected, key=self._expected.__getitem__, default=None)

    def ended(self, type: Keyword, seconds: float) -> None:
        """Expect the longest recent duration: after a long one, short ones bring the expectation down slowly."""
        self._expected[type] = max(seconds, _MEMORY * self._expected.get(type, 0.0))

    def claimed(self, count: int, *, chosen: int, room: int) -> None:
        """Note how many jobs were claimed, of those that were chosen, of those for which there was room."""


class Fixed(Ahead):
    """A constant number of jobs may wait, whatever they take."""

    def __init__(self, slots: int, *, holds: int, patience: float) -> None:
        super().__init__(slots)
        self._count = max(0, holds - slots)
        self.patience = patience

    @property
    def count(self) -> int:
        return self._count

    def may_wait(self, seconds: float, types: Sequence[Keyword], ages: Iterable[tuple[Keyword, float]]) -> int:
        return len(types)


class Adaptive(Ahead):
    """As many jobs may wait as are expected to begin soon. Claims grow while they are claimed in full."""

    patience = PATIENCE

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self._limit = slots  # of the jobs held after the next claim

    @property
    def count(self) -> int:
        return self._limit - self._slots

    def may_wait(self, seconds: float, types: Sequence[Keyword], ages: Iterable[tuple[Keyword, float]]) -> int:
        return self.begin_within(seconds, types, ages)

    def claimed(self, count: int, *, chosen: int, room: int) -> None:
        """Let the next claim be larger after a full one; after another one, not larger than what was claimed."""
        if count < chosen:
            self._limit = self._slots + count
        elif count >= room:
            self._limit = max(self._slots, min(2 * self._limit, MOST))
