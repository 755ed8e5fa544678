"""Schedules of simulated processes, with any number of switches."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from factstore.testing.simulation.schedules import Schedule


def schedules(*, max_switches: int = 6, max_stops: int = 40) -> SearchStrategy[Schedule]:
    """Return a strategy for schedules of two or three processes; they shrink to fewer and earlier switches.

    Args:
        max_switches: the maximum number of switches.
        max_stops: the maximum number of stops between two of them.
    """
    switch = st.tuples(st.integers(0, max_stops), st.integers(0, 2))
    return st.lists(switch, max_size=max_switches).map(lambda switches: Schedule(tuple(switches)))
