"""Ours beside other fact stores on the people data: `python -m benchmarks.peers PEERS.jsonl`.

The peers run in runtimes of their own (JVM, Node.js), each timed inside its own process by its own program, on the same data; that
program writes a line of JSON a metric: `{"peer": …, "metric": …, "min": seconds}`. Run it right before this, on the same machine.
Each row compares best samples, ours with the fastest of the others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import factstore
from benchmarks import engine
from benchmarks.harness import Row, save, show, timed
from benchmarks.people import ATTRIBUTES, people

Run = Callable[[], int]

QUERIES = {
    "q1": '[:find ?e :where [?e :name "Ivan"]]',
    "q2": '[:find ?e ?a :where [?e :name "Ivan"] [?e :age ?a]]',
    "q2s": '[:find ?e ?a :where [?e :age ?a] [?e :name "Ivan"]]',
    "q3": '[:find ?e ?a :where [?e :name "Ivan"] [?e :age ?a] [?e :sex "male"]]',
    "q4": '[:find ?e ?l ?a :where [?e :name "Ivan"] [?e :last ?l] [?e :age ?a] [?e :sex "male"]]',
    "q5": '[:find ?e1 ?l ?a :where [?e :name "Ivan"] [?e :age ?a] [?e1 :age ?a] [?e1 :last ?l]]',
    "qpred1": "[:find ?e ?s :where [?e :salary ?s] [(> ?s 50000)]]",
    "qpred2": "[:find ?e ?s :in $ ?least :where [?e :salary ?s] [(> ?s ?least)]]",
}
WRITES: dict[str, Callable[[], Run]] = {
    "init": engine.bulk,
    "add-1": partial(engine.add_1, on_disk=False),
    "add-5": engine.add_5,
    "add-all": engine.add_all,
    "retract-5": engine.retract,
}


def best(factory: Callable[[], Run], samples: int = 5) -> float:
    """Return the least seconds an operation took."""
    return min(timed(factory()) for _ in range(samples))


def reads() -> dict[str, Run]:
    """Return the reads, each a run of several operations on one database."""
    conn = factstore.connect("memory:")
    conn.transact(engine.SCHEMA)
    tempids = conn.transact(
        [{":db/id": str(i), **dict(zip(ATTRIBUTES, p, strict=True))} for i, p in enumerate(people())]
    ).tempids
    db = conn.db()
    entities = [tempids[str(i)] for i in range(1000)]
    pattern = list(ATTRIBUTES)

    def asked(query: str, *inputs: object) -> Run:
        def run() -> int:
            for _ in range(20):
                factstore.q(query, db, *inputs)
            return 20

        return run

    assert len(factstore.q(QUERIES["q1"], db)) == sum(p[0] == "Ivan" for p in people())
    found = {name: asked(query, *([50_000] if name == "qpred2" else [])) for name, query in QUERIES.items()}
    found["pull-one"] = lambda: sum(1 for e in entities if factstore.pull(db, pattern, e))
    found["pull-many-1000"] = lambda: len([factstore.pull_many(db, pattern, entities) for _ in range(10)])
    return found


def fastest(path: Path) -> dict[str, tuple[float, str]]:
    """Return for each metric the fastest peer's seconds and its name."""
    found: dict[str, tuple[float, str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        if "metric" not in told or told["metric"].startswith("_") or "cached" in told["peer"]:
            continue  # how a program ended, or a figure of no row
        seconds = told["min"] / told.get("ops", 1) if told["metric"] not in ("init", "add-all") else told["min"]
        found[told["metric"]] = min(found.get(told["metric"], (float("inf"), "")), (seconds, told["peer"]))
    return found


def main() -> None:
    peers = fastest(Path(sys.argv[1]))
    rows = []
    ours = {name: best(factory, 3) for name, factory in WRITES.items()}
    for name, run in reads().items():
        run()
        ours[name] = best(lambda run=run: run, 7)  # type: ignore[misc]
    for name, seconds in ours.items():
        if name in peers:
            theirs, peer = peers[name]
            scale, unit = (1e3, "ms") if theirs > 1e-4 else (1e6, "µs")
            rows.append(Row(name, seconds * scale, theirs * scale, peer, unit))
            show(rows[-1])
    save("peers", rows)


if __name__ == "__main__":
    main()
