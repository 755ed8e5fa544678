"""Wakes threads and processes that wait for an append to a file.

    Futex    Linux: a word in shared memory; a waiter sleeps in the kernel until the word changes
    Polling  other systems, and read-only files: a check every few milliseconds; appends of this process wake at once

Law: a wait ends soon after any append that came after `seen`. It can end earlier; then no append was missed.
"""

from __future__ import annotations

import ctypes
import mmap
import platform
import sys
from typing import Final, Protocol

from factstore.concurrency.locks import Bells

TOPICS_AT: Final = 512  # offset of the topics in the shared file; see topics.py
# Bytes of the shared file. Byte 0 is the flag of the writer lock; peers.py and journal.py define the others.
MEMORY: Final = 1 << 15
# Offsets of the two words of a wake-up: whether there are waiters, and the word that changes.
LOG_WORDS: Final = (4, 8)
TURN_WORDS: Final = (12, 16)

_POLL: Final = 0.003  # seconds between two checks for appends of other processes
# A process that dies between its append and the wake-up leaves waiters asleep, so they check this often.
_LONGEST: Final = 0.25

_SYSCALL: Final = {"x86_64": 202, "aarch64": 98, "riscv64": 98}.get(platform.machine())
_FUTEX_WAIT, _FUTEX_WAKE, _ALL = 0, 1, 0x7FFFFFFF


class Wakeup(Protocol):
    """A place to wait for appends."""

    def seen(self) -> int:
        """Return the value for `wait`; call this before the log is read."""

    def wait(self, seen: int, timeout: float) -> None:
        """Sleep until `tell` was called after `seen`, for at most `timeout` seconds."""

    def tell(self) -> None:
        """Wake all waiters, in this process and others."""


class _TimeSpec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Futex:
    """A wake-up over a word in shared memory (futex(2))."""

    def __init__(self, memory: mmap.mmap, words: tuple[int, int] = LOG_WORDS) -> None:
        self._memory = memory
        self._waiting, self._word = (ctypes.c_uint32.from_buffer(memory, at) for at in words)
        self._syscall = ctypes.CDLL(None).syscall

    def seen(self) -> int:
        """Return the word."""
        return self._word.value

    def wait(self, seen: int, timeout: float) -> None:
        """Sleep in the kernel, unless the word has already changed."""
        self._waiting.value = 1
        seconds = min(timeout, _LONGEST)
        until = _TimeSpec(int(seconds), int(seconds % 1 * 1e9))
        self._syscall(
            _SYSCALL, ctypes.byref(self._word), _FUTEX_WAIT, ctypes.c_uint32(seen), ctypes.byref(until), None, 0
        )

    def tell(self) -> None:
        """Change the word, and wake the waiters, if there can be any."""
        self._word.value += 1
        if self._waiting.value:
            self._waiting.value = 0
            self._syscall(_SYSCALL, ctypes.byref(self._word), _FUTEX_WAKE, _ALL, None, None, 0)


class Polling:
    """A wake-up for the threads of this process; waits are short, because other processes cannot end them."""

    def __init__(self) -> None:
        self._bells = Bells()
        self._count = 0

    def seen(self) -> int:
        """Return the number of calls of `tell`."""
        return self._count

    def wait(self, seen: int, timeout: float) -> None:
        """Sleep for at most a few milliseconds."""
        self._bells.wait(lambda: self._count != seen, min(timeout, _POLL))

    def tell(self) -> None:
        """Wake the threads of this process."""
        self._count += 1
        self._bells.ring()


def wakeup(memory: mmap.mmap | None, words: tuple[int, int] = LOG_WORDS) -> Wakeup:
    """Return the best wake-up for this machine.

    Args:
        memory: shared by all processes that have the store open; None if it is not writable.
        words: the offsets of the two words of the wake-up.
    """
    if memory is None or _SYSCALL is None or sys.platform != "linux":
        return Polling()
    return Futex(memory, words)
