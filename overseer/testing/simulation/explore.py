"""Search: runs of a scenario under many schedules, from the simplest on.

First the run without interventions, then each single intervention, then each pair, and so on, as far as most of the
runs suffice; the others have more interventions, at random. So a failure that is found in order has no shorter cause,
and any other is shrunk.
"""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from random import Random
from typing import Any, Final

from overseer.errors import OverseerError
from overseer.testing.simulation.forks import Forks, Plan, Tried
from overseer.testing.simulation.relay import Threads
from overseer.testing.simulation.scenario import Run, Scenario
from overseer.testing.simulation.schedule import (
    ACTIONS,
    AtRandom,
    Intervention,
    Schedule,
    at_random,
    chosen,
    write_schedule,
)
from overseer.testing.simulation.world import World

_COLLECT: Final = 1000  # runs between two collections of garbage
_MOST: Final = 6  # interventions of a random schedule
_PART: Final = 0.7  # of all schedules, for those that are tried in order of their length


@dataclass
class Found:
    """What a search did."""

    runs: int = 0
    steps: int = 0
    failed: Run | None = None
    by_length: Counter[int] = field(default_factory=Counter)  # number of interventions → number of runs


class Explorer:
    """Runs a scenario under schedules, and stops at the first that fails.

    Args:
        forks: the processes that make most of the runs; None for this one alone. A run that fails in one of them is
            repeated here.
    """

    def __init__(self, scenario: Scenario, threads: Threads, forks: Forks | None = None) -> None:
        self._scenario = scenario
        self._threads = threads
        self._forks = forks
        self.found = Found()
        self.first: Run | None = None
        self._lengths: list[int] = []  # the numbers of steps of all runs

    def run(self, plan: Plan) -> Run:
        """Run under a schedule, or under one that is chosen at random."""
        if self._scenario.before_each is not None:
            self._scenario.before_each()
        choose = at_random(plan) if isinstance(plan, AtRandom) else chosen(plan)
        run = World(self._scenario, choose, self._threads).play()
        self.first = self.first or run
        self._note(run.schedule, run.steps)
        if self.found.runs % _COLLECT == 0:
            gc.collect()
        if run.violation is not None:
            self.found.failed = run
        return run

    def tried(self, plan: Plan) -> Tried:
        """Run under a schedule, and return what a search must know."""
        run = self.run(plan)
        return Tried(run.schedule, run.steps, run.violation is not None)

    def _note(self, schedule: Schedule, steps: Sequence[tuple[str, ...]]) -> None:
        self.found.runs += 1
        self.found.steps += len(steps)
        self.found.by_length[len(schedule)] += 1
        self._lengths.append(len(steps))

    def search(self, most: int) -> None:
        """Run under up to `most` schedules, until one fails."""
        random, level, length = Random(self._scenario.seed), [_longer(self.tried(()))], 0
        while level and self.found.failed is None:
            longer, length = [schedule for schedules in level for schedule in schedules], length + 1
            limit = most if len(level) == 1 else int(most * _PART)
            if len(longer) > limit - self.found.runs:
                random.shuffle(longer)
            level = self._try(longer[: max(0, limit - self.found.runs)])
            if self.found.runs >= limit:
                break
        if level and self.found.failed is None:
            lengths, longest = list(self._lengths), max(length, _MOST)
            self._try(
                [
                    AtRandom(random.getrandbits(64), random.randint(length, longest), random.choice(lengths))
                    for _ in range(most - self.found.runs)
                ]
            )
            if self.found.failed is not None:
                self._shrink(self.found.failed, length)

    def _try(self, plans: Sequence[Plan]) -> list[list[Schedule]]:
        """Run under schedules until one fails.

        Returns: for each run, the schedules with one more intervention. The runs themselves are large.
        """
        level = []
        for tried in map(self.tried, plans) if self._forks is None else self._tried_in(self._forks, plans):
            level.append(_longer(tried))
            if tried.fails:
                break
        return level

    def _tried_in(self, forks: Forks, plans: Sequence[Plan]) -> Iterator[Tried]:
        for plan, tried in zip(plans, forks.tried(plans), strict=False):
            if not tried.fails:
                self._note(tried.schedule, tried.steps)
            elif self.run(plan).violation is None:
                raise not_repeatable(f"the schedule {write_schedule(tried.schedule)!r} fails in another process only")
            yield tried

    def _shrink(self, failed: Run, shortest: int) -> None:
        """Find a simpler schedule that fails: with fewer interventions, and each of them earlier.

        Args:
            shortest: the number of interventions from which not all schedules have been tried.
        """
        lengths = range(shortest, len(failed.schedule))
        failed = self._first_failing(some for n in lengths for some in combinations(failed.schedule, n)) or failed
        n = 0
        while n < len(failed.schedule):
            before, one, after = failed.schedule[:n], failed.schedule[n], failed.schedule[n + 1 :]
            earlier = (tuple(sorted((*before, simpler, *after))) for simpler in _simpler(one))
            failed, n = self._first_failing(earlier) or failed, n + 1

    def _first_failing(self, schedules: Iterable[Schedule]) -> Run | None:
        return next((run for run in map(self.run, schedules) if run.violation is not None), None)


def _simpler(than: Intervention) -> Iterator[Intervention]:
    """Yield simpler interventions: with an action that comes first in ACTIONS, or at an earlier step."""
    for action in ACTIONS[: ACTIONS.index(than.action) + 1]:
        for step in range(than.step + (action != than.action)):
            yield Intervention(step, action)


def _longer(run: Tried) -> list[Schedule]:
    """Return the schedules of a run with one more intervention, at a step after the last one."""
    first = run.schedule[-1].step + 1 if run.schedule else 0
    return [
        (*run.schedule, Intervention(step, action))
        for step, possible in enumerate(run.steps[first:], first)
        for action in possible
    ]


def outline(run: Run) -> tuple[list[tuple[str, ...]], Counter[Any]]:
    """Return what all runs under one schedule have in common: the steps, and how often jobs had each status."""
    return run.steps, Counter(datom.v for datom in run.db.since(run.base.basis_t).datoms("aevt", ":job/status"))


def not_repeatable(what: str) -> OverseerError:
    """Return the error for runs that differ between processes."""
    why = (
        f"{what}, so a run depends on the process or on an earlier run: on an open store or file, for example,"
        " or on what before_each does not reset; use processes=1"
    )
    return OverseerError(":job.error/not-repeatable", why)


@contextmanager
def few_collections() -> Iterator[None]:
    """Collect garbage only when `Explorer` asks for it: the collector takes a third of the time of a small run.

    Objects from before are frozen and not collected first: that takes as long as 15 small runs. If the caller has
    frozen objects, nothing else is: all objects can only be unfrozen together, and so its own would be, too.
    """
    was_enabled, is_frozen = gc.isenabled(), gc.get_freeze_count() > 0
    try:
        if not is_frozen:
            gc.freeze()
        gc.disable()  # within the block: an interrupt before it would leave the collector off
        yield
    finally:
        if not is_frozen:
            gc.unfreeze()
        if was_enabled:
            gc.enable()


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing: lost leases and failing handlers are what a simulation makes happen."""
    logger = logging.getLogger("overseer")
    before = logger.disabled
    try:
        logger.disabled = True
        yield
    finally:
        logger.disabled = before
