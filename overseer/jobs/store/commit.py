"""Commits of the job layer: lost races are answers, and an exception after a commit is an unknown outcome."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from factstore import FactStoreError, Interrupted, TransactError, UnknownOutcome
from overseer.jobs import queues, txns

if TYPE_CHECKING:
    from factstore import Connection, TxReport
    from overseer.jobs.states import Forms

# The errors of a transaction that lost a race against another process.
LOST_RACE: Final = frozenset({":db.error/cas-failed", queues.FULL, txns.HELD})


def committed(conn: Connection, forms: Forms) -> bool:
    """Commit a transaction; return False when another process was faster."""
    try:
        conn.transact(forms)
    except TransactError as error:
        if error.code not in LOST_RACE:
            raise
        return False
    return True


def raise_if_committed(error: BaseException, reports: Sequence[TxReport] | None) -> None:
    """Raise UnknownOutcome when an exception that is not of the store came after a commit.

    Args:
        reports: the transactions that were committed before the exception; None when that is not known.
    """
    if isinstance(error, FactStoreError | SystemExit | GeneratorExit) or (reports is not None and not reports):
        return
    kind = Interrupted if isinstance(error, KeyboardInterrupt) else UnknownOutcome
    data = {"t": reports[-1].t} if reports else {}
    outcome = (
        f"the transaction was committed as t={reports[-1].t}" if reports else "the transactions may have been committed"
    )
    raise kind(":db.error/storage-unknown-outcome", f"{outcome}; then came {error!r}", **data) from error
