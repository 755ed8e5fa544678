"""What processes that share one file tell each other, by locks of the kernel, which end with their process however it dies.

    turn     a whole-file lock (flock): its holder is the only one that appends. A flag byte in shared memory says whether
             anybody has it, so that an append nobody contends with pays no system call for asking.
    holds    a byte-range lock (shared) on byte v of the file for each version v of the root that a process still reads

Law: nothing here needs clearing up after a death; a flag that was left standing is taken over with the lock.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from threading import RLock, get_ident
from typing import Final, Self

from factstore.storage.refusals import closed
from factstore.storage.wakeup import MEMORY

# Locks of the open file, where there are such, are not lost when somebody else in this process closes the same file.
_SET: Final[int] = getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK)
_GET: Final[int] = getattr(fcntl, "F_OFD_GETLK", fcntl.F_GETLK)
_LAST: Final = (1 << 62) - 1


class Turn:
    """The writer's turn of one file; reentrant for the thread that has it. Its flag is the first byte of memory that processes share."""

    def __init__(self, fd: int, flag_path: str, barrier: Callable[[], None]) -> None:
        self._fd: int | None = fd
        self._gone = "was closed"
        self._barrier = barrier  # returns once every append that did not see the flag is over
        self._thread = RLock()
        self._depth = 0
        self._holder = 0
        flag = os.open(flag_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(flag).st_size < MEMORY:
                os.ftruncate(flag, MEMORY)
            self.flag = mmap.mmap(flag, MEMORY)
        finally:
            os.close(flag)

    def elsewhere(self) -> bool:
        """Return whether somebody other than this thread has, or had at its death, the turn."""
        return self.flag[0] != 0 and self._holder != get_ident()

    def __enter__(self) -> None:
        if self._fd is None:
            raise closed("the store whose turn this is", self._gone)
        self._thread.acquire()
        try:
            if not self._depth:
                self._take()
            self._depth += 1
        except BaseException:
            self._thread.release()
            raise

    def _take(self) -> None:
        assert self._fd is not None
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            self.flag[0] = 1
            self._holder = get_ident()
            self._barrier()
        except BaseException:
            self._give()
            raise

    def _give(self) -> None:
        self._holder = 0
        if self._fd is not None:
            self.flag[0] = 0
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self._give()
        self._thread.release()

    def abandon(self, why: str) -> None:
        """Forget the file and the flag without giving back the turn: in a forked child it is the parent's."""
        self._fd, self._gone, self.flag = None, why, mmap.mmap(-1, MEMORY)


class Holds:
    """The versions of the root that this process holds, and a way to see those of the others."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self._pid = os.getpid()
        self._lock = RLock()  # reentrant: a finalizer may release while its own thread is in here
        self._mine: Counter[int] = Counter()

    def take(self, version: int, check: Callable[[], None]) -> None:
        """Hold a version; unless it is held already, only if `check`, called when the hold stands, does not raise."""
        with self._lock:
            self._mine[version] += 1
            if self._mine[version] == 1:
                try:
                    self._set(fcntl.F_RDLCK, version)
                    check()
                except BaseException:
                    self.drop(version)
                    raise

    def drop(self, version: int) -> None:
        with self._lock:
            self._mine[version] -= 1
            if not self._mine[version]:
                del self._mine[version]
                self._set(fcntl.F_UNLCK, version)

    def all(self) -> set[int]:
        """Return the versions held by any living process."""
        with self._lock:
            return set(self._mine).union(*self._of_others())

    def _of_others(self) -> Iterator[range]:
        spans = [(0, _LAST)]
        while spans:
            low, high = spans.pop()
            found = self._blocking(low, high)
            if found is not None:
                start, stop = found
                yield range(max(start, low), min(stop, high))
                spans += [(a, b) for a, b in ((low, start), (stop, high)) if a < b]

    def _blocking(self, low: int, high: int) -> tuple[int, int] | None:
        """Return the bounds of some lock of another process within these, None when there is none."""
        if self._fd is None:
            return None
        kind, start, length = _unpack(fcntl.fcntl(self._fd, _GET, _pack(fcntl.F_WRLCK, low, high - low)))
        return None if kind == fcntl.F_UNLCK else (start, start + length if length else high)

    def _set(self, kind: int, version: int) -> None:
        # A finalizer may run in a forked child before `abandon` does; what it unlocked would be unlocked in the parent too.
        if self._fd is not None and self._pid == os.getpid():
            fcntl.fcntl(self._fd, _SET, _pack(kind, version, 1))

    def abandon(self) -> None:
        """Forget the file; the holds of a forked child's parent are the parent's."""
        self._fd = None
        self._lock = RLock()  # a thread of the parent may have had the old one


class Held:
    """A hold on a version of the root."""

    def __init__(self, holds: Holds, version: int) -> None:
        self.version = version
        self._holds: Holds | None = holds

    def release(self) -> None:
        holds, self._holds = self._holds, None
        if holds is not None:
            holds.drop(self.version)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


# struct flock as the platform has it: (type, whence, start, length, pid) or (start, length, pid, type, whence)
_TYPE_FIRST: Final = sys.platform.startswith("linux")
_FLOCK: Final = struct.Struct("hhqqi4x" if _TYPE_FIRST else "qqihh")


def _pack(kind: int, start: int, length: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, start, length, 0) if _TYPE_FIRST else _FLOCK.pack(start, length, 0, kind, os.SEEK_SET)


def _unpack(lock: bytes) -> tuple[int, int, int]:
    fields = _FLOCK.unpack(lock)
    return (fields[0], fields[2], fields[3]) if _TYPE_FIRST else (fields[3], fields[0], fields[1])
