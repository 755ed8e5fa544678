"""Waking up those who wait for an append: threads of this process, and other processes that have the same file open.

    Futex    Linux: a word in memory that the processes share; who waits sleeps in the kernel until the word changes
    Polling  elsewhere, and for those who may only read: a look every few milliseconds; this process's own appends are told at once

Law: a wait ends soon after an append that came after `seen`, whoever made it; it may end sooner, and then nothing has been missed.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
from typing import Final, Protocol

from factstore.concurrency.locks import Bells

MEMORY: Final = 512  # bytes of the shared file; byte 0 is the flag of the writer's turn, peers.py has the rest
# Where two words lie that a wake-up needs: whether anybody waits, and the word that changes.
LOG_WORDS: Final = (4, 8)
TURN_WORDS: Final = (12, 16)

_POLL: Final = 0.003  # seconds between two looks at what other processes appended
# Who appends and dies before it wakes anybody leaves them asleep; they look for themselves this often.
_LONGEST: Final = 0.1

_SYSCALL: Final = {"x86_64": 202, "aarch64": 98, "riscv64": 98}.get(platform.machine())
_FUTEX_WAIT, _FUTEX_WAKE, _ALL = 0, 1, 0x7FFFFFFF


class Wakeup(Protocol):
    """Where to wait for appends."""

    def seen(self) -> int:
        """Return what `wait` compares with; to be asked before the log is looked at."""

    def wait(self, seen: int, timeout: float) -> None:
        """Sleep until something was told since `seen`, up to `timeout` seconds or less."""

    def tell(self) -> None:
        """Wake up everybody who waits, here and in other processes."""


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Futex:
    """A wake-up over a word in shared memory (futex(2))."""

    def __init__(self, memory: mmap.mmap, words: tuple[int, int] = LOG_WORDS) -> None:
        self._memory = memory
        self._waiting, self._word = (ctypes.c_uint32.from_buffer(memory, at) for at in words)
        self._syscall = ctypes.CDLL(None).syscall

    def seen(self) -> int:
        """Return the word as it is."""
        return self._word.value

    def wait(self, seen: int, timeout: float) -> None:
        """Sleep in the kernel, unless the word has changed already."""
        self._waiting.value = 1
        seconds = min(timeout, _LONGEST)
        until = _TimeSpec(int(seconds), int(seconds % 1 * 1e9))
        self._syscall(
            _SYSCALL, ctypes.byref(self._word), _FUTEX_WAIT, ctypes.c_uint32(seen), ctypes.byref(until), None, 0
        )

    def tell(self) -> None:
        """Change the word, and wake those who sleep on it, if anybody may."""
        self._word.value += 1
        if self._waiting.value:
            self._waiting.value = 0
            self._syscall(_SYSCALL, ctypes.byref(self._word), _FUTEX_WAKE, _ALL, None, None, 0)


class Polling:
    """A wake-up for the threads of this process; of other processes nothing is heard, so a wait is never long."""

    def __init__(self) -> None:
        self._bells = Bells()
        self._count = 0

    def seen(self) -> int:
        """Return how often was told."""
        return self._count

    def wait(self, seen: int, timeout: float) -> None:
        """Sleep for a few milliseconds at most."""
        self._bells.wait(lambda: self._count != seen, min(timeout, _POLL))

    def tell(self) -> None:
        """Wake up this process's threads."""
        self._count += 1
        self._bells.ring()


def wakeup(memory: mmap.mmap | None, words: tuple[int, int] = LOG_WORDS) -> Wakeup:
    """Return the best wake-up there is on this machine.

    Args:
        memory: of a file that all processes with the store open share; None where it cannot be written to.
        words: where in it the wake-up keeps its two words.
    """
    if memory is None or _SYSCALL is None or sys.platform != "linux":
        return Polling()
    return Futex(memory, words)
