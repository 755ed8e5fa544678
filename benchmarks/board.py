"""A scoreboard in memory that processes share, on which jobs leave their marks, and the handlers that leave them.

A job's body takes about a microsecond, so what is timed is the queue. CLOCK_MONOTONIC is the same in all processes. Workers run as
`overseer worker benchmarks.board:handlers`; the board's file is named by BOARD.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

NUMBER = ":bench/number"
MARK = ":bench/mark"
HOLD = ":bench/hold"
SCHEMA = [{":db/ident": NUMBER, ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]

SIZE: Final = 100_000
_MARK: Final = struct.Struct("<QQQ")


class Mark(NamedTuple):
    """What is known of a job: how often it ran, and when it first and last began, in nanoseconds."""

    runs: int
    first: int
    last: int


class Board:
    """The marks of jobs, by number, below `SIZE`."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._fields = np.frombuffer(self._map, dtype=np.uint64).reshape(-1, 3)

    @classmethod
    def new(cls, path: Path) -> Board:
        path.write_bytes(bytes(SIZE * _MARK.size))
        return cls(path)

    def clear(self) -> None:
        """Forget all marks; processes that have the board open see it, too."""
        self._fields[:] = 0

    def __getitem__(self, number: int) -> Mark:
        return Mark(*_MARK.unpack_from(self._map, number * _MARK.size))

    def first(self, size: int) -> list[Mark]:
        """Return the marks of the jobs below `size`."""
        return [self[number] for number in range(size)]

    def begun(self) -> int:
        """Return how many jobs have run."""
        return int(np.count_nonzero(self._fields[:, 0]))

    def mark(self, number: int) -> None:
        now = time.monotonic_ns()
        runs, first, _ = self[number]
        _MARK.pack_into(self._map, number * _MARK.size, runs + 1, first or now, now)


@cache
def _board() -> Board:
    return Board(Path(os.environ["BOARD"]))


def mark(job: Any) -> None:
    """Leave a mark."""
    _board().mark(job[NUMBER])


def hold(job: Any) -> None:
    """Leave a mark, and the first time stay long enough to be killed."""
    _board().mark(job[NUMBER])
    if job.attempt == 1:
        time.sleep(600)


handlers: dict[str, Callable[[Any], None]] = {MARK: mark, HOLD: hold}
others: dict[str, Callable[[Any], None]] = {":bench/other": mark}
