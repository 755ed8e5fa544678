"""Timelines: what the events of one entity and attribute came to at any t, for reading the past of what changes often.

Every so many events there is a mark: what was true then. A read begins at the last mark before its t, so it costs about as much as
was true then, however many events there are before or after.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from factstore.datom import Fact
from factstore.values.types import Stored


class State(NamedTuple):
    """What events came to: the facts that they made true, and the values that they took away from what was before them."""

    live: dict[Stored, Fact]
    gone: set[Stored]


class Timeline:
    """Events in order of t; grows at its end."""

    __slots__ = ("_events", "_marks", "_places", "_state", "_ts")

    LEAST = 64  # events between two marks; more where more is true, so that marks together take no more room than the events

    def __init__(self) -> None:
        self._events: list[Fact] = []
        self._ts: list[int] = []
        self._state = State({}, set())  # after all events
        self._marks: list[tuple[Sequence[Fact], Sequence[Stored]]] = [((), ())]
        self._places: list[int] = [0]  # how many events each mark has seen

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
        """Return what the events up to t came to."""
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
