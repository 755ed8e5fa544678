"""Which of the ready jobs to take: the highest priority first, and within it each with the same chance.

Knows jobs by number only. Chance keeps workers that look at the same jobs out of each other's way.
"""

from __future__ import annotations

from itertools import accumulate
from random import Random
from typing import Final, Generic, TypeVar

from overseer.jobs.queues import Allowance, Lane

T = TypeVar("T")

NO_LANE: Final[Lane] = (None, None)  # where a job is that belongs to no queue

_PATIENCE: Final = 8


class Bag(Generic[T]):
    """A set from which a random member can be drawn in constant time."""

    __slots__ = ("_at", "_items")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._at: dict[T, int] = {}

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, item: object) -> bool:
        return item in self._at

    def add(self, item: T) -> None:
        """Put an item in; one that is there stays once."""
        if item not in self._at:
            self._at[item] = len(self._items)
            self._items.append(item)

    def discard(self, item: T) -> None:
        """Take an item out if it is there."""
        at = self._at.pop(item, None)
        if at is None:
            return
        last = self._items.pop()
        if at < len(self._items):
            self._items[at] = last
            self._at[last] = at

    def draw(self, random: Random) -> T:
        """Take out a member, each with the same chance."""
        item = self._items[random.randrange(len(self._items))]
        self.discard(item)
        return item


class Choice:
    """Jobs to choose from, by priority and by lane, which is what may hold jobs back."""

    def __init__(self) -> None:
        self._at: dict[int, tuple[int, Lane]] = {}
        self._bags: dict[int, dict[Lane, Bag[int]]] = {}  # priority → lane → jobs; none of them is empty

    def __len__(self) -> int:
        return len(self._at)

    def __contains__(self, job: object) -> bool:
        return job in self._at

    def add(self, job: int, priority: int, lane: Lane) -> None:
        """Put a job in; one that is there moves to where it belongs now."""
        if self._at.get(job) == (priority, lane):
            return
        self.discard(job)
        self._at[job] = (priority, lane)
        self._bags.setdefault(priority, {}).setdefault(lane, Bag()).add(job)

    def discard(self, job: int) -> None:
        """Take a job out if it is there."""
        place = self._at.pop(job, None)
        if place is not None:
            priority, lane = place
            self._bags[priority][lane].discard(job)
            self._clear(priority, lane)

    def draw(self, most: int, random: Random, allowed: Allowance | None = None) -> list[int]:
        """Take out up to `most` jobs that are allowed to start."""
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
        """Take out jobs until enough are drawn, or it keeps meeting lanes that have closed: then the others have to be looked up anew."""
        bags = self._bags[priority]
        weights = list(accumulate(len(bags[lane]) for lane in lanes))
        drawn: list[int] = []
        misses = 0
        while len(drawn) < most and misses < _PATIENCE:
            lane = lanes[0] if len(lanes) == 1 else random.choices(lanes, cum_weights=weights)[0]
            if lane not in bags or (allowed is not None and not allowed.admits(lane)):
                misses += 1
                continue
            misses = 0
            drawn.append(bags[lane].draw(random))
            if allowed is not None:
                allowed.take(lane)
            del self._at[drawn[-1]]
            self._clear(priority, lane)
        return drawn

    def _clear(self, priority: int, lane: Lane) -> None:
        bags = self._bags[priority]
        if not len(bags[lane]):
            del bags[lane]
            if not bags:
                del self._bags[priority]
