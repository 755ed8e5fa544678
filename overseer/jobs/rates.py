"""Rates: when the jobs of a queue started, and how many more may start.

The starts of a queue are one fact: their total number, and the times of the latest ones by the clocks of the workers.
Each claim compares this fact, so no worker claims without having seen the starts of all others. The age of a start is
elapsed time: each observer measures it from when it first saw the start, so a wrong clock neither opens a queue too
early nor keeps it closed.
Law: in no window as long as the period do more jobs start than the rate.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Final, NamedTuple, Self

if TYPE_CHECKING:
    from factstore import Connection

Batch = tuple[datetime, int]  # a time, and how many jobs started then

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PARTS: Final = 16  # parts of a window: if there are more batches than parts, the starts in one part become one batch
# The time from the claiming transaction to the first line of the handler varies by at most this much.
_SHORTEST_SLACK: Final = timedelta(milliseconds=10)
_LONGEST_SLACK: Final = timedelta(milliseconds=100)
_SHORT: Final = timedelta(minutes=1)  # a new worker may wait for a period this short


def slack(period: timedelta) -> timedelta:
    """Return how much time may pass between a claim and the start of its job."""
    return min(max(period / 20, _SHORTEST_SLACK), _LONGEST_SLACK)


def window(period: timedelta) -> timedelta:
    """Return how long a claim counts: the period, and the time that may pass between a claim and its start."""
    return period + slack(period)


class Starts(NamedTuple):
    """The starts of a queue."""

    total: int = 0
    recent: tuple[Batch, ...] = ()  # oldest first

    @classmethod
    def read(cls, text: str | None) -> Self:
        """Return the starts in a fact that `text` has written; no starts for an invalid text."""
        try:
            total, *batches = (text or "0").split()
            pairs = (batch.split(":") for batch in batches)
            return cls(int(total), tuple((_EPOCH + timedelta(microseconds=int(at)), int(count)) for at, count in pairs))
        except (ValueError, OverflowError):
            return cls()

    def text(self) -> str:
        """Return the value of the fact."""
        return " ".join(
            [str(self.total), *(f"{(at - _EPOCH) // timedelta.resolution}:{count}" for at, count in self.recent)]
        )

    def within(self, period: timedelta, now: datetime) -> tuple[Batch, ...]:
        """Return the starts that still count, with those that are ahead of the clock."""
        since = now - window(period)
        return tuple(batch for batch in self.recent if batch[0] > since)

    def plus(self, count: int, now: datetime, period: timedelta) -> Starts:
        """Return the starts that still count, and `count` more now."""
        recent = (*self.within(period, now), (now, count))
        if len(recent) > _PARTS:
            width = window(period) / _PARTS
            parts: dict[int, Batch] = {}
            for at, many in recent:
                part = (at - _EPOCH) // width
                parts[part] = (at, many + parts.get(part, (at, 0))[1])  # all at the time of the last one
            recent = tuple(parts.values())
        return Starts(self.total + count, recent)


class Pace:
    """The starts of queues, as one observer has seen them.

    Args:
        elapsed: a monotonic clock, in seconds.
        trusts_clock: whether the clock tells the age of starts that are seen at the first read. If not, and if the
            period is short, they count as of that read: a new worker waits for a period rather than trust a clock that
            may be wrong.
    """

    def __init__(self, elapsed: Callable[[], float], *, trusts_clock: bool = False) -> None:
        self._elapsed = elapsed
        self._trusts_clock = trusts_clock
        self._seen: dict[int, tuple[int, deque[tuple[float, int]]]] = {}  # queue → total, and when each start was seen

    def seen(self, queue: int, starts: Starts, period: timedelta, now: datetime) -> Starts:
        """Return the starts of a queue, at times that follow from how long ago they were seen."""
        at = self._elapsed()
        total, batches = self._seen.get(queue, (-1, deque[tuple[float, int]]()))
        if not 0 <= total <= starts.total:  # the first read
            trusted = self._trusts_clock or period > _SHORT
            ages = (max(0.0, (now - when).total_seconds()) if trusted else 0.0 for when, _ in starts.recent)
            batches = deque((at - age, count) for age, (_, count) in zip(ages, starts.recent, strict=True))
        elif total < starts.total:
            batches.append((at, starts.total - total))
        while batches and at - batches[0][0] >= window(period).total_seconds():
            batches.popleft()
        self._seen[queue] = (starts.total, batches)
        return Starts(starts.total, tuple((now - timedelta(seconds=at - when), count) for when, count in batches))


def stopwatch(conn: Connection) -> Callable[[], float]:
    """Return a function that measures elapsed seconds: the monotonic clock, or a method of the connection's clock.

    A `FakeClock` has such a method, so that tests move all time together.
    """
    return getattr(conn.clock, "elapsed", monotonic)


def pace(conn: Connection) -> Pace:
    """Return an observer of the queues of a store."""
    elapsed = stopwatch(conn)
    return Pace(elapsed, trusts_clock=elapsed is not monotonic)
