"""What a simulation is given, what a run of it gives, and the time in which it happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from overseer.handler import Handler
from overseer.testing.clock import START
from overseer.testing.simulation.invariants import Invariant
from overseer.testing.simulation.schedule import Schedule
from overseer.worker import Config
from overseer.worker.ready import ReadySet

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factstore import Database, Keyword


@dataclass(frozen=True)
class Scenario:
    """What all runs of a simulation have in common."""

    db: Database
    by_type: Mapping[Keyword, Handler]
    config: Config
    invariants: Sequence[Invariant]
    workers: int = 2
    seed: int = 0
    all_end: bool = True
    before_each: Callable[[], object] | None = None
    live: Sequence[int] = ()  # the jobs of these types that have not ended
    limited: bool = False  # whether any queue has settings

    def ready(self, elapsed: Callable[[], float]) -> ReadySet:
        """Return the ready set of a process at the beginning."""
        ready = ReadySet(self.by_type, elapsed=elapsed)
        for job in self.live:
            ready.look(self.db, job)
        ready.limited = self.limited
        return ready


class Told(NamedTuple):
    """One line of the story of a run, before it is put into words."""

    at: float  # elapsed seconds
    who: str
    what: str
    detail: Any = None


@dataclass
class Run:
    """What happened under a schedule."""

    schedule: Schedule  # the interventions that were made
    steps: list[tuple[str, ...]]  # what was possible at each step
    story: list[Told]
    base: Database
    db: Database
    violation: str | None = None
    processes: list[str] = field(default_factory=list)


class VirtualClock:
    """The time of a run: the clock may jump, and elapsed time never goes back."""

    def __init__(self, start: datetime = START) -> None:
        self._start = start
        self._elapsed = 0.0

    def __call__(self) -> datetime:
        return self._start + timedelta(seconds=self._elapsed)

    def elapsed(self) -> float:
        """Return the elapsed seconds."""
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._elapsed += seconds

    def jump(self, by: timedelta) -> None:
        """Set the clock, which changes no elapsed time."""
        self._start += by
