"""Memory: what the runs of a scenario have committed and read, so that they share it.

Two runs are the same up to the first step at which their schedules differ. A database is a value, and its time is
virtual, so the same transaction on top of the same database has the same report, and whatever was read of a database is
known for all runs that come to it.

Law: a run with a memory is the same as one without.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import factstore

if TYPE_CHECKING:
    from factstore import Database, TxReport

T = TypeVar("T")

_MOST: Final = 4096  # reports; there are about five reads of the database of each


class Memory:
    """The reports of transactions, and what was read of their databases."""

    def __init__(self) -> None:
        self._reports: dict[tuple[Database, bytes, Any, datetime], TxReport] = {}
        self._reads: dict[tuple[Database, Callable[..., Any], tuple[Any, ...]], Any] = {}

    def with_(self, db: Database, tx_data: Any, *, none: Any, now: datetime) -> TxReport:
        """Return the report of a transaction, as `factstore.with_` does.

        Transaction data that cannot be pickled, with a lambda for example, has no key to find it again.
        """
        try:
            key = db, pickle.dumps(tx_data), none, now
        except Exception:
            return factstore.with_(db, tx_data, none=none, now=now)
        report = self._reports.get(key)
        if report is None:
            if len(self._reports) >= _MOST:
                self._reports, self._reads = {}, {}
            report = self._reports[key] = factstore.with_(db, tx_data, none=none, now=now)
        return report

    def read(self, function: Callable[..., T], db: Database, *arguments: Any) -> T:
        """Return the result of a function that depends only on its arguments; the caller does not change it."""
        key = db, function, arguments
        try:
            known: T = self._reads[key]
        except KeyError:
            known = self._reads[key] = function(db, *arguments)
        return known
