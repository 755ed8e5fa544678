"""Silence: leases that have expired, and workers that are presumed dead.

A worker that was killed cannot record its end. It is silent if the lease of a job that it holds has expired, or if
another process took a job from it and it has committed nothing since. Law: a worker that commits is not silent, unless
one of its leases has expired again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import factstore
from overseer.jobs import lookup
from overseer.jobs.states import STARTED
from overseer.sources import of_database
from overseer.times import aware

if TYPE_CHECKING:
    from factstore import Database

_LEASES: Final = """[:find ?id ?until ?set :in $ ?now
  :where [?j :job/status :job.status/started] [?j :job/lease-expires ?until ?tx] [(< ?until ?now)]
         [?tx :db/txInstant ?set] [?j :job/id ?id]]"""
_CRASHES: Final = "[:find ?tx ?j ?by :where [?j :job/crashes _ ?tx true] [?tx :overseer/by ?by]]"  # of a history
_CLAIMS: Final = "[:find ?worker (max ?tx) :in $ [?worker ...] :where [_ :job/worker ?worker ?tx true]]"  # of a history
_COMMITS: Final = (
    "[:find ?worker (max ?tx) :in $ [?worker ...] :where [?w :worker/name ?worker] [?w :worker/beat _ ?tx]]",
    "[:find ?worker (max ?tx) :in $ [?worker ...] :where [?tx :overseer/by ?worker]]",
    """[:find ?worker (max ?tx) :in $ [?worker ...] :where [?j :job/status :job.status/started]
      [?j :job/worker ?worker] [?j :job/lease-expires _ ?tx]]""",
)


def time_of(db: Database, at: datetime | None) -> datetime:
    """Return the time of a query: the given one, the time that the database is as of, or now."""
    return db.moment or datetime.now(UTC) if at is None else aware(at, "at")


@of_database
def jobs_dead(db: Database, *, at: datetime | None = None) -> set[str]:
    """Return the ids of the started jobs whose lease had expired.

    Args:
        at: the time; None is the time that the database is as of, or now.
    """
    now = time_of(db, at)
    return {id for id, until, set_at in factstore.q(_LEASES, db, now) if _has_expired(until, set_at, now)}


@of_database
def is_silent(db: Database, job: int | str, *, at: datetime | None = None) -> bool:
    """Tell whether a started job's lease has expired, so that its worker is presumed dead.

    Args:
        at: the time; None is the time that the database is as of, or now.
    """
    eid, now = lookup.named(db, job), time_of(db, at)
    leases = db.datoms("eavt", eid, ":job/lease-expires") if lookup.status(db, eid) == STARTED else ()
    return any(_has_expired(lease.v, db.instant_of(db.t_at(lease.tx)) or lease.v, now) for lease in leases)


def _has_expired(until: datetime, set_at: datetime, now: datetime) -> bool:
    """Tell whether a lease has expired.

    A lease that had expired already when it was set was set by a clock that is behind; its worker is probably alive.

    Args:
        set_at: the instant of the transaction that set it.
    """
    return until < now and not until < set_at <= now


def silent_workers(db: Database, held: Mapping[str, Collection[str]], *, at: datetime | None = None) -> set[str]:
    """Return the names of the workers that are presumed dead; some of them may have recorded their end.

    Args:
        held: the ids of the jobs that each worker holds.
        at: the time; None is the time that the database is as of, or now.
    """
    dead = jobs_dead(db, at=at)
    taken = _taken(db)
    commits = _last_commits(db, list(taken)) if taken else {}
    return {worker for worker, ids in held.items() if dead.intersection(ids)} | {
        worker for worker, tx in taken.items() if commits.get(worker, 0) < tx
    }


def _taken(db: Database) -> dict[str, int]:
    """Return the last transaction by which another process took a job from each worker, because of its silence."""
    taken: dict[str, int] = {}
    for tx, job, by in factstore.q(_CRASHES, db.history()):
        before = db.as_of(db.t_at(tx) - 1)
        worker = lookup.value(before, job, ":job/worker") if lookup.status(before, job) == STARTED else None
        if worker not in (None, by):
            taken[worker] = max(tx, taken.get(worker, 0))
    return taken


def _last_commits(db: Database, workers: list[str]) -> dict[str, int]:
    """Return the last transaction that each worker is known to have committed: a beat, a claim, or a signed one."""
    last: dict[str, int] = {}
    for query, source in ((_CLAIMS, db.history()), *((query, db) for query in _COMMITS)):
        for worker, tx in factstore.q(query, source, workers):
            last[worker] = max(tx, last.get(worker, 0))
    return last
