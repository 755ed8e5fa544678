"""The job layer's errors, members of factstore's family, and the two ways in which a handler says how its job ends.

FactStoreError
└── OverseerError
    ├── GraphError       a graph that cannot be run: missing dependency, cycle, known only in part
    ├── HandlerError     handlers that cannot serve: none for a type, or of a shape that cannot be called
    ├── ConfigError      a setting that does not exist or cannot mean anything
    └── LeaseLost        the attempt no longer holds its job; whatever it tried to write was not written
Exception
└── Verdict              raised by a handler: which status its job takes, and whether anybody is told
"""

from __future__ import annotations

import logging
from typing import Any, Final

from factstore import FactStoreError, Keyword

log = logging.getLogger("overseer")


class OverseerError(FactStoreError):
    """What every error of the job layer is: a code, a sentence and the data."""


class GraphError(OverseerError):
    """A graph of jobs that cannot be run."""


class HandlerError(OverseerError):
    """Handlers that cannot serve the jobs they are given."""


class ConfigError(OverseerError):
    """A setting that does not exist, or whose value cannot mean anything."""


class LeaseLost(OverseerError):
    """The attempt was overtaken: its lease ran out and the job went to somebody else, or was aborted."""


class Verdict(Exception):
    """Raised inside a handler to choose the status of its job.

    Args:
        message: why, for people; kept in the job's `:job/failure`.
        status: the status the job takes.
        suppress: True when this is expected and no error tracker should hear of it.
        pause: seconds before the job may run again; only where `status` puts it back.
        counts: whether a return counts as a fault of the job.
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
    """Tell whether a write failed because somebody else kept the writer's turn for too long, so that it may be tried again; log who."""
    if getattr(error, "code", None) != BUSY:
        return False
    log.warning("the store is busy, and will be asked again: %s", error)
    return True
