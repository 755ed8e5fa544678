"""The lines of stdin, which are awaited on the event loop.

A thread that reads a line cannot be stopped, so a server that reads that way ends only after the next line.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

import anyio

_PIECE: Final = 1 << 16  # bytes per read


async def lines(file: int) -> AsyncIterator[str]:
    """Yield the lines of a file descriptor as text, each when it has arrived, until the end."""
    started: list[bytes] = []  # the pieces of a line whose end is not here yet
    while piece := await _piece(file):
        first, *others = piece.split(b"\n")
        started.append(first)
        for other in others:
            yield _text(started)
            started = [other]
    if any(started):
        yield _text(started)


async def _piece(file: int) -> bytes:
    try:
        await anyio.wait_readable(file)
    except PermissionError:  # the system has no events for files of a disk, and reads them at once
        await anyio.lowlevel.checkpoint()
    return os.read(file, _PIECE)


def _text(pieces: list[bytes]) -> str:
    return b"".join(pieces).decode(errors="replace")


@contextmanager
def own_stdin() -> Iterator[int]:
    """Give stdin to this block: processes that it starts, and code that it calls, find an empty one meanwhile."""
    file = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    try:
        os.dup2(nothing, 0)
        yield file
    finally:
        os.dup2(file, 0)
        os.close(nothing)
        os.close(file)
