"""Dumps: the history of a store as text, for archives and other programs, and for making a store of it again.

    {:factstore/dump 1 :attributes {:person/name 100 …}}                          first the names of the attributes
    {:t 1 :instant #inst "…" :next-n 12 :data [[e :person/name "Ann" true] …]}    one line per transaction, in order of
    t
    {:factstore/end {:transactions 1 :datoms 2 :sha256 "…"}}                      counts, and a digest of the lines
    before

Values are EDN of exactly the stored type; entity ids are numbers. `.gz` files are compressed.
`undump` makes the same store, with the same ids and t. `replay` transacts a dump, or the log of a similar store, on top
of an existing store, and gives its entities new ids.
Law: an undumped store has the log of the dumped one. If a dump is incomplete or changed, if one of its lines is not a
transaction, or if any transaction of a replay is rejected, nothing is written.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Collection, Iterator
from itertools import cycle
from pathlib import Path
from typing import IO, Any, Final

from factstore import edn, log
from factstore.commit.indexing import is_same_log
from factstore.connection.connection import Connection
from factstore.datom import N_MASK, SCHEMA_PARTITION, TX_PARTITION, USER_PARTITION, Fact, partition_of, tx_of
from factstore.db.database import Database
from factstore.errors import DatabaseError, StorageError
from factstore.schema import bootstrap
from factstore.schema.attribute import FIRST_FREE_ID, TX_INSTANT, Attribute, Schema
from factstore.storage import Storage
from factstore.upkeep.dump_files import (
    ATTRIBUTES,
    DATA,
    END,
    FORMAT,
    HEAD,
    INSTANT,
    NEXT_N,
    Manifest,
    T,
    attribute_ids,
    damaged,
    naming_line,
    opened,
    os_errors_as_unavailable,
    parsed,
    path_of,
    verify,
)
from factstore.upkeep.replay import Replayed as Replayed
from factstore.upkeep.replay import replay as replay
from factstore.upkeep.whole_files import replacing
from factstore.values.quoting import described, quoted
from factstore.values.types import BIGINT, Keyword, Stored, ValueType, instant_to_micros, micros_to_instant

__all__ = ["Manifest", "Replayed", "dump", "replay", "undump"]

_GROUP: Final = 500  # transactions appended at once


def dump(
    conn: Connection,
    path: str | os.PathLike[str],
    *,
    upto: int | None = None,
    only: Collection[str] = (),
    without: Collection[str] = (),
) -> Manifest:
    """Write the history of a store to a file, which appears when it is complete and replaces an existing file.

    Args:
        path: the path of the file, compressed if it ends in `.gz`.
        upto: the last t; None: all.
        only: write only these of the users' attributes; empty: all.
        without: attributes to exclude. Schema declarations and the instants of transactions are always included.
    Raises: DatabaseError for an unknown attribute or an invalid t; Unavailable(:db.error/file-unavailable) if the file
        cannot be written, or if the path leads to a store, to a file that belongs to one, or to something that is not a
        plain file. No file is left then.
    """
    db, target = conn.db(), path_of(path)
    kept = _kept(db, only, without)
    last = db.basis_t if upto is None else min(db.t_at(upto), db.basis_t)
    with os_errors_as_unavailable(target), replacing(target) as unfinished:
        while True:
            with opened(unfinished, "wb", compressed=target.suffix == ".gz") as file:
                written = _write(file, conn._storage, db, kept, last)
            if is_same_log(conn._storage, db.view.index):
                return written
            db = conn.db()  # facts were excised in the meantime, and may be in the file


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
    # A composite tuple repeats the values of its members.
    return {a.id: a for a in attributes if ids.issuperset(a.members)}


def _write(file: IO[bytes], storage: Storage, db: Database, kept: dict[int, Attribute], upto: int) -> Manifest:
    digest = hashlib.sha256()
    transactions = datoms = 0

    def line(value: Any) -> None:
        body = edn.write(value).encode() + b"\n"
        digest.update(body)
        file.write(body)

    line({HEAD: FORMAT, ATTRIBUTES: {attribute.ident: attribute.id for attribute in kept.values()}})
    for record in log.read(storage, 0, upto):
        facts = (fact for fact in record.all_facts() if fact[1] in kept and fact[:2] != (tx_of(record.t), TX_INSTANT))
        data = [[e, kept[a].ident, _shown(db.schema, kept[a], v), added] for e, a, v, _, added in facts]
        line({T: record.t, INSTANT: micros_to_instant(record.instant), NEXT_N: record.next_n, DATA: data})
        transactions, datoms = transactions + 1, datoms + len(data)
    manifest = Manifest(transactions, datoms, digest.hexdigest())
    line({END: {Keyword(f":{name}"): value for name, value in manifest._asdict().items()}})
    return manifest


def _shown(schema: Schema, attribute: Attribute, v: Stored) -> Any:
    """Return a value as it is written; references to system entities become idents, so that schemas are readable."""
    return schema.ident(v) if attribute.is_ref and v < FIRST_FREE_ID else attribute.load(v)


def undump(path: str | os.PathLike[str], storage: Storage) -> Manifest:
    """Write a dump to an empty store, with the same entity ids, t and instants.

    Args:
        storage: as `factstore.storage.open_storage(uri)` opens it. `maintain.rebuild(storage)` then builds its index.
    Raises: Corrupt, and nothing was written; Unavailable; StorageError(:db.error/not-empty).
    """
    file = path_of(path)
    manifest = verify(file)
    if storage.head():
        raise StorageError(
            ":db.error/not-empty",
            f"{storage.description} holds transactions already; make a new store of the dump, or replay it",
        )
    with tempfile.TemporaryFile() as spool:  # all lines are parsed before the first one is written
        sizes = [spool.write(body) for body in _records(file, manifest)]
        spool.seek(0)
        for start in range(0, len(sizes), _GROUP):
            records = [(os.urandom(16), spool.read(size)) for size in sizes[start : start + _GROUP]]
            storage.append(records, expected_t=start)
    return manifest


def _records(path: Path, manifest: Manifest) -> Iterator[bytes]:
    """Yield the records of the log from a dump. Raises: Corrupt, which names a line that is not a transaction."""
    encode, schema = log.Encoder().encode, bootstrap.SCHEMA
    names: dict[str, int] = {}
    last = (0, FIRST_FREE_ID, 0)  # t, next n and instant of the transaction before
    for number, line in parsed(path):
        if HEAD in line:
            names = attribute_ids(line, path)
        elif T in line:
            with naming_line(path, number):
                last = t, next_n, instant = _header(line, last)
                facts = [(tx_of(t), TX_INSTANT, instant, t, True), *_facts(line, names, schema, next_n)]
                schema = schema.plus(facts)
                body = encode(t, instant, next_n, facts)
            yield body
    if last[0] != manifest.transactions:
        raise damaged(
            path, f"it has {last[0]:,} transactions, and its last line counts {described(manifest.transactions)}"
        )


def _header(line: dict[Keyword, Any], last: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return t, next n and instant of a transaction, which must follow those of the one before."""
    t, next_n, instant = line[T], line[NEXT_N], instant_to_micros(line[INSTANT])
    if type(t) is not int or t != last[0] + 1:
        raise ValueError(f"expected t {last[0] + 1}, got {quoted(t)}")
    if type(next_n) is not int or not last[1] <= next_n <= N_MASK:
        raise ValueError(f"expected :next-n from {last[1]} on, got {quoted(next_n)}")
    if instant < last[2]:
        raise ValueError(f"expected an instant that is not before the last one, got {line[INSTANT].isoformat()}")
    return t, next_n, instant


def _facts(line: dict[Keyword, Any], names: dict[str, int], schema: Schema, next_n: int) -> Iterator[Fact]:
    t = line[T]
    for e, name, value, added in line[DATA]:
        attribute = schema.attribute(names[name])
        if type(added) is not bool:
            raise ValueError(f"expected true or false at the end of a datom, got {quoted(added)}")
        yield _known_id(e, t, next_n), attribute.id, _stored(schema, attribute, value, t, next_n), t, added


def _known_id(e: Any, t: int, next_n: int) -> int:
    """Return an entity id, which must have been assigned by transaction t or before."""
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
    # A store may contain larger numbers than are accepted now.
    return value if kind is BIGINT and type(value) is int else kind.store(value)
