"""The moves of an operator: abort a job that has not ended, and retry one that failed or was aborted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from factstore import Keyword, TransactError
from overseer.jobs import lookup, txns
from overseer.jobs.states import ABORTED, COUNTERS, FAILED, LIVE, STATUSES, Forms, is_orphaned
from overseer.jobs.store.commit import committed

if TYPE_CHECKING:
    from factstore import Connection, Database


def abort(conn: Connection, job: int | str, message: str, *, by: str) -> bool:
    """Abort a job that has not ended, and the jobs that depend on it; see `JobStore.abort`."""
    failure = {Keyword(":reason"): Keyword(":abort"), Keyword(":message"): message}
    while True:
        db = conn.db()
        eid = lookup.named(db, job)
        status = lookup.status(db, eid)
        if status in STATUSES and status not in LIVE:
            return False
        down = lookup.doomed_dependents(db, {eid: ABORTED})
        if committed(conn, txns.abort_by_hand(eid, status, by=by, failure=failure, dependents=down)):
            return True


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
    forget = [
        (attribute, about[attribute])
        for attribute in (*COUNTERS, ":job/cause", ":job/run-at", ":job/pause")
        if attribute in about
    ]
    aborted = [datom.e for datom in db.datoms("vaet", job, ":job/cause") if lookup.status(db, datom.e) == ABORTED]
    revived = [other for other in lookup.revivable(db, [job, *aborted]) if other != job]
    return txns.run_again(job, about.get(":job/status"), by=by, forget=forget, revived=revived)
