"""Reading a store on a PostgreSQL server, beside the same store in a file: `python -m benchmarks.servers [MILLIONS]`.

    open            connect, and read one entity: in a new process, without and with the blocks on this host's disk
    db()            the newest database: after notices, and by asking the server
    visible         from the begin of a commit until a reader that waits in another process has its database
    one entity      the attributes of a random entity, with a memory of a few blocks, so that most come from the disk
    sums            over all rows of each attribute, with the same memory

MILLIONS of datoms (1 by default) are loaded into a file and copied to the server. docs/explanation/scale.md has figures.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

import factstore
from benchmarks.harness import Row, save, show
from factstore import maintain
from factstore.storage import open_storage
from tests.postgres import Server, running

COLUMNS = ("a", "b", "c", "d", "e")
COMMITS = 200
LOOKUPS = 300
ROUNDS = 5
FEW = 4 << 20  # bytes of memory for blocks


def declare(conn: factstore.Connection) -> None:
    one = ":db.cardinality/one"
    conn.transact(
        [{":db/ident": f":n/{name}", ":db/valueType": ":db.type/long", ":db/cardinality": one} for name in COLUMNS]
    )
    conn.transact(
        [{":db/ident": ":at", ":db/valueType": ":db.type/double", ":db/cardinality": one}, {":db/ident": ":clock"}]
    )


def fill(path: Path, datoms: int) -> None:
    """Make a store in a file, with all facts in its index."""
    count = datoms // len(COLUMNS)
    numbers = np.random.default_rng(7)
    table = {name: numbers.integers(0, 1 << 30, count) for name in COLUMNS}
    with factstore.connect(str(path)) as conn:
        declare(conn)
        conn.load(table, {name: f":n/{name}" for name in COLUMNS}, batch_rows=200_000, progress=False)
        conn._committer.index()


def in_new_process(code: str, *arguments: str, cache: Path) -> Any:
    """Run code in a new interpreter, and return what it prints as JSON."""
    environment = {**os.environ, "FACTSTORE_CACHE": str(cache)}
    run = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)


OPEN = """
import json, sys, time, factstore, psycopg
with factstore.connect("memory:") as conn:
    factstore.pull(conn.db(), "[*]", 0)  # imports what is imported when it is first used
began = time.perf_counter()
conn = factstore.connect(sys.argv[1])
db = conn.db()
factstore.pull(db, "[*]", int(sys.argv[2]))
print(json.dumps(time.perf_counter() - began))
"""
WATCH = """
import json, sys, time, factstore
conn = factstore.connect(sys.argv[1])
t, seen = conn.db().basis_t, []
print("ready", file=sys.stderr, flush=True)
while True:
    db = conn.wait(t)
    now = time.clock_gettime(time.CLOCK_MONOTONIC)
    t, at = db.basis_t, factstore.q("[:find ?v . :where [:clock :at ?v]]", db)
    if at < 0:
        break
    seen.append(now - at)
print(json.dumps(seen))
"""


def seconds_to_open(uri: str, entity: int, folder: Path) -> tuple[float, float]:
    """Return the seconds without and with the blocks on this host's disk: the median of some processes."""
    cold, warm = [], []
    for n in range(ROUNDS):
        cache = folder / f"cache-{n}"
        cold.append(in_new_process(OPEN, uri, str(entity), cache=cache))
        warm.append(in_new_process(OPEN, uri, str(entity), cache=cache))
    return statistics.median(cold), statistics.median(warm)


def seconds_until_seen(conn: factstore.Connection, uri: str) -> list[float]:
    watcher = subprocess.Popen(
        [sys.executable, "-c", WATCH, uri], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert watcher.stderr is not None
    watcher.stderr.readline()
    for _ in range(COMMITS):
        conn.transact([{":db/id": ":clock", ":at": time.clock_gettime(time.CLOCK_MONOTONIC)}])
        time.sleep(0.005)
    conn.transact([{":db/id": ":clock", ":at": -1.0}])
    out, _ = watcher.communicate(timeout=60)
    return sorted(json.loads(out))


def per_call(work: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - began) / count


def taking_turns(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Return the seconds of each work, the least of some rounds in which they take turns."""
    least = dict.fromkeys(works, float("inf"))
    for _ in range(ROUNDS):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            least[name] = min(least[name], time.perf_counter() - began)
    return least


def lookups(uri: str, entities: list[int]) -> Callable[[], object]:
    conn = factstore.connect(uri, cache_bytes=FEW)

    def work() -> None:
        db = conn.db()
        for e in entities:
            factstore.pull(db, "[:n/a :n/b]", e)

    work()
    return work


def sums_of(uri: str) -> Callable[[], object]:
    conn = factstore.connect(uri, cache_bytes=FEW)

    def work() -> None:
        for name in COLUMNS:
            factstore.q("[:find (sum ?v) . :in $ ?a :with ?e :where [?e ?a ?v]]", conn.db(), f":n/{name}")

    work()
    return work


def prepare(server: Server, folder: Path, datoms: int) -> tuple[str, str]:
    """Make a store in a file and its copy on a server; return their uris."""
    file, uri = folder / "shop.facts", server.uri("shop", durability="local")
    fill(file, datoms)
    with closing(open_storage(str(file))) as source, closing(open_storage(uri)) as target:
        maintain.copy(source, target)
    return str(file), uri


def measure(file: str, uri: str, folder: Path, datoms: int) -> list[Row]:
    with factstore.connect(uri) as conn:
        below = (1 << 30) * 2_000 // datoms
        entities = factstore.q("[:find [?e ...] :in $ ?low :where [?e :n/a ?v] [(< ?v ?low)]]", conn.db(), below)
        some = random.Random(7).sample(sorted(entities), min(LOOKUPS, len(entities)))
        cold, warm = seconds_to_open(uri, some[0], folder)
        of_file, _ = seconds_to_open(file, some[0], folder)
        for _ in range(COMMITS):
            conn.db()
        by_notice, by_asking = per_call(conn.db, 10_000), per_call(conn.sync, 1_000)
        seen = seconds_until_seen(conn, uri)
    reads = taking_turns({"file": lookups(file, some), "server": lookups(uri, some)})
    sums = taking_turns({"file": sums_of(file), "server": sums_of(uri)})
    ms, us = 1e3, 1e6
    p50, p99 = statistics.median(seen), seen[int(len(seen) * 0.99)]
    return [
        Row(
            f"open a store of {datoms:,} datoms, no block on this host",
            cold * ms,
            of_file * ms,
            "file",
            "ms",
            "< 1,000 ms",
        ),
        Row("open it with the blocks on this host's disk", warm * ms, of_file * ms, "file", "ms", "< 200 ms"),
        Row("the newest database", by_notice * us, by_asking * us, "asking the server", "µs"),
        Row("until a waiting process has a commit, p50", p50 * ms, None, "", "ms", "< 10 ms"),
        Row("until a waiting process has a commit, p99", p99 * ms, None, "", "ms"),
        Row(f"{len(some)} random entities", reads["server"] * ms, reads["file"] * ms, "file", "ms", "< 1.1 of file"),
        Row("sums of five attributes", sums["server"] * ms, sums["file"] * ms, "file", "ms", "< 1.1 of file"),
    ]


def main() -> None:
    datoms = int(float(sys.argv[1] if len(sys.argv) > 1 else "1") * 1_000_000)
    folder = Path(tempfile.mkdtemp(prefix="factstore-servers-"))
    os.environ["FACTSTORE_CACHE"] = str(folder / "cache")
    try:
        with running("synchronous_commit=on", "shared_buffers=512MB") as server:
            rows = measure(*prepare(server, folder, datoms), folder, datoms)
    finally:
        shutil.rmtree(folder)
    for row in rows:
        show(row)
    save("servers", rows)


if __name__ == "__main__":
    main()
