"""What is shown while the jobs run: one line that renews itself on a terminal, a line now and then anywhere else.

Law: shows only what the store says of itself.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import IO, NamedTuple

from factstore import Database, q

from . import jobs, questions, svg
from .attempts import FINISHED, STARTED

WIDTH = 24  # of the bar, in characters
PAUSE = 5.0  # seconds between lines where a line cannot renew itself


class Snapshot(NamedTuple):
    """How far the jobs are at one moment."""

    finished: int
    jobs: int
    running: tuple[str, ...]
    facts: int
    seconds: float


def snapshot(db: Database, facts: int, seconds: float) -> Snapshot:
    """Return how far a database's jobs are, after so many facts and seconds."""
    standing: Mapping[str, str] = dict(q(questions.STANDING, db))
    running = tuple(sorted(job for job, status in standing.items() if status == STARTED))
    finished = sum(status == FINISHED for status in standing.values())
    return Snapshot(finished, len(standing), running, facts, seconds)


def line(now: Snapshot) -> str:
    """Return a snapshot in one line.

    >>> line(Snapshot(1, 4, (":load/planes",), 12_000, 2.0))
    '██████░░░░░░░░░░░░░░░░░░ 1/4 jobs · 12k facts · 6k/s · 2 s  ▸ planes'
    """
    full = round(WIDTH * now.finished / (now.jobs or 1))
    bar = "█" * full + "░" * (WIDTH - full)
    rate = svg.short(now.facts / now.seconds if now.seconds else 0)
    running = f"  ▸ {', '.join(map(jobs.label, now.running))}" if now.running else ""
    return (
        f"{bar} {now.finished}/{now.jobs} jobs · {svg.short(now.facts)} facts · {rate}/s · {now.seconds:.0f} s{running}"
    )


class Progress:
    """The progress of one run on a stream."""

    def __init__(self, stream: IO[str] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._clock = clock
        self._renews = self._stream.isatty()
        self._last = float("-inf")
        self._finished = -1

    def show(self, now: Snapshot) -> None:
        """Show a snapshot, where there is something new to say."""
        if self._renews:
            self._stream.write(f"\r\033[2K  {line(now)}"[:200])
        elif now.finished == now.jobs != self._finished or self._clock() - self._last >= PAUSE:
            self._stream.write(f"  {line(now)}\n")
            self._last = self._clock()
        self._finished = now.finished
        self._stream.flush()

    def close(self) -> None:
        """End the line."""
        if self._renews:
            self._stream.write("\n")
            self._stream.flush()
