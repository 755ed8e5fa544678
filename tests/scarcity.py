"""A process that runs out of file descriptors or threads, by the limits of the system itself."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count, islice
from typing import Final

from factstore.errors import Unavailable

_NO_STACK: Final = 1 << 48  # bytes: more than the address space of a process


@contextmanager
def files_left(number: int) -> Iterator[None]:
    """Let this process open only so many more files at a time."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = (descriptor for descriptor in count() if not _is_open(descriptor))
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(islice(free, number, None)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


@contextmanager
def no_threads() -> Iterator[None]:
    """Let the system start no thread for this process: there is no room for its stack."""
    before = threading.stack_size(_NO_STACK)
    try:
        yield
    finally:
        threading.stack_size(before)


def refusals(call: Callable[[], object], check: Callable[[], object] = lambda: None) -> list[str]:
    """Make a call with no free descriptor, with one, with two, … until it succeeds; return the errors, which all give advice.

    Args:
        check: is called after each error, when there are descriptors.
    """
    texts: list[str] = []
    for number in count():
        try:
            with files_left(number):
                call()
        except Unavailable as error:
            assert error.code in (":db.error/storage-unavailable", ":db.error/file-unavailable")
            assert "Too many open files; raise the limit" in str(error), error
            texts.append(str(error))
            check()
        else:
            return texts
    raise AssertionError
