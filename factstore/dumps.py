"""Dumps: the history of a store as text, to be read by anything, kept for ever, and made a store again.

    {:factstore/dump 1 :attributes {:person/name 100 …}}                          the names of the attributes, first
    {:t 1 :instant #inst "…" :next-n 12 :data [[e :person/name "Ann" true] …]}    a line a transaction, in order of t
    {:factstore/end {:transactions 1 :datoms 2 :sha256 "…"}}                      counts, and a digest of the lines before

Values are EDN, of exactly the type they have; entity ids are numbers. `.gz` files are compressed.
`undump` makes the same store again, ids and t and all. `replay` transacts what a dump, or the log of another store of this kind,
says on top of what a store has, and gives its entities new ids.
Law: a store that was undumped has the log of the one that was dumped; nothing is written of a dump that is cut short or changed.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from itertools import chain, cycle
from pathlib import Path
from typing import IO, Any, Final, Literal, NamedTuple, cast

from factstore import edn, log
from factstore.conn import Connection
from factstore.datom import Fact, tx_of
from factstore.db import Database
from factstore.errors import Corrupt, ReadError, StorageError
from factstore.schema import bootstrap
from factstore.schema.attribute import FIRST_FREE_ID, TX_INSTANT, Attribute, Schema
from factstore.storage import Storage
from factstore.values import Keyword, Stored, instant_to_micros, micros_to_instant

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
    conn: Connection, path: str | os.PathLike[str], *, upto: int | None = None, only: Collection[str] = (), without: Collection[str] = ()
) -> Manifest:
    """Write the history of a store to a file; it appears when it is whole.

    Args:
        path: of the file, compressed if it ends in `.gz`.
        upto: the last t; None: all.
        only: of users' attributes just these; none given: all.
        without: attributes to leave out. What declares attributes is always there, and the instants of transactions.
    """
    db = conn.db()
    kept = _kept(db.schema, only, without)
    unfinished = Path(f"{os.fspath(path)}.part")
    with _opened(unfinished, "wb", compressed=os.fspath(path).endswith(".gz")) as file:
        written = _write(file, conn._storage, db, kept, db.basis_t if upto is None else min(upto, db.basis_t))
    unfinished.replace(path)
    return written


def _kept(schema: Schema, only: Collection[str], without: Collection[str]) -> dict[int, Attribute]:
    wanted, left_out = ({schema.attribute(name).id for name in names} for names in (only, without))
    attributes = [a for a in schema.attributes if a.id < FIRST_FREE_ID or ((not wanted or a.id in wanted) and a.id not in left_out)]
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


def _lines(path: str | os.PathLike[str]) -> Iterator[bytes]:
    with _opened(Path(path), "rb", compressed=os.fspath(path).endswith(".gz")) as file:
        yield from file


# -- the same store again


def verify(path: str | os.PathLike[str]) -> Manifest:
    """Read a dump to its end and compare it with what it says of itself. Raises: Corrupt, if it was cut short or changed."""
    digest, last = hashlib.sha256(), b""
    transactions = -1  # the first line names attributes
    try:
        for line in _lines(path):
            if last:
                digest.update(last)
                transactions += 1
            last = line
        end = edn.read(last.decode()).get(_END)
    except (EOFError, OSError, UnicodeDecodeError, ReadError, AttributeError, zlib.error) as error:
        raise _damaged(path, f"it cannot be read to its end: {error}") from None
    if end is None:
        raise _damaged(path, "it has no last line, so it was cut short")
    manifest = Manifest(*(end.get(Keyword(f":{name}")) for name in Manifest._fields))
    if (manifest.transactions, manifest.sha256) != (transactions, digest.hexdigest()):
        raise _damaged(path, "it was changed: its lines are not those that its last line counts and digests")
    return manifest


def _damaged(path: str | os.PathLike[str], why: str) -> Corrupt:
    return Corrupt(":db.error/dump-damaged", f"{os.fspath(path)} is no whole dump: {why}", path=os.fspath(path))


def undump(path: str | os.PathLike[str], storage: Storage) -> Manifest:
    """Make an empty store the one that was dumped: entity ids, t and instants are the same.

    Raises: Corrupt, and nothing was written; StorageError(:db.error/not-empty).
    """
    manifest = verify(path)
    if storage.head():
        raise StorageError(
            ":db.error/not-empty", f"{storage.description} holds transactions already; make a new store of the dump, or replay it"
        )
    encode, schema, records = log.Encoder().encode, bootstrap.SCHEMA, []
    names: dict[str, int] = {}
    for line in map(_read, _lines(path)):
        if _HEAD in line:
            names = _names(line, path)
        elif _T in line:
            t, instant = line[_T], instant_to_micros(line[_INSTANT])
            facts = [(tx_of(t), TX_INSTANT, instant, t, True), *_facts(line, names, schema)]
            schema = schema.plus(facts)
            records.append((os.urandom(16), encode(t, instant, line[_NEXT_N], facts)))
            if len(records) == _GROUP or t == manifest.transactions:
                storage.append(records, expected_t=storage.head())
                records = []
    return manifest


def _read(line: bytes) -> dict[Keyword, Any]:
    return edn.read(line.decode())  # type: ignore[no-any-return]


def _names(line: dict[Keyword, Any], path: str | os.PathLike[str]) -> dict[str, int]:
    if line[_HEAD] != FORMAT:
        raise _damaged(path, f"it has format {line[_HEAD]}, this version reads {FORMAT}")
    return line[_ATTRIBUTES]  # type: ignore[no-any-return]


def _facts(line: dict[Keyword, Any], names: dict[str, int], schema: Schema) -> Iterator[Fact]:
    for e, name, value, added in line[_DATA]:
        attribute = schema.attribute(names[name])
        yield e, attribute.id, _stored(schema, attribute, value), line[_T], added


def _stored(schema: Schema, attribute: Attribute, value: Any) -> Stored:
    types = attribute.tuple_slot_types
    if attribute.is_ref:
        return value if type(value) is int else schema.entid(value)
    if not types:
        return attribute.value_type.store(value)
    slots = zip(value, cycle(types), strict=False)
    return tuple(slot if slot is None or kind.name == "ref" else kind.store(slot) for slot, kind in slots)


# -- on top of what a store has


class Replayed(NamedTuple):
    """What a replay did."""

    transactions: int
    datoms: int  # that it asked for; what a store has already is not added again
    left_out: int  # of entities that nothing is known of here


def replay(conn: Connection, path: str | os.PathLike[str], *, start: int | None = None, upto: int | None = None) -> Replayed:
    """Transact what a dump says, in its order, with entity ids of this store.

    Entities are told apart as always: one with a unique identity that is known here is that one. Instants are kept as long as they
    are not before what the store has. Composite tuples, excisions and keys of transactions are not taken over.

    Args:
        path: of a dump; or of a file of lines `{:t 1 :data [[e attribute v tx added] …]}` with attributes, and values that have one,
            by ident: the log of another store of this kind.
        start, upto: the first and the last t to replay; None: all.
    Raises: Corrupt, for a dump that was cut short or changed, before anything is transacted; TransactError, and what was transacted
        before stays.
    """
    lines = _lines(path)
    first = _read(next(lines, b"{}"))
    if _HEAD in first:
        verify(path)
        _names(first, path)
    replaying = _Replaying(conn, own=_HEAD in first)
    for line in chain([first], map(_read, lines)):
        if _T in line and (start is None or line[_T] >= start) and (upto is None or line[_T] <= upto):
            replaying.transact(line)
    return Replayed(replaying.transactions, replaying.datoms, replaying.left_out)


_NOT_REPLAYED: Final = frozenset(
    {":db/txInstant", ":db.install/attribute", ":db.install/partition", ":db.install/valueType", ":db.alter/attribute"}
    | {":db/excise", ":db.excise/beforeT", ":db.tx/key", ":db.migration/name", ":db.migration/checksum"}
)


class _Replaying:
    """Keeps which entity of the dump is which entity here."""

    def __init__(self, conn: Connection, *, own: bool) -> None:
        self._conn = conn
        self._own = own  # whether system entities have the ids that they have here
        self._known: dict[int, int] = {}
        self.transactions = self.datoms = self.left_out = 0

    def transact(self, line: dict[Keyword, Any]) -> None:
        db, data = self._conn.db(), line[_DATA]
        tx = data[0][3] if data and len(data[0]) == 5 else tx_of(line[_T])
        said = {row[0] for row in data if row[-1] and row[1] not in _NOT_REPLAYED}  # only what something is said of can be new
        forms = [form for row in data if row[1] not in _NOT_REPLAYED and (form := self._form(db, row, tx, said)) is not None]
        instant = self._instant(line)
        if instant is not None and instant_to_micros(instant) >= db.last_instant:
            forms.append([":db/add", "datomic.tx", ":db/txInstant", instant])
        done = self._conn.transact(forms)
        self._known.update((int(name[1:]), e) for name, e in done.tempids.items() if isinstance(name, str) and name != "datomic.tx")
        self._known[tx] = tx_of(done.t)
        self.transactions += 1

    def _instant(self, line: dict[Keyword, Any]) -> datetime | None:
        if _INSTANT in line:
            return line[_INSTANT]  # type: ignore[no-any-return]
        return next((row[2] for row in line[_DATA] if row[1] == ":db/txInstant"), None)

    def _form(self, db: Database, row: Sequence[Any], tx: int, said: set[int]) -> list[Any] | None:
        e, name, value, added = row[0], row[1], row[2], row[-1]
        attribute = db.attribute(name)
        if attribute.tuple_attrs:
            return None
        entity = self._entity(e, tx, said)
        if attribute.is_ref and type(value) is int:
            value = self._entity(value, tx, said)
        if entity is None or value is None:
            self.left_out += 1
            return None
        self.datoms += 1
        return [":db/add" if added else ":db/retract", entity, name, value]

    def _entity(self, e: int, tx: int, said: set[int]) -> int | str | None:
        if e == tx:
            return "datomic.tx"
        if self._own and e < FIRST_FREE_ID:
            return e
        return self._known.get(e) or (f"e{e}" if e in said else None)
