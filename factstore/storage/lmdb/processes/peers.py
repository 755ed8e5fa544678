"""Coordination of the processes that share one file, by locks that the kernel releases when a process ends.

    turn     the writer lock: a lock on the whole file (flock), whose holder alone appends. A flag byte in
             shared memory shows whether it is held, so that an append without contention needs no system call.
    holds    a shared byte-range lock on byte v of the file for each version v of the root that a process reads

Law: nothing needs to be cleaned up after a process has ended; the next holder of the lock replaces the flag.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from socket import gethostname
from time import monotonic, time
from types import FrameType
from typing import Final

from factstore.concurrency.locks import CallLock, NestingLock, Owner
from factstore.errors import StoreBusy
from factstore.storage.held import HeldTurn
from factstore.storage.lmdb.processes import ranges
from factstore.storage.lmdb.processes.wakeup import MEMORY, TOPICS_AT, TURN_WORDS, wakeup
from factstore.storage.refusals import closed

_LAST: Final = (1 << 62) - 1

EXCLUSIVE, BLOCK = 1, 2  # values of the flag: a call holds the lock, or a block of a user, which others may pass
_ABOUT: Final = 64  # offset of the description of the holder in the shared memory
_LOOK_SECONDS: Final = 0.02  # how often a waiter checks, because a killed holder wakes no waiter


class Turn:
    """The writer lock of one file; reentrant for the thread that holds it.

    The shared memory has a flag (0: free, EXCLUSIVE, or BLOCK), and at `_ABOUT` a description of the holder.
    """

    def __init__(self, fd: int, flag_path: str, barrier: Callable[[], None]) -> None:
        self._fd: int | None = fd
        self._gone = "was closed"
        self._barrier = barrier  # returns when all appends that started before the flag was set are over
        self._lock = CallLock()
        self._process = f"{os.getpid()}\n{gethostname()}\n"  # a forked child never takes this turn
        self._passed = b""  # a block of another process for which this one has waited once already
        self._is_passing = False  # whether the holder continues beside such a block, without the lock of the file
        flag = os.open(flag_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(flag).st_size < MEMORY:
                os.ftruncate(flag, MEMORY)
            self.flag = mmap.mmap(flag, MEMORY)
        finally:
            os.close(flag)
        self.freed = wakeup(self.flag, TURN_WORDS)

    def elsewhere(self) -> bool:
        """Return whether another thread or process holds the lock, or held it when it died."""
        return self.flag[0] != 0 and not self._lock.is_mine

    def held(
        self, *, owner: Owner | None = None, may_pass: bool = False, doing: str = "", timeout: float | None = None
    ) -> HeldTurn:
        """Return the lock as a context manager; see `Storage.turn`."""
        return HeldTurn(self, owner, may_pass, doing, timeout)

    def take(self, owner: Owner, *, may_pass: bool, doing: str, timeout: float | None) -> None:
        """Acquire the lock for an owner, unless this thread already holds it. Raises: StoreBusy."""
        if self._fd is None:
            raise closed("the store whose turn this is", self._gone)
        deadline = None if timeout is None else monotonic() + timeout
        try:
            if not self._lock.take(owner, timeout=timeout):
                return
        except TimeoutError:
            raise self._busy(timeout) from None
        try:
            self._is_passing = not self._flock(deadline, may_pass)
            if not self._is_passing:
                self._mark(EXCLUSIVE if isinstance(owner, FrameType) else BLOCK, doing)
                self._barrier()
            elif not (may_pass and self.flag[0] == BLOCK):
                raise self._busy(timeout)
            else:
                self._passed = self._about()
        except BaseException:
            self.give(owner)
            raise

    def _flock(self, deadline: float | None, may_pass: bool) -> bool:
        """Wait for the lock of the file; return False after the deadline, or if the holder may be passed."""
        assert self._fd is not None
        while True:
            seen = self.freed.seen()
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                left = _LOOK_SECONDS if deadline is None else deadline - monotonic()
            if left <= 0 or (may_pass and self._passed and self._passed == self._about()):
                return False
            self.freed.wait(seen, min(left, _LOOK_SECONDS))

    def _mark(self, flag: int, doing: str) -> None:
        about = f"{self._process}{time():.6f}\n{doing}".encode()[: TOPICS_AT - _ABOUT - 1]
        self.flag[_ABOUT : _ABOUT + len(about) + 1] = about + b"\0"
        self.flag[0] = flag

    def _about(self) -> bytes:
        return self.flag[_ABOUT:TOPICS_AT].split(b"\0", 1)[0]

    def _busy(self, waited: float | None) -> StoreBusy:
        pid, host, since, doing = (self._about().decode(errors="replace").split("\n", 3) + [""] * 4)[:4]
        data = {
            "pid": int(pid) if pid else None,
            "host": host,
            "since": datetime.fromtimestamp(float(since), UTC) if since else None,
            "doing": doing or "a write",
        }
        message = (
            f"process {pid} of {host} has had the writer's turn since {data['since']}, for {data['doing']};"
            f" this writer has waited for {waited} seconds, and nothing was written"
        )
        return StoreBusy(":db.error/store-busy", message, **data)

    def give(self, owner: Owner) -> None:
        """Release the lock if this owner still holds it."""
        if self._lock.is_held_by(owner):
            self._free()
            self._lock.give(owner)

    def give_left_over(self) -> None:
        """Release the lock if the call that acquired it has ended without releasing it."""
        if self._lock.has_left_over:
            self._free()
            self._lock.give_left_over()

    def _free(self) -> None:
        if self._fd is not None and not self._is_passing:
            self.flag[0] = 0
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            self.freed.tell()

    def abandon(self, why: str) -> None:
        """Drop the file and the flag without releasing the lock: in a forked child it belongs to the parent."""
        self._fd, self._gone, self.flag = None, why, mmap.mmap(-1, MEMORY)


def memory_of(path: str) -> mmap.mmap | None:
    """Return the shared memory of a store for a process that may only read it; None if there is none."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return mmap.mmap(fd, MEMORY, prot=mmap.PROT_READ) if os.fstat(fd).st_size >= MEMORY else None
    finally:
        os.close(fd)


class Holds:
    """The versions of the root that this process holds, and a read of those of all processes."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self._pid = os.getpid()
        self._lock = NestingLock()  # a finalizer may release while its own thread is in here
        self._mine: Counter[int] = Counter()

    def take(self, version: int, check: Callable[[], None]) -> None:
        """Hold a version; a first hold calls `check` after it is in place, and ends if `check` raises."""
        with self._lock:
            self._mine[version] += 1
            if self._mine[version] == 1:
                try:
                    self._set(ranges.share, version)
                    check()
                except BaseException:
                    self.drop(version)
                    raise

    def drop(self, version: int) -> None:
        with self._lock:
            self._mine[version] -= 1
            if not self._mine[version]:
                del self._mine[version]
                self._set(ranges.free, version)

    def all(self) -> set[int]:
        """Return the versions that living processes hold."""
        with self._lock:
            return set(self._mine).union(*(() if self._fd is None else ranges.of_others(self._fd, 0, _LAST)))

    def _set(self, kind: Callable[[int, int], None], version: int) -> None:
        # A finalizer can run in a forked child before `abandon`; unlocking there would unlock in the parent too.
        if self._fd is not None and self._pid == os.getpid():
            kind(self._fd, version)

    def abandon(self) -> None:
        """Drop the file; in a forked child, the holds belong to the parent."""
        self._fd = None
        self._lock = NestingLock()  # a thread of the parent may hold the old one
