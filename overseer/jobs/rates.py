"""Rates: when the jobs of a queue started, and how many more may start.

A queue's starts are one fact: how many there ever were, and when the latest were, by the clocks of the workers. Each
claim compares it, so no worker claims without having seen the starts of all others. Their ages are elapsed time: each
observer measures them from when it first saw them, so no clock that is wrong, here or there, opens the queue too early
or keeps it shut.
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

Batch = tuple[datetime, int]  # when that many jobs started

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_PARTS: Final = 16  # of a window: starts in the same part are taken together, where there are more than these
# From the transaction that claims to the first line of the handler: by so much more the starts of two claims may
# differ.
_SHORTEST_SLACK: Final = timedelta(milliseconds=10)
_LONGEST_SLACK: Final = timedelta(milliseconds=100)
_SHORT: Final = timedelta(minutes=1)  # a period for which a worker that begins may wait


def window(period: timedelta) -> timedelta:
    """Return the time for which a claim counts: the period, and what may pass between a claim and its start."""
    return period + min(max(period / 20, _SHORTEST_SLACK), _LONGEST_SLACK)


class Starts(NamedTuple):
    """The starts of a queue."""

    total: int = 0
    recent: tuple[Batch, ...] = ()  # oldest first

    @classmethod
    def read(cls, text: str | None) -> Self:
        """Return the starts that a fact states, as `text` writes them; of a text that is none, no starts."""
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
        """Return the starts that still count; those that lie ahead of the clock do."""
        since = now - window(period)
        return tuple(batch for batch in self.recent if batch[0] > since)

    def plus(self, count: int, now: datetime, period: timedelta) -> Starts:
        """Return the starts after some more; of those before, the ones that still count."""
        recent = (*self.within(period, now), (now, count))
        if len(recent) > _PARTS:
            width = window(period) / _PARTS
            parts: dict[int, Batch] = {}
            for at, many in recent:
                part = (at - _EPOCH) // width
                parts[part] = (at, many + parts.get(part, (at, 0))[1])  # all of them as late as the last
            recent = tuple(parts.values())
        return Starts(self.total + count, recent)


class Pace:
    """The starts of queues as one observer saw them.

    Args:
        elapsed: seconds that only go on.
        trusts_clock: how old the starts before the first look are, the clock tells. Otherwise, where the period is
            short, they count as of that look: a worker that begins rather waits for a period than believe a clock that
            may be wrong.
    """

    def __init__(self, elapsed: Callable[[], float], *, trusts_clock: bool = False) -> None:
        self._elapsed = elapsed
        self._trusts_clock = trusts_clock
        self._seen: dict[int, tuple[int, deque[tuple[float, int]]]] = {}  # queue → total, and when starts were seen

    def seen(self, queue: int, starts: Starts, period: timedelta, now: datetime) -> Starts:
        """Return the starts of a queue at the times, by this clock, that follow from how long ago they were seen."""
        at = self._elapsed()
        total, batches = self._seen.get(queue, (-1, deque[tuple[float, int]]()))
        if not 0 <= total <= starts.total:  # the first look
            believes = self._trusts_clock or period > _SHORT
            ages = (max(0.0, (now - when).total_seconds()) if believes else 0.0 for when, _ in starts.recent)
            batches = deque((at - age, count) for age, (_, count) in zip(ages, starts.recent, strict=True))
        elif total < starts.total:
            batches.append((at, starts.total - total))
        while batches and at - batches[0][0] >= window(period).total_seconds():
            batches.popleft()
        self._seen[queue] = (starts.total, batches)
        return Starts(starts.total, tuple((now - timedelta(seconds=at - when), count) for when, count in batches))


def stopwatch(conn: Connection) -> Callable[[], float]:
    """Return what measures elapsed seconds for a connection: the monotonic clock, or the connection's own where it measures them too.

    A `FakeClock` does, so that tests move all time together.
    """
    return getattr(conn.clock, "elapsed", monotonic)


def pace(conn: Connection) -> Pace:
    """Return what sees the starts of a store's queues."""
    elapsed = stopwatch(conn)
    return Pace(elapsed, trusts_clock=elapsed is not monotonic)
