"""The gate of an environment: reads pass through it, and it is shut while the memory map is replaced."""

from __future__ import annotations

from sys import _getframe
from threading import Lock, get_ident
from types import FrameType
from typing import Final

from factstore.concurrency.locks import CallLock, is_running

_LOOK_SECONDS: Final = 0.002  # how often the call that shuts the gate checks whether calls inside still run


class Gate:
    """Many calls can be inside at once; a call that shuts the gate waits until they have left, and no other enters.

    As with a `CallLock`, a call that was interrupted while leaving counts as outside once it has ended.
    """

    def __init__(self) -> None:
        self._inside: dict[int, FrameType] = {}  # by thread
        self._shut = CallLock()
        self._left = Lock()  # released by each call that leaves while another one shuts the gate
        self._left.acquire()

    def __enter__(self) -> None:
        me = get_ident()
        self._inside[me] = _getframe(1)
        while self._shut.holders:
            self._inside.pop(me, None)
            with self._shut:
                pass  # the gate is open again, or the call that shut it has ended
            self._inside[me] = _getframe(1)

    def __exit__(self, *_: object) -> None:
        self._inside.pop(get_ident(), None)
        if self._shut.holders:
            self._ring()

    def _ring(self) -> None:
        try:
            self._left.release()
        except RuntimeError:
            return  # it is released already

    def shut(self) -> ShutGate:
        """Return the shut gate, for `with`. The caller must not be inside, and must hold the lock of writers."""
        return ShutGate(self)

    def close(self, owner: FrameType) -> None:
        """Shut the gate for a call, and wait until no call is inside."""
        self._shut.take(owner)
        try:
            while any(is_running(frame) for frame in list(self._inside.values())):
                self._left.acquire(timeout=_LOOK_SECONDS)
        except BaseException:
            self._shut.give(owner)
            raise

    def open(self, owner: FrameType) -> None:
        """Open the gate that a call has shut."""
        self._shut.give(owner)


class ShutGate:
    """A gate that is shut for a `with` block."""

    __slots__ = ("_gate",)

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def __enter__(self) -> None:
        self._gate.close(_getframe(1))

    def __exit__(self, *_: object) -> None:
        self._gate.open(_getframe(1))
