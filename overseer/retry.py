"""Retry policies: whether an attempt that failed is followed by another, and after which pause.

A policy is data and functions of the attempt's number; it reads no clock and draws its chance from an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeAlias

Backoff: TypeAlias = Callable[[int], float]  # how many attempts failed so far → seconds


def constant(seconds: float) -> Backoff:
    """Return a backoff that always pauses for the same time."""
    return lambda failed: seconds


def exponential(first: float = 1.0, *, factor: float = 2.0, longest: float = 3600.0) -> Backoff:
    """Return a backoff of `first` seconds that grows by `factor` with each failed attempt, up to `longest`.

    >>> [exponential(1.0, longest=5.0)(failed) for failed in (1, 2, 3, 4)]
    [1.0, 2.0, 4.0, 5.0]
    """

    def pause(failed: int) -> float:
        # The exponent is bounded too: 2.0 ** 2000 is an OverflowError, not a long pause.
        return min(longest, first * factor ** min(failed - 1, 256))

    return pause


@dataclass(frozen=True, slots=True)
class Retry:
    """How often, when, and after which errors a job is tried again.

    Args:
        max_attempts: failed attempts in all before the job is failed; 1 never retries.
        backoff: seconds to wait, by the number of attempts that failed.
        on: the errors that are worth another attempt.
        jitter: the part of a pause that is left to chance, from 0 to 1, so that jobs that failed together part ways.
    """

    max_attempts: int = 1
    backoff: Backoff = field(default_factory=exponential)
    on: tuple[type[BaseException], ...] = (Exception,)
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts counts the first attempt too, so it is at least 1; got {self.max_attempts}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is a part of the pause, from 0 to 1; got {self.jitter}")

    def pause(self, error: BaseException, *, failed: int, random: Random) -> float | None:
        """Return the seconds to wait before the next attempt; None when there is to be none.

        Args:
            failed: how many attempts failed with an error, this one included.
        """
        if failed >= self.max_attempts or not isinstance(error, self.on):
            return None
        return jittered(self.backoff(failed), self.jitter, random)


def jittered(seconds: float, jitter: float, random: Random) -> float:
    """Return `seconds`, shortened by up to the part `jitter` of it."""
    return seconds * (1 - jitter * random.random())


NEVER: Final = Retry()  # as in Overseer: a handler that raises fails its job

# A job that is put back on its handler's own wish waits too, or a condition that lasts would spin the workers.
FAULT_BACKOFF: Final = exponential(1.0, longest=60.0)
# A job whose worker died may be what killed it: the next try comes later and later.
CRASH_BACKOFF: Final = exponential(1.0, longest=60.0)
