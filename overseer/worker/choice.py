"""Chooses among the ready jobs: the highest priority first, and at random within a priority.

Jobs are numbers here. The random choice keeps several workers from claiming the same jobs.
"""

from __future__ import annotations

from itertools import accumulate
from random import Random
from typing import Final, Generic, TypeVar

from overseer.jobs.queues import Allowance, Lane

T = TypeVar("T")

NO_LANE: Final[Lane] = (None, None)  # the lane of jobs without a queue

_MAX_MISSES: Final = 8  # draws from closed lanes in a row


class Bag(Generic[T]):
    """A set from which a random member can be drawn in constant time."""

    __slots__ = ("_index", "_items")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._index: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: object) -> bool:
        return item in self._index

    def add(self, item: T) -> None:
        """Add an item, unless it is a member already."""
        if item not in self._index:
            self._index[item] = len(self._items)
            self._items.append(item)

    def discard(self, item: T) -> None:
        """Remove an item if it is a member."""
        index = self._index.pop(item, None)
        if index is None:
            return
        last = self._items.pop()
        if index < len(self._items):
            self._items[index] = last
            self._index[last] = index

    def draw(self, random: Random) -> T:
        """Remove a random member and return it."""
        item = self._items[random.randrange(len(self._items))]
        self.discard(item)
        return item


class Choice:
    """Jobs to choose from, by priority and by lane. A queue may close a lane."""

    def __init__(self) -> None:
        self._position: dict[int, tuple[int, Lane]] = {}
        self._bags: dict[int, dict[Lane, Bag[int]]] = {}  # priority → lane → jobs; none of them is empty

    def __len__(self) -> int:
        return len(self._position)

    def __contains__(self, job: object) -> bool:
        return job in self._position

    def add(self, job: int, priority: int, lane: Lane) -> None:
        """Add a job; a job that is here already moves to the given priority and lane."""
        if self._position.get(job) == (priority, lane):
            return
        self.discard(job)
        self._position[job] = (priority, lane)
        self._bags.setdefault(priority, {}).setdefault(lane, Bag()).add(job)

    def discard(self, job: int) -> None:
        """Remove a job if it is here."""
        position = self._position.pop(job, None)
        if position is not None:
            priority, lane = position
            self._bags[priority][lane].discard(job)
            self._clear(priority, lane)

    def draw(self, most: int, random: Random, allowed: Allowance | None = None) -> list[int]:
        """Remove up to `most` jobs that are allowed to start, and return them."""
        drawn: list[int] = []
        for priority in sorted(self._bags, reverse=True):
            while len(drawn) < most and priority in self._bags and (lanes := self._open(priority, allowed)):
                drawn += self._draw_from(priority, lanes, most - len(drawn), random, allowed)
        return drawn

    def _open(self, priority: int, allowed: Allowance | None) -> list[Lane]:
        return [lane for lane in self._bags[priority] if allowed is None or allowed.admits(lane)]

    def _draw_from(
        self, priority: int, lanes: list[Lane], most: int, random: Random, allowed: Allowance | None
    ) -> list[int]:
        """Draw until there are enough jobs, or most lanes have closed; then the caller finds the open lanes again."""
        bags = self._bags[priority]
        weights = list(accumulate(len(bags[lane]) for lane in lanes))
        drawn: list[int] = []
        misses = 0
        while len(drawn) < most and misses < _MAX_MISSES:
            lane = lanes[0] if len(lanes) == 1 else random.choices(lanes, cum_weights=weights)[0]
            if lane not in bags or (allowed is not None and not allowed.admits(lane)):
                misses += 1
                continue
            misses = 0
            drawn.append(bags[lane].draw(random))
            if allowed is not None:
                allowed.take(lane)
            del self._position[drawn[-1]]
            self._clear(priority, lane)
        return drawn

    def _clear(self, priority: int, lane: Lane) -> None:
        bags = self._bags[priority]
        if not len(bags[lane]):
            del bags[lane]
            if not bags:
                del self._bags[priority]
