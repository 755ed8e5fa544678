"""The moves of an operator: abort jobs that have not ended, and retry jobs that failed or were aborted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from factstore import Keyword, TransactError
from overseer.jobs import lookup, txns
from overseer.jobs.states import ABORTED, COUNTERS, FAILED, LIVE, STATUSES, Failure, Forms, is_orphaned
from overseer.jobs.store.commit import committed

if TYPE_CHECKING:
    from factstore import Connection, Database


def abort(conn: Connection, job: int | str, message: str, *, by: str) -> bool:
    """Abort a job that has not ended, and the jobs that depend on it; see `JobStore.abort`."""
    failure = abort_failure(message)
    while True:
        db = conn.db()
        eid = lookup.named(db, job)
        status = lookup.status(db, eid)
        if status in STATUSES and status not in LIVE:
            return False
        down = lookup.doomed_dependents(db, {eid: ABORTED})
        if committed(conn, txns.abort_by_hand(eid, status, by=by, failure=failure, dependents=down)):
            return True


def abort_failure(message: str) -> Failure:
    """Return what is stored as the failure of a job that an operator aborts."""
    return {Keyword(":reason"): Keyword(":abort"), Keyword(":message"): message}


def retry(conn: Connection, job: int | str, *, by: str) -> bool:
    """Let a job run again, and the jobs that were aborted because of it; see `JobStore.retry`."""
    while True:
        db = conn.db()
        eid = lookup.named(db, job)
        about = lookup.attributes(db, eid)
        if about.get(":job/status") not in (FAILED, ABORTED) and not is_orphaned(about):
            return False
        try:
            if committed(conn, _run_again(db, eid, about, by)):
                return True
        except TransactError as error:
            # If one of the jobs aborted because of it has lost its unique key in the meantime, read again.
            if error.code != txns.DUPLICATE or error.job == about[":job/id"]:
                raise


def _run_again(db: Database, job: int, about: Mapping[str, Any], by: str) -> Forms:
    revived = [other for other in lookup.revivable(db, [job, *aborted_by(db, job)]) if other != job]
    return txns.run_again(job, about.get(":job/status"), by=by, forget=forgotten(about), revived=revived)


def aborted_by(db: Database, job: int) -> list[int]:
    """Return the jobs that were aborted because of a job, and still are."""
    return [datom.e for datom in db.datoms("vaet", job, ":job/cause") if lookup.status(db, datom.e) == ABORTED]


def forgotten(about: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the attributes, with their values, that a job loses when it runs again."""
    names = (*COUNTERS, ":job/cause", ":job/run-at", ":job/pause")
    return [(attribute, about[attribute]) for attribute in names if attribute in about]
