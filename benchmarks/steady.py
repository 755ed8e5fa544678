"""What must not depend on how a query is written or how many were asked: `python -m benchmarks.steady order|join|queries`.

Each call is a process of its own, whose memory is measured, and prints lines of JSON.
"""

from __future__ import annotations

import gc
import json
import os
import re
import resource
import sys
import tempfile
from itertools import permutations
from pathlib import Path

import numpy as np

import factstore
from benchmarks.asked import PEOPLE, POINTS, SAMPLES, TRIANGLES, Ask, crowd, lasting, town
from benchmarks.graphs import network

Ints = np.ndarray[tuple[int], np.dtype[np.int64]]
MIB = 1 << 20
ROWS = 4_000_000
JOINS = {
    "by entity": "[:find (count ?e) (sum ?b) :where [?e :n/a ?a] [?e :n/b ?b] [(< ?a ?b)]]",
    "by value": "[:find (count ?e) (sum ?v) :where [?e :n/a ?v] [?f :n/b ?v]]",
}


def tell(metric: str, value: float) -> None:
    print(json.dumps({"metric": metric, "value": value}), flush=True)


def clauses(query: str) -> tuple[str, list[str]]:
    """Return what stands before the clauses of a query, and these."""
    head, where = query.removesuffix("]").split(":where ")
    return f"{head}:where ", re.findall(r"\[\(.*?\)\]|\[.*?\]", where)


def order() -> None:
    """Tell for queries how many times as long their slowest order of clauses takes as the fastest."""
    conn, _ = town(20_000)
    triangle, _, _ = crowd(network(5_000, 20_000))
    asked = {
        **{name: (PEOPLE[name], conn.db()) for name in ("q3", "q4", "q5", "qpred1")},
        "triangles": (TRIANGLES, triangle.db()),
    }
    for name, (query, db) in asked.items():
        head, parts = clauses(query)
        texts = [f"{head}{' '.join(each)}]" for each in permutations(parts)]
        asks: list[Ask] = [lambda text=text, db=db: factstore.q(text, db) for text in texts]  # type: ignore[misc]
        answers = [ask() for ask in asks]
        assert all(answer == answers[0] for answer in answers), name
        del answers
        # By turns, so that a busy moment of the machine is no order's own.
        rounds = [[lasting(ask).cpu for ask in asks] for _ in range(SAMPLES)]
        best = [min(samples) for samples in zip(*rounds, strict=True)]
        tell(f"{name}, {len(asks)} orders", max(best) / min(best))


def peak() -> float:
    """Return the most memory this process ever had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MIB


def resident() -> float:
    """Return the memory this process has, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / MIB


def join() -> None:
    """Tell the peak memory of processes that open a store and join two attributes of 4 million rows."""
    folder = tempfile.TemporaryDirectory(prefix="join-")
    path = f"{folder.name}/join.facts"
    with folder:
        steps: list[Ask] = [lambda: load(path), *(lambda name=name: ask(path, name) for name in JOINS)]  # type: ignore[misc]
        assert all(forked(step) for step in steps)


def forked(run: Ask) -> bool:
    """Run in a child process, so that each has a peak of its own; tell whether it ended well."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1] == 0
    code = 1
    try:
        run()
        code = 0
    finally:
        os._exit(code)


def drawn() -> list[dict[str, Ints]]:
    """Return the rows, in batches of columns."""
    rng = np.random.default_rng(1)
    return [{name: rng.integers(0, 1 << 22, ROWS // 8) for name in "ab"} for _ in range(8)]


def load(path: str) -> None:
    with factstore.connect(path, sync="none") as conn:
        kind = {":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}
        conn.transact([{":db/ident": f":n/{name}", **kind} for name in "ab"])
        for table in drawn():
            conn.load(table, {name: f":n/{name}" for name in "ab"}, batch_rows=ROWS, progress=False)
        conn._committer.index()


def ask(path: str, name: str) -> None:
    with factstore.connect(path, create=False) as conn:
        [(count, total)] = factstore.q(JOINS[name], conn.db())
    tell(f"join of two 4-million-row attributes {name}", peak())
    a, b = (np.concatenate([table[column] for table in drawn()]) for column in "ab")
    right = b[a < b] if name == "by entity" else a[np.isin(a, b)]
    assert (count, total) == (len(right), right.sum()), name


def queries(count: int = 100_000) -> None:
    """Tell by how much this process grows while it asks so many queries, every tenth of a text never seen before."""
    conn, _ = town(2_000, unique=True)
    texts = list(POINTS.values())

    def asked(start: int, end: int) -> None:
        for i in range(start, end):
            text = texts[i % 3] if i % 10 else texts[1].replace("?n", f"?n{i}")
            factstore.q(text, conn.db(), 1 + i % 2_000)

    asked(0, count // 10)
    gc.collect()
    before = resident()
    asked(count // 10, count + count // 10)
    gc.collect()
    tell(f"growth over {count:,} queries", resident() - before)


if __name__ == "__main__":
    {"order": order, "join": join, "queries": queries}[sys.argv[1]]()
