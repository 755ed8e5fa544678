"""Search: runs of a scenario under many schedules, from the simplest on.

First the run without interventions, then each single intervention, then each pair, and so on, as far as most of the
runs suffice; hypothesis chooses longer schedules for the others. So a failure that is found in order has no shorter
cause, and hypothesis shrinks the others.
"""

from __future__ import annotations

import gc
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Final

from overseer.testing.simulation.scenario import Run, Scenario
from overseer.testing.simulation.schedule import Intervention, Schedule
from overseer.testing.simulation.strands import Carriers
from overseer.testing.simulation.world import World

_COLLECT: Final = 100  # runs between two collections of garbage
_PART: Final = 0.7  # of all schedules, for those that are tried in order of their length


@dataclass
class Found:
    """What a search did."""

    runs: int = 0
    steps: int = 0
    failed: Run | None = None
    by_length: Counter[int] = field(default_factory=Counter)  # number of interventions → number of runs


class Explorer:
    """Runs a scenario under schedules, and stops at the first that fails."""

    def __init__(self, scenario: Scenario, carriers: Carriers) -> None:
        self._scenario = scenario
        self._carriers = carriers
        self.found = Found()
        self._most_steps = 0  # of any run

    def run(self, schedule: Schedule) -> Run:
        """Run under a schedule."""
        if self._scenario.before_each is not None:
            self._scenario.before_each()
        run = World(self._scenario, schedule, self._carriers).play()
        found = self.found
        found.runs += 1
        if found.runs % _COLLECT == 0:
            gc.collect()
        found.steps += len(run.steps)
        self._most_steps = max(self._most_steps, len(run.steps))
        found.by_length[len(run.schedule)] += 1
        if run.violation is not None:
            found.failed = run
        return run

    def search(self, most: int) -> None:
        """Run under up to `most` schedules."""
        random, level = Random(self._scenario.seed), [self.run(())]
        while level and self.found.failed is None:
            longer = [schedule for run in level for schedule in _longer(run)]
            limit = most if len(level) == 1 else int(most * _PART)
            if len(longer) > limit - self.found.runs:
                random.shuffle(longer)
            level = self._try(longer, limit)
            if self.found.runs >= limit:
                break
        if level and self.found.failed is None and self.found.runs < most:
            self._search_longer(most - self.found.runs)

    def _try(self, schedules: list[Schedule], limit: int) -> list[Run]:
        """Run under schedules until one fails, or until there were as many runs as the limit."""
        runs = []
        for schedule in schedules:
            if self.found.failed is not None or self.found.runs >= limit:
                break
            runs.append(self.run(schedule))
        return runs

    def _search_longer(self, most: int) -> None:
        """Let hypothesis choose longer schedules, and shrink the first that fails."""
        try:
            from overseer.testing.simulation.strategies import find_failing
        except ImportError:  # hypothesis is not installed
            return
        find_failing(self.run, most, most_step=self._most_steps)


def _longer(run: Run) -> Iterator[Schedule]:
    """Yield the schedules of a run with one more intervention, at a step after the last one."""
    first = run.schedule[-1].step + 1 if run.schedule else 0
    for step, possible in enumerate(run.steps[first:], first):
        for action in possible:
            yield (*run.schedule, Intervention(step, action))


@contextmanager
def few_collections() -> Iterator[None]:
    """Collect garbage only when `Explorer` asks for it: the collector takes a third of the time of a small run."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


@contextmanager
def quiet() -> Iterator[None]:
    """Log nothing: lost leases and failing handlers are what a simulation makes happen."""
    logger = logging.getLogger("overseer")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before
