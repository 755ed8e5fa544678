"""How the cost of jobs grows with their number: `python -m benchmarks.jobgrowth [part …]` prints an exponent for each part.

Each part runs at two sizes. With the exponent x, n jobs cost as much as n^x: 1 is linear, 2 is quadratic. Measured is the
CPU time of this process, with the threads that index in the background, and without a disk.
"""

from __future__ import annotations

import gc
import math
import multiprocessing
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple
from uuid import uuid4

import factstore
import overseer
from benchmarks.harness import Row, save, show
from factstore import Keyword
from overseer import Config, JobStore, Worker, job_txn, status, unique
from overseer.jobs.leases import standing
from overseer.testing import drain
from overseer.worker.ready import ReadySet

FACT: Final = {":db/ident": ":made/by", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}
NOTHING: Final = {"part": lambda job: None, "join": lambda job: None}
SOME: Final = 1_000  # jobs that are run, or inserted, beside many others

# -- stores


def store(*forms: Any) -> factstore.Connection:
    """Return a store with jobs."""
    conn = factstore.connect("memory:")
    overseer.install(conn)
    conn.transact([FACT])
    insert(conn, forms)
    return conn


def insert(conn: factstore.Connection, forms: Iterable[Any]) -> None:
    """Insert jobs, and index them if they are many."""
    forms = list(forms)
    for start in range(0, len(forms), 5_000):
        conn.transact(forms[start : start + 5_000])
    if len(forms) > SOME:
        conn._committer.index()


def chains(count: int) -> list[Any]:
    """Return chains of ten jobs each."""
    ids = [f"{uuid4()}" for _ in range(count)]
    return [job_txn("part", {":job/dep": ids[n - 1]} if n % 10 else {}, id=ids[n]) for n in range(count)]


# -- measuring


def cpu(run: Callable[[], Any], count: int = 1) -> float:
    """Return the seconds of CPU time for one of `count` operations."""
    gc.collect()
    start = time.process_time()
    run()
    return (time.process_time() - start) / count


def worked(conn: factstore.Connection, count: int, handlers: Any = NOTHING, **config: Any) -> float:
    """Let a worker run jobs, and return the seconds for each, from the start of the first one."""
    marks: list[float] = []

    def marked(job: overseer.Job) -> Any:
        marks.append(time.process_time())
        if len(marks) > count:
            worker.stop()
        return handlers["part"](job)

    gc.collect()
    worker = Worker(conn, {**handlers, "part": marked}, Config(seed=1, **config))
    worker.run(until_idle=True)
    return (time.process_time() - marks[0]) / min(count, len(marks))


# -- parts: each returns seconds for one job


def fan_in(count: int) -> float:
    """Run jobs with facts, on all of which one other job depends."""
    parents = [job_txn("part", id=f"p{n}") for n in range(count)]
    conn = store(*parents)
    conn.transact([job_txn("join", {":job/dep": [[":job/id", parent[":job/id"]] for parent in parents]})])
    return worked(conn, count, {**NOTHING, "part": lambda job: [{":made/by": job.id}]})


def fan_in_inserted(count: int) -> float:
    """Insert such a graph in one transaction."""
    types = {f"p{n}": [] for n in range(count)}
    graph = overseer.job_graph({**types, "join": list(types)})
    conn = store()
    return cpu(lambda: overseer.transact_graph(conn, graph), count)


def limited(count: int) -> float:
    """Run some jobs of a limited queue in which many wait, ten of each partition."""
    jobs = (job_txn("part", queue="q", partition=f"{n // 10}", priority=n % 100) for n in range(count))
    conn = store(overseer.queue("q", limit=8, partition_limit=1), *jobs)
    return worked(conn, SOME, batch=1)


def rated(count: int) -> float:
    """Run the jobs of a queue with a rate that it does not reach."""
    return worked(store(overseer.queue("q", rate=10**6), *(job_txn("part", queue="q") for _ in range(count))), count)


def begun(count: int) -> float:
    """Start a worker: read all waiting jobs."""
    conn = store(overseer.queue("q", limit=8), *(job_txn("part", queue="q") for _ in range(count)))
    return min(cpu(lambda: ReadySet([Keyword(":part")]).load(conn.db()), count) for _ in range(3))


def drained(count: int) -> float:
    """Run jobs in a test."""
    conn = store(*(job_txn("part") for _ in range(count)))
    return cpu(lambda: drain(conn, NOTHING), count)


def by_worker(count: int) -> float:
    """Run jobs by a worker."""
    return worked(store(*(job_txn("part") for _ in range(count))), count)


def unique_keys(count: int) -> float:
    """Insert jobs with unique keys, each in a transaction of its own."""
    conn = store()
    return cpu(lambda: [conn.transact([unique(f"key {n}", job_txn("part"))]) for n in range(count)], count)


def unique_together(count: int) -> float:
    """Insert jobs with unique keys in one transaction."""
    conn = store()
    return cpu(lambda: conn.transact([unique(f"key {n}", job_txn("part")) for n in range(count)]), count)


def enqueued(count: int) -> float:
    """Insert some jobs, each in a transaction of its own, beside many that have finished."""
    finished = Keyword(":job.status/finished")
    conn = store(*({**job_txn("part"), ":job/status": finished} for _ in range(count)))
    return cpu(lambda: [conn.transact([job_txn("part")]) for _ in range(5 * SOME)], 5 * SOME)


def rescued(count: int) -> float:
    """Take jobs from a dead worker."""
    conn = store(*(job_txn("part") for _ in range(count)))
    jobs = [datom.e for datom in conn.db().datoms("aevt", ":job/id")]
    JobStore(conn, worker="dies").claim(jobs, lease=timedelta(seconds=30))
    return cpu(lambda: JobStore(conn, worker="lives").rescue(standing(conn.db()), max_crashes=3), count)


def planned(count: int) -> float:
    """Plan chains of jobs."""
    conn = store()
    for start in range(0, count, 5_000):
        insert(conn, chains(min(5_000, count - start)))
    return cpu(lambda: overseer.plan(conn.db(), now=datetime.now(UTC), workers=8), count)


def counted(count: int) -> float:
    """Return the backlog of chains of jobs."""
    conn = store()
    for start in range(0, count, 5_000):
        insert(conn, chains(min(5_000, count - start)))
    return cpu(lambda: status.backlog(conn.db()), count)


class Part(NamedTuple):
    """What is measured, and at which sizes."""

    name: str
    run: Callable[[int], float]
    small: int
    large: int


PARTS: Final = (
    Part("fan-in", fan_in, 1_000, 10_000),
    Part("fan-in inserted", fan_in_inserted, 1_000, 10_000),
    Part("limited", limited, 10_000, 100_000),
    Part("rated", rated, 1_000, 10_000),
    Part("begin", begun, 10_000, 100_000),
    Part("drain", drained, 10_000, 100_000),
    Part("work", by_worker, 10_000, 100_000),
    Part("unique", unique_keys, 1_000, 10_000),
    Part("unique together", unique_together, 1_000, 10_000),
    Part("enqueue", enqueued, 1_000, 100_000),
    Part("rescue", rescued, 1_000, 10_000),
    Part("plan", planned, 10_000, 100_000),
    Part("backlog", counted, 10_000, 100_000),
)


def least(name: str, size: int) -> float:
    """Return the seconds of a part at a size for each job, the better one of two runs."""
    run = next(part.run for part in PARTS if part.name == name)
    return min(run(size) for _ in range(2))


def measured(part: Part) -> Row:
    """Measure a part at both sizes, each in a process of its own: Python's collector visits what others keep."""
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned, max_tasks_per_child=1) as one_by_one:
        small, large = (one_by_one.submit(least, part.name, size).result() * 1e6 for size in (part.small, part.large))
    exponent = 1 + math.log(large / small) / math.log(part.large / part.small)
    note = f"{small:,.1f} µs each of {part.small:,}, {large:,.1f} µs of {part.large:,}"
    return Row(part.name, exponent, None, "", "exponent", "<= 1.15", note=note, part=part.name)


def main(names: list[str]) -> None:
    """Measure the parts, all of them by default."""
    rows = []
    for part in PARTS:
        if not names or part.name in names:
            rows.append(measured(part))
            show(rows[-1])
            print(f"    {rows[-1].note}", flush=True)
    save("jobgrowth", rows)


if __name__ == "__main__":
    main(sys.argv[1:])
