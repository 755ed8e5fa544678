"""Exceptions at every step: runs a call again and again, and raises at one line of our code after the other."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import factstore
import overseer

PACKAGES = tuple(str(Path(package.__file__).parent) + "/" for package in (factstore, overseer))


class Alarm(Exception):
    """What a signal handler raises that limits the time of a call."""


class Stop(BaseException):
    """What a library raises to unwind a thread that it stops."""


RAISED: tuple[type[BaseException], ...] = (KeyboardInterrupt, Alarm, MemoryError, Stop)


class At:
    """Raises an exception at the n-th line of our packages that is run while it is in force."""

    def __init__(self, n: int, error: type[BaseException]) -> None:
        self.n = n
        self.error = error
        self.lines = 0
        self.where = ""  # where it was raised, "" if the call came to its end before

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._line if frame.f_code.co_filename.startswith(PACKAGES) else None

    def _line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line" and not self.where:
            if self.lines == self.n:
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}"
                raise self.error(self.where)
            self.lines += 1
        return self._line

    @contextmanager
    def here(self) -> Iterator[None]:
        """Be in force in this thread."""
        sys.settrace(self)
        try:
            yield
        finally:
            sys.settrace(None)

    @contextmanager
    def in_new_threads(self) -> Iterator[None]:
        """Be in force in the threads that start meanwhile."""
        threading.settrace(self)
        try:
            yield
        finally:
            threading.settrace(None)  # type: ignore[arg-type]


def at_every_line(call: Callable[[At], None], *, start: int = 0) -> Iterator[At]:
    """Run a call with an exception at one of its lines after the other, until it ends before there is any."""
    n = start
    while True:
        at = At(n, RAISED[n % len(RAISED)])
        call(at)
        yield at
        if not at.where:
            return
        n += 1
