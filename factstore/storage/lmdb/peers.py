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
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from socket import gethostname
from sys import _getframe
from time import monotonic, time
from types import FrameType
from typing import Final, Self

from factstore.concurrency.locks import CallLock, NestingLock, Owner
from factstore.errors import StoreBusy
from factstore.storage.lmdb import ranges
from factstore.storage.lmdb.wakeup import MEMORY, TURN_WORDS, wakeup
from factstore.storage.refusals import closed

_LAST: Final = (1 << 62) - 1

EXCLUSIVE, BLOCK = 1, 2  # what the flag says: a call has the turn, or a block of a user, which others may pass
_ABOUT: Final = 64  # where the shared memory says who has the turn
_LOOK_SECONDS: Final = 0.02  # a holder that was killed wakes nobody up


class Turn:
    """The writer's turn of one file; reentrant for the thread that has it.

    The shared memory: a flag (0: free, EXCLUSIVE, or BLOCK), and from `_ABOUT` on who holds it.
    """

    def __init__(self, fd: int, flag_path: str, barrier: Callable[[], None]) -> None:
        self._fd: int | None = fd
        self._gone = "was closed"
        self._barrier = barrier  # returns once every append that did not see the flag is over
        self._lock = CallLock()
        self._process = f"{os.getpid()}\n{gethostname()}\n"  # a forked child never takes this turn
        self._passed = b""  # a block of another process that we have waited for once, and do not wait for again
        self._is_passing = False  # whether the holder goes on beside such a block, without the lock of the file
        flag = os.open(flag_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if os.fstat(flag).st_size < MEMORY:
                os.ftruncate(flag, MEMORY)
            self.flag = mmap.mmap(flag, MEMORY)
        finally:
            os.close(flag)
        self.freed = wakeup(self.flag, TURN_WORDS)

    def elsewhere(self) -> bool:
        """Return whether somebody other than this thread has, or had at its death, the turn."""
        return self.flag[0] != 0 and not self._lock.is_mine

    def held(
        self, *, owner: Owner | None = None, may_pass: bool = False, doing: str = "", timeout: float | None = None
    ) -> HeldTurn:
        """Return the turn as something to hold by `with`; see `Storage.turn`."""
        return HeldTurn(self, owner, may_pass, doing, timeout)

    def take(self, owner: Owner, *, may_pass: bool, doing: str, timeout: float | None) -> None:
        """Take the turn for an owner, unless this thread has it already. Raises: StoreBusy."""
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
        """Wait for the lock of the file; return False when that took too long, or need not be done again."""
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
        about = f"{self._process}{time():.6f}\n{doing}".encode()[: MEMORY - _ABOUT - 1]
        self.flag[_ABOUT : _ABOUT + len(about) + 1] = about + b"\0"
        self.flag[0] = flag

    def _about(self) -> bytes:
        return self.flag[_ABOUT:MEMORY].split(b"\0", 1)[0]

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
        """Give back the turn if this owner has it still."""
        if self._lock.is_held_by(owner):
            self._free()
            self._lock.give(owner)

    def give_left_over(self) -> None:
        """Give back the turn if the call that took it has ended without doing so."""
        if self._lock.has_left_over:
            self._free()
            self._lock.give_left_over()

    def _free(self) -> None:
        if self._fd is not None and not self._is_passing:
            self.flag[0] = 0
            fcntl.flock(self._fd, fcntl.LOCK_UN)
            self.freed.tell()

    def abandon(self, why: str) -> None:
        """Forget the file and the flag without giving back the turn: in a forked child it is the parent's."""
        self._fd, self._gone, self.flag = None, why, mmap.mmap(-1, MEMORY)


class HeldTurn:
    """The turn, held for a `with` block: by the call that enters, or by an owner that was named."""

    __slots__ = ("_doing", "_may_pass", "_owner", "_timeout", "_turn")

    def __init__(self, turn: Turn, owner: Owner | None, may_pass: bool, doing: str, timeout: float | None) -> None:
        self._turn = turn
        self._owner = owner
        self._may_pass = may_pass
        self._doing = doing
        self._timeout = timeout

    def __enter__(self) -> None:
        self._turn.take(self._owner or _getframe(1), may_pass=self._may_pass, doing=self._doing, timeout=self._timeout)

    def __exit__(self, *_: object) -> None:
        self._turn.give(self._owner or _getframe(1))


class Holds:
    """The versions of the root that this process holds, and a way to see those of the others."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd
        self._pid = os.getpid()
        self._lock = NestingLock()  # a finalizer may release while its own thread is in here
        self._mine: Counter[int] = Counter()

    def take(self, version: int, check: Callable[[], None]) -> None:
        """Hold a version; unless it is held already, only if `check`, called when the hold stands, does not raise."""
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
        """Return the versions held by any living process."""
        with self._lock:
            return set(self._mine).union(*(() if self._fd is None else ranges.of_others(self._fd, 0, _LAST)))

    def _set(self, kind: Callable[[int, int], None], version: int) -> None:
        # A finalizer may run in a forked child before `abandon` does; what it unlocked would be unlocked in the parent too.
        if self._fd is not None and self._pid == os.getpid():
            kind(self._fd, version)

    def abandon(self) -> None:
        """Forget the file; the holds of a forked child's parent are the parent's."""
        self._fd = None
        self._lock = NestingLock()  # a thread of the parent may have had the old one


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
