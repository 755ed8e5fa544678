"""Schedules that hypothesis chooses, and shrinks."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

from overseer.testing.simulation.schedule import ACTIONS, Intervention, Schedule

if TYPE_CHECKING:
    from overseer.testing.simulation.scenario import Run

_MOST_STEP: Final = 60
_MOST: Final = 6  # interventions


def schedules(*, most: int = _MOST, most_step: int = _MOST_STEP) -> st.SearchStrategy[Schedule]:
    """Return a strategy of schedules for `simulate(…, schedule=…)`.

    Args:
        most: the largest number of interventions.
        most_step: the largest step at which one is made.
    """
    one = st.builds(Intervention, st.integers(0, most_step), st.sampled_from(ACTIONS))
    return st.lists(one, max_size=most).map(lambda chosen: tuple(sorted(chosen)))


def find_failing(run: Callable[[Schedule], Run], examples: int, *, most_step: int) -> None:
    """Run under schedules that hypothesis chooses; the last run that failed is the shrunk one."""

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(schedules(most_step=most_step))
    def search(schedule: Schedule) -> None:
        assert run(schedule).violation is None

    with suppress(AssertionError, Flaky):  # flaky: a handler that does not do the same each time
        search()
