"""Replays: the transactions of a dump, or of the log of a similar store, on top of an existing store.

Entities get new ids; those with a unique identity that exists are merged.
Law: if any transaction is rejected, nothing is written.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

from factstore.connection.connection import Connection
from factstore.datom import tx_of
from factstore.db.database import Database
from factstore.errors import Corrupt, DatabaseError, TransactError
from factstore.schema.attribute import FIRST_FREE_ID, Attribute
from factstore.transact import TxReport, prepare
from factstore.transact.report import report
from factstore.upkeep.dump_files import DATA, HEAD, INSTANT, T, attribute_ids, naming_line, parsed, path_of, verify
from factstore.values.quoting import described
from factstore.values.types import Keyword, instant_to_micros


class Replayed(NamedTuple):
    """The result of a replay."""

    transactions: int
    datoms: int  # including those that the store had already, which are not added again
    left_out: int  # datoms that refer to entities that are unknown in this store


def replay(
    conn: Connection, path: str | os.PathLike[str], *, start: int | None = None, upto: int | None = None
) -> Replayed:
    """Transact the contents of a dump, in its order, with entity ids of this store.

    An entity whose unique identity exists in this store is merged with it. Instants are kept unless they are before
    that of the newest transaction of the store. Composite tuples, excisions and keys of transactions are not replayed.
    First all transactions are prepared on a database value, so the facts of the dump must fit in memory.

    Args:
        path: the path of a dump, or of a file of lines `{:t 1 :data [[e attribute v tx added] …]}` in which attributes,
            and values
            that have an ident, are idents: the log of a similar store.
        start, upto: the first and the last t to replay; None: all.
    Raises: Corrupt, for a dump that is incomplete or changed, or a line that is not a transaction; TransactError. Then
        nothing was transacted, unless another process has committed contradicting facts in the meantime. Unavailable.
    """
    file = path_of(path)
    for point in (start, upto):
        if point is not None and (type(point) is not int or point < 0):
            raise DatabaseError(
                ":db.error/invalid-range", f"expected the t of a transaction in the dump, got {described(point)}"
            )
    attributes = _attributes(file)
    for write in (_rehearsing(conn), conn.transact):
        replaying = _Replaying(conn.db(), attributes, write)
        for number, line in parsed(file):
            with _replaying(file, number):
                if T in line and (start is None or line[T] >= start) and (upto is None or line[T] <= upto):
                    replaying.transact(line)
    return Replayed(replaying.transactions, replaying.datoms, replaying.left_out)


def _rehearsing(conn: Connection) -> Callable[[list[Any]], TxReport]:
    """Return a function that prepares each transaction on top of the one before, and commits nothing."""
    db = conn.db()

    def transact(forms: list[Any]) -> TxReport:
        nonlocal db
        before = db
        prepared = prepare(before, forms, now=conn._committer.clock())
        db = before.plus(prepared.facts, instant=prepared.instant, next_n=prepared.next_n)
        return report(before, db, prepared.facts, prepared.tempids)

    return transact


@contextmanager
def _replaying(path: Path, number: int) -> Iterator[None]:
    """Add the number of a line to the errors that it causes."""
    try:
        with naming_line(path, number):
            yield
    except Corrupt as error:
        if not isinstance(error.__cause__, TransactError):
            raise
        rejected = error.__cause__
        message = f"{path}, line {number:,}: {rejected.message}"
        raise type(rejected)(rejected.code, message, **{**rejected.data, "line": number}) from rejected


class _Attributes(NamedTuple):
    """The names of attributes in a dump."""

    own: bool  # whether system entities have the same ids as in this package
    ids: Mapping[str, int]  # name → entity id in the dump


def _attributes(path: Path) -> _Attributes:
    """Return the entity of each name of an attribute; all lines of a dump use the names that are valid at its end."""
    lines = parsed(path)
    _, first = next(lines, (1, {}))
    if HEAD in first:
        verify(path)
        return _Attributes(True, attribute_ids(first, path))
    ids: dict[str, int] = {}
    for number, line in chain([(1, first)], lines):
        with naming_line(path, number):
            ids.update((row[2], row[0]) for row in line.get(DATA, ()) if row[1] == ":db/ident" and row[-1])
    return _Attributes(False, ids)


_NOT_REPLAYED: Final = frozenset(
    {":db/txInstant", ":db.install/attribute", ":db.install/partition", ":db.install/valueType", ":db.alter/attribute"}
    | {":db/excise", ":db.excise/beforeT", ":db.tx/key", ":db.migration/name", ":db.migration/checksum"}
)


class _Replaying:
    """Transacts the lines of a dump, and maps its entities to entities of the store."""

    def __init__(self, db: Database, attributes: _Attributes, write: Callable[[list[Any]], TxReport]) -> None:
        self._db = db
        self._own, self._ids = attributes
        self._write = write
        self._known: dict[int, int] = {}
        self.transactions = self.datoms = self.left_out = 0

    def transact(self, line: dict[Keyword, Any]) -> None:
        db, data = self._db, line[DATA]
        tx = data[0][3] if data and len(data[0]) == 5 else tx_of(line[T])
        # Only an entity about which something is asserted can be new.
        subjects = {row[0] for row in data if row[-1] and row[1] not in _NOT_REPLAYED}
        replaced = {(row[0], row[1]): row[2] for row in data if not row[-1]}
        replayed = (row for row in data if row[1] not in _NOT_REPLAYED)
        forms = [form for row in replayed if (form := self._form(db, row, tx, subjects, replaced)) is not None]
        instant = self._instant(line)
        if instant is not None and instant_to_micros(instant) >= db.last_instant:
            forms.append([":db/add", "datomic.tx", ":db/txInstant", instant])
        tx_report = self._write(forms)
        self._db = tx_report.db_after
        self._known.update(
            (int(name[1:]), e)
            for name, e in tx_report.tempids.items()
            if isinstance(name, str) and name != "datomic.tx"
        )
        self._known[tx] = tx_of(tx_report.t)
        self.transactions += 1

    def _attribute(self, db: Database, name: Any) -> Attribute:
        """Return the attribute of a name in a dump; it may have had another name at the time of the transaction."""
        a = self._known.get(self._ids.get(name, -1))
        attribute = None if a is None else db.schema.find(a)
        return db.attribute(name) if attribute is None else attribute

    def _instant(self, line: dict[Keyword, Any]) -> datetime | None:
        if INSTANT in line:
            return line[INSTANT]  # type: ignore[no-any-return]
        return next((row[2] for row in line[DATA] if row[1] == ":db/txInstant"), None)

    def _form(
        self, db: Database, row: Sequence[Any], tx: int, subjects: set[int], replaced: Mapping[Any, Any]
    ) -> list[Any] | None:
        e, name, value, added = row[0], row[1], row[2], row[-1]
        attribute = self._attribute(db, name)
        if attribute.tuple_attrs:
            return None
        entity = self._entity(e, tx, subjects)
        if attribute.is_ref and type(value) is int:
            value = self._entity(value, tx, subjects)
        if entity is None or value is None:
            self.left_out += 1
            return None
        self.datoms += 1
        if added and attribute.cas_only:
            return [":db/cas", entity, attribute.id, replaced.get((e, name)), value]
        return [":db/add" if added else ":db/retract", entity, attribute.id, value]

    def _entity(self, e: int, tx: int, subjects: set[int]) -> int | str | None:
        if e == tx:
            return "datomic.tx"
        if self._own and e < FIRST_FREE_ID:
            return e
        return self._known.get(e) or (f"e{e}" if e in subjects else None)
