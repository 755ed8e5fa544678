"""Timelines: the state of one entity and attribute at any t, for values that change often.

A timeline saves a mark, the state at that moment, at intervals. A read starts at the last mark before its t, so its
time depends on the size of that state, not on the number of earlier or later events.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from factstore.datom import Fact
from factstore.values.types import Stored


class State(NamedTuple):
    """The result of events: the facts that are live after them, and the older values that they retracted."""

    live: dict[Stored, Fact]
    gone: set[Stored]


class Timeline:
    """Events in order of t; later events are added at the end."""

    __slots__ = ("_events", "_marks", "_places", "_state", "_ts")

    # Events between two marks; more if the state is larger, so that the marks take no more memory than the events.
    LEAST = 64

    def __init__(self) -> None:
        self._events: list[Fact] = []
        self._ts: list[int] = []
        self._state = State({}, set())  # after all events
        self._marks: list[tuple[Sequence[Fact], Sequence[Stored]]] = [((), ())]
        self._places: list[int] = [0]  # the number of events before each mark

    def extend(self, events: Sequence[Fact]) -> None:
        """Add later events, oldest first."""
        for event in events:
            self._events.append(event)
            self._ts.append(event[3])
            _apply(self._state, event)
            live, gone = self._state
            if len(self._events) - self._places[-1] >= max(self.LEAST, len(live) + len(gone)):
                self._marks.append((tuple(live.values()), tuple(gone)))
                self._places.append(len(self._events))

    def at(self, t: int) -> State:
        """Return the state after the events up to t."""
        end = bisect_right(self._ts, t)
        mark = bisect_right(self._places, end) - 1
        facts, gone = self._marks[mark]
        state = State({fact[2]: fact for fact in facts}, set(gone))
        for event in self._events[self._places[mark] : end]:
            _apply(state, event)
        return state


def _apply(state: State, event: Fact) -> None:
    value = event[2]
    if event[4]:
        state.live[value] = event
    elif state.live.pop(value, None) is None:
        state.gone.add(value)
