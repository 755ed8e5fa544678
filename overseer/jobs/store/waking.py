"""Waking: jobs that wait for a query are ready as soon as a worker sees that it holds."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from factstore import FactStoreError, StorageError
from overseer.errors import is_busy
from overseer.jobs import lookup, txns, waits
from overseer.jobs.states import LIVE, Forms
from overseer.jobs.store.commit import committed

if TYPE_CHECKING:
    from factstore import Connection, Database

log = logging.getLogger("overseer")


def wake(conn: Connection, worker: str, logged: set[int]) -> list[int] | None:
    """Make the waiting jobs ready whose query holds, and return them; None if no job waits.

    Args:
        worker: the process that does so, for the transaction.
        logged: the waits whose query failed, and for which that was logged.
    """
    db = conn.db()
    open = dict[int, int]()
    if db.entid(":job/wait") is not None:
        open = {datom.e: datom.v for datom in db.datoms("aevt", ":job/wait")}
    woken: list[int] = []
    for job, wait in open.items():
        about = lookup.attributes(db, job)
        forms = _wake_forms(db, job, wait, about, logged)
        try:
            if forms and committed(conn, [*forms, txns.signed(worker)]) and about.get(":job/status") in LIVE:
                woken.append(job)
        except StorageError as error:
            if not is_busy(error):
                raise
    return woken if open else None


def _wake_forms(db: Database, job: int, eid: int, about: Mapping[str, Any], logged: set[int]) -> Forms:
    """Return the forms that wake a job, or that remove the open wait of a job that has ended; none if it waits on."""
    status = about.get(":job/status")
    if status not in LIVE:
        return [[txns.CAS, job, ":job/status", status, status], [txns.RETRACT, job, ":job/wait", eid]]
    wait = waits.read(db, eid) if waits.is_waiting(about) else None
    if wait is None:
        return []
    if wait.t is not None:  # by hand, or reverted by an older version: such a wait keeps no job from running
        return waits.woken(job, about[":job/attempt"], wait, wait.t, about.get(":job/run-at"))
    try:
        if not waits.holds(waits.answer(wait.text, db)):
            return []
    except StorageError:
        raise
    except FactStoreError as error:
        # Perhaps a function of the query is registered in another worker.
        if eid not in logged:
            logged.add(eid)
            log.error("the query that %s waits for failed: %s", about.get(":job/id"), error.message)
        return []
    return waits.woken(job, about[":job/attempt"], wait, db.basis_t, about.get(":job/run-at"))
