"""Settlements: the transactions by which attempts end, each with the facts of its handler.

Attempts without facts share one transaction. Each attempt with facts has its own transaction, because its tempids are
its own, and an error in its facts must not affect the others. All of them share one write to the disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from factstore import CasFailed, StorageError, TransactError
from overseer.errors import is_busy
from overseer.jobs import lookup, txns
from overseer.jobs.job import holds, lost
from overseer.jobs.states import CRASHES, LOST, UNSTARTED, Forms, Lease, Outcome, Reason
from overseer.jobs.store.commit import LOST_RACE

if TYPE_CHECKING:
    from factstore import Connection, Database, TxReport

Rejected: TypeAlias = list[tuple[Lease, Exception]]  # a LeaseLost, or why the facts of an attempt cannot be written


class Settling(NamedTuple):
    """Outcomes whose transactions have begun."""

    plain: Sequence[tuple[Lease, Outcome]]
    together: Future[TxReport] | None  # the transaction of all the plain ones
    others: Sequence[tuple[Lease, Outcome, Future[TxReport]]]


def begin(conn: Connection, outcomes: Sequence[tuple[Lease, Outcome]]) -> Settling:
    """Begin to commit outcomes, and return at once."""
    plain = [pair for pair in outcomes if pair[1].is_plain]
    db = conn.db()
    others = [(lease, outcome, forms_of(db, lease, outcome)) for lease, outcome in outcomes if not outcome.is_plain]
    together = conn.transact_async([form for pair in plain for form in txns.settle(*pair)]) if plain else None
    return Settling(plain, together, [(lease, outcome, conn.transact_async(forms)) for lease, outcome, forms in others])


def finish(conn: Connection, settling: Settling) -> Rejected:
    """Wait until the transactions have ended, and return the rejected attempts."""
    errors = [(lease, _error_of(conn, future, lease, outcome)) for lease, outcome, future in settling.others]
    if settling.together is not None and not _is_won(settling.together):
        errors += [(lease, settle_one(conn, lease, outcome, [])) for lease, outcome in settling.plain]
    return [(lease, error) for lease, error in errors if error is not None]


def settle_one(conn: Connection, lease: Lease, outcome: Outcome, reports: list[TxReport]) -> Exception | None:
    """Commit one outcome, whose report is appended to `reports`; return why it was rejected."""
    while True:
        db = conn.db()
        if not holds(db, lease):
            return lost(lease, db)
        try:
            reports.append(conn.transact(forms_of(db, lease, outcome)))
        except Exception as error:
            if _is_of_the_facts(conn, error, lease, outcome):
                return error
            if not isinstance(error, CasFailed) and not is_busy(error):
                raise
            continue
        return None


def forms_of(db: Database, lease: Lease, outcome: Outcome) -> Forms:
    """Return the transaction of one outcome, with the dependents that it aborts and its counters."""
    doomed = lookup.doomed_dependents(db, {lease.job: outcome.status}) if outcome.status in LOST else ()
    count = lookup.value(db, lease.job, outcome.counts, 0) if outcome.counts else 0
    # A job that has ended needs no reset of its crashes: only `retry`, which resets all counters, and `revert` start it
    # again.
    keeps_crashes = outcome.status != UNSTARTED or outcome.counts == CRASHES or outcome.reason == Reason.INTERRUPTED
    crashes = None if keeps_crashes else lookup.value(db, lease.job, CRASHES)
    return txns.settle(lease, outcome, count=count, crashes=crashes, dependents=doomed)


def _error_of(conn: Connection, future: Future[TxReport], lease: Lease, outcome: Outcome) -> Exception | None:
    try:
        future.result()
    except Exception as error:
        if _is_of_the_facts(conn, error, lease, outcome):
            return error
        if not isinstance(error, CasFailed) and not is_busy(error):
            raise
        return settle_one(conn, lease, outcome, [])  # the lease was lost, or a dependent has changed: read again
    return None


def _is_won(future: Future[TxReport]) -> bool:
    error = future.exception()
    if error is None or (isinstance(error, TransactError) and error.code in LOST_RACE) or is_busy(error):
        return error is None
    raise error


def _is_of_the_facts(conn: Connection, error: Exception, lease: Lease, outcome: Outcome) -> bool:
    """Tell whether the handler's own facts are the error: it is not of the storage, and the lease is still held."""
    return bool(outcome.facts) and not isinstance(error, StorageError) and holds(conn.db(), lease)
