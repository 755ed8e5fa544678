"""Schedules: the choices of a scheduler, one by one or all of them up to a number of preemptions.

A *preemption* is a choice of another process while the one that ran last could continue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from factstore.testing.simulation.scheduler import Chooser, Step


def stay(before: int | None, runnable: tuple[int, ...]) -> int:
    """Choose the process that ran last for as long as it can run, then the first one that can."""
    return before if before is not None and before in runnable else runnable[0]


def following(choices: Sequence[int]) -> Chooser:
    """Return a chooser that makes these choices, and then those of `stay`."""
    left = list(reversed(choices))
    return lambda before, runnable: left.pop() if left else stay(before, runnable)


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule by its switches.

    Attributes:
        switches: each is a number of stops after which another process continues, and a number that chooses it.
    """

    switches: tuple[tuple[int, int], ...] = ()

    def chooser(self) -> Chooser:
        """Return a new chooser of this schedule, for one run."""
        left = [list(switch) for switch in reversed(self.switches)]

        def choose(before: int | None, runnable: tuple[int, ...]) -> int:
            if left and left[-1][0] <= 0:
                return runnable[left.pop()[1] % len(runnable)]
            if left:
                left[-1][0] -= 1
            return stay(before, runnable)

        return choose


def explore(run: Callable[[Chooser], list[Step]], *, preemptions: int) -> int:
    """Make every run with at most a number of preemptions, those with fewer first; return how many runs."""
    runs = 0
    waiting: list[list[list[int]]] = [[[]], *([] for _ in range(preemptions))]  # beginnings by their preemptions
    for used in range(preemptions + 1):
        while waiting[used]:
            prefix = waiting[used].pop()
            steps = run(following(prefix))
            runs += 1
            for more, beginning in _alternatives(steps, len(prefix)):
                if used + more <= preemptions:
                    waiting[used + more].append(beginning)
    return runs


def _alternatives(steps: Sequence[Step], first: int) -> Iterator[tuple[int, list[int]]]:
    """Yield the beginnings that make another choice at one step from the first on, and whether that is a preemption.

    After the first, a run makes the choices of `stay`, which are no preemptions.
    """
    choices = [step.chosen for step in steps]
    for i, step in enumerate(steps[first:], first):
        for other in step.runnable:
            if other != step.chosen:
                yield int(step.before in step.runnable and other != step.before), [*choices[:i], other]
