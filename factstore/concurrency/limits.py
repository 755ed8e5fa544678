"""Limits of the system on a process: the files that it may open, and the threads that it may start.

The error of a call that reaches a limit says how to raise it. The call has changed nothing, so it works later, when
there are files or threads again.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread, active_count
from typing import TYPE_CHECKING, Final

from factstore.errors import Unavailable

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_OF_FILES: Final = {
    errno.EMFILE: "raise the limit of this process (ulimit -n, or LimitNOFILE of its service), or open fewer stores",
    errno.ENFILE: "raise the limit of this machine (sysctl fs.file-max)",
}
_NO_THREAD: Final = "can't start new thread"  # the message of Python, which has no class for this error


def is_limit(error: OSError) -> bool:
    """Return whether the process or the machine may not open more files."""
    return error.errno in _OF_FILES


def explained(text: str) -> str:
    """Return the text of an error of the system, with the advice if a limit of files is the reason."""
    for number, advice in _OF_FILES.items():
        if os.strerror(number) in text:
            return f"{text}; {advice}"
    return text


def no_file() -> str:
    """Return the error text of the system if it lets this process open no file now, or ""."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.strerror or ""
    return ""


@contextmanager
def starting_threads() -> Iterator[None]:
    """Raise `Unavailable` instead of Python's RuntimeError if the block cannot start a thread."""
    try:
        yield
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        message = (
            f"the system starts no more threads for this process, which has {active_count()}: raise the limit of its"
            " user, container or service (ulimit -u, pids.max, TasksMax), or that of its memory (ulimit -v)"
        )
        raise Unavailable(":db.error/storage-unavailable", message, threads=active_count()) from error


def new_loop() -> AbstractEventLoop:
    """Return a new event loop. Raises: Unavailable."""
    import asyncio  # not above: they take long
    import socket

    try:
        # First as many descriptors: for a loop that gets only some of them, the standard library writes a traceback.
        # In one line, after which no exception of a signal handler can leave them open.
        deque(map(socket.socket.close, (*socket.socketpair(), socket.socket())), 0)
        return asyncio.new_event_loop()
    except OSError as error:
        text = f"no event loop can be made: {explained(str(error))}"
        raise Unavailable(":db.error/storage-unavailable", text) from error


def started(thread: Thread) -> Thread:
    """Start a thread, and return it. Raises: Unavailable."""
    with starting_threads():
        thread.start()
    return thread
