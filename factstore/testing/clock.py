"""A clock for tests, which moves only when a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """A clock that moves only when it is moved; pass it to `factstore.connect(…, clock=…)`.

    Rates and pauses of jobs use it, too. Setting it back, by `now`, does not set back its elapsed time.

    >>> clock = FakeClock()
    >>> clock.advance(90)
    >>> clock().isoformat()
    '2026-01-01T00:01:30+00:00'
    """

    def __init__(self, now: datetime = START) -> None:
        self.now = now
        self._last = now
        self._elapsed = 0.0

    def __call__(self) -> datetime:
        return self.now

    def __repr__(self) -> str:
        return f"<FakeClock {self.now.isoformat()}>"

    def advance(self, seconds: float) -> None:
        """Move the clock forward, or back by a negative number of seconds."""
        self.now += timedelta(seconds=seconds)

    def elapsed(self) -> float:
        """Return the seconds by which the clock was moved forward between calls."""
        self._elapsed += max(0.0, (self.now - self._last).total_seconds())
        self._last = self.now
        return self._elapsed
