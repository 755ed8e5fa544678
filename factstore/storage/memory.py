"""The memory engine: dicts and a list behind one lock, for tests, speculation and stores that need not last.

Owns the stores that are shared by name inside this process. Law: it does what LMDB does, as the contract suite says.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from threading import Condition, Lock, RLock
from time import monotonic
from typing import Any, Self

from factstore.errors import NotAStore
from factstore.forks import FORKED, watch
from factstore.storage.protocol import Record, Root
from factstore.storage.refusals import check_found, check_head, check_same, check_txids, check_version, closed, read_only


class _Shelf:
    """What the handles of one store share."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.pid = os.getpid()
        self.handles = 0
        self.lock = RLock()  # also the writer's turn: who holds it is alone
        self.changed = Condition(self.lock)
        self.newest: tuple[list[tuple[int, bytes, bytes]], int] = ([], 0)  # (t, txid, body) …, and the version of the root: readers
        self.waiters = 0  # take no lock, so what changes together is one value
        self.t_of: dict[bytes, int] = {}
        self.blocks: dict[bytes, bytes] = {}
        self.roots: dict[int, Root] = {}
        self.holds: Counter[int] = Counter()
        watch(self)

    def _after_fork(self) -> None:
        """Leave the locks to the parent, whose threads may have held them."""
        self.lock = RLock()
        self.changed = Condition(self.lock)


_named: dict[str, _Shelf] = {}
_naming = Lock()


def _after_fork() -> None:
    """Forget the parent's stores: in the child their names are free."""
    global _naming
    _naming = Lock()
    _named.clear()


os.register_at_fork(after_in_child=_after_fork)


class MemoryHold:
    """A hold on a version of the root of a memory store."""

    def __init__(self, shelf: _Shelf, version: int) -> None:
        self.version = version
        self._shelf: _Shelf | None = shelf

    def release(self) -> None:
        shelf, self._shelf = self._shelf, None
        if shelf is not None:
            with shelf.lock:
                shelf.holds[self.version] -= 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class MemoryStorage:
    """A handle on a store in memory."""

    def __init__(self, name: str = "", *, create: bool = True, read_only: bool = False) -> None:
        self.read_only = read_only
        self.description = f"memory:{name}"
        with _naming:
            shelf = _named.get(name) if name else None
            if shelf is None:
                if read_only or not create:
                    raise NotAStore(":db.error/not-a-store", f"there is no store {self.description} in this process", uri=self.description)
                shelf = _Shelf(name)
                if name:
                    _named[name] = shelf
            shelf.handles += 1
        self._open: _Shelf | None = shelf

    @property
    def _shelf(self) -> _Shelf:
        if self._open is None:
            raise closed(self.description)
        if self._open.pid != os.getpid():
            raise closed(self.description, FORKED)
        return self._open

    @property
    def _writable(self) -> _Shelf:
        if self.read_only:
            raise read_only(self.description)
        return self._shelf

    # the log

    def head(self) -> int:
        return len(self._shelf.newest[0])

    def append(self, records: Sequence[tuple[bytes, bytes]], *, expected_t: int) -> int:
        shelf = self._writable
        check_txids(records)
        with shelf.lock:
            log = shelf.newest[0]
            head = len(log)
            check_head(head, expected_t)
            for txid, body in records:
                head += 1
                # Plain tuples: the garbage collector does not walk them for ever, as it does named ones.
                log.append((head, txid, bytes(body)))
                shelf.t_of[txid] = head
            if shelf.waiters:
                shelf.changed.notify_all()
            return head

    def resolve(self, txid: bytes) -> int | None:
        return self._shelf.t_of.get(txid)

    def read_log(self, after_t: int, upto_t: int | None = None, *, max_bytes: int = 8 << 20) -> list[Record]:
        found: list[Record] = []
        size = 0
        for entry in self._shelf.newest[0][after_t:upto_t]:
            found.append(Record(*entry))
            size += len(entry[2])
            if size >= max_bytes:
                break
        return found

    def rewrite(
        self, records: Sequence[Record], *, appended: Sequence[tuple[bytes, bytes]], expected_t: int, root: bytes, expected_version: int
    ) -> Root:
        shelf = self._writable
        check_txids(appended)
        with shelf.lock:
            known, version = shelf.newest
            check_version(version, expected_version)
            check_head(len(known), expected_t)
            log = known.copy()
            for record in records:
                check_same(record, log[record.t - 1][1] if 0 < record.t <= len(log) else None)
                log[record.t - 1] = (record.t, record.txid, record.body)
            for t, (txid, body) in enumerate(appended, len(log) + 1):
                log.append((t, txid, bytes(body)))
                shelf.t_of[txid] = t
            swapped = self._swap(shelf, log, root, version)
            shelf.changed.notify_all()
            return swapped

    def wait(self, after_t: int, timeout: float) -> int:
        deadline = monotonic() + timeout
        shelf = self._shelf
        with shelf.lock:
            shelf.waiters += 1
            try:
                while self.head() <= after_t and (left := deadline - monotonic()) > 0:
                    shelf.changed.wait(left)
                return self.head()
            finally:
                shelf.waiters -= 1

    @contextmanager
    def _hold_turn(self, shelf: _Shelf) -> Iterator[None]:
        with shelf.lock:
            yield

    def turn(self) -> AbstractContextManager[None]:
        return self._hold_turn(self._writable)

    # blocks

    def put_blocks(self, blocks: Iterable[tuple[bytes, bytes]]) -> None:
        kept = self._writable.blocks
        for block_id, block in blocks:
            kept.setdefault(block_id, bytes(block))

    def get_blocks(self, ids: Sequence[bytes]) -> dict[bytes, bytes]:
        blocks = self._shelf.blocks
        found = {block_id: blocks[block_id] for block_id in ids if block_id in blocks}
        check_found(ids, found, self.description)
        return found

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
        with shelf.lock:
            log, version = shelf.newest
            check_version(version, expected_version)
            return self._swap(shelf, log, body, version)

    def _swap(self, shelf: _Shelf, log: list[tuple[int, bytes, bytes]], body: bytes, before: int) -> Root:
        root = shelf.roots[before + 1] = Root(before + 1, bytes(body))
        shelf.newest = (log, root.version)
        for version in set(shelf.roots) - self.held() - {root.version, before}:
            del shelf.roots[version]
        return root

    def hold(self, version: int) -> MemoryHold:
        shelf = self._shelf
        with shelf.lock:
            if version and not shelf.holds[version]:
                check_version(shelf.newest[1], version)
            shelf.holds[version] += 1
        return MemoryHold(shelf, version)

    def held(self) -> set[int]:
        return {version for version, count in self._shelf.holds.copy().items() if count > 0}

    # housekeeping

    def usage(self) -> dict[str, Any]:
        shelf = self._shelf
        with shelf.lock:
            log = shelf.newest[0]
            size = sum(len(body) for _, _, body in log) + sum(map(len, shelf.blocks.values()))
            return {"bytes": size, "map_size": size, "records": len(log), "blocks": len(shelf.blocks), "readers": shelf.handles}

    def sync(self) -> None:
        _ = self._shelf  # nothing to do, but a closed store says so

    def close(self) -> None:
        shelf, self._open = self._open, None
        if shelf is None or shelf.pid != os.getpid():
            return
        with _naming:
            shelf.handles -= 1
            if not shelf.handles and shelf.name:
                del _named[shelf.name]
        with shelf.lock:
            shelf.changed.notify_all()
