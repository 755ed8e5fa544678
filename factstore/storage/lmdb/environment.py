"""An open LMDB file: transactions, growth of the map, damage, forks.

    write ─► one write transaction at a time, begun and ended in one thread ─► map full? grow, try again
    read  ─► through a gate that is shut while the map is replaced          ─► file outgrew our map? adopt, try again

It does what LMDB requires of its users: growth of the map while no transaction is open, readers of dead processes,
forks, the translation of errors. handles.py keeps one environment per file; engine.py defines the content of the file.
"""

from __future__ import annotations

import mmap
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import get_ident
from time import monotonic, sleep
from typing import Any, Final, TypeAlias, TypeVar, TypeVarTuple
from weakref import ref

import lmdb

from factstore.concurrency.forks import FORKED, keep_for_ever, watch
from factstore.concurrency.locks import CallLock
from factstore.errors import FactStoreError, StoreFull, Unavailable, UnknownOutcome
from factstore.storage.lmdb import pages
from factstore.storage.lmdb.gate import Gate
from factstore.storage.lmdb.gone import Gone, NotOpen, Unopened
from factstore.storage.lmdb.journal import Journal
from factstore.storage.lmdb.opening import create_whole
from factstore.storage.lmdb.processes import names
from factstore.storage.lmdb.processes.peers import Holds, Turn, memory_of
from factstore.storage.lmdb.processes.wakeup import MEMORY, wakeup
from factstore.storage.lmdb.translation import no_memory, translated
from factstore.storage.protocol import Sync
from factstore.storage.refusals import closed, damaged

Txn: TypeAlias = "lmdb.Transaction[bytes]"
Layout: TypeAlias = Callable[[lmdb.Environment], dict[str, Any]]
T = TypeVar("T")
Args = TypeVarTuple("Args")

MAX_READERS: Final = 1024
_READER_BYTES: Final = 64  # of LMDB's lock file, which begins with two blocks of this size
_LOOK_SECONDS: Final = 0.002  # how often a writer checks whether another thread has ended its interrupted transaction
_NAME_SECONDS: Final = 0.05  # how often the path is checked to lead to the same file


class Environment:
    """An LMDB environment with the locks, retries and lifetime that it needs."""

    def __init__(
        self, path: Path, layout: Layout, *, read_only: bool, sync: Sync, map_size: int, max_map_size: int | None
    ) -> None:
        self.path = path
        self.uri = f"lmdb:{path}"
        self.read_only = read_only
        self.max_map_size = max_map_size
        self.dbs: dict[str, Any] = {}
        self.at_turn: Callable[[Txn, Environment], None] = _nothing  # runs when the appends before a turn are over
        self._layout = layout
        self._sync: Sync = sync
        self._sound: set[str] = set()  # trees whose pages were checked
        self._renew_locks()
        self.env: Any = None
        self.turn: Any = None
        self._fd: int | None = os.open(path, os.O_RDONLY | os.O_CLOEXEC | (0 if read_only else os.O_CREAT), 0o644)
        self.holds: Any = Holds(self._fd)
        self.journal: Any = Journal(path)
        stat = os.fstat(self._fd)
        self.key = (stat.st_dev, stat.st_ino)
        self._looked, self._length = 0.0, stat.st_size
        try:
            self._begin(map_size)
        except BaseException:
            self._release("was not opened")
            raise
        watch(self)

    def _begin(self, map_size: int) -> None:
        assert self._fd is not None
        turn_path = f"{self.path}-turn"
        create_whole(Path(f"{self.path}-lock"), _READER_BYTES * (MAX_READERS + 2))  # before `claim`, which opens it
        names.claim(self._fd, self.path)
        self._open(map_size)
        if not self.read_only:
            try:
                # After LMDB has written the store: who sees an empty store beside a turn takes it for damaged.
                create_whole(Path(turn_path), MEMORY)
                self.turn = Turn(self._fd, turn_path, lambda: self.write(self.at_turn, self))
            except BaseException:
                self.env.close()
                raise
        self.wakeup = wakeup(None if self.turn is None else self.turn.flag)
        may_write = self.turn is not None
        self.journal.share(self.turn.flag if may_write else memory_of(turn_path), self.key, may_write=may_write)

    def check_name(self) -> None:
        """Raise `Unavailable` if the path leads to another file, `Corrupt` if the file became shorter; every 50 ms."""
        now = monotonic()
        if now - self._looked > _NAME_SECONDS:
            known = self._length  # before the length is read, because another thread may find a longer file meanwhile
            length = names.length_of(self.path, self.key)
            if length == -1:
                message = (
                    f"{self.path} was deleted, or another file took its place, while it was open; open the store again"
                )
                raise Unavailable(":db.error/storage-unavailable", message, path=str(self.path))
            if length is not None:
                if length < known:  # LMDB never makes a file shorter, and memory beyond its end must not be read
                    raise damaged(str(self.path), f"it was cut from {known:,} to {length:,} bytes while it was open")
                self._length = max(self._length, length)
            self._looked = now
            self.journal.check_name()

    @property
    def syncs(self) -> bool:
        """Whether a commit is durable when it returns."""
        return self._sync == "full"

    def is_shared(self) -> bool:
        """Return whether another process has the file open."""
        assert self._fd is not None
        return names.is_shared(self._fd)

    def _renew_locks(self) -> None:
        self._writing = CallLock()
        self._transaction: Callable[[], Txn | None] = _none
        self._writer = 0  # the thread that started it
        self.gate = Gate()

    def _open(self, map_size: int) -> None:
        while True:
            try:
                env = self._prepared(map_size)
                break
            except lmdb.MapResizedError:  # another process has just made the file larger
                map_size = max(map_size * 2, self.path.stat().st_size)
        self.env = env
        self.map_size = env.info()["map_size"]
        self._flushed = env.info()["last_txnid"]

    def _prepared(self, map_size: int) -> lmdb.Environment:
        env = self._new(map_size)
        try:
            env.reader_check()
            self.dbs = self._layout(env)
        except BaseException:
            env.close()
            raise
        return env

    def _new(self, map_size: int) -> lmdb.Environment:
        durable = self._sync == "full"
        return lmdb.open(
            str(self.path),
            subdir=False,
            lib_version=0,
            map_size=map_size,
            max_dbs=4,
            max_readers=MAX_READERS,
            max_spare_txns=4,
            mode=0o644,
            readonly=self.read_only,
            sync=durable,
            metasync=durable,
        )

    # transactions

    def write(self, work: Callable[[Txn, *Args], T], *args: *Args) -> T:
        """Run `work` in a write transaction and commit it; `work` can run again, after the map has grown."""
        while True:
            size = self.map_size
            committing = False
            try:
                self._writing.enter()  # a `with` statement takes 1.5 times as long, at every commit
                try:
                    if self._transaction() is not None:
                        self._end_left_over()
                    self._writer = get_ident()
                    self._transaction = ref(txn := (env := self.env).begin(write=True))
                    try:
                        result = work(txn, *args)
                    except BaseException:
                        if self.env is env:
                            self._abort(txn)
                        raise
                    if self.env is not env:
                        raise closed(self.uri, FORKED)
                    committing = True
                    txn.commit()
                    return result
                finally:
                    self._writing.leave()
            except NotOpen:
                self._open_again()
            except lmdb.MapFullError:
                self._grow(size)
            except lmdb.MapResizedError:
                self._adopt(size)
            except lmdb.Error as error:
                self._transaction = _none  # LMDB has ended it
                raise self._failed(error, committing) from error
            except BaseException:
                if self._writer == get_ident():
                    self._end_left_over()
                raise

    def _abort(self, txn: Txn) -> None:
        # Without the gate, an abort would wait for a moment without readers, which under load may never come.
        with self.gate.shut():
            txn.abort()

    def _end_left_over(self) -> None:
        """End an interrupted write transaction: the traceback keeps it, and only its own thread can end it."""
        while (left := self._transaction()) is not None:
            if self._writer == get_ident():
                with suppress(lmdb.Error):  # it had ended
                    self._abort(left)
                self._transaction = _none
            else:
                del left
                sleep(_LOOK_SECONDS)

    def release_turn(self) -> None:
        """Release the transaction and the writer lock of an interrupted call of this thread."""
        if self._writer == get_ident():
            self._end_left_over()
        if self.turn is not None:
            self.turn.give_left_over()

    def read(self, work: Callable[[Txn, *Args], T], *args: *Args) -> T:
        """Run `work` on a snapshot; it must not keep the transaction, and must be short."""
        checked = False
        while True:
            size = self.map_size
            try:
                with self.gate:
                    txn = (env := self.env).begin()
                    try:
                        return work(txn, *args)
                    finally:
                        if (
                            self.env is not env
                        ):  # a child that was forked within `work`: the transaction is the parent's
                            raise closed(self.uri, FORKED)
                        txn.abort()
            except NotOpen:
                self._open_again()
            except lmdb.MapResizedError:
                self._adopt(size)
            except lmdb.ReadersFullError as error:
                if checked or not self.env.reader_check():
                    raise Unavailable(
                        ":db.error/storage-unavailable",
                        f"all {MAX_READERS} reader slots of {self.uri} are taken",
                        uri=self.uri,
                    ) from error
                checked = True
            except lmdb.Error as error:
                raise self._failed(error, False) from error

    def _failed(self, error: lmdb.Error, committing: bool) -> FactStoreError:
        """Return the error of factstore. A failed commit was not applied, unless LMDB stopped working."""
        if self._has_stopped():
            if committing:
                return UnknownOutcome(
                    ":db.error/storage-unknown-outcome", f"{self.uri} failed in mid-commit: {error}", uri=self.uri
                )
            return Unavailable(
                ":db.error/storage-unavailable",
                f"{self.uri} failed before, and was opened again: {error}",
                uri=self.uri,
            )
        return translated(error, self.uri, self.map_size)

    def _has_stopped(self) -> bool:
        """Return whether LMDB stopped working after a disk error; then the file is opened again."""
        try:
            with self.gate:
                self.env.begin().abort()
        except lmdb.PanicError:
            with self._writing, self.gate.shut():
                self._reopen()
            return True
        except lmdb.Error:
            return False
        return False

    # damage

    def check_trees(self, *names: str) -> None:
        """Check every page of some trees, once, before LMDB follows their pages. Raises: Corrupt."""
        for name in names:
            while name not in self._sound:
                try:
                    if self.read(self._is_sound, name):
                        self._sound.add(name)
                except pages.Broken as error:
                    raise damaged(self.uri, str(error)) from error

    def _is_sound(self, txn: Txn, name: str) -> bool:
        """Return True; False if others commit too fast to read the state of a transaction. Raises: pages.Broken."""
        assert self._fd is not None
        header = pages.header_of(self._fd, txn.id())
        if header is None:
            return False
        read = pages.reader(self._fd, header)
        if name == "free":
            pages.check_free(read, header)
        else:
            deque(pages.nodes(read, header, pages.trees(read, header)[name], name), 0)
        return True

    def problems(self) -> list[str]:
        """Return the problems of the pages of the file, the first one of each tree."""

        def problems_in(txn: Txn) -> list[str] | None:
            assert self._fd is not None
            header = pages.header_of(self._fd, txn.id())
            return None if header is None else list(pages.problems(self._fd, header))

        while (problems := self.read(problems_in)) is None:
            pass
        return problems

    # the map

    def _grow(self, seen: int) -> None:
        """Double the map, unless its size is no longer `seen`."""
        with self._writing, self.gate.shut():
            if self.map_size == seen:
                wanted = seen * 2 if self.max_map_size is None else min(seen * 2, self.max_map_size)
                if wanted <= seen:
                    raise StoreFull(
                        ":db.error/storage-full",
                        f"{self.uri} has filled its map of {seen:,} bytes, the most it may have",
                        uri=self.uri,
                    )
                self._map(wanted)

    def _adopt(self, seen: int) -> None:
        """Make the map at least as large as the file, which another process made larger than `seen`."""
        with self._writing, self.gate.shut():
            if self.map_size == seen:
                self._map(max(seen * 2, self.path.stat().st_size))

    def _map(self, size: int) -> None:
        # LMDB releases its old map before it requests the new one, and cannot continue if that fails.
        try:
            mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", 0), prot=mmap.PROT_READ).close()
        except (OSError, OverflowError) as error:
            raise no_memory(self.uri, size) from error
        self.env.set_mapsize(size)
        self.map_size = size

    # the end

    def _reopen(self) -> None:
        """Open the file again; the next call tries it again if that fails. Raises: StorageError."""
        self.env.close()
        self.env = Unopened()
        try:
            self._open(self.map_size)
        except lmdb.Error as error:
            raise translated(error, self.uri, self.map_size) from error

    def _open_again(self) -> None:
        with self._writing, self.gate.shut():
            if isinstance(self.env, Unopened):
                self._reopen()

    def flush(self) -> None:
        """Make durable all writes without sync."""
        if not self.read_only and self._sync == "none":
            last = self.env.info()["last_txnid"]
            if last != self._flushed:
                self.env.sync(True)
                self._flushed = last
            self.journal.sync()

    def _close(self) -> None:
        with self._writing, self.gate.shut():
            try:
                with suppress(NotOpen):
                    self.flush()
            finally:
                self.env.close()
                self.env = Gone(self.uri)
        self._release("was closed")

    def _release(self, why: str) -> None:
        self.holds.abandon()
        self.journal.close()
        if self.turn is not None:
            self.turn.abandon(why)
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _after_fork(self) -> None:
        """Close in a forked child: the file, its locks and its transactions belong to the parent."""
        if isinstance(self.env, Gone):
            return
        # Closing an environment, or a transaction, changes memory that LMDB shares with the parent.
        keep_for_ever(self.env)
        self.env = Gone(self.uri, FORKED)
        self._renew_locks()
        self._release(FORKED)
        self.turn = self.holds = self.journal = self.env


def _none() -> None:
    return None


def _nothing(txn: Txn, file: Environment) -> None:
    """Write nothing; when it has run, all earlier transactions are over."""
