"""What a simulation is given, what a run of it gives, and the time in which it happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from overseer.handler import Handler
from overseer.jobs.states import STARTED, UNSTARTED
from overseer.testing.clock import START
from overseer.testing.simulation.invariants import Invariant, NothingFound
from overseer.testing.simulation.memory import Memory
from overseer.testing.simulation.schedule import Schedule
from overseer.worker import Config
from overseer.worker.ready import ReadySet, read_job

if TYPE_CHECKING:
    from collections.abc import Mapping

    from factstore import Database, Keyword


@dataclass(frozen=True)
class Scenario:
    """What all runs of a simulation have in common.

    Args:
        memory: what runs have committed and read.
    """

    db: Database
    by_type: Mapping[Keyword, Handler]
    config: Config
    invariants: Sequence[Invariant]
    workers: int = 2
    seed: int = 0
    all_end: bool = True
    before_each: Callable[[], object] | None = None
    memory: Memory = field(default_factory=Memory)

    def ready(self, db: Database, elapsed: Callable[[], float]) -> ReadySet:
        """Return the ready set of a process that begins when the store contains `db`."""
        read = self.memory.read
        ready = ReadySet(self.by_type, elapsed=elapsed, read=partial(read, read_job))
        ready.limited = read(_has_queues, db)
        for job in read(live_jobs, db):  # not `load`, whose queries take longer than to read a few jobs
            ready.look(db, job)
        return ready

    def broken(self, invariant: Invariant, db: Database) -> str | None:
        """Return what is wrong with a database; a function may depend on more than the database, a query does not."""
        return self.memory.read(invariant, db) if isinstance(invariant, NothingFound) else invariant(db)


def _has_queues(db: Database) -> bool:
    """Return whether any queue has settings."""
    return any(True for _ in db.datoms("aevt", ":queue/name"))


def live_jobs(db: Database) -> list[int]:
    """Return the jobs that have not ended."""
    return [datom.e for status in (UNSTARTED, STARTED) for datom in db.datoms("avet", ":job/status", status)]


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
    error: Exception | None = None  # of an invariant that cannot be checked
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
