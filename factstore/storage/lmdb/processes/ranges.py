"""Locks on byte ranges of a file, which show other processes what this one uses; they end with the process."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from collections.abc import Iterator
from typing import Final

# Locks of the open file description, if the system has them, remain when this process closes another descriptor of the
# same file.
_SET: Final[int] = getattr(fcntl, "F_OFD_SETLK", fcntl.F_SETLK)
_GET: Final[int] = getattr(fcntl, "F_OFD_GETLK", fcntl.F_GETLK)

# struct flock of the platform: (type, origin, start, length, pid) or (start, length, pid, type, origin)
_TYPE_FIRST: Final = sys.platform.startswith("linux")
_FLOCK: Final = struct.Struct("hhqqi4x" if _TYPE_FIRST else "qqihh")


def share(fd: int, byte: int) -> None:
    """Lock a byte in shared mode."""
    fcntl.fcntl(fd, _SET, _pack(fcntl.F_RDLCK, byte, 1))


def free(fd: int, byte: int) -> None:
    """Unlock a byte."""
    fcntl.fcntl(fd, _SET, _pack(fcntl.F_UNLCK, byte, 1))


def of_others(fd: int, low: int, high: int) -> Iterator[range]:
    """Yield the ranges in [low, high) that other open files have locked."""
    spans = [(low, high)]
    while spans:
        low, high = spans.pop()
        kind, start, length = _unpack(fcntl.fcntl(fd, _GET, _pack(fcntl.F_WRLCK, low, high - low)))
        if kind != fcntl.F_UNLCK:
            stop = start + length if length else high
            yield range(max(start, low), min(stop, high))
            spans += [(a, b) for a, b in ((low, start), (stop, high)) if a < b]


def _pack(kind: int, start: int, length: int) -> bytes:
    return (
        _FLOCK.pack(kind, os.SEEK_SET, start, length, 0)
        if _TYPE_FIRST
        else _FLOCK.pack(start, length, 0, kind, os.SEEK_SET)
    )


def _unpack(lock: bytes) -> tuple[int, int, int]:
    fields = _FLOCK.unpack(lock)
    return (fields[0], fields[2], fields[3]) if _TYPE_FIRST else (fields[3], fields[0], fields[1])
