"""The memory engine: dicts and a list behind one lock, for tests and for stores that end with the process.

Stores with a name are shared inside this process. Law: it passes the same contract suite as LMDB.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from socket import gethostname
from sys import _getframe
from threading import Lock
from time import monotonic
from typing import Any, Final

from factstore.concurrency.forks import FORKED, watch
from factstore.concurrency.locks import Bells, CallLock, Owner
from factstore.errors import NotAStore, StoreBusy
from factstore.storage.held import Held
from factstore.storage.protocol import Record, Root
from factstore.storage.refusals import (
    check_found,
    check_head,
    check_same,
    check_txids,
    check_version,
    closed,
    read_only,
)

# An append that is interrupted before it wakes the waiters leaves them asleep, so they check the log this often.
_LONGEST: Final = 0.1


class _Turn(CallLock):
    """The writer lock of a memory store; the thread that holds it can take it again."""

    __slots__ = ()

    def timed_out(self) -> Exception:
        message = "another thread of this process has had the writer's turn for too long; nothing was written"
        return StoreBusy(
            ":db.error/store-busy", message, pid=os.getpid(), host=gethostname(), since=None, doing="a write"
        )


class _HeldTurn:
    """The writer lock in a `with` block; the holder is the call that enters, or a given owner."""

    __slots__ = ("_owner", "_timeout", "_turn")

    def __init__(self, turn: _Turn, owner: Owner | None, timeout: float | None) -> None:
        self._turn = turn
        self._owner = owner
        self._timeout = timeout

    def __enter__(self) -> None:
        self._turn.take(self._owner or _getframe(1), timeout=self._timeout)

    def __exit__(self, *_: object) -> None:
        self._turn.give(self._owner or _getframe(1))


class _Shelf:
    """The content of one store, which its handles share."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_of_parent = False  # True in a forked child
        self.handles = 0
        self.turn = _Turn()  # the writer lock
        self.changed = Bells()
        # The records (t, txid, body), and the version of the root; one tuple, because readers take no lock.
        self.newest: tuple[list[tuple[int, bytes, bytes]], int] = ([], 0)
        self.blocks: dict[bytes, bytes] = {}
        self.roots: dict[int, Root] = {}
        self.holds: Counter[int] = Counter()
        watch(self)

    def drop(self, version: int) -> None:
        """End one hold on a version of the root."""
        with _HeldTurn(self.turn, None, None):
            self.holds[version] -= 1

    def _after_fork(self) -> None:
        """Mark the store as the parent's, and replace the locks that threads of the parent may hold."""
        self.is_of_parent = True
        self.turn = _Turn()
        self.changed = Bells()


_named: dict[str, _Shelf] = {}
_naming = Lock()


def _after_fork() -> None:
    """Remove the stores of the parent: in the child their names are free."""
    global _naming
    _naming = Lock()
    _named.clear()


os.register_at_fork(after_in_child=_after_fork)


class MemoryStorage:
    """A handle on a store in memory."""

    def __init__(
        self, name: str = "", *, create: bool = True, read_only: bool = False, busy_timeout: float | None = None
    ) -> None:
        self.read_only = read_only
        self._busy_timeout = busy_timeout
        self.description = f"memory:{name}"
        with _naming:
            shelf = _named.get(name) if name else None
            if shelf is None:
                if read_only or not create:
                    raise NotAStore(
                        ":db.error/not-a-store",
                        f"there is no store {self.description} in this process",
                        uri=self.description,
                    )
                shelf = _Shelf(name)
                if name:
                    _named[name] = shelf
            shelf.handles += 1
        self._open: _Shelf | None = shelf

    @property
    def _shelf(self) -> _Shelf:
        shelf = self._open
        if shelf is None:
            raise closed(self.description)
        if shelf.is_of_parent:
            raise closed(self.description, FORKED)
        return shelf

    @property
    def _writable(self) -> _Shelf:
        if self.read_only:
            raise read_only(self.description)
        return self._shelf

    # the log

    def head(self, *, near: bool = False) -> int:
        return len(self._shelf.newest[0])

    def append(
        self, records: Sequence[tuple[bytes, bytes]], *, expected_t: int, topics: Sequence[int] | None = None
    ) -> int:
        shelf = self._open
        if shelf is None or shelf.is_of_parent or self.read_only:
            shelf = self._writable  # it raises
        check_txids(records)
        turn = shelf.turn
        is_taken = turn.enter_at_once() or turn.take(_getframe(), timeout=self._busy_timeout)
        try:
            log = shelf.newest[0]
            head = len(log)
            if head != expected_t:
                check_head(head, expected_t)
            # Plain tuples: the garbage collector stops tracking them, unlike named tuples.
            entries = []
            for txid, body in records:
                head += 1
                entries.append((head, txid, body))
            log += entries  # the commit
        finally:
            if is_taken:  # otherwise a block of this thread holds the lock, and continues to hold it
                turn.leave()
        if shelf.changed.waiting:
            shelf.changed.ring()
        return head

    def resolve(self, txid: bytes) -> int | None:
        shelf = self._shelf
        return next((t for t, known, _ in reversed(shelf.newest[0]) if known == txid), None)

    def read_log(self, after_t: int, upto_t: int | None = None, *, max_bytes: int = 8 << 20) -> list[Record]:
        records: list[Record] = []
        size = 0
        for entry in self._shelf.newest[0][after_t:upto_t]:
            records.append(Record(*entry))
            size += len(entry[2])
            if size >= max_bytes:
                break
        return records

    def rewrite(
        self,
        records: Sequence[Record],
        *,
        appended: Sequence[tuple[bytes, bytes]],
        expected_t: int,
        root: bytes,
        expected_version: int,
    ) -> Root:
        shelf = self._writable
        check_txids(appended)
        with self._hold(shelf):
            old_log, version = shelf.newest
            check_version(version, expected_version)
            check_head(len(old_log), expected_t)
            log = old_log.copy()
            for record in records:
                check_same(record, log[record.t - 1][1] if 0 < record.t <= len(log) else None)
                log[record.t - 1] = (record.t, record.txid, record.body)
            for t, (txid, body) in enumerate(appended, len(log) + 1):
                log.append((t, txid, body))
            swapped = self._swap(shelf, log, root, version)
        shelf.changed.ring()
        return swapped

    def wait(self, after_t: int, timeout: float) -> int:
        deadline = monotonic() + timeout
        shelf = self._shelf
        while (head := self.head()) <= after_t and (left := deadline - monotonic()) > 0:
            shelf.changed.wait(lambda: self.head() > after_t, min(left, _LONGEST))
        return head

    def _hold(self, shelf: _Shelf) -> _HeldTurn:
        return _HeldTurn(shelf.turn, None, self._busy_timeout)

    def turn(
        self, *, owner: Owner | None = None, may_pass: bool = False, doing: str = ""
    ) -> AbstractContextManager[None]:
        return _HeldTurn(self._writable.turn, owner, self._busy_timeout)

    def release_turn(self) -> None:
        if self._open is not None:
            self._open.turn.give_left_over()

    # blocks

    def put_blocks(self, blocks: Iterable[tuple[bytes, bytes]]) -> None:
        kept = self._writable.blocks
        for block_id, block in blocks:
            kept.setdefault(block_id, bytes(block))

    def get_blocks(self, ids: Sequence[bytes], *, near: bool = False) -> dict[bytes, bytes]:
        blocks = self._shelf.blocks
        wanted = {block_id: blocks[block_id] for block_id in ids if block_id in blocks}
        check_found(ids, wanted, self.description)
        return wanted

    def delete_blocks(self, ids: Iterable[bytes]) -> int:
        blocks = self._writable.blocks
        return sum(blocks.pop(block_id, None) is not None for block_id in ids)

    def block_ids(self) -> Iterator[bytes]:
        return iter(list(self._shelf.blocks))

    # the root

    def read_root(self, version: int | None = None) -> Root | None:
        shelf = self._shelf
        return shelf.roots.get(shelf.newest[1] if version is None else version)

    def swap_root(self, body: bytes, *, expected_version: int) -> Root:
        shelf = self._writable
        with self._hold(shelf):
            log, version = shelf.newest
            check_version(version, expected_version)
            return self._swap(shelf, log, body, version)

    def _swap(self, shelf: _Shelf, log: list[tuple[int, bytes, bytes]], body: bytes, before: int) -> Root:
        root = shelf.roots[before + 1] = Root(before + 1, bytes(body))
        shelf.newest = (log, root.version)
        for version in set(shelf.roots) - self.held() - {root.version, before}:
            del shelf.roots[version]
        return root

    def hold(self, version: int) -> Held:
        shelf = self._shelf
        with self._hold(shelf):
            if version and not shelf.holds[version]:
                check_version(shelf.newest[1], version)
            shelf.holds[version] += 1
        return Held(version, shelf.drop)

    def held(self) -> set[int]:
        return {version for version, count in self._shelf.holds.copy().items() if count > 0}

    # housekeeping

    def usage(self) -> dict[str, Any]:
        shelf = self._shelf
        with self._hold(shelf):
            log = shelf.newest[0]
            size = sum(len(body) for _, _, body in log) + sum(map(len, shelf.blocks.values()))
            return {
                "bytes": size,
                "map_size": size,
                "records": len(log),
                "blocks": len(shelf.blocks),
                "readers": shelf.handles,
            }

    def problems(self) -> list[str]:
        _ = self._shelf  # there are none, but a closed store raises
        return []

    def sync(self) -> None:
        _ = self._shelf  # nothing to do, but a closed store raises

    def close(self) -> None:
        shelf, self._open = self._open, None
        if shelf is None or shelf.is_of_parent:
            return
        with _naming:
            shelf.handles -= 1
            if not shelf.handles and shelf.name:
                del _named[shelf.name]
        shelf.changed.ring()
