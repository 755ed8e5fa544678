"""What is shown while the jobs run, and the examples in the demonstration's own docstrings."""

from __future__ import annotations

import doctest
import io
from importlib import import_module
from itertools import count

import pytest

from examples.flights.progress import PAUSE, Progress, Snapshot


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def snapshots(jobs: int) -> list[Snapshot]:
    return [Snapshot(n, jobs, (), 1_000 * n, float(n)) for n in range(jobs + 1)]


def test_on_a_terminal_the_line_renews_itself() -> None:
    stream = Terminal()
    progress = Progress(stream)
    for now in snapshots(3):
        progress.show(now)
    progress.close()
    shown = stream.getvalue()
    assert 4 == shown.count("\r")
    assert 1 == shown.count("\n")
    assert "3/3 jobs · 3k facts" in shown.rpartition("\r")[2]


def test_elsewhere_there_is_a_line_now_and_then_and_one_at_the_end() -> None:
    stream = io.StringIO()
    ticks = count(step=1)
    progress = Progress(stream, clock=lambda: float(next(ticks)))
    for now in snapshots(20):
        progress.show(now)
    progress.show(snapshots(20)[-1])
    progress.close()
    lines = stream.getvalue().splitlines()
    assert len(lines) <= 20 / PAUSE * 2 + 2
    assert "0/20 jobs" in lines[0]
    assert 1 == sum("20/20 jobs" in line for line in lines)


@pytest.mark.parametrize("module", ["facts", "jobs", "progress", "svg"])
def test_the_examples_in_docstrings_are_true(module: str) -> None:
    found = doctest.testmod(import_module(f"examples.flights.{module}"))
    assert found.attempted > 0
    assert 0 == found.failed
