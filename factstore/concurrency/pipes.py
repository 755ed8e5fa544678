"""The reader of standard output, of a program that writes to it only now and then.

A write into a pipe without a reader is an error (EPIPE), but a program that waits writes nothing. Meanwhile, a thread
waits for the end of the reader.
"""

from __future__ import annotations

import os
import select
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from errno import EPIPE
from threading import Event, Thread

from factstore.concurrency.limits import started


@contextmanager
def until_unread(close: Callable[[], object]) -> Iterator[None]:
    """Call a function that ends the wait in the block, as soon as standard output has no reader any more.

    Nothing is called where the platform has no `poll`, or where standard output is no file.

    Args:
        close: lets the block raise an exception, or return; for example `conn.close`.
    Raises: BrokenPipeError, as a write would.
    """
    out = _descriptor()
    if out is None or not hasattr(select, "poll"):
        yield
        return
    gone = Event()
    ended, end = os.pipe()  # its end is closed with the block, which ends the thread
    try:
        try:
            started(Thread(target=_look, args=(out, ended, gone, close), name="factstore-reader", daemon=True))
        except BaseException:
            os.close(ended)
            raise
        yield
    except Exception:  # the end of the wait
        if not gone.is_set():
            raise
    finally:
        os.close(end)
    if gone.is_set():
        raise BrokenPipeError(EPIPE, os.strerror(EPIPE))


def _descriptor() -> int | None:
    try:
        return sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # there is none, or it is closed
        return None


def _look(out: int, ended: int, gone: Event, close: Callable[[], object]) -> None:
    watched = select.poll()
    watched.register(out, 0)  # errors and the end of the reader are reported anyway
    watched.register(ended, 0)
    try:
        if any(number == out for number, _ in watched.poll()):
            gone.set()
            close()
    finally:
        os.close(ended)
