"""Timelines: the facts of one entity, or with one value, of an attribute at any t, where they change often.

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
    """The result of events: the facts that are live after them, and the older ones that they retracted, by key."""

    live: dict[Stored, Fact]
    gone: set[Stored]


class Timeline:
    """Events in order of t; later events are added at the end.

    Args:
        component: the position in a fact of the key that distinguishes the facts.
    """

    __slots__ = ("_component", "_events", "_marks", "_places", "_state", "_ts")

    # Events between two marks; more if the state is larger, so that the marks take no more memory than the events.
    LEAST = 64

    def __init__(self, component: int) -> None:
        self._component = component
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
            self._apply(self._state, event)
            live, gone = self._state
            if len(self._events) - self._places[-1] >= max(self.LEAST, len(live) + len(gone)):
                self._marks.append((tuple(live.values()), tuple(gone)))
                self._places.append(len(self._events))

    def at(self, t: int) -> State:
        """Return the state after the events up to t, to be read before the next events are added."""
        end = bisect_right(self._ts, t)
        if end == len(self._ts):
            return self._state
        mark = bisect_right(self._places, end) - 1
        facts, gone = self._marks[mark]
        component = self._component
        state = State({fact[component]: fact for fact in facts}, set(gone))
        for event in self._events[self._places[mark] : end]:
            self._apply(state, event)
        return state

    def _apply(self, state: State, event: Fact) -> None:
        key = event[self._component]
        if event[4]:
            state.live[key] = event
        elif state.live.pop(key, None) is None:
            state.gone.add(key)
