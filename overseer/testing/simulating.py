"""Run the jobs of a store under many schedules, and check what must hold in all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import factstore
from factstore import quoted
from overseer.errors import OverseerError
from overseer.handler import Handlers, check_handlers
from overseer.jobs.store import install
from overseer.sources import of_connection
from overseer.testing.simulation.explore import Explorer, Found, few_collections, not_repeatable, outline, quiet
from overseer.testing.simulation.forks import Forks, Try
from overseer.testing.simulation.invariants import Invariant, invariants_of
from overseer.testing.simulation.relay import Threads
from overseer.testing.simulation.scenario import Run, Scenario
from overseer.testing.simulation.schedule import Schedule, schedule_of, write_schedule
from overseer.testing.simulation.story import text_of
from overseer.worker import Config
from overseer.worker.pools.signals import interruptible

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from factstore import Connection, Keyword
    from overseer.handler import Handler


@factstore.rendering.shown_as_record
@dataclass(frozen=True)
class Simulated:
    """What a simulation tried without finding a failure.

    Args:
        runs: the number of schedules.
        steps: the number of steps in all of them.
        by_length: how many schedules had how many interventions.
    """

    runs: int
    steps: int
    by_length: Mapping[int, int]


class Violation(AssertionError):
    """A schedule under which something does not hold.

    Args:
        run: what happened: `run.schedule`, `run.violation`, and the database `run.db` at the end.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.schedule = write_schedule(run.schedule)
        super().__init__(f"{self.story}\n\nRepeat it with schedule={self.schedule!r}")

    @property
    def story(self) -> str:
        """What is wrong, and what happened, line by line."""
        return text_of(self.run)

    @property
    def picture(self) -> str:
        """What happened, as SVG: time from top to bottom, and a line for each process."""
        from overseer.testing.simulation.picture import picture_of

        return picture_of(self.run)


@of_connection
def simulate(
    conn: Connection,
    handlers: Handlers,
    *,
    invariants: Iterable[Any] = (),
    workers: int = 2,
    schedules: int = 2000,
    schedule: str | Schedule | None = None,
    config: Config | Mapping[str, Any] | None = None,
    before_each: Callable[[], object] | None = None,
    all_end: bool = True,
    processes: int = 1,
    picture: str | Path | None = None,
) -> Simulated:
    """Run the jobs of a store, in memory, under many schedules of workers that crash, stall and overtake each other.

    Each run begins with the newest database of `conn`, which does not change. A run is wrong if an invariant does not
    hold at one of its database values, if a handler comes to an effect (`job.effect`) a second time, if no process can
    continue, or if a job has not ended.

    Args:
        invariants: queries for violations, and functions of a database that assert, or return False.
        workers: the number of workers; one that crashes is replaced by another.
        schedules: the number of runs: first with one intervention, then two, and so on; the last ones at random.
        schedule: run only under this schedule, as a Violation states it.
        config: retry policies, the length of a lease, and `max_crashes`; other settings have no effect.
        before_each: is called before each run, to reset what handlers use outside of the store.
        all_end: whether it is wrong if a job of these types has not ended when nothing is left to do.
        processes: how many forked processes share the runs, none of which may then depend on an earlier one.
        picture: a file to which the picture of a failure is written, as SVG.
    Raises: Violation, with the shortest schedule that was found; the error of an invariant; OverseerError.
    """
    _check_numbers(workers=workers, schedules=schedules, processes=processes)
    _check_others(before_each, picture)
    scenario = _scenario(conn, check_handlers(handlers), Config.of(config), invariants_of(invariants))
    scenario = replace(scenario, workers=workers, all_end=all_end, before_each=before_each)
    found = _explored(scenario, schedules, processes) if schedule is None else _explored_one(scenario, schedule)
    if found.failed is None:
        return Simulated(found.runs, found.steps, dict(found.by_length))
    raise _violation(found.failed, picture)


def _violation(failed: Run, picture: str | Path | None) -> Violation:
    """Return the error of a run that failed, and write its picture."""
    violation = Violation(failed)
    if picture is not None:
        Path(picture).write_text(violation.picture, encoding="utf-8")
    return violation


def _check_numbers(**numbers: int) -> None:
    for name, number in numbers.items():
        if type(number) is not int or number < 1:
            why = f"{name} of a simulation is a whole number from 1 on, got {quoted(number)}"
            raise OverseerError(":job.error/bad-argument", why, **{name: number})


def _check_others(before_each: object, picture: object) -> None:
    if not (before_each is None or callable(before_each)):
        why = f"before_each is a function without arguments, got {quoted(before_each)}"
        raise OverseerError(":job.error/bad-argument", why, before_each=before_each)
    if picture is not None and not (isinstance(picture, str | Path) and Path(picture).parent.is_dir()):
        why = f"a picture is a path in a folder that exists, got {quoted(picture)}"
        raise OverseerError(":job.error/bad-argument", why, picture=picture)


def _scenario(
    conn: Connection, by_type: Mapping[Keyword, Handler], config: Config, invariants: Sequence[Invariant]
) -> Scenario:
    install(conn)
    return Scenario(conn.db(), by_type, config, invariants)


def _explored(scenario: Scenario, most: int, processes: int) -> Found:
    """Search the schedules of a scenario. Raises: the error of an invariant."""

    def begin() -> Try:
        """Make the first run again, which must be the same here."""
        here = Explorer(scenario, Threads())
        if explorer.first is not None and outline(here.run(())) != outline(explorer.first):
            raise not_repeatable("a run without interventions has another result in another process")
        return here.tried

    with quiet(), few_collections(), ExitStack() as stack:
        forks = stack.enter_context(Forks(processes, begin)) if processes > 1 else None
        explorer = Explorer(scenario, stack.enter_context(Threads()), forks)
        stack.enter_context(interruptible())
        explorer.search(most)
    return _checked(explorer.found)


def _explored_one(scenario: Scenario, schedule: str | Schedule) -> Found:
    """Run a scenario under one schedule. Raises: the error of an invariant."""
    with Threads() as threads, quiet(), few_collections(), interruptible():
        explorer = Explorer(scenario, threads)
        explorer.run(schedule_of(schedule))
    return _checked(explorer.found)


def _checked(found: Found) -> Found:
    if found.failed is not None and found.failed.error is not None:
        raise found.failed.error
    return found


def schedules(*, most: int = 6, most_step: int = 60) -> SearchStrategy[Schedule]:
    """Return a strategy of hypothesis for `simulate(…, schedule=…)`.

    Args:
        most: the largest number of interventions.
        most_step: the largest step at which one is made.
    """
    from overseer.testing.simulation import strategies

    return strategies.schedules(most=most, most_step=most_step)
