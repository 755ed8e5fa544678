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
from factstore.rendering import shown_as_record
from factstore.schema.attribute import FIRST_FREE_ID, Attribute
from factstore.transact import TxReport, prepare
from factstore.transact.report import report
from factstore.upkeep.dump_files import DATA, HEAD, INSTANT, T, attribute_ids, naming_line, parsed, path_of, verify
from factstore.values.quoting import described
from factstore.values.types import Keyword, instant_to_micros


@shown_as_record
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

    def each(use: Callable[[dict[Keyword, Any]], None]) -> None:
        for number, line in parsed(file):
            with _replaying(file, number):
                if T in line and (start is None or line[T] >= start) and (upto is None or line[T] <= upto):
                    use(line)

    early = _Early()
    each(early.read)
    for write in (_rehearsing(conn), conn.transact):
        replaying = _Replaying(conn.db(), attributes, early.facts, write)
        each(replaying.transact)
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


class _Early:
    """Finds the entities to which a transaction can refer before any fact about them, for example after an excision."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._values: set[int] = set()  # whole numbers, some of them references, that occur before they are entities
        self.facts: dict[int, list[Sequence[Any]]] = {}  # entity → the rows of the first transaction about it

    def read(self, line: dict[Keyword, Any]) -> None:
        """Read the next transaction."""
        rows = [row for row in line[DATA] if row[-1] and row[1] not in _NOT_REPLAYED]
        new = {row[0] for row in rows} - self._seen
        for row in rows:
            if row[0] in new and row[0] in self._values:
                self.facts.setdefault(row[0], []).append(row)
        self._seen |= new
        self._values.update(row[2] for row in rows if type(row[2]) is int and row[2] not in self._seen)


class _Replaying:
    """Transacts the lines of a dump, and maps its entities to entities of the store."""

    def __init__(
        self,
        db: Database,
        attributes: _Attributes,
        early: Mapping[int, Sequence[Sequence[Any]]],
        write: Callable[[list[Any]], TxReport],
    ) -> None:
        """Begin on top of a database.

        Args:
            early: the entities to which a transaction can refer before its first fact, with their first facts.
        """
        self._db = db
        self._own, self._ids = attributes
        self._early = early
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
        forms = [form for row in replayed for form in self._forms(db, row, tx, subjects, replaced)]
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
        attribute = self._declared(db, name)
        return db.attribute(name) if attribute is None else attribute

    def _declared(self, db: Database, name: Any) -> Attribute | None:
        a = self._known.get(self._ids.get(name, -1))
        return (None if a is None else db.schema.find(a)) or db.schema.find(name)

    def _instant(self, line: dict[Keyword, Any]) -> datetime | None:
        if INSTANT in line:
            return line[INSTANT]  # type: ignore[no-any-return]
        return next((row[2] for row in line[DATA] if row[1] == ":db/txInstant"), None)

    def _forms(
        self, db: Database, row: Sequence[Any], tx: int, subjects: set[int], replaced: Mapping[Any, Any]
    ) -> list[list[Any]]:
        """Return the forms of a datom; none if it is not replayed, or refers to an unknown entity."""
        e, name, value, added = row[0], row[1], row[2], row[-1]
        attribute = self._attribute(db, name)
        if attribute.tuple_attrs:
            return []
        forms: list[list[Any]] = []
        if added and attribute.is_ref and value in self._early and self._entity(value, tx, subjects) is None:
            forms = self._new(db, value)
            subjects.add(value)
        entity, value = self._entity(e, tx, subjects), self._value(attribute, value, tx, subjects)
        if entity is None or value is None:
            self.left_out += 1
            return []
        self.datoms += 1
        if added and attribute.cas_only:
            old = replaced.get((e, name))
            return [*forms, [":db/cas", entity, attribute.id, self._value(attribute, old, tx, subjects), value]]
        return [*forms, [":db/add" if added else ":db/retract", entity, attribute.id, value]]

    def _new(self, db: Database, e: int) -> list[list[Any]]:
        """Make an entity known that has no fact yet: the holder of an identity that it will have, or a new one."""
        for _, name, value, *_ in self._early[e]:
            key = self._declared(db, name)
            if key is not None and key.is_identity and not key.is_ref:
                holder = db.entid([key.ident, value])
                if holder is not None and holder not in self._known.values():
                    self._known[e] = holder
                    return []
        # This form adds no datom; it makes an entity of a tempid that is otherwise only a value.
        return [[":db/add", f"e{e}", ":db.install/attribute", f"e{e}"]]

    def _value(self, attribute: Attribute, value: Any, tx: int, subjects: set[int]) -> Any:
        """Return a value with the entities of this store to which it refers; None if one of them is unknown."""
        if attribute.is_ref:
            return self._entity(value, tx, subjects) if type(value) is int else value
        types = attribute.tuple_slot_types if attribute.is_tuple else ()
        if not any(slot_type.name == "ref" for slot_type in types):
            return value
        # A tuple can refer only to an entity that existed before its transaction.
        slots = [
            self._entity(slot, tx, set()) if types[i % len(types)].name == "ref" and type(slot) is int else slot
            for i, slot in enumerate(value)
        ]
        return None if any(new is None and old is not None for new, old in zip(slots, value, strict=True)) else slots

    def _entity(self, e: int, tx: int, subjects: set[int]) -> int | str | None:
        if e == tx:
            return "datomic.tx"
        if self._own and e < FIRST_FREE_ID:
            return e
        return self._known.get(e) or (f"e{e}" if e in subjects else None)
