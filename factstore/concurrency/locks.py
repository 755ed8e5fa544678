"""A lock that belongs to a running call, and is free again when that call has ended in any way.

A signal handler may raise between any two steps of Python code: also between the step that acquires an ordinary lock
and the `try` whose `finally` releases it, or in the first line of the `finally`. An ordinary lock then stays locked
forever. This lock records its holder in the same step that acquires it. A waiting thread checks whether the holder
still runs, and takes the lock over if not.

    frame   a call holds the lock: it runs as long as its frame is on the stack of its thread
    Block   a `with` block of a user holds the lock: its `is_open` states whether it has ended

Law: at most one holder runs; a lock whose holder has ended is acquired by the next thread that requests it.
"""

from __future__ import annotations

from _thread import LockType
from collections.abc import Callable
from sys import _current_frames, _getframe
from threading import Lock, get_ident
from time import monotonic, sleep
from types import FrameType
from typing import Final, Protocol, TypeAlias

_LOOK_SECONDS: Final = 0.01  # how often a waiting thread checks whether the holder still runs


class Block(Protocol):
    """A holder that is not a call: a `with` block that is open while a user's code runs."""

    @property
    def thread(self) -> int:
        """The thread that opened the block."""

    @property
    def is_open(self) -> bool:
        """Whether the block has not ended yet."""

    @property
    def may_be_passed(self) -> bool:
        """Whether other threads may take the lock from the block after their timeout."""


Owner: TypeAlias = FrameType | Block


class CallLock:
    """A lock held by a call or by a block; a thread that holds it must not acquire it again.

    The call that enters must end when the code under the lock raises: catch the exception in one of its callers.
    """

    __slots__ = ("_bell", "_freeing", "_waiting", "holders", "timeout")

    def __init__(self, *, timeout: float | None = None) -> None:
        """Make a lock for which a caller waits up to `timeout` seconds; None: without a limit."""
        self.timeout = timeout
        self.holders: dict[
            None, Owner
        ] = {}  # at most one: `setdefault` tests and sets in one step; true while the lock is taken
        self._bell = silent_bell()  # the thread that releases the lock rings it to wake one waiting thread
        self._waiting: set[int] = set()  # threads
        self._freeing: dict[None, FrameType] = {}  # the call that takes the lock from a holder; at most one

    def __enter__(self) -> None:
        mine = _getframe(1)
        if self.holders.setdefault(None, mine) is not mine and not self._wait(mine, self.timeout):
            raise self.reentered()

    def __exit__(self, *_: object) -> None:
        self.holders.clear()
        if self._waiting:
            ring(self._bell)

    def enter_at_once(self) -> bool:
        """Acquire the lock for the calling frame if it is free, and return whether it was; `leave` releases it."""
        mine = _getframe(1)
        return self.holders.setdefault(None, mine) is mine

    def enter(self) -> None:
        """Acquire the lock for the calling frame, as `with` does; `leave` releases it."""
        mine = _getframe(1)
        if self.holders.setdefault(None, mine) is not mine and not self._wait(mine, self.timeout):
            raise self.reentered()

    def leave(self) -> None:
        """Release the lock, which the calling frame holds."""
        self.holders.clear()
        if self._waiting:
            ring(self._bell)

    def take(self, owner: Owner, *, timeout: float | None = None) -> bool:
        """Acquire the lock for an owner; return False if this thread holds it already.

        Args:
            timeout: seconds to wait, None: without a limit. After the timeout the lock is taken from a block that may
                be passed.
        Raises: the error that `timed_out` returns.
        """
        return self.holders.setdefault(None, owner) is owner or self._wait(owner, timeout)

    def give(self, owner: Owner) -> None:
        """Release the lock if this owner still holds it."""
        if self.holders.get(None) is not owner:
            return
        if isinstance(owner, FrameType):
            self.holders.clear()
            if self._waiting:
                ring(self._bell)
        else:
            self._free(owner)  # another thread may be passing the block at this moment
            ring(self._bell)

    @property
    def is_taken(self) -> bool:
        """Whether the lock has a holder, even one that has ended."""
        return bool(self.holders)

    def locked(self) -> bool:
        """Return whether a holder that still runs has the lock."""
        holder = self.holders.get(None)
        return holder is not None and is_at_work(holder)

    @property
    def is_mine(self) -> bool:
        """Whether a call or a block of this thread holds the lock."""
        holder = self.holders.get(None)
        return holder is not None and is_of_this_thread(holder)

    @property
    def has_left_over(self) -> bool:
        """Whether the lock has a holder that has ended."""
        holder = self.holders.get(None)
        return holder is not None and not is_at_work(holder)

    def is_held_by(self, owner: Owner) -> bool:
        """Return whether an owner still holds the lock."""
        return self.holders.get(None) is owner

    def give_left_over(self) -> None:
        """Release the lock if its holder has ended without releasing it."""
        holder = self.holders.get(None)
        if holder is not None and not is_at_work(holder):
            self._free(holder)
            ring(self._bell)

    def reentered(self) -> Exception:
        """Return the error for a call that enters while its own thread holds the lock."""
        return RuntimeError("this thread holds the lock already")

    def timed_out(self) -> Exception:
        """Return the error for a call whose timeout has passed."""
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
        """Take the lock from a holder, unless another thread has done so."""
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
    """A lock that its holder's thread may enter again."""

    __slots__ = ()

    def __enter__(self) -> None:
        self.take(_getframe(1), timeout=self.timeout)

    def __exit__(self, *_: object) -> None:
        self.give(_getframe(1))


class Bells:
    """Threads of this process that wait for an event. Each has its own bell, so no thread can block the others."""

    __slots__ = ("waiting",)

    def __init__(self) -> None:
        self.waiting: list[LockType] = []  # empty: no thread has to be woken

    def wait(self, has_happened: Callable[[], bool], timeout: float) -> None:
        """Wait for a ring, up to `timeout` seconds, unless the event has happened already."""
        bell = silent_bell()
        self.waiting.append(bell)
        try:
            if not has_happened():
                bell.acquire(timeout=timeout)
        finally:
            self.waiting.remove(bell)

    def ring(self) -> None:
        """Wake all waiting threads."""
        for bell in tuple(self.waiting):
            if bell.locked():
                ring(bell)


def is_at_work(holder: Owner) -> bool:
    """Return whether a holder's call still runs, or its block is still open."""
    return is_running(holder) if isinstance(holder, FrameType) else holder.is_open


def is_of_this_thread(holder: Owner) -> bool:
    """Return whether a holder runs in the calling thread."""
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


def silent_bell() -> LockType:
    """Return a bell: a thread waits for it with `acquire`, until it is rung, or at once if it rings already."""
    bell = Lock()
    bell.acquire()
    return bell


def ring(bell: LockType) -> None:
    """Wake the thread that waits for a bell, or the next one. This waits for nothing, so a finalizer can call it."""
    try:
        bell.release()
    except RuntimeError:
        return  # it is ringing already
