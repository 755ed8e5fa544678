"""The log for users: the transactions of a range, as datoms."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

from factstore import log
from factstore.datom import TX_PARTITION, Datom, partition_of, t_of
from factstore.db.database import Database, Point
from factstore.errors import DatabaseError
from factstore.rendering import html_table
from factstore.storage import Storage
from factstore.values.process_bound import SharedValue
from factstore.values.quoting import quoted

_SHOWN: Final = 10  # transactions of a log in a notebook


class LoggedTransaction(NamedTuple):
    """One transaction of the log: its t and its datoms."""

    t: int
    data: tuple[Datom, ...]

    def _repr_html_(self) -> str:
        return html_table(f"t {self.t}", Datom._fields, self.data, added=[datom.added for datom in self.data])


class Log(SharedValue):
    """The log up to the basis of one database value: `conn.log()` returns it."""

    __slots__ = ("_db", "_storage")

    def __init__(self, storage: Storage, db: Database) -> None:
        self._storage = storage
        self._db = db

    @property
    def basis_t(self) -> int:
        """The t of the newest transaction in this log."""
        return self._db.basis_t

    def tx_range(self, start: Point | None = None, end: Point | None = None) -> Iterator[LoggedTransaction]:
        """Yield the transactions from `start` to before `end`; None means no limit.

        Args:
            start, end: t, a transaction's entity id, or an aware datetime; `end` is excluded.
        Source: Datomic API, tx-range.
        """
        for record in self._records(start, end):
            yield LoggedTransaction(record.t, tuple(map(self._db.datom, record.all_facts())))

    def sizes(self, start: Point | None = None, end: Point | None = None) -> Iterator[tuple[int, int]]:
        """Yield the t and the number of datoms of each transaction of `tx_range`, without building them."""
        for record in self._records(start, end):
            yield record.t, len(record.all_facts())

    def _records(self, start: Point | None, end: Point | None) -> Iterator[log.TxRecord]:
        first = 1 if start is None else first_t(self._db, start)
        last = self._db.basis_t if end is None else min(first_t(self._db, end) - 1, self._db.basis_t)
        return log.read(self._storage, max(first, 1) - 1, max(last, 0))

    def _repr_html_(self) -> str:
        rows = [(t, self._db.instant_of(t), len(data)) for t, data in self.tx_range(max(self.basis_t - _SHOWN + 1, 1))]
        return html_table(f"Log up to t {self.basis_t}, the newest transactions", ("t", "instant", "datoms"), rows)


def first_t(db: Database, point: Point) -> int:
    """Return the first t at or after a point. Raises: DatabaseError(:db.error/invalid-range)."""
    point = db.exactly(point)
    if isinstance(point, datetime):
        before = db.t_at(point)
        return before if before and db.instant_of(before) == point else before + 1
    if type(point) is not int or point < 0 or partition_of(point) not in (0, TX_PARTITION):
        raise DatabaseError(
            ":db.error/invalid-range", f"expected t, a transaction's id or a datetime, got {quoted(point)}"
        )
    return t_of(point)
