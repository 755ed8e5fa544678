"""The progress of long operations: a function of the caller, or a line on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Final, TypeVar

Report = TypeVar("Report", bound=Callable[..., Any])

_SHORT: Final = 1.0  # seconds; an operation that does not take longer has no line


def chosen(progress: Report | bool | None, line: Report) -> Report | None:
    """Return the caller's function, or the one that prints a line; None is that one if stderr is a terminal."""
    if progress is None:
        progress = sys.stderr is not None and sys.stderr.isatty()
    if isinstance(progress, bool):
        return line if progress else None
    return progress


def rows_line(rows: int, seconds: float) -> None:
    """Print the number of loaded rows on the current line."""
    _print(f"{rows:>12,} rows  {rows / max(seconds, 1e-9):>10,.0f} rows/s ")


def index_line() -> Callable[[int, int], None]:
    """Return a function that prints how many datoms are indexed, on the current line; nothing in the first second."""
    begin = time.monotonic()

    def line(done: int, of_all: int) -> None:
        if time.monotonic() - begin > _SHORT:
            _print(f"indexing {done:>12,} of {of_all:,} datoms " + ("\n" if done == of_all else ""))

    return line


def _print(text: str) -> None:
    sys.stderr.write(f"\r{text}")
    sys.stderr.flush()
