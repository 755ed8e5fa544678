"""A lock that belongs to a running call, and is free again when that call has ended, however it ended.

A signal handler may raise between any two steps of Python code, so also between the step that takes an ordinary lock and
the `try` that gives it back, or in the first line of the `finally`. Such a lock stays taken for ever. Here the lock records
who holds it, in the same step that takes it. Whoever waits looks whether the holder is still at work, and takes the lock over
if it is not.

    frame   a call holds the lock: it is at work as long as its frame is on the stack of its thread
    Block   a `with` block of a user holds the lock: it says itself whether it is open

Law: at most one holder is at work; a lock whose holder has ended is taken by the next that asks.
"""

from __future__ import annotations

from _thread import LockType
from collections.abc import Callable
from sys import _current_frames, _getframe
from threading import Lock, get_ident
from time import monotonic, sleep
from types import FrameType
from typing import Final, Protocol, TypeAlias

_LOOK_SECONDS: Final = 0.01  # how often a waiter looks whether the holder is still at work


class Block(Protocol):
    """A holder that is no call: a `with` block that is open while a user's code runs."""

    @property
    def thread(self) -> int:
        """The thread that opened the block."""

    @property
    def is_open(self) -> bool:
        """Whether the block has not ended yet."""

    @property
    def may_be_passed(self) -> bool:
        """Whether others may take the lock from the block once they have waited for long."""


Owner: TypeAlias = FrameType | Block


class CallLock:
    """A lock held by a call or by a block; a thread that holds it may not take it again, but can ask whether it does.

    The call that enters must end when the block under the lock raises: catch the exception in a caller of it.
    """

    __slots__ = ("_bell", "_freeing", "_waiting", "holders", "timeout")

    def __init__(self, *, timeout: float | None = None) -> None:
        """Make a lock for which a caller waits up to `timeout` seconds; None: as long as it takes."""
        self.timeout = timeout
        self.holders: dict[
            None, Owner
        ] = {}  # at most one: `setdefault` tests and sets in one step; true while the lock is taken
        self._bell = Lock()  # rung by who gives the lock back, to wake up one of those who wait
        self._bell.acquire()
        self._waiting: set[int] = set()  # threads
        self._freeing: dict[None, FrameType] = {}  # the call that takes the lock from a holder, one at most

    def __enter__(self) -> None:
        mine = _getframe(1)
        if self.holders.setdefault(None, mine) is not mine and not self._wait(mine, self.timeout):
            raise self.reentered()

    def __exit__(self, *_: object) -> None:
        self.holders.clear()
        if self._waiting:
            _ring(self._bell)

    def enter_at_once(self) -> bool:
        """Take the lock for the calling frame if it is free, and tell whether it was; `leave` gives it back."""
        mine = _getframe(1)
        return self.holders.setdefault(None, mine) is mine

    def enter(self) -> None:
        """Take the lock for the calling frame, as `with` does; `leave` gives it back."""
        mine = _getframe(1)
        if self.holders.setdefault(None, mine) is not mine and not self._wait(mine, self.timeout):
            raise self.reentered()

    def leave(self) -> None:
        """Give back a lock that the calling frame holds."""
        self.holders.clear()
        if self._waiting:
            _ring(self._bell)

    def take(self, owner: Owner, *, timeout: float | None = None) -> bool:
        """Take the lock for an owner; return False if this thread holds it already.

        Args:
            timeout: seconds to wait, None: as long as it takes. A block that may be passed is passed then.
        Raises: what `timed_out` returns.
        """
        return self.holders.setdefault(None, owner) is owner or self._wait(owner, timeout)

    def give(self, owner: Owner) -> None:
        """Give back the lock if this owner has it still."""
        if self.holders.get(None) is not owner:
            return
        if isinstance(owner, FrameType):
            self.holders.clear()
            if self._waiting:
                _ring(self._bell)
        else:
            self._free(owner)  # another thread may be passing the block at this moment
            _ring(self._bell)

    @property
    def is_taken(self) -> bool:
        """Whether somebody holds the lock, or has left it taken."""
        return bool(self.holders)

    def locked(self) -> bool:
        """Return whether a holder that is at work has the lock."""
        holder = self.holders.get(None)
        return holder is not None and is_at_work(holder)

    @property
    def is_mine(self) -> bool:
        """Whether a call or a block of this thread holds the lock."""
        holder = self.holders.get(None)
        return holder is not None and is_of_this_thread(holder)

    @property
    def has_left_over(self) -> bool:
        """Whether the lock is taken although its holder has ended."""
        holder = self.holders.get(None)
        return holder is not None and not is_at_work(holder)

    def is_held_by(self, owner: Owner) -> bool:
        """Return whether an owner has the lock still."""
        return self.holders.get(None) is owner

    def give_left_over(self) -> None:
        """Give back the lock if its holder has ended without doing so."""
        holder = self.holders.get(None)
        if holder is not None and not is_at_work(holder):
            self._free(holder)
            _ring(self._bell)

    def reentered(self) -> Exception:
        """Return the error for a call that enters while its own thread holds the lock."""
        return RuntimeError("this thread holds the lock already")

    def timed_out(self) -> Exception:
        """Return the error for a call that has waited for too long."""
        return TimeoutError("another thread holds the lock")

    def _wait(self, mine: Owner, timeout: float | None) -> bool:
        deadline = None if timeout is None else monotonic() + timeout
        while self.holders.setdefault(None, mine) is not mine:
            holder = self.holders.get(None)
            if holder is None:
                continue
            if is_of_this_thread(holder):
                return False
            if not is_at_work(holder):
                self._free(holder)
                continue
            left = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, deadline - monotonic())
            if left > 0:
                self._sleep(left)
            elif isinstance(holder, FrameType) or not holder.may_be_passed:
                raise self.timed_out()
            else:
                self._free(holder)
        return True

    def _sleep(self, seconds: float) -> None:
        me = get_ident()
        self._waiting.add(me)
        try:
            self._bell.acquire(timeout=seconds)
        finally:
            self._waiting.discard(me)

    def _free(self, holder: Owner) -> None:
        """Take the lock from a holder, unless somebody did so before."""
        mine = _getframe()
        while (other := self._freeing.setdefault(None, mine)) is not mine:
            if is_running(other):
                sleep(0)  # it is about to end
            else:
                self._freeing.clear()
        if self.holders.get(None) is holder:
            self.holders.clear()
        self._freeing.clear()


class NestingLock(CallLock):
    """A lock that a thread which has it may enter again."""

    __slots__ = ()

    def __enter__(self) -> None:
        self.take(_getframe(1), timeout=self.timeout)

    def __exit__(self, *_: object) -> None:
        self.give(_getframe(1))


class Bells:
    """Threads of this process that wait for something to happen. Nobody can leave a lock taken: each has a bell of its own."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[LockType] = []  # empty: nobody has to be woken up

    def wait(self, has_happened: Callable[[], bool], timeout: float) -> None:
        """Wait for a ring, up to `timeout` seconds, unless it has happened already."""
        bell = Lock()
        bell.acquire()
        self.waiting.append(bell)
        try:
            if not has_happened():
                bell.acquire(timeout=timeout)
        finally:
            self.waiting.remove(bell)

    def ring(self) -> None:
        """Wake up everybody who waits."""
        for bell in tuple(self.waiting):
            if bell.locked():
                _ring(bell)


def is_at_work(holder: Owner) -> bool:
    """Return whether a holder's call still runs, or its block is open."""
    return is_running(holder) if isinstance(holder, FrameType) else holder.is_open


def is_of_this_thread(holder: Owner) -> bool:
    """Return whether a holder is at work in the thread that asks."""
    if not isinstance(holder, FrameType):
        return holder.thread == get_ident() and holder.is_open
    return _is_on_stack(holder, _getframe(1))


def is_running(frame: FrameType) -> bool:
    """Return whether a frame is on the stack of any thread."""
    return any(_is_on_stack(frame, newest) for newest in _current_frames().values())


def _is_on_stack(frame: FrameType, newest: FrameType) -> bool:
    running: FrameType | None = newest
    while running is not None and running is not frame:
        running = running.f_back
    return running is frame


def _ring(bell: LockType) -> None:
    try:
        bell.release()
    except RuntimeError:
        return  # it rings already
