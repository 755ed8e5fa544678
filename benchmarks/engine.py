"""The storage engine beside a plain SQLite table and bare LMDB, in one run: `python -m benchmarks.engine [name …]`.

Every sample checks what it wrote. Peers that need a runtime of their own are measured by their own programs; README.md says how.
"""

from __future__ import annotations

import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import lmdb
import numpy as np

import factstore
from benchmarks.harness import Row, pair, save, show, timed
from benchmarks.people import ATTRIBUTES, COLUMNS, SCHEMA, people

P = people()
Run = Callable[[], int]
_folder = Path(tempfile.mkdtemp(prefix="engine-"))
_count = 0
_open: list[factstore.Connection] = []


def fresh(sync: str = "none", name: str | None = None, *, on_disk: bool = True) -> factstore.Connection:
    """Return a connection to a new store with the people's attributes; what earlier samples left open is closed first."""
    global _count
    _count += 1
    while _open:
        _open.pop().close()
    conn = factstore.connect(str(_folder / f"{name or _count}.facts") if on_disk else "memory:", sync=sync)  # type: ignore[arg-type]
    _open.append(conn)
    conn.transact(SCHEMA)
    return conn


# -- SQLite: a table, an index on every column; in memory, or on disk with a write-ahead log and no sync


def sqlite(*, on_disk: bool = False) -> sqlite3.Connection:
    global _count
    _count += 1
    c = sqlite3.connect(
        _folder / f"{_count}.sqlite" if on_disk else ":memory:", isolation_level=None, cached_statements=512
    )
    if on_disk:
        c.execute("PRAGMA journal_mode=WAL")
        c.execute("PRAGMA synchronous=OFF")
    c.execute("CREATE TABLE people(id INTEGER PRIMARY KEY,name TEXT,last TEXT,sex TEXT,age INT,salary INT)")
    for column in COLUMNS:
        c.execute(f"CREATE INDEX p_{column} ON people({column})")
    return c


def sqlite_add_1(*, on_disk: bool = False) -> Run:
    c = sqlite(on_disk=on_disk)

    def run() -> int:
        for i, p in enumerate(P):
            c.execute("INSERT INTO people(id,name) VALUES(?,?)", (i, p[0]))
            for k in range(1, 5):
                c.execute(f"UPDATE people SET {COLUMNS[k]}=? WHERE id=?", (p[k], i))
        return len(P) * 5

    return run


def sqlite_add_5(*, on_disk: bool = False) -> Run:
    c = sqlite(on_disk=on_disk)

    def run() -> int:
        for i, p in enumerate(P):
            c.execute("INSERT INTO people VALUES(?,?,?,?,?,?)", (i, *p))
        return len(P)

    return run


def sqlite_add_all() -> Run:
    c = sqlite()

    def run() -> int:
        c.execute("BEGIN")
        c.executemany("INSERT INTO people VALUES(?,?,?,?,?,?)", [(i, *p) for i, p in enumerate(P)])
        c.execute("COMMIT")
        return 1

    return run


# -- ours


def add_1(*, on_disk: bool = False) -> Run:
    conn = fresh(on_disk=on_disk)
    entities = [conn.transact([{":db/id": "p", ":name": p[0]}]).tempids["p"] for p in P]
    forms = [(e, ATTRIBUTES[k], p[k]) for e, p in zip(entities, P, strict=True) for k in range(1, 5)]

    def run() -> int:
        for e, a, v in forms:
            conn.transact([[":db/add", e, a, v]])
        assert conn.db().basis_t == 1 + len(P) * 5
        return len(forms)

    return run


def add_5(*, on_disk: bool = False) -> Run:
    conn = fresh(on_disk=on_disk)
    maps = [dict(zip(ATTRIBUTES, p, strict=True)) for p in P]

    def run() -> int:
        for one in maps:
            conn.transact([one])
        return len(maps)

    return run


def add_all() -> Run:
    conn = fresh()
    maps = [dict(zip(ATTRIBUTES, p, strict=True)) for p in P]

    def run() -> int:
        assert conn.transact(maps).size == 1 + 5 * len(maps)
        return 1

    return run


def retract(*, on_disk: bool = False) -> Run:
    conn = fresh(on_disk=on_disk)
    tempids = conn.transact(
        [{":db/id": str(i), **dict(zip(ATTRIBUTES, p, strict=True))} for i, p in enumerate(P)]
    ).tempids
    entities = [tempids[str(i)] for i in range(len(P))]

    def run() -> int:
        for e in entities:
            conn.transact([[":db/retractEntity", e]])
        return len(entities)

    return run


def bulk() -> Run:
    conn = fresh()
    table = {name: [p[i] for p in P] for i, name in enumerate(COLUMNS)}
    mapping = dict(zip(COLUMNS, ATTRIBUTES, strict=True))

    def run() -> int:
        assert conn.load(table, mapping, progress=False).datoms == 5 * len(P) + 1
        assert factstore.q('[:find (count ?e) . :where [?e :name "Ivan"]]', conn.db()) == sum(p[0] == "Ivan" for p in P)
        return 1

    return run


# -- durable


def bare_lmdb(sync: bool, n: int) -> Callable[[], Run]:
    def factory() -> Run:
        global _count
        _count += 1
        env = lmdb.open(
            str(_folder / f"bare-{_count}"), subdir=False, map_size=1 << 30, lib_version=0, sync=sync, metasync=sync
        )
        body = b"x" * 60

        def run() -> int:
            for i in range(n):
                with env.begin(write=True) as txn:
                    txn.put(i.to_bytes(8, "big"), body, append=True)
            return n

        return run

    return factory


def durable_one_by_one() -> Run:
    conn = fresh("full")
    e = conn.transact([{":db/id": "p", ":name": "Ivan"}]).tempids["p"]

    def run() -> int:
        for i in range(1000):
            conn.transact([[":db/add", e, ":age", i]])
        return 1000

    return run


def durable_futures() -> Run:
    conn = fresh("full")
    e = conn.transact([{":db/id": "p", ":name": "Ivan"}]).tempids["p"]

    def run() -> int:
        futures = [conn.transact_async([[":db/add", e, ":age", i]]) for i in range(50_000)]
        futures[-1].result()
        assert all(future.done() for future in futures)
        return len(futures)

    return run


def durable_threads() -> Run:
    conn = fresh("full")
    e = conn.transact([{":db/id": "p", ":name": "Ivan"}]).tempids["p"]

    def run() -> int:
        with ThreadPoolExecutor(64) as pool:
            list(pool.map(lambda i: conn.transact([[":db/add", e, ":age", i]]), range(10_000)))
        return 10_000

    return run


# -- large


NUMERIC = [
    {":db/ident": f":n/{name}", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}
    for name in "abcde"
]
TEXT = [{":db/ident": ":s/text", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}]


def load_million(kind: str) -> Callable[[], Run]:
    def factory() -> Run:
        conn = fresh("full")
        conn.transact([*NUMERIC, *TEXT])
        if kind == "numeric":
            table = {name: np.random.default_rng(i).integers(0, 1 << 20, 200_000) for i, name in enumerate("abcde")}
            mapping = {name: f":n/{name}" for name in "abcde"}
        else:
            table = {"text": [f"text {i * 7919 % 1_000_003}" for i in range(1_000_000)]}
            mapping = {"text": ":s/text"}

        def run() -> int:
            report = conn.load(table, mapping, batch_rows=200_000, progress=False)
            conn._committer.index()
            return report.datoms

        return run

    return factory


def ten_million() -> list[Row]:
    conn = fresh("none", "ten-million")
    conn.transact(NUMERIC)
    rng = np.random.default_rng(1)
    for _ in range(10):
        table = {name: rng.integers(0, 1 << 20, 200_000) for name in "abcde"}
        conn.load(table, {name: f":n/{name}" for name in "abcde"}, batch_rows=200_000, progress=False)
    conn._committer.index()
    conn.close()
    path = _folder / "ten-million.facts"
    found = []

    def opened() -> int:
        found.append(factstore.connect(str(path), create=False))
        return 1

    rows = [Row("open 10 million datoms", timed(opened) * 1e3, None, "", "ms", "< 300")]
    db = found[0].db()
    first, a = (2 << 42) + 200, db.attribute(":n/a").id
    entities = rng.integers(first, first + 1_900_000, 2000).tolist()
    cold = timed(lambda: sum(1 for e in entities[:200] if db.view.values_of(e, a)))
    warm = timed(lambda: [db.view.values_of(e, a) for e in entities[:200] * 5] and 1000)  # type: ignore[arg-type,return-value]
    rows.append(Row("one attribute of a random entity, cold", cold * 1e6, None, "", "µs", "< 40"))
    rows.append(Row("the same, warm", warm * 1e6, None, "", "µs", "< 8"))
    size = found[0]._storage.usage()["bytes"]
    rows.append(Row("bytes per numeric datom, log and all orders", size / 10e6, None, "", "bytes", "<= 40"))
    for row in rows:
        show(row)
    found[0].close()
    return rows


def alternating() -> list[Row]:
    conn = fresh()
    conn.transact(NUMERIC)
    conn.load({"a": np.arange(1_000_000)}, {"a": ":n/a"}, batch_rows=1_000_000, progress=False)
    conn._committer.index()
    e = conn.transact([{":db/id": "p", ":n/a": 0}]).tempids["p"]
    query = "[:find (count ?e) . :in $ ?v :where [?e :n/a ?v]]"

    def block(start: int) -> Run:
        def run() -> int:
            for i in range(start, start + 1000):
                conn.transact([[":db/add", e, ":n/a", 2_000_000 + i]])
                assert factstore.q(query, conn.db(), 2_000_000 + i) == 1
            return 1000

        return run

    times = [timed(block(i * 1000)) * 1e6 for i in range(10)]
    row = Row("transact, then query, the last thousand", times[-1], times[0], "the first", "µs", "ratio <= 1.5", times)
    show(row)
    return [row]


@contextmanager
def cleaned() -> Iterator[None]:
    try:
        yield
    finally:
        shutil.rmtree(_folder)


def main() -> None:
    wanted = sys.argv[1:]
    plain = "SQLite"
    jobs: dict[str, Callable[[], list[Row]]] = {
        "add-1": lambda: [
            pair(
                "add-1 in memory: one datom a transaction", add_1, sqlite_add_1, baseline_name=plain, aim="ratio <= 1.8"
            ),
            pair(
                "add-1 on disk",
                partial(add_1, on_disk=True),
                partial(sqlite_add_1, on_disk=True),
                baseline_name="SQLite WAL",
            ),
        ],
        "add-5": lambda: [
            pair("add-5 in memory: one entity a transaction", add_5, sqlite_add_5, baseline_name=plain, aim="<= 30"),
            pair(
                "add-5 on disk",
                partial(add_5, on_disk=True),
                partial(sqlite_add_5, on_disk=True),
                baseline_name="SQLite WAL",
                aim="<= 30",
            ),
        ],
        "add-all": lambda: [
            pair(
                "add-all: 100,000 datoms in one",
                add_all,
                sqlite_add_all,
                baseline_name=plain,
                scale=1e3,
                unit="ms",
                aim="<= 400",
            )
        ],
        "retract": lambda: [
            pair("retract in memory: 20,000 entities of 5, one by one", retract, aim="<= 30"),
            pair("retract on disk", partial(retract, on_disk=True)),
        ],
        "bulk": lambda: [
            pair(
                "bulk: 100,000 datoms to a first answer",
                bulk,
                sqlite_add_all,
                baseline_name=plain,
                scale=1e3,
                unit="ms",
                aim="<= 50",
            )
        ],
        "durable": lambda: [
            pair(
                "durable, one thread",
                durable_one_by_one,
                bare_lmdb(True, 1000),
                baseline_name="LMDB",
                aim="ratio <= 1.18",
            ),
            pair("durable, futures", durable_futures, aim="<= 25"),
            pair("durable, 64 threads", durable_threads, aim="<= 25"),
        ],
        "million": lambda: [
            pair("load 1 million numbers, durable, indexed", load_million("numeric"), aim="<= 1"),
            pair("load 1 million strings, durable, indexed", load_million("strings"), aim="<= 2.5"),
        ],
        "ten-million": ten_million,
        "alternating": alternating,
    }
    with cleaned():
        rows = [row for name, job in jobs.items() if not wanted or name in wanted for row in job()]
    if not wanted:
        save("engine", rows)


if __name__ == "__main__":
    main()
