"""Run the jobs of a store under many schedules, and check what must hold in all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from overseer.errors import OverseerError
from overseer.handler import Handlers, check_handlers
from overseer.jobs.queues import queues
from overseer.jobs.store import install
from overseer.sources import of_connection
from overseer.testing.simulation.explore import Explorer, Found, few_collections, quiet
from overseer.testing.simulation.invariants import Invariant, invariants_of
from overseer.testing.simulation.scenario import Run, Scenario, live_jobs
from overseer.testing.simulation.schedule import Schedule, read_schedule, write_schedule
from overseer.testing.simulation.story import text_of
from overseer.testing.simulation.strands import Carriers
from overseer.worker import Config

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from factstore import Connection, Keyword
    from overseer.handler import Handler


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
        """What happened, as SVG: a line for each process, and time from left to right."""
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
    picture: str | Path | None = None,
) -> Simulated:
    """Run the jobs of a store, in memory, under many schedules of workers that crash, stall and overtake each other.

    Each run begins with the newest database of `conn`, which does not change. A run is wrong if an invariant does not
    hold at one of its database values, if a handler comes to an effect (`job.effect`) a second time, if no process can
    continue, or if a job has not ended.

    Args:
        invariants: queries for violations, and functions of a database that assert, or return False.
        workers: the number of workers; one that crashes is replaced by another.
        schedules: the number of runs: first with one intervention, then two, and so on; long ones need hypothesis.
        schedule: run only under this schedule, as a Violation states it.
        config: retry policies, the length of a lease, and `max_crashes`; other settings have no effect.
        before_each: is called before each run, to reset what handlers use outside of the store.
        all_end: whether it is wrong if a job of these types has not ended when nothing is left to do.
        picture: a file to which the picture of a failure is written, as SVG.
    Raises: Violation, with the shortest schedule that was found; OverseerError(:job.error/bad-argument).
    """
    _check_numbers(workers, schedules)
    scenario = _scenario(conn, check_handlers(handlers), Config.of(config), invariants_of(invariants))
    scenario = replace(scenario, workers=workers, all_end=all_end, before_each=before_each)
    found = _explored(scenario, schedules, schedule)
    if found.failed is None:
        return Simulated(found.runs, found.steps, dict(found.by_length))
    violation = Violation(found.failed)
    if picture is not None:
        Path(picture).write_text(violation.picture, encoding="utf-8")
    raise violation


def _check_numbers(workers: int, schedules: int) -> None:
    if schedules < 1 or workers < 1:
        why = f"a simulation has at least one worker and one schedule, got {workers} and {schedules}"
        raise OverseerError(":job.error/bad-argument", why, workers=workers, schedules=schedules)


def _scenario(
    conn: Connection, by_type: Mapping[Keyword, Handler], config: Config, invariants: Sequence[Invariant]
) -> Scenario:
    install(conn)
    db = conn.db()
    return Scenario(db, by_type, config, invariants, live=live_jobs(db), limited=bool(queues(db)))


def _explored(scenario: Scenario, most: int, schedule: str | Schedule | None) -> Found:
    """Search the schedules of a scenario, or run only under one."""
    chosen = read_schedule(schedule) if isinstance(schedule, str) else schedule
    with Carriers() as carriers, quiet(), few_collections():
        explorer = Explorer(scenario, carriers)
        if chosen is None:
            explorer.search(most)
        else:
            explorer.run(chosen)
    return explorer.found


def schedules(*, most: int = 6, most_step: int = 60) -> SearchStrategy[Schedule]:
    """Return a strategy of hypothesis for `simulate(…, schedule=…)`.

    Args:
        most: the largest number of interventions.
        most_step: the largest step at which one is made.
    """
    from overseer.testing.simulation import strategies

    return strategies.schedules(most=most, most_step=most_step)
