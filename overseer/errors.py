"""The errors of the job layer, and the exception by which a handler chooses the status of its job.

FactStoreError
└── OverseerError
    ├── GraphError       a graph that cannot run: a missing dependency, a cycle, or only some of its jobs exist
    ├── HandlerError     invalid handlers: a type without a handler, or a handler that cannot be called
    ├── ConfigError      a setting that does not exist, or that has an invalid value
    ├── LeaseLost        the attempt no longer holds its job; its write was rejected
    ├── EffectRepeated   an effect outside of the store was declared before, and may have happened
    ├── WaitExpired      the query that a job waits for did not hold until the deadline
    ├── JobFailed        the result of a job was requested, and the job failed or was aborted
    └── NotEnded         the result of a job was requested, and the job has not ended in time; also a TimeoutError
Exception
└── Verdict              raised by a handler: the status of its job, and whether an error tracker is notified
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from factstore import FactStoreError, Keyword

log = logging.getLogger("overseer")

# The categories of codes, as in `factstore.errors`: what a caller can do about an error. All others are "incorrect".
CATEGORIES: Final[Mapping[str, str]] = {
    ":job.error/executor-failed": "fault",
    ":job.error/lease-lost": "conflict",
    ":job.error/no-such-job": "not-found",
    ":job.error/no-such-schedule": "not-found",
    ":job.error/not-ended": "busy",
}


class OverseerError(FactStoreError):
    """The base class of the errors of the job layer: a code, a sentence and the data."""

    @property
    def category(self) -> str:
        """The anomaly category of Cognitect, as of each error of a store."""
        return CATEGORIES.get(self.code, super().category)


class GraphError(OverseerError):
    """A graph of jobs that cannot run."""


class HandlerError(OverseerError):
    """Invalid or missing handlers."""


class ConfigError(OverseerError):
    """A setting that does not exist, or that has an invalid value."""


class LeaseLost(OverseerError):
    """The attempt no longer holds its job: the lease expired and another worker took the job, or it was aborted."""


class EffectRepeated(OverseerError):
    """An effect outside of the store was declared before, by this or by another attempt, so it may have happened."""


class WaitExpired(OverseerError):
    """The query that a job waits for did not hold until the deadline."""


class JobFailed(OverseerError):
    """The result of a job was requested, and the job failed or was aborted; `status` and `failure` are attributes."""


class NotEnded(OverseerError, TimeoutError):
    """The result of a job was requested, and the job has not ended in time."""


class Verdict(Exception):
    """Raised inside a handler to choose the status of its job.

    Args:
        message: the reason, for people; stored in the job's `:job/failure`.
        status: the new status of the job.
        suppress: True if this is expected, so that error trackers are not notified.
        pause: seconds before the job may run again; only for the status unstarted.
        counts: whether another run counts as a fault of the job.
    """

    def __init__(
        self, message: str, *, status: Keyword, suppress: bool = False, pause: float | None = None, counts: bool = True
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.suppress = suppress
        self.pause = pause
        self.counts = counts

    def __reduce__(self) -> tuple[Any, ...]:
        return _verdict, (self.message, self.status, self.suppress, self.pause, self.counts)


def _verdict(message: str, status: Keyword, suppress: bool, pause: float | None, counts: bool) -> Verdict:
    return Verdict(message, status=status, suppress=suppress, pause=pause, counts=counts)


BUSY: Final = ":db.error/store-busy"


def is_busy(error: BaseException) -> bool:
    """Tell whether a write failed because the writer lock was busy for too long, and log it; it can be tried again."""
    if getattr(error, "code", None) != BUSY:
        return False
    log.warning("the store is busy; the write will be tried again: %s", error)
    return True
