"""Schedules: what goes wrong in a run, and when.

A run without interventions is the run in which one worker does everything. An intervention changes one step of it. So
a schedule lists only what is out of the ordinary, and the shortest one that fails explains the failure best.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from random import Random
from typing import Final, NamedTuple, TypeAlias

from factstore import quoted
from overseer.errors import OverseerError

CRASH: Final = "crash"  # the process ends before the step
CRASH_AFTER: Final = "crash after"  # the process ends after the step was committed
LOSE: Final = "lose"  # the step is committed, but the process gets no answer
STALL: Final = "stall"  # the process stops until all others have taken its jobs and done what they can
SWITCH: Final = "switch"  # another process continues first
FORWARD: Final = "forward"  # the clock jumps an hour forward
BACK: Final = "back"  # the clock jumps an hour back

ACTIONS: Final = (CRASH, CRASH_AFTER, LOSE, STALL, SWITCH, FORWARD, BACK)

# What can happen at each kind of step. An action is left out where it is equal to another one at the step before or
# after: a crash before a claim changes nothing, and a crash after it is one before the start.
CLAIM: Final = "claim"
START: Final = "start"
TRANSACT: Final = "transact"
EFFECT: Final = "effect"  # an effect was declared, and has not happened
SETTLE: Final = "settle"
GIVE_UP: Final = "abort"
BEAT: Final = "beat"
RESCUE: Final = "rescue"
RELEASE: Final = "release"
POSSIBLE: Final = {
    CLAIM: (SWITCH, LOSE),
    START: (CRASH, STALL, SWITCH, FORWARD, BACK),
    TRANSACT: (CRASH, CRASH_AFTER, LOSE, STALL, SWITCH),
    EFFECT: (CRASH, STALL, SWITCH),
    SETTLE: (CRASH, LOSE, STALL, SWITCH),
    GIVE_UP: (CRASH, LOSE, SWITCH),
    BEAT: (CRASH, LOSE),
    RESCUE: (CRASH_AFTER, LOSE),
    RELEASE: (CRASH,),
}
PARKING: Final = frozenset({STALL, SWITCH})  # actions after which the process is resumed later


class Intervention(NamedTuple):
    """An action at a step; if it is not possible there, at the next step at which it is."""

    step: int
    action: str


Schedule: TypeAlias = tuple[Intervention, ...]

_FORMAT: Final = re.compile(rf"\s*(\d+)\s+({'|'.join(sorted(ACTIONS, key=len, reverse=True))})\s*")


def schedule_of(given: object) -> Schedule:
    """Return a schedule, or the one that a text states. Raises: OverseerError(:job.error/bad-argument)."""
    if isinstance(given, str):
        return read_schedule(given)
    if isinstance(given, tuple) and all(isinstance(one, Intervention) for one in given):
        return given
    why = f"expected a schedule, as a text such as '3 crash' or a tuple of interventions, got {quoted(given)}"
    raise OverseerError(":job.error/bad-argument", why, schedule=given)


def read_schedule(text: str) -> Schedule:
    """Return the schedule that `write_schedule` has written.

    >>> read_schedule("3 crash, 5 switch")
    (Intervention(step=3, action='crash'), Intervention(step=5, action='switch'))

    Raises: OverseerError(:job.error/bad-argument).
    """
    found = [_FORMAT.fullmatch(part) for part in text.split(",")] if text.strip() else []
    if not all(found):
        why = f"a schedule lists steps with actions, such as '3 crash, 5 switch'; the actions are {', '.join(ACTIONS)}"
        raise OverseerError(":job.error/bad-argument", f"{why}; got {quoted(text)}", schedule=text)
    return tuple(sorted(Intervention(int(match[1]), match[2]) for match in found if match is not None))


def write_schedule(schedule: Iterable[Intervention]) -> str:
    """Return a schedule as text."""
    return ", ".join(f"{step} {action}" for step, action in schedule)


# Chooses the action of a step of one run, by the number of the step and the actions that are possible there.
Choose: TypeAlias = "Callable[[int, tuple[str, ...]], str | None]"


def chosen(schedule: Schedule) -> Choose:
    """Return the choices of a schedule, for one run."""
    waiting = sorted(schedule)

    def choose(step: int, possible: tuple[str, ...]) -> str | None:
        for n, (earliest, action) in enumerate(waiting):
            if earliest > step:
                return None
            if action in possible:
                del waiting[n]
                return action
        return None

    return choose


class AtRandom(NamedTuple):
    """Interventions at random steps.

    Args:
        seed: of the choices.
        most: the largest number of interventions.
        steps: the number of steps that the run is expected to have; later ones have no intervention.
    """

    seed: int
    most: int
    steps: int


def at_random(plan: AtRandom) -> Choose:
    """Return random choices, for one run."""
    random = Random(plan.seed)
    waiting = set(random.sample(range(plan.steps), min(plan.most, plan.steps)))
    return lambda step, possible: random.choice(possible) if step in waiting else None
