"""The LMDB engine: one file for many processes of one machine.

    layout.py   names, format    log.py + journal.py   the log, and the file beside the store with its newest records
    "blocks"    id               -> bytes
    "roots"     version, 8 bytes -> body: the newest, the one before, and held ones

It carries out the operations of a storage. handles.py and environment.py keep the file open; processes/ is what the
processes share.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import Any, Final, TypeVar
from weakref import finalize

import lmdb

from factstore.concurrency.locks import Owner
from factstore.errors import Conflict, Corrupt, ReadOnly, StorageError, UnknownOutcome
from factstore.storage.held import Held
from factstore.storage.lmdb import log
from factstore.storage.lmdb.environment import Environment, Txn
from factstore.storage.lmdb.gone import Gone
from factstore.storage.lmdb.handles import DEFAULT_MAP_SIZE, drop_handle, shared
from factstore.storage.lmdb.journal import Outdated
from factstore.storage.lmdb.layout import key, lay_out
from factstore.storage.lmdb.opening import check_file, expanded, refuse_network, refused, sync_directory
from factstore.storage.lmdb.processes.names import resolved
from factstore.storage.lmdb.processes.topics import noted
from factstore.storage.lmdb.translation import translated
from factstore.storage.protocol import Record, Root, Sync
from factstore.storage.refusals import (
    check_found,
    check_txids,
    check_version,
    read_only,
)

T = TypeVar("T")

_BATCH_BYTES: Final = 8 << 20  # of blocks in one write transaction, for which a commit can have to wait
_BATCH_KEYS: Final = 10_000


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
            raise translated(error, self.description, map_size or DEFAULT_MAP_SIZE) from error
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
            lambda env: lay_out(env, path, may_create),
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
            self._file.at_turn = log.settle_pending
            if not self._file.read_only:
                _settle_at_opening(self._file)
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
        file = self._file
        newest: int | None = file.journal.shared.newest()
        return _read(file, log.head) if newest is None else newest

    def append(
        self, records: Sequence[tuple[bytes, bytes]], *, expected_t: int, topics: Sequence[int] | None = None
    ) -> int:
        file = self._writable
        check_txids(records)
        file.check_name()
        try:
            head = file.write(log.append, file, records, expected_t, topics)
            if head < 0:
                with file.turn.held(may_pass=True, doing="a transaction", timeout=self._busy_timeout):
                    head = file.write(log.append, file, records, expected_t, topics)
        except StorageError as error:
            if isinstance(error, UnknownOutcome) or (file.journal.shared.suspect and not isinstance(error, Conflict)):
                raise _unknown(error, records) from error
            raise
        if file.journal.has_moved:
            _settle(file, records)
        file.wakeup.tell()
        return head

    def resolve(self, txid: bytes) -> int | None:
        file = self._file
        if not self.read_only and file.journal.needs_settling:
            _settle(file)
        t: int | None = _read(file, log.seek_in_journal, txid)
        below: int | None = None
        while t is None and below != 1:
            t, below = file.read(log.seek, txid, below)
        return t

    def read_log(self, after_t: int, upto_t: int | None = None, *, max_bytes: int = 8 << 20) -> list[Record]:
        file = self._file
        records: list[Record] = _read(file, log.read, after_t, upto_t, max_bytes)
        return records

    @property
    def notes(self) -> bool:
        syncs: bool = self._file.syncs
        return syncs

    def noted(self, topics: Sequence[int], after_t: int) -> tuple[int, list[bool]] | None:
        shared = self._file.journal.shared
        head = shared.newest()
        return None if head is None else (head, noted(shared.memory, topics, after_t, head))

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
            raise _unknown(error, appended) from error
        _settle(file, appended)
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
        root = file.write(_swap_and_move, file, body, expected_version)
        if file.journal.has_moved:
            _settle(file)
        with file.gate:
            file.env.reader_check()  # free the slots of dead readers; roots are seldom swapped
        return root

    def hold(self, version: int) -> Held:
        file = self._file
        file.holds.take(version, lambda: self._expect_newest(version))
        return Held(version, file.holds.drop)

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
        blocks = file.read(_count, file)
        with file.gate:
            info = file.env.info()
        size = file.path.stat().st_blocks * 512 + file.journal.bytes_on_disk()
        return {
            "bytes": size,
            "map_size": info["map_size"],
            "records": self.head(),
            "blocks": blocks,
            "readers": info["num_readers"],
        }

    def problems(self) -> list[str]:
        file = self._file
        problems: list[str] = file.problems()
        try:
            _read(file, log.check)
        except Corrupt as error:
            problems.append(error.message)
        return problems

    def sync(self) -> None:
        file = self._file
        with file.gate:
            file.flush()

    def close(self) -> None:
        file, self._file = self._file, Gone(self.description)
        if not isinstance(file, Gone):
            self._finalizer.detach()
            if not isinstance(file.env, Gone):
                try:
                    if not self.read_only and file.journal.is_open and not file.is_shared():
                        _put_away_journal(file)
                finally:
                    file.detach(self._mode)
                    file.wakeup.tell()


# Work inside one transaction. Plain functions, because a retry on a larger map runs them again.


def _read(file: Environment, work: Callable[..., T], *args: object) -> T:
    """Read the log up to the head that readers may see; again, if records moved into LMDB meanwhile."""
    seen = None
    while True:
        newest = file.journal.shared.newest()
        try:
            result = file.read(work, file, newest, *args)
        except Outdated as outdated:
            if outdated.marker == seen:
                raise outdated.error from None
            seen = outdated.marker
            continue
        # Without a head, all frames were read; one of a journal that was started meanwhile may not be synced yet.
        if newest is not None or file.journal.shared.newest() is None:
            return result


def _settle_at_opening(file: Environment) -> None:
    """Show the head of this file to all readers; the shared memory can be of a file that had its name before."""
    journal, shared = file.journal, file.journal.shared
    if not (journal.is_open or shared.suspect or file.is_shared()):
        if shared.unsynced:
            file.env.sync(True)
        shared.forget()
    if journal.needs_settling:
        _settle(file)


def _settle(file: Environment, records: Sequence[tuple[bytes, bytes]] = ()) -> None:
    """Show the head to all readers, after the records were committed."""
    try:
        while not file.write(log.settle, file):
            pass
    except StorageError as error:
        if records:
            raise _unknown(error, records) from error
        raise


def _unknown(error: StorageError, records: Sequence[tuple[bytes, bytes]]) -> UnknownOutcome:
    """Return the error with the txids of the records whose outcome is unknown."""
    code = error.code if isinstance(error, UnknownOutcome) else ":db.error/storage-unknown-outcome"
    return UnknownOutcome(code, error.message, **{**error.data, "txids": [txid for txid, _ in records]})


def _put_away_journal(file: Environment) -> None:
    """Move the log out of the journal, so that the file of the store is all of it. A full disk leaves it as it is."""
    with suppress(StorageError):
        file.write(log.end_journal, file)
        _settle(file)


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
    log.rewrite(txn, file, records, appended, t)
    return swapped


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
    exists = cursor.last() if version is None else cursor.set_key(key(version))
    return Root(int.from_bytes(cursor.key()), cursor.value()) if exists else None


def _swap_and_move(txn: Txn, file: Environment, body: bytes, expected: int) -> Root:
    """Swap the root, and move the records of the journal into LMDB with the same syncs."""
    root = _swap_root(txn, file, body, expected)
    log.move(txn, file)
    return root


def _swap_root(txn: Txn, file: Environment, body: bytes, expected: int) -> Root:
    roots = file.dbs["roots"]
    cursor = txn.cursor(roots)
    check_version(int.from_bytes(cursor.key()) if cursor.last() else 0, expected)
    txn.put(key(expected + 1), body, db=roots)
    # The root before this one stays: a reader may have read it and not held it yet.
    spared = file.holds.all() | {expected, expected + 1}
    for number in list(cursor.iternext(keys=True, values=False)) if cursor.first() else []:
        if int.from_bytes(number) not in spared:
            txn.delete(number, db=roots)
    return Root(expected + 1, body)


def _count(txn: Txn, file: Environment) -> int:
    entries: int = txn.stat(file.dbs["blocks"])["entries"]
    return entries
