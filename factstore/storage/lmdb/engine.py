"""The LMDB engine: one file for many processes of one machine.

    main database   "blocks", "roots", "stamp"            their names sort before every key of the log
                    2^63 | t, 8 bytes big-endian          -> txid, body: the last key is the head; a commit is one put
    "blocks"        id                                    -> bytes
    "roots"         version, 8 bytes big-endian           -> body: the newest, the one before, and held ones

It defines this layout and its format number; handles.py, environment.py and peers.py share the file.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, Final
from weakref import finalize

import lmdb

from factstore.concurrency.locks import Owner
from factstore.errors import Corrupt, NotAStore, ReadOnly, UnknownOutcome
from factstore.storage.lmdb.environment import Environment, Txn
from factstore.storage.lmdb.gone import Gone
from factstore.storage.lmdb.handles import drop_handle, shared
from factstore.storage.lmdb.names import resolved
from factstore.storage.lmdb.opening import check_file, expanded, refuse_network, refused, sync_directory
from factstore.storage.lmdb.peers import Held
from factstore.storage.lmdb.translation import translated
from factstore.storage.protocol import TXID_BYTES, Record, Root, Sync
from factstore.storage.refusals import (
    check_found,
    check_head,
    check_same,
    check_txids,
    check_version,
    damaged,
    read_only,
)

FORMAT: Final = 1

_STAMP: Final = b"stamp"
_LOG: Final = 1 << 63
_BESIDE_THE_LOG: Final = 3  # keys of the main database: blocks, roots, stamp
_key = struct.Struct(">Q").pack
_record: Callable[[tuple[int, bytes, bytes]], Record] = partial(
    tuple.__new__, Record
)  # without the checks of named tuples
_BATCH_BYTES: Final = 8 << 20  # of blocks in one write transaction, for which a commit can have to wait
_BATCH_KEYS: Final = 10_000
_MOST_AT_ONCE: Final = 32  # records of the log in one search, because each can have megabytes


class LmdbStorage:
    """A handle on an LMDB file.

    Args:
        path: the data file; `path-lock` and `path-turn` beside it can be deleted while no process has the store open.
        create, read_only, sync, map_size: see `open_storage`.
        max_map_size: the size in bytes at which the map stops growing and writes raise `StoreFull`; None: no limit.
        busy_timeout: seconds that a write waits for the writer lock before it raises `StoreBusy`; None: no limit.
        allow_network_fs: also open a file on a network filesystem, where LMDB is not safe.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        create: bool = True,
        read_only: bool = False,
        sync: Sync = "full",
        map_size: int | None = None,
        max_map_size: int | None = None,
        busy_timeout: float | None = None,
        allow_network_fs: bool = False,
    ) -> None:
        self._busy_timeout = busy_timeout
        full_path = expanded(path)
        self.read_only = read_only
        self.description = f"lmdb:{full_path}"
        self._mode: Sync | None = None if read_only else sync
        try:
            self._open(full_path, create and not read_only, allow_network_fs, map_size, max_map_size)
        except lmdb.Error as error:
            raise translated(error, self.description) from error
        except OSError as error:
            raise refused(error, full_path) from error
        if not read_only and self._file.read_only:
            self.close()
            message = f"{full_path} may not be written by this user; open it with read_only=True"
            raise ReadOnly(":db.error/read-only", message, path=str(full_path))

    def _open(
        self, path: Path, may_create: bool, allow_network_fs: bool, map_size: int | None, max_map_size: int | None
    ) -> None:
        is_new = check_file(path, may_create)
        real = resolved(path)
        if not allow_network_fs:
            refuse_network(path)
        self._file: Any = shared(
            real,
            lambda env: _lay_out(env, path, may_create),
            mode=self._mode,
            map_size=map_size,
            max_map_size=max_map_size,
        )
        self._finalizer = finalize(self, drop_handle, self._file, self._mode)
        self._finalizer.atexit = False
        if is_new and self._mode != "none":
            sync_directory(real.parent)
        try:
            self._file.check_trees("free", "roots")
        except BaseException:
            self.close()
            raise

    @property
    def _writable(self) -> Environment:
        if self.read_only:
            raise read_only(self.description)
        return self._file  # type: ignore[no-any-return]

    # the log

    def head(self, *, near: bool = False) -> int:
        return self._file.read(_head)  # type: ignore[no-any-return]

    def append(self, records: Sequence[tuple[bytes, bytes]], *, expected_t: int) -> int:
        file = self._writable
        check_txids(records)
        file.check_name()
        try:
            head = file.write(_append, file, records, expected_t)
            if head < 0:
                with file.turn.held(may_pass=True, doing="a transaction", timeout=self._busy_timeout):
                    head = file.write(_append, file, records, expected_t)
        except UnknownOutcome as error:
            raise _naming(error, records) from error
        file.wakeup.tell()
        return head

    def resolve(self, txid: bytes) -> int | None:
        below = self.head() + 1
        while below > 1:
            found, below = self._file.read(_seek_txid, txid, below)
            if found:
                return found  # type: ignore[no-any-return]
        return None

    def read_log(self, after_t: int, upto_t: int | None = None, *, max_bytes: int = 8 << 20) -> list[Record]:
        return self._file.read(_read_log, after_t, upto_t, max_bytes)  # type: ignore[no-any-return]

    def rewrite(
        self,
        records: Sequence[Record],
        *,
        appended: Sequence[tuple[bytes, bytes]],
        expected_t: int,
        root: bytes,
        expected_version: int,
    ) -> Root:
        file = self._writable
        check_txids(appended)
        try:
            with file.turn.held(doing="an excision", timeout=self._busy_timeout):
                swapped = file.write(_rewrite, file, records, appended, expected_t, root, expected_version)
        except UnknownOutcome as error:
            raise _naming(error, appended) from error
        file.wakeup.tell()
        return swapped

    def wait(self, after_t: int, timeout: float) -> int:
        deadline = monotonic() + timeout
        while True:
            seen = self._file.wakeup.seen()
            self._file.check_name()
            head, left = self.head(), deadline - monotonic()
            if head > after_t or left <= 0:
                return head
            self._file.wakeup.wait(seen, left)

    def turn(
        self, *, owner: Owner | None = None, may_pass: bool = False, doing: str = ""
    ) -> AbstractContextManager[None]:
        held: AbstractContextManager[None] = self._writable.turn.held(
            owner=owner, may_pass=may_pass, doing=doing, timeout=self._busy_timeout
        )
        return held

    def release_turn(self) -> None:
        if not isinstance(self._file, Gone):
            self._file.release_turn()

    # blocks

    def put_blocks(self, blocks: Iterable[tuple[bytes, bytes]]) -> None:
        file = self._writable
        file.check_trees("blocks")
        batch: list[tuple[bytes, bytes]] = []
        size = 0
        for item in blocks:
            batch.append(item)
            size += len(item[1])
            if size >= _BATCH_BYTES:
                file.write(_put_blocks, file, batch)
                batch, size = [], 0
        if batch:
            file.write(_put_blocks, file, batch)

    def get_blocks(self, ids: Sequence[bytes], *, near: bool = False) -> dict[bytes, bytes]:
        file = self._file
        blocks: dict[bytes, bytes] = file.read(_get_blocks, file, ids)
        check_found(ids, blocks, self.description)
        return blocks

    def delete_blocks(self, ids: Iterable[bytes]) -> int:
        file = self._writable
        file.check_trees("blocks")
        remaining = iter(ids)
        deleted = 0
        while batch := list(islice(remaining, _BATCH_KEYS)):
            deleted += file.write(_delete_blocks, file, batch)
        return deleted

    def block_ids(self) -> Iterator[bytes]:
        self._file.check_trees("blocks")
        last = b""
        while batch := self._file.read(_ids_after, self._file, last):
            yield from batch
            last = batch[-1]

    # the root

    def read_root(self, version: int | None = None) -> Root | None:
        file = self._file
        return file.read(_read_root, file, version)  # type: ignore[no-any-return]

    def swap_root(self, body: bytes, *, expected_version: int) -> Root:
        file = self._writable
        root = file.write(_swap_root, file, body, expected_version)
        with file.gate:
            file.env.reader_check()  # free the slots of dead readers; roots are seldom swapped
        return root

    def hold(self, version: int) -> Held:
        file = self._file
        file.holds.take(version, lambda: self._expect_newest(version))
        return Held(file.holds, version)

    def _expect_newest(self, version: int) -> None:
        if version == 0:
            return
        root = self.read_root()
        check_version(0 if root is None else root.version, version)

    def held(self) -> set[int]:
        return self._file.holds.all()  # type: ignore[no-any-return]

    # housekeeping

    def usage(self) -> dict[str, Any]:
        file = self._file
        records, blocks = file.read(_count, file)
        with file.gate:
            info = file.env.info()
        size = file.path.stat().st_blocks * 512
        return {
            "bytes": size,
            "map_size": info["map_size"],
            "records": records,
            "blocks": blocks,
            "readers": info["num_readers"],
        }

    def problems(self) -> list[str]:
        return self._file.problems()  # type: ignore[no-any-return]

    def sync(self) -> None:
        file = self._file
        with file.gate:
            file.flush()

    def close(self) -> None:
        file, self._file = self._file, Gone(self.description)
        if not isinstance(file, Gone):
            self._finalizer.detach()
            if not isinstance(file.env, Gone):
                file.detach(self._mode)
                file.wakeup.tell()


# Work inside one transaction. Plain functions, because a retry on a larger map runs them again.


def _append(txn: Txn, file: Environment, records: Sequence[tuple[bytes, bytes]], t: int) -> int:
    """Return the new head, or -1 if another process or thread holds the writer lock."""
    if file.turn.flag[0] and file.turn.elsewhere():
        return -1
    cursor = txn.cursor()
    # An empty log has no key, so t = 0 takes the slower way to the same result.
    if not cursor.last() or cursor.key() != _key(_LOG + t):
        check_head(_head(txn), t)
    first, head = _LOG + t + 1, t + len(records)
    if len(records) == 1:
        (txid, body) = records[0]
        added = cursor.put(_key(first), txid + body, True, True, True)  # append=True; lmdb takes 80 ns to read the name
    else:
        # One call for all: each call releases the interpreter lock, which other threads then hold for a while.
        items = [(_key(first + i), txid + body) for i, (txid, body) in enumerate(records)]
        added = cursor.putmulti(items, append=True)[1] == len(items)
    if not added:
        raise Corrupt(":db.error/storage-corrupt", f"the log has keys beyond its head {t}", t=t + 1)
    return head


def _naming(error: UnknownOutcome, records: Sequence[tuple[bytes, bytes]]) -> UnknownOutcome:
    """Return the error with the txids of the records whose outcome is unknown."""
    return UnknownOutcome(error.code, error.message, **error.data, txids=[txid for txid, _ in records])


def _rewrite(
    txn: Txn,
    file: Environment,
    records: Sequence[Record],
    appended: Sequence[tuple[bytes, bytes]],
    t: int,
    root: bytes,
    version: int,
) -> Root:
    swapped = _swap_root(txn, file, root, version)
    for record in records:
        old = txn.get(_key(_LOG + record.t))
        check_same(record, None if old is None else old[:TXID_BYTES])
        txn.put(_key(_LOG + record.t), record.txid + record.body)
    _append(txn, file, appended, t)
    return swapped


def _head(txn: Txn) -> int:
    cursor = txn.cursor()
    return max(0, int.from_bytes(cursor.key()) - _LOG) if cursor.last() else 0


def _read_log(txn: Txn, after_t: int, upto_t: int | None, max_bytes: int) -> list[Record]:
    records: list[Record] = []
    cursor = txn.cursor()
    last = min(_head(txn), upto_t if upto_t is not None else 1 << 62)
    t, size, count = after_t, 0, 1
    while t < last and size < max_bytes:
        for _, value in _entries(cursor, range(t + 1, min(t + count, last) + 1)):
            t += 1
            records.append(_record((t, value[:TXID_BYTES], value[TXID_BYTES:])))
            size += len(value)
            if size >= max_bytes:
                break
        count = min(_MOST_AT_ONCE, (max_bytes - size) * len(records) // size + 1)
    return records


def _entries(cursor: lmdb.Cursor[bytes], ts: range) -> list[tuple[bytes, bytes]]:
    """Return the entries of the log at these t. Each is searched, as a step to a damaged page would end the process."""
    entries = cursor.getmulti(map(_key, range(_LOG + ts.start, _LOG + ts.stop)))
    if len(entries) != len(ts):
        there = {key for key, _ in entries}
        missing = next(t for t in ts if _key(_LOG + t) not in there)
        raise Corrupt(
            ":db.error/storage-corrupt",
            f"the log has no record of t={missing}, although it has later ones",
            t=missing,
        )
    return entries


def _seek_txid(txn: Txn, txid: bytes, below: int) -> tuple[int | None, int]:
    """Return the t of a txid if it is among the records just below t, and the lowest t that was searched."""
    ts = range(max(1, below - _MOST_AT_ONCE), below)
    for t, (_, value) in zip(reversed(ts), reversed(_entries(txn.cursor(), ts)), strict=True):
        if value.startswith(txid):
            return t, t
    return None, ts[0]


def _put_blocks(txn: Txn, file: Environment, blocks: Sequence[tuple[bytes, bytes]]) -> None:
    db = file.dbs["blocks"]
    for block_id, block in blocks:
        txn.put(block_id, block, overwrite=False, db=db)


def _get_blocks(txn: Txn, file: Environment, ids: Sequence[bytes]) -> dict[bytes, bytes]:
    blocks = file.dbs["blocks"]
    return {block_id: block for block_id in ids if (block := txn.get(block_id, db=blocks)) is not None}


def _delete_blocks(txn: Txn, file: Environment, ids: Sequence[bytes]) -> int:
    blocks = file.dbs["blocks"]
    return sum(txn.delete(block_id, db=blocks) for block_id in ids)


def _ids_after(txn: Txn, file: Environment, last: bytes) -> list[bytes]:
    cursor = txn.cursor(file.dbs["blocks"])
    if not cursor.set_range(last + b"\0") if last else not cursor.first():
        return []
    return list(islice(cursor.iternext(keys=True, values=False), _BATCH_KEYS))


def _read_root(txn: Txn, file: Environment, version: int | None) -> Root | None:
    cursor = txn.cursor(file.dbs["roots"])
    exists = cursor.last() if version is None else cursor.set_key(_key(version))
    return Root(int.from_bytes(cursor.key()), cursor.value()) if exists else None


def _swap_root(txn: Txn, file: Environment, body: bytes, expected: int) -> Root:
    roots = file.dbs["roots"]
    cursor = txn.cursor(roots)
    check_version(int.from_bytes(cursor.key()) if cursor.last() else 0, expected)
    txn.put(_key(expected + 1), body, db=roots)
    # The root before this one stays: a reader may have read it and not held it yet.
    spared = file.holds.all() | {expected, expected + 1}
    for key in list(cursor.iternext(keys=True, values=False)) if cursor.first() else []:
        if int.from_bytes(key) not in spared:
            txn.delete(key, db=roots)
    return Root(expected + 1, body)


def _count(txn: Txn, file: Environment) -> tuple[int, int]:
    return _head(txn), txn.stat(file.dbs["blocks"])["entries"]


def _lay_out(env: lmdb.Environment, path: Path, create: bool) -> dict[str, Any]:
    """Return the databases of a store; they are created in an empty file."""
    with env.begin() as txn:
        stamp = txn.get(_STAMP)
        entries = txn.stat()["entries"]
    if stamp is None and not entries and create:
        new_stamp = {"format": FORMAT, "created": datetime.now(UTC).isoformat()}
        with env.begin(write=True) as txn:
            if txn.get(_STAMP) is None:  # another process can have been first
                txn.put(_STAMP, json.dumps(new_stamp).encode())
                for name in (b"blocks", b"roots"):
                    env.open_db(name, txn=txn, create=True)
            stamp = txn.get(_STAMP)
    if stamp is None:
        raise NotAStore(":db.error/not-a-store", f"{path} is an LMDB file, but not a fact store", path=str(path))
    version = _format(stamp, path)
    if version > FORMAT:
        raise NotAStore(
            ":db.error/not-a-store",
            f"{path} has format {version}, this version of factstore reads up to format {FORMAT}",
            path=str(path),
            found=version,
            supported=FORMAT,
        )
    with env.begin() as txn:
        _check_count(txn, path)
    # A database that is opened inside a read transaction is closed with it.
    return {name: env.open_db(name.encode(), create=False) for name in ("blocks", "roots")}


def _format(stamp: bytes, path: Path) -> int:
    try:
        return int(json.loads(stamp)["format"])
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(f"lmdb:{path}", f"its stamp {stamp!r} is none") from error


def _check_count(txn: Txn, path: Path) -> None:
    """Raise `Corrupt` unless the number of records is the last t: a damaged header can lead to an older state."""
    records, head = txn.stat()["entries"] - _BESIDE_THE_LOG, _head(txn)
    if records != head:
        raise damaged(f"lmdb:{path}", f"the log has {records} records, and its last one is t={head}", t=head)
