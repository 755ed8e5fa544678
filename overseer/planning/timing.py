"""How long jobs waited and ran, computed from the transactions of their facts; no timestamps are stored.

This module uses no connection. Law: for a database `as_of` a time, the answers are those that were given then.
"""

from __future__ import annotations

from datetime import datetime
from statistics import median
from typing import TYPE_CHECKING, Final, NamedTuple

import factstore
from factstore import Keyword
from overseer.jobs import lookup
from overseer.jobs.states import LIVE, STARTED, UNSTARTED

if TYPE_CHECKING:
    from factstore import Database

_FINISHED: Final = "[:find ?type ?tx ?j :where [?j :job/status :job.status/finished ?tx] [?j :job/type ?type]]"


class Run(NamedTuple):
    """A successful attempt."""

    job: int
    started: datetime
    finished: datetime

    @property
    def seconds(self) -> float:
        """How long it took from claim to commit."""
        return (self.finished - self.started).total_seconds()


def runs(db: Database, *, newest: int = 100) -> dict[Keyword, list[Run]]:
    """Return the newest successful attempts of each type, oldest first.

    Args:
        newest: maximum number of attempts per type.
    """
    by_type: dict[Keyword, list[Run]] = {}
    ended: dict[Keyword, list[tuple[int, int]]] = {}
    for type, tx, job in factstore.q(_FINISHED, db):
        ended.setdefault(type, []).append((tx, job))
    history = db.history()
    for type, jobs in ended.items():
        candidates = (_run(db, history, job, tx) for tx, job in sorted(jobs)[-newest:])
        by_type[type] = [run for run in candidates if run is not None]
    return by_type


def _run(db: Database, history: Database, job: int, finished: int) -> Run | None:
    claims = [
        datom.tx
        for datom in history.datoms("eavt", job, ":job/status")
        if datom.v == STARTED and datom.added and datom.tx < finished
    ]
    # A job that was asserted as finished, or whose start was excised, has no duration.
    return Run(job, _instant(db, max(claims)), _instant(db, finished)) if claims else None


def typical_seconds(db: Database, *, newest: int = 100) -> dict[Keyword, float]:
    """Return how long jobs of each type usually run: the median of the newest successful attempts."""
    return {
        type: median(run.seconds for run in of_type) for type, of_type in runs(db, newest=newest).items() if of_type
    }


def ready_since(db: Database, job: int) -> datetime:
    """Return since when a job could be claimed, or could have been before its last claim.

    This is the latest of three times: when it became unstarted, when it was due, and when the last of its parents
    ended.
    """
    became_unstarted = [
        datom.tx for datom in db.history().datoms("eavt", job, ":job/status") if datom.v == UNSTARTED and datom.added
    ]
    times = [_instant(db, max(became_unstarted))]
    due = lookup.value(db, job, ":job/run-at")
    if due is not None:
        times.append(due)
    for parent in lookup.parents(db, job):
        times += [_instant(db, datom.tx) for datom in db.datoms("eavt", parent, ":job/status") if datom.v not in LIVE]
    return max(times)


def started_at(db: Database, job: int) -> datetime | None:
    """Return when the running attempt began; None if the job does not run."""
    return next((_instant(db, datom.tx) for datom in db.datoms("eavt", job, ":job/status") if datom.v == STARTED), None)


def _instant(db: Database, tx: int) -> datetime:
    instant = db.instant_of(db.t_at(tx))
    assert instant is not None, "every transaction has an instant"
    return instant
