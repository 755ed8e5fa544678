"""Retry policies: whether a failed attempt is followed by another one, and after which pause.

A policy is data and functions of the number of failures. It reads no clock, and its random numbers are an argument. The
backoffs of this module can be pickled, so a policy can be sent to another process.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final, TypeAlias

import factstore

Backoff: TypeAlias = Callable[[int], float]  # the number of failed attempts → seconds


def constant(seconds: float) -> Backoff:
    """Return a backoff with a constant pause."""
    return partial(_constant, seconds)


def _constant(seconds: float, failed: int) -> float:
    return seconds


def exponential(first: float = 1.0, *, factor: float = 2.0, longest: float = 3600.0) -> Backoff:
    """Return a backoff of `first` seconds that grows by `factor` with each failed attempt, up to `longest`.

    >>> [exponential(1.0, longest=5.0)(failed) for failed in (1, 2, 3, 4)]
    [1.0, 2.0, 4.0, 5.0]
    """
    return partial(_exponential, first, factor, longest)


def _exponential(first: float, factor: float, longest: float, failed: int) -> float:
    # The exponent is bounded too: 2.0 ** 2000 is an OverflowError, not a long pause.
    return min(longest, first * factor ** min(failed - 1, 256))


@factstore.rendering.shown_as_record
@dataclass(frozen=True, slots=True)
class Retry:
    """How often, when, and after which errors a job runs again.

    Args:
        max_attempts: the number of failed attempts at which the job fails; 1 never retries.
        backoff: the seconds to wait, by the number of failed attempts.
        on: the errors after which the job runs again.
        jitter: the random part of a pause, from 0 to 1. It keeps jobs that failed together from running together again.
    """

    max_attempts: int = 1
    backoff: Backoff = field(default_factory=exponential)
    on: tuple[type[BaseException], ...] = (Exception,)
    jitter: float = 0.2

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ValueError(f"max_attempts includes the first attempt, so it is at least 1; got {self.max_attempts}")
        if not 0 <= self.jitter <= 1:
            raise ValueError(f"jitter is a part of the pause, from 0 to 1; got {self.jitter}")

    def pause(self, error: BaseException, *, failed: int, random: Random) -> float | None:
        """Return the seconds to wait before the next attempt; None if there is none.

        Args:
            failed: the number of attempts that failed with an error, including this one.
        """
        if failed >= self.max_attempts or not isinstance(error, self.on):
            return None
        return jittered(self.backoff(failed), self.jitter, random)


def jittered(seconds: float, jitter: float, random: Random) -> float:
    """Return `seconds`, shortened by a random part of up to `jitter`."""
    return seconds * (1 - jitter * random.random())


NEVER: Final = Retry()  # as in Overseer: a job whose handler raises fails

# A job whose handler calls `fault` waits too: otherwise it would run without a pause while the condition lasts.
FAULT_BACKOFF: Final = exponential(1.0, longest=60.0)
# A job whose worker died may have caused that, so the pauses grow.
CRASH_BACKOFF: Final = exponential(1.0, longest=60.0)
