"""How many schedules `overseer.testing.simulate` runs: `python -m benchmarks.simulated`.

The graphs are small, and their handlers do next to nothing, so the time is that of the simulation. Seconds are those of the processor,
or of the clock where all cores are used; the cases take turns.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import factstore
import overseer
from benchmarks.harness import Row, save, show
from overseer import Retry, graph_txns, job_txn
from overseer.testing import simulate

ROUNDS, SCHEDULES = 5, 300
ANN: Final = [":account/id", "ann"]
SCHEMA: Final = """
  [{:db/ident :account/id      :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
   {:db/ident :account/balance :db/valueType :db.type/long   :db/cardinality :db.cardinality/one}]"""
FINISHED: Final = "[:find (count ?j) . :where [?j :job/status :job.status/finished]]"
DIAMOND: Final[Mapping[str, list[str]]] = {"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}


def store(*jobs: Any) -> factstore.Connection:
    """Return a store with an account that holds 10, and jobs."""
    conn = factstore.connect("memory:")
    overseer.install(conn)
    conn.transact(SCHEMA)
    conn.transact([{":account/id": "ann", ":account/balance": 10}, *jobs])
    return conn


def balance(db: factstore.Database) -> int:
    """Return the balance of the account."""
    found: int = factstore.pull(db, "[:account/balance]", ANN)[":account/balance"]
    return found


def draw(job: overseer.Job) -> list[Any]:
    """Take 1 from the account."""
    left = balance(job.db)
    return [[":db/cas", ANN, ":account/balance", left, left - 1]]


def each_job_drew(db: factstore.Database) -> bool:
    """Return whether each finished job has taken 1."""
    return balance(db) + (factstore.q(FINISHED, db) or 0) == 10


def nothing(job: overseer.Job) -> None:
    """Do nothing."""


DRAWING: Final = {":draw": {"process": draw, "retry": Retry(max_attempts=10)}}
CASES: Final[Mapping[str, Callable[[int, int], Any]]] = {
    "one job": lambda count, processes: simulate(
        store(job_txn(":a")), {":a": nothing}, schedules=count, processes=processes
    ),
    "two jobs that take from one account, an invariant": lambda count, processes: simulate(
        store(job_txn(":draw"), job_txn(":draw")),
        DRAWING,
        invariants=[each_job_drew],
        schedules=count,
        processes=processes,
    ),
    "a diamond of four jobs": lambda count, processes: simulate(
        store(*graph_txns(DIAMOND)), dict.fromkeys(DIAMOND, nothing), schedules=count, processes=processes
    ),
}


def rate(case: Callable[[int, int], Any], processes: int) -> float:
    """Return the schedules per second of one round: of the processor for one process, of the clock for several."""
    clock = time.process_time if processes == 1 else time.perf_counter
    start = clock()
    runs: int = case(SCHEDULES * processes, processes).runs
    return runs / (clock() - start)


def main() -> None:
    """Measure, and write the results."""
    cores = os.cpu_count() or 1
    samples: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        for name, case in CASES.items():
            for processes in {1, cores}:
                label = name if processes == 1 else f"{name}, {processes} processes"
                samples.setdefault(label, []).append(rate(case, processes))
    rows = [
        Row(name, statistics.median(rates), None, "", "schedules/s", ">= 2,000", [round(one) for one in rates])
        for name, rates in samples.items()
    ]
    for row in rows:
        show(row)
    save("simulated", rows)


if __name__ == "__main__":
    main()
