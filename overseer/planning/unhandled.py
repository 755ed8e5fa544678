"""Jobs that no worker would take: their types have no handler on any worker that runs.

Law: each type is logged once, until it has a handler again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import factstore

if TYPE_CHECKING:
    from factstore import Database, Keyword

log = logging.getLogger("overseer")

_EVERY: Final = 60.0  # seconds between two reads: each counts all unstarted jobs
_UNSTARTED: Final = "[:find ?type (count ?j) :where [?j :job/status :job.status/unstarted] [?j :job/type ?type]]"
_HANDLED: Final = "[:find [?type ...] :where [?w :worker/running true] [?w :worker/handler ?type]]"


def without_handler(db: Database) -> dict[Keyword, int]:
    """Return the number of unstarted jobs of each type for which no running worker has a handler."""
    handled = set(factstore.q(_HANDLED, db))
    return {type: count for type, count in factstore.q(_UNSTARTED, db) if type not in handled}


class Unhandled:
    """Logs the types without a handler, for one worker."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._known: set[Keyword] = set()
        self._next = 0.0  # on the monotonic clock

    def look(self, others: int, newest: Callable[[], Database]) -> None:
        """Log types that have become known.

        Args:
            others: the number of unstarted jobs that this worker does not handle; 0: nothing is read.
            newest: returns the newest database.
        """
        now = time.monotonic()
        if not others or now < self._next:
            return
        self._next = now + _EVERY
        counts = without_handler(newest())
        for type in sorted(counts.keys() - self._known):
            log.warning(
                "worker %s: %s unstarted jobs have the type %s, for which no running worker has a handler",
                self._worker,
                f"{counts[type]:,}",
                type,
            )
        self._known = set(counts)
