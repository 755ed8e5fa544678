"""Dumps: the history of a store as text, to be read by anything, kept for ever, and made a store again.

    {:factstore/dump 1 :attributes {:person/name 100 …}}                          the names of the attributes, first
    {:t 1 :instant #inst "…" :next-n 12 :data [[e :person/name "Ann" true] …]}    a line a transaction, in order of t
    {:factstore/end {:transactions 1 :datoms 2 :sha256 "…"}}                      counts, and a digest of the lines before

Values are EDN, of exactly the type they have; entity ids are numbers. `.gz` files are compressed.
`undump` makes the same store again, ids and t and all. `replay` transacts what a dump, or the log of another store of this kind,
says on top of what a store has, and gives its entities new ids.
Law: a store that was undumped has the log of the one that was dumped. Nothing is written of a dump that is cut short or changed, or of
which a line cannot be a transaction; nor when any transaction of a replay is rejected.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain, cycle
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple, cast

from factstore import edn, log
from factstore.commit.indexing import is_same_log
from factstore.connection.connection import Connection
from factstore.datom import N_MASK, SCHEMA_PARTITION, TX_PARTITION, USER_PARTITION, Fact, partition_of, tx_of
from factstore.db.database import Database
from factstore.errors import Corrupt, DatabaseError, FactStoreError, ReadError, StorageError, TransactError, Unavailable
from factstore.schema import bootstrap
from factstore.schema.attribute import FIRST_FREE_ID, TX_INSTANT, Attribute, Schema
from factstore.storage import Storage
from factstore.transact import TxReport, prepare
from factstore.transact.report import report
from factstore.upkeep.whole_files import replacing
from factstore.values.quoting import as_name, described, quoted
from factstore.values.types import BIGINT, Keyword, Stored, ValueType, instant_to_micros, micros_to_instant

FORMAT: Final = 1
_HEAD, _END, _ATTRIBUTES = Keyword(":factstore/dump"), Keyword(":factstore/end"), Keyword(":attributes")
_T, _INSTANT, _NEXT_N, _DATA = Keyword(":t"), Keyword(":instant"), Keyword(":next-n"), Keyword(":data")
_GROUP: Final = 500  # transactions appended at once


class Manifest(NamedTuple):
    """What a dump holds."""

    transactions: int
    datoms: int
    sha256: str


def dump(
    conn: Connection,
    path: str | os.PathLike[str],
    *,
    upto: int | None = None,
    only: Collection[str] = (),
    without: Collection[str] = (),
) -> Manifest:
    """Write the history of a store to a file; it appears when it is whole, and replaces an earlier file of that name.

    Args:
        path: of the file, compressed if it ends in `.gz`.
        upto: the last t; None: all.
        only: of users' attributes just these; none given: all.
        without: attributes to leave out. What declares attributes is always there, and the instants of transactions.
    Raises: DatabaseError for an attribute or a t that there is not; Unavailable(:db.error/file-unavailable), and no file is left: when the
        file cannot be written, and for a path that leads to a store, to a file beside one, or to something that is no plain file.
    """
    db, target = conn.db(), _path(path)
    kept = _kept(db, only, without)
    last = db.basis_t if upto is None else min(db.t_at(upto), db.basis_t)
    with _files(target), replacing(target) as unfinished:
        while True:
            with _opened(unfinished, "wb", compressed=target.suffix == ".gz") as file:
                written = _write(file, conn._storage, db, kept, last)
            if is_same_log(conn._storage, db.view.index):
                return written
            db = conn.db()  # facts were excised meanwhile, and may have been written


def _path(path: Any) -> Path:
    text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
    if not text or not isinstance(text, str) or "\0" in text:
        raise Unavailable(
            ":db.error/file-unavailable", f"expected the path of a file, got {described(path)}", path=path
        )
    return Path(path)


@contextmanager
def _files(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into one of the family."""
    try:
        yield
    except OSError as error:
        why = f"{path}: {error.strerror or error}"
        raise Unavailable(":db.error/file-unavailable", why, path=str(path)) from error


def _kept(db: Database, only: Collection[str], without: Collection[str]) -> dict[int, Attribute]:
    schema = db.schema
    for names in (only, without):
        if isinstance(names, str | bytes) or not isinstance(names, Collection):
            raise DatabaseError(
                ":db.error/not-an-attribute", f"expected a list of attributes, got {described(names)}", attribute=names
            )
    wanted, left_out = ({db.attribute(name).id for name in names} for names in (only, without))
    attributes = [
        a
        for a in schema.attributes
        if a.id < FIRST_FREE_ID or ((not wanted or a.id in wanted) and a.id not in left_out)
    ]
    ids = {attribute.id for attribute in attributes}
    # A composite repeats what it is made of.
    return {a.id: a for a in attributes if ids.issuperset(a.members)}


def _write(file: IO[bytes], storage: Storage, db: Database, kept: dict[int, Attribute], upto: int) -> Manifest:
    digest = hashlib.sha256()
    transactions = datoms = 0

    def line(value: Any) -> None:
        body = edn.write(value).encode() + b"\n"
        digest.update(body)
        file.write(body)

    line({_HEAD: FORMAT, _ATTRIBUTES: {attribute.ident: attribute.id for attribute in kept.values()}})
    for made in log.read(storage, 0, upto):
        facts = (fact for fact in made.all_facts() if fact[1] in kept and fact[:2] != (tx_of(made.t), TX_INSTANT))
        data = [[e, kept[a].ident, _shown(db.schema, kept[a], v), added] for e, a, v, _, added in facts]
        line({_T: made.t, _INSTANT: micros_to_instant(made.instant), _NEXT_N: made.next_n, _DATA: data})
        transactions, datoms = transactions + 1, datoms + len(data)
    manifest = Manifest(transactions, datoms, digest.hexdigest())
    line({_END: {Keyword(f":{name}"): value for name, value in manifest._asdict().items()}})
    return manifest


def _shown(schema: Schema, attribute: Attribute, v: Stored) -> Any:
    """Return a value as it is written: references to what every store begins with by their idents, so that schemas can be read."""
    return schema.ident(v) if attribute.is_ref and v < FIRST_FREE_ID else attribute.load(v)


@contextmanager
def _opened(path: Path, mode: Literal["rb", "wb"], *, compressed: bool) -> Iterator[IO[bytes]]:
    with gzip.open(path, mode) if compressed else path.open(mode) as file:
        yield cast("IO[bytes]", file)


def _lines(path: Path) -> Iterator[bytes]:
    with _files(path), _opened(path, "rb", compressed=path.suffix == ".gz") as file:
        try:
            yield from file
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _damaged(path, f"it cannot be read to its end: {error}") from error


# -- the same store again


def verify(path: str | os.PathLike[str]) -> Manifest:
    """Read a dump to its end and compare it with what it says of itself.

    Raises: Corrupt, if it was cut short or changed; Unavailable(:db.error/file-unavailable).
    """
    file = _path(path)
    digest, last = hashlib.sha256(), b""
    transactions = -1  # the first line names attributes
    for line in _lines(file):
        if last:
            digest.update(last)
            transactions += 1
        last = line
    manifest = _manifest(file, last)
    if (manifest.transactions, manifest.sha256) != (transactions, digest.hexdigest()):
        raise _damaged(file, "it was changed: its lines are not those that its last line counts and digests")
    return manifest


def _manifest(path: Path, last: bytes) -> Manifest:
    try:
        end = edn.read(last.decode())
    except (UnicodeDecodeError, ReadError) as error:
        raise _damaged(path, f"its last line cannot be read, so it was cut short: {_why(error)}") from None
    counts = end.get(_END) if isinstance(end, dict) else None
    if not isinstance(counts, dict):
        raise _damaged(path, "it has no last line, so it was cut short")
    transactions, datoms, digest = (counts.get(Keyword(f":{name}")) for name in Manifest._fields)
    if type(transactions) is not int or type(datoms) is not int or not isinstance(digest, str):
        raise _damaged(path, "its last line does not count what is in it")
    return Manifest(transactions, datoms, digest)


def _why(error: Exception) -> str:
    return error.message if isinstance(error, FactStoreError) else ", ".join(map(as_name, error.args))


def _damaged(path: Path, why: str) -> Corrupt:
    return Corrupt(":db.error/dump-damaged", f"{path} is no whole dump: {why}", path=str(path))


def _malformed(path: Path, number: int, why: str) -> Corrupt:
    return Corrupt(":db.error/dump-damaged", f"{path}, line {number:,}: {why}", path=str(path), line=number)


def undump(path: str | os.PathLike[str], storage: Storage) -> Manifest:
    """Make an empty store the one that was dumped: entity ids, t and instants are the same.

    Raises: Corrupt, and nothing was written; Unavailable; StorageError(:db.error/not-empty).
    """
    file = _path(path)
    manifest = verify(file)
    if storage.head():
        raise StorageError(
            ":db.error/not-empty",
            f"{storage.description} holds transactions already; make a new store of the dump, or replay it",
        )
    with tempfile.TemporaryFile() as spool:  # every line is understood before the first is written
        sizes = [spool.write(body) for body in _records(file, manifest)]
        spool.seek(0)
        for start in range(0, len(sizes), _GROUP):
            records = [(os.urandom(16), spool.read(size)) for size in sizes[start : start + _GROUP]]
            storage.append(records, expected_t=start)
    return manifest


def _records(path: Path, manifest: Manifest) -> Iterator[bytes]:
    """Yield the log's records of a dump. Raises: Corrupt, naming the line that can be none."""
    encode, schema = log.Encoder().encode, bootstrap.SCHEMA
    names: dict[str, int] = {}
    last = (0, FIRST_FREE_ID, 0)  # t, next n and instant of the transaction before
    for number, line in _parsed(path):
        if _HEAD in line:
            names = _names(line, path)
        elif _T in line:
            with _malforming(path, number):
                last = t, next_n, instant = _header(line, last)
                facts = [(tx_of(t), TX_INSTANT, instant, t, True), *_facts(line, names, schema, next_n)]
                schema = schema.plus(facts)
                body = encode(t, instant, next_n, facts)
            yield body
    if last[0] != manifest.transactions:
        raise _damaged(
            path, f"it has {last[0]:,} transactions, and its last line counts {described(manifest.transactions)}"
        )


@contextmanager
def _malforming(path: Path, number: int) -> Iterator[None]:
    """Turn what a line that is no transaction raises into an error that names the line."""
    try:
        yield
    except Corrupt:
        raise
    except (FactStoreError, ValueError, TypeError, LookupError, ArithmeticError, AttributeError) as error:
        raise _malformed(path, number, f"it can be no transaction: {_why(error)}") from error


def _parsed(path: Path) -> Iterator[tuple[int, dict[Keyword, Any]]]:
    """Yield the lines of a dump, with their numbers. Raises: Corrupt."""
    for number, body in enumerate(_lines(path), 1):
        try:
            line = edn.read(body.decode())
        except (UnicodeDecodeError, ReadError) as error:
            raise _malformed(path, number, f"it cannot be read: {_why(error)}") from None
        if not isinstance(line, dict):
            raise _malformed(path, number, f"expected a map, got {described(line)}")
        yield number, line


def _names(line: dict[Keyword, Any], path: Path) -> dict[str, int]:
    if line[_HEAD] != FORMAT:
        raise _damaged(path, f"it has format {quoted(line[_HEAD])}, this version reads {FORMAT}")
    names = line.get(_ATTRIBUTES)
    if not isinstance(names, dict) or not all(type(a) is int and 0 < a <= N_MASK for a in names.values()):
        raise _damaged(path, "its first line does not name the ids of attributes")
    return names


def _header(line: dict[Keyword, Any], last: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return t, next n and instant of a transaction, which follow those of the one before."""
    t, next_n, instant = line[_T], line[_NEXT_N], instant_to_micros(line[_INSTANT])
    if type(t) is not int or t != last[0] + 1:
        raise ValueError(f"expected t {last[0] + 1}, got {quoted(t)}")
    if type(next_n) is not int or not last[1] <= next_n <= N_MASK:
        raise ValueError(f"expected :next-n from {last[1]} on, got {quoted(next_n)}")
    if instant < last[2]:
        raise ValueError(f"expected an instant that is not before the last one, got {line[_INSTANT].isoformat()}")
    return t, next_n, instant


def _facts(line: dict[Keyword, Any], names: dict[str, int], schema: Schema, next_n: int) -> Iterator[Fact]:
    t = line[_T]
    for e, name, value, added in line[_DATA]:
        attribute = schema.attribute(names[name])
        if type(added) is not bool:
            raise ValueError(f"expected true or false at the end of a datom, got {quoted(added)}")
        yield _known_id(e, t, next_n), attribute.id, _stored(schema, attribute, value, t, next_n), t, added


def _known_id(e: Any, t: int, next_n: int) -> int:
    """Return an entity id that a transaction can have given out."""
    partition, n = (partition_of(e), e & N_MASK) if type(e) is int else (-1, 0)
    if not (n <= t if partition == TX_PARTITION else partition in (SCHEMA_PARTITION, USER_PARTITION) and n < next_n):
        raise ValueError(f"expected the id of an entity that was given out by t {t}, got {quoted(e)}")
    return e  # type: ignore[no-any-return]


def _stored(schema: Schema, attribute: Attribute, value: Any, t: int, next_n: int) -> Stored:
    types = attribute.tuple_slot_types
    if attribute.is_ref:
        return _known_id(value if type(value) is int else schema.entid(value), t, next_n)
    stored = _of_type(attribute.value_type, value)
    if not types:
        return stored
    slots = zip(stored, cycle(types), strict=False)
    return tuple(
        None if slot is None else _known_id(slot, t, next_n) if kind.name == "ref" else _of_type(kind, slot)
        for slot, kind in slots
    )


def _of_type(kind: ValueType, value: Any) -> Stored:
    # A store may hold larger numbers than are taken now.
    return value if kind is BIGINT and type(value) is int else kind.store(value)


# -- on top of what a store has


class Replayed(NamedTuple):
    """What a replay did."""

    transactions: int
    datoms: int  # that it asked for; what a store has already is not added again
    left_out: int  # of entities that nothing is known of here


def replay(
    conn: Connection, path: str | os.PathLike[str], *, start: int | None = None, upto: int | None = None
) -> Replayed:
    """Transact what a dump says, in its order, with entity ids of this store.

    Entities are told apart as always: one with a unique identity that is known here is that one. Instants are kept as long as they
    are not before what the store has. Composite tuples, excisions and keys of transactions are not taken over. Everything is tried on a
    database value, so memory holds the facts of the dump.

    Args:
        path: of a dump; or of a file of lines `{:t 1 :data [[e attribute v tx added] …]}` with attributes, and values that have one,
            by ident: the log of another store of this kind.
        start, upto: the first and the last t to replay; None: all.
    Raises: Corrupt, for a dump that was cut short or changed, or a line that is no transaction; TransactError. Nothing was transacted then,
        unless somebody else committed meanwhile what the dump contradicts. Unavailable.
    """
    file = _path(path)
    for point in (start, upto):
        if point is not None and (type(point) is not int or point < 0):
            raise DatabaseError(
                ":db.error/invalid-range", f"expected the t of a transaction in the dump, got {described(point)}"
            )
    attributes = _attributes(file)
    for write in (_rehearsing(conn), conn.transact):
        replaying = _Replaying(conn.db(), attributes, write)
        for number, line in _parsed(file):
            with _replaying(file, number):
                if _T in line and (start is None or line[_T] >= start) and (upto is None or line[_T] <= upto):
                    replaying.transact(line)
    return Replayed(replaying.transactions, replaying.datoms, replaying.left_out)


def _rehearsing(conn: Connection) -> Callable[[list[Any]], TxReport]:
    """Return a function that does transactions one on top of the other, as the connection would do them, and leaves nothing behind."""
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
    """Let the errors of a line name it."""
    try:
        with _malforming(path, number):
            yield
    except Corrupt as error:
        if not isinstance(error.__cause__, TransactError):
            raise
        rejected = error.__cause__
        message = f"{path}, line {number:,}: {rejected.message}"
        raise type(rejected)(rejected.code, message, **{**rejected.data, "line": number}) from rejected


class _Attributes(NamedTuple):
    """The names that a dump has for attributes."""

    own: bool  # whether the ids of system entities are those of this package
    ids: Mapping[str, int]  # name → entity id in the dump


def _attributes(path: Path) -> _Attributes:
    """Return which entity of a dump each name of an attribute means, in all of its lines: they have the names of the end."""
    lines = _parsed(path)
    _, first = next(lines, (1, {}))
    if _HEAD in first:
        verify(path)
        return _Attributes(True, _names(first, path))
    ids: dict[str, int] = {}
    for number, line in chain([(1, first)], lines):
        with _malforming(path, number):
            ids.update((row[2], row[0]) for row in line.get(_DATA, ()) if row[1] == ":db/ident" and row[-1])
    return _Attributes(False, ids)


_NOT_REPLAYED: Final = frozenset(
    {":db/txInstant", ":db.install/attribute", ":db.install/partition", ":db.install/valueType", ":db.alter/attribute"}
    | {":db/excise", ":db.excise/beforeT", ":db.tx/key", ":db.migration/name", ":db.migration/checksum"}
)


class _Replaying:
    """Keeps which entity of the dump is which entity here."""

    def __init__(self, db: Database, attributes: _Attributes, write: Callable[[list[Any]], TxReport]) -> None:
        self._db = db
        self._own, self._ids = attributes
        self._write = write
        self._known: dict[int, int] = {}
        self.transactions = self.datoms = self.left_out = 0

    def transact(self, line: dict[Keyword, Any]) -> None:
        db, data = self._db, line[_DATA]
        tx = data[0][3] if data and len(data[0]) == 5 else tx_of(line[_T])
        said = {
            row[0] for row in data if row[-1] and row[1] not in _NOT_REPLAYED
        }  # only what something is said of can be new
        replaced = {(row[0], row[1]): row[2] for row in data if not row[-1]}
        told = (row for row in data if row[1] not in _NOT_REPLAYED)
        forms = [form for row in told if (form := self._form(db, row, tx, said, replaced)) is not None]
        instant = self._instant(line)
        if instant is not None and instant_to_micros(instant) >= db.last_instant:
            forms.append([":db/add", "datomic.tx", ":db/txInstant", instant])
        done = self._write(forms)
        self._db = done.db_after
        self._known.update(
            (int(name[1:]), e) for name, e in done.tempids.items() if isinstance(name, str) and name != "datomic.tx"
        )
        self._known[tx] = tx_of(done.t)
        self.transactions += 1

    def _attribute(self, db: Database, name: Any) -> Attribute:
        """Return the attribute that a dump means by a name, which may have had another one when the transaction was made."""
        here = self._known.get(self._ids.get(name, -1))
        found = None if here is None else db.schema.find(here)
        return db.attribute(name) if found is None else found

    def _instant(self, line: dict[Keyword, Any]) -> datetime | None:
        if _INSTANT in line:
            return line[_INSTANT]  # type: ignore[no-any-return]
        return next((row[2] for row in line[_DATA] if row[1] == ":db/txInstant"), None)

    def _form(
        self, db: Database, row: Sequence[Any], tx: int, said: set[int], replaced: Mapping[Any, Any]
    ) -> list[Any] | None:
        e, name, value, added = row[0], row[1], row[2], row[-1]
        attribute = self._attribute(db, name)
        if attribute.tuple_attrs:
            return None
        entity = self._entity(e, tx, said)
        if attribute.is_ref and type(value) is int:
            value = self._entity(value, tx, said)
        if entity is None or value is None:
            self.left_out += 1
            return None
        self.datoms += 1
        if added and attribute.cas_only:
            return [":db/cas", entity, attribute.id, replaced.get((e, name)), value]
        return [":db/add" if added else ":db/retract", entity, attribute.id, value]

    def _entity(self, e: int, tx: int, said: set[int]) -> int | str | None:
        if e == tx:
            return "datomic.tx"
        if self._own and e < FIRST_FREE_ID:
            return e
        return self._known.get(e) or (f"e{e}" if e in said else None)
