"""Schedules that hypothesis chooses."""

from __future__ import annotations

from typing import Final

from hypothesis import strategies as st

from overseer.testing.simulation.schedule import ACTIONS, Intervention, Schedule

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
