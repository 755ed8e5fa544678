"""What a job costs in a small store and in one four times as large: `python -m benchmarks.jobgrowth [part …]`; the ratio should be near 1.

A ratio near 4 is quadratic work. All in this process, without a disk: what is measured is the job layer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

import factstore
import overseer
from benchmarks.harness import pair
from overseer import Config, JobStore, Worker, job_txn
from overseer.jobs.leases import standing
from overseer.testing import drain

SMALL: Final = 500
TIMES: Final = 4  # the large store's size, in those of the small one
FACT: Final = {":db/ident": ":made/by", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}

Run = Callable[[], int]


def store(*forms: object) -> factstore.Connection:
    """Return a store with jobs."""
    conn = factstore.connect("memory:")
    overseer.install(conn)
    conn.transact([FACT])
    conn.transact(list(forms))
    return conn


def worked(conn: factstore.Connection, count: int, **config: object) -> int:
    """Let a worker do all jobs, and return how many that is."""
    handlers = {"part": lambda job: [{":made/by": job.id}], "join": lambda job: None}
    Worker(conn, handlers, Config(**config)).run(until_idle=True)  # type: ignore[arg-type]
    return count


def fan_in(count: int) -> Run:
    """Return the run of parents that bring facts, and of one child of them all."""
    parents = [job_txn("part", id=f"p{n}") for n in range(count)]
    conn = store(*parents, job_txn("join", {":job/dep": [parent[":job/id"] for parent in parents]}))
    return lambda: worked(conn, count, batch=64)


def limited(count: int) -> Run:
    """Return the run of the jobs of a queue that has a limit."""
    conn = store(overseer.queue("q", limit=8), *(job_txn("part", queue="q") for _ in range(count)))
    return lambda: worked(conn, count)


def drained(count: int) -> Run:
    """Return the run of jobs in a test."""
    conn = store(*(job_txn("part") for _ in range(count)))
    return lambda: drain(conn, {"part": lambda job: None})


def rescued(count: int) -> Run:
    """Return the rescue of jobs that a dead worker had claimed."""
    conn = store(*(job_txn("part") for _ in range(count)))
    jobs = [datom.e for datom in conn.db().datoms("aevt", ":job/id")]
    JobStore(conn, worker="dies").claim(jobs, lease=timedelta(seconds=30))
    return lambda: len(JobStore(conn, worker="lives").rescue(standing(conn.db()), max_crashes=3) or ())


def planned(count: int) -> Run:
    """Return the plan of chains of jobs."""
    jobs = [job_txn("part", {":job/dep": f"c{n - 1}"} if n % 10 else {}, id=f"c{n}") for n in range(count)]
    conn = store(*jobs)
    return lambda: len(overseer.plan(conn.db(), now=datetime.now(UTC), workers=8).steps)


PARTS: Final[dict[str, Callable[[int], Run]]] = {
    "fan-in": fan_in,
    "limited": limited,
    "drain": drained,
    "rescue": rescued,
    "plan": planned,
}


def main(parts: list[str]) -> None:
    """Measure the parts, all of them by default."""
    for name in parts or PARTS:
        part = PARTS[name]
        pair(
            f"{name}, per job of {SMALL * TIMES:,}",
            lambda part=part: part(SMALL * TIMES),  # type: ignore[misc]
            lambda part=part: part(SMALL),  # type: ignore[misc]
            baseline_name=f"of {SMALL:,}",
            aim="ratio <= 1.5",
        )


if __name__ == "__main__":
    main(sys.argv[1:])
