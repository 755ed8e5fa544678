"""Chooses among the ready jobs: the highest priority first, and at random within a priority.

Jobs are numbers here. The random choice keeps several workers from claiming the same jobs. To draw a job takes a time
that does not grow with the number of jobs, priorities or partitions: as many partitions are closed as jobs run, so that
an open one is found by a few tries, or by reading a number of them that is proportional to the running jobs.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from heapq import merge
from itertools import groupby, repeat
from operator import itemgetter
from random import Random
from typing import Final, Generic, TypeAlias, TypeVar

from factstore import Keyword
from overseer.jobs.queues import Allowance, Lane

T = TypeVar("T")

Rank: TypeAlias = tuple[int, Lane]  # priority and lane of a job

NO_LANE: Final[Lane] = (None, None)  # the lane of jobs without a queue

_TRIES: Final = 8  # partitions of random jobs, and then random partitions, that are tried before all are read


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

    def peek(self, random: Random) -> T:
        """Return a random member."""
        return self._items[random.randrange(len(self._items))]

    def draw(self, random: Random) -> T:
        """Remove a random member and return it."""
        item = self.peek(random)
        self.discard(item)
        return item


class _Pool:
    """The jobs of one queue with one priority, by partition."""

    __slots__ = ("_by_lane", "_free", "_lanes", "_partitioned")

    def __init__(self) -> None:
        self._free = Bag[int]()  # jobs without a partition
        self._partitioned = Bag[int]()  # the others
        self._by_lane: dict[Lane, Bag[int]] = {}  # the same; no bag is empty
        self._lanes = Bag[Lane]()  # the keys of the same

    def __len__(self) -> int:
        return len(self._free) + len(self._partitioned)

    def add(self, job: int, lane: Lane) -> None:
        """Add a job that is not here."""
        if lane[1] is None:
            self._free.add(job)
            return
        self._partitioned.add(job)
        self._lanes.add(lane)
        self._by_lane.setdefault(lane, Bag()).add(job)

    def discard(self, job: int, lane: Lane) -> None:
        """Remove a job."""
        if lane[1] is None:
            self._free.discard(job)
            return
        self._partitioned.discard(job)
        of_lane = self._by_lane[lane]
        of_lane.discard(job)
        if not len(of_lane):
            del self._by_lane[lane]
            self._lanes.discard(lane)

    def pick(self, random: Random, ranks: Mapping[int, Rank], is_open: Callable[[Lane], bool]) -> int | None:
        """Return a random job of the open partitions; None if there is none. The queue itself is open."""
        free, partitioned = len(self._free), len(self._partitioned)
        if partitioned and random.randrange(free + partitioned) >= free:
            lane = self._open_lane(random, ranks, is_open)
            if lane is not None:
                return self._by_lane[lane].peek(random)
        return self._free.peek(random) if free else None

    def _open_lane(self, random: Random, ranks: Mapping[int, Rank], is_open: Callable[[Lane], bool]) -> Lane | None:
        """Return the lane of an open partition: that of a random job, if one is found soon."""
        for _ in range(_TRIES):
            if is_open(lane := ranks[self._partitioned.peek(random)][1]):
                return lane
        for _ in range(_TRIES):
            if is_open(lane := self._lanes.peek(random)):
                return lane
        lanes = [lane for lane in self._by_lane if is_open(lane)]
        return random.choices(lanes, [len(self._by_lane[lane]) for lane in lanes])[0] if lanes else None


class _Pools:
    """The jobs of one queue, by priority."""

    __slots__ = ("_order", "at")

    def __init__(self) -> None:
        self.at: dict[int, _Pool] = {}
        self._order: list[int] = []  # its keys, in order

    def add(self, job: int, rank: Rank) -> None:
        """Add a job that is not here."""
        priority, lane = rank
        pool = self.at.get(priority)
        if pool is None:
            pool = self.at[priority] = _Pool()
            insort(self._order, priority)
        pool.add(job, lane)

    def discard(self, job: int, rank: Rank) -> None:
        """Remove a job."""
        priority, lane = rank
        pool = self.at[priority]
        pool.discard(job, lane)
        if not len(pool):
            del self.at[priority]
            del self._order[bisect_left(self._order, priority)]

    def downward(self) -> Iterator[int]:
        """Yield the priorities, highest first; those that were yielded may disappear meanwhile."""
        return reversed(self._order)


class Choice:
    """Jobs to choose from, by priority and by lane. A queue may close a lane."""

    def __init__(self) -> None:
        self._ranks: dict[int, Rank] = {}
        self._queues: dict[Keyword | None, _Pools] = {}  # none of them is empty

    def __len__(self) -> int:
        return len(self._ranks)

    def __contains__(self, job: object) -> bool:
        return job in self._ranks

    def add(self, job: int, rank: Rank) -> None:
        """Add a job; a job that is here already moves to the given priority and lane."""
        known = self._ranks.get(job)
        if known is not None:
            if known == rank:
                return
            self.discard(job)
        self._ranks[job] = rank
        pools = self._queues.get(rank[1][0])
        if pools is None:
            pools = self._queues[rank[1][0]] = _Pools()
        pools.add(job, rank)

    def discard(self, job: int) -> None:
        """Remove a job if it is here."""
        rank = self._ranks.pop(job, None)
        if rank is not None:
            queue = rank[1][0]
            self._queues[queue].discard(job, rank)
            if not self._queues[queue].at:
                del self._queues[queue]

    def draw(self, most: int, random: Random, allowed: Allowance | None = None) -> list[int]:
        """Remove up to `most` jobs that are allowed to start, and return them."""
        is_open = _is_open if allowed is None else allowed.admits
        drawn: list[int] = []
        downward = [
            zip(pools.downward(), repeat(queue)) for queue, pools in self._queues.items() if is_open((queue, None))
        ]
        for priority, level in groupby(merge(*downward, key=itemgetter(0), reverse=True), itemgetter(0)):
            drawn += self._draw_from(priority, [queue for _, queue in level], most - len(drawn), random, allowed)
            if len(drawn) >= most:
                break
        return drawn

    def _draw_from(
        self, priority: int, queues: list[Keyword | None], most: int, random: Random, allowed: Allowance | None
    ) -> list[int]:
        """Draw jobs of one priority until there are enough, or no queue is open."""
        is_open = _is_open if allowed is None else allowed.admits
        pools = [(queue, self._queues[queue].at[priority]) for queue in queues]
        drawn: list[int] = []
        while pools and len(drawn) < most:
            at = 0 if len(pools) == 1 else random.choices(range(len(pools)), [len(pool) for _, pool in pools])[0]
            queue, pool = pools[at]
            job = pool.pick(random, self._ranks, is_open) if is_open((queue, None)) else None
            if job is not None:
                if allowed is not None:
                    allowed.take(self._ranks[job][1])
                self.discard(job)
                drawn.append(job)
            if job is None or not len(pool):
                del pools[at]
        return drawn


def _is_open(lane: Lane) -> bool:
    return True
