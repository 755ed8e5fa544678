"""One run of the demonstration: a fresh store, a graph of jobs transacted into it, and workers, each a process of its own.

The starting process takes no part in the work and tells the workers nothing: it looks at the store like anybody else.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import factstore
import overseer

from . import findings, pipeline, schema
from .handlers import handlers

LOOK = 0.5  # seconds between looks at the store
HANDLERS = f"{__package__}.handlers:handlers"


class RunFailed(Exception):
    """A run that did not come to its end."""


class Look(NamedTuple):
    """What there is to see of a run at one moment."""

    db: factstore.Database
    datoms: int
    seconds: float
    processes: Sequence[subprocess.Popen[bytes]]


class Run(NamedTuple):
    """What a run came to."""

    store: str
    workers: int
    jobs: int
    datoms: int
    transactions: int
    seconds: float


def prepare(conn: factstore.Connection, months: Sequence[int], html: Path) -> None:
    """Transact the schema and the graph of jobs; from here on any worker anywhere can run them."""
    graph = pipeline.graph(months)
    overseer.validate_graph_handlers(handlers, graph)
    overseer.install(conn)
    conn.transact(list(schema.ATTRIBUTES))
    conn.transact(overseer.graph_txns(graph, {":demo/months": len(months), ":demo/html": str(html.resolve())}))


def start_worker(store: str, *, lease: float, log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start a worker on a store, as anybody would from a shell; it ends when no job is left. What it says goes to the log."""
    command = [
        sys.executable,
        "-m",
        "overseer",
        "worker",
        HANDLERS,
        "--store",
        store,
        "--until-idle",
        "--lease",
        str(lease),
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)


def run(
    store: str, months: Sequence[int], html: Path, *, workers: int, lease: float, watch: Callable[[Look], None]
) -> Run:
    """Run all jobs on a fresh store, and return what that took.

    Args:
        watch: is called now and then while the workers run, and once when they have ended.
    Raises: RunFailed, with what the workers had to say, which is in the file beside the store, too.
    """
    said = Path(f"{store}.log")
    with factstore.connect(store) as conn, conn.tx_reports() as reports, said.open("wb") as log:
        prepare(conn, months, html)
        began, datoms = time.monotonic(), 0
        processes = [start_worker(store, lease=lease, log=log) for _ in range(workers)]
        try:
            while any(process.poll() is None for process in processes):
                _pause(processes)
                datoms += _size(reports)
                watch(Look(conn.db(), datoms, time.monotonic() - began, processes))
        finally:
            for process in processes:
                _end(process)
        seconds = time.monotonic() - began
        last = Look(conn.db(), datoms + _size(reports), seconds, processes)
        watch(last)
        standing = findings.standing(last.db)
        if standing["finished"] < standing.total():
            raise RunFailed(f"the jobs ended {dict(standing)}; the workers said:\n{said.read_text(errors='replace')}")
        return Run(store, workers, standing.total(), last.datoms, last.db.basis_t, seconds)


def _size(reports: factstore.TxReports) -> int:
    """Return how many datoms were committed since the last call, by whomever."""
    size = 0
    while report := reports.get(0.0):
        size += report.size
    return size


def _pause(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Wait until it is time for another look, or until a worker ends."""
    running = next((process for process in processes if process.poll() is None), None)
    if running is not None:
        try:
            running.wait(LOOK)
        except subprocess.TimeoutExpired:
            return


def _end(process: subprocess.Popen[bytes]) -> None:
    """Wait for a worker to end; one that still works is told to."""
    if process.poll() is None:
        process.terminate()
    process.wait()
