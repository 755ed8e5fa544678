"""How long one durable commit takes in the ways that a log could be written: `python -m benchmarks.syncs [FOLDER]`.

    LMDB            two syncs: of the pages, and of the header that makes them current
    file            one sync: a record at the end of a file that was allocated before, and fdatasync
    file, O_DSYNC   the same in one system call
    SQLite          WAL with synchronous=full, one row
    the store       a transaction that changes one value of an entity, from forms to report: a file with `fdatasync`

The ways take turns, so a busy disk slows all of them. docs/decisions/012-a-log-file-with-one-sync.md uses the figures.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import lmdb

import factstore
from benchmarks.harness import Row, save

RECORD = b"x" * 300  # bytes: a transaction with an instant and two datoms takes about as many
ALLOCATED = 64 << 20
ROUNDS, COMMITS = 20, 25

Commit = Callable[[int], object]


@contextmanager
def in_lmdb(folder: Path) -> Iterator[Commit]:
    """Commit a record as a key of LMDB."""
    with closing(lmdb.open(str(folder / "lmdb"), map_size=1 << 28)) as env:

        def commit(n: int) -> None:
            with env.begin(write=True) as txn:
                txn.put(n.to_bytes(8, "big"), RECORD, append=True)

        yield commit


@contextmanager
def in_file(folder: Path, *, flags: int = 0) -> Iterator[Commit]:
    """Commit a record at the end of a file whose blocks are allocated and written already."""
    path = folder / f"log-{flags}"
    path.write_bytes(bytes(ALLOCATED))
    file = os.open(path, os.O_RDWR | flags)
    try:
        os.fsync(file)

        def commit(n: int) -> None:
            os.pwrite(file, RECORD, n * len(RECORD))
            if not flags:
                os.fdatasync(file)

        yield commit
    finally:
        os.close(file)


@contextmanager
def in_sqlite(folder: Path) -> Iterator[Commit]:
    """Commit a row of SQLite."""
    with closing(sqlite3.connect(folder / "sqlite.db", isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = wal")
        db.execute("PRAGMA synchronous = full")
        db.execute("CREATE TABLE log (t INTEGER PRIMARY KEY, body BLOB)")
        yield lambda n: db.execute("INSERT INTO log VALUES (?, ?)", (n, RECORD))


@contextmanager
def in_store(folder: Path) -> Iterator[Commit]:
    """Commit a transaction of one value."""
    with factstore.connect(str(folder / "facts")) as conn:
        conn.transact([{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}])
        e = conn.transact([{":db/id": "e", ":n": -1}]).tempids["e"]
        yield lambda n: conn.transact([[":db/add", e, ":n", n]])


def measured(folder: Path) -> dict[str, dict[str, float]]:
    """Return least and median of the rounds of each way, in microseconds a commit."""
    with ExitStack() as stack:
        ways: dict[str, Commit] = {
            "LMDB": stack.enter_context(in_lmdb(folder)),
            "file": stack.enter_context(in_file(folder)),
            "file, O_DSYNC": stack.enter_context(in_file(folder, flags=os.O_DSYNC)),
            "SQLite": stack.enter_context(in_sqlite(folder)),
            "the store": stack.enter_context(in_store(folder)),
        }
        samples: dict[str, list[float]] = {name: [] for name in ways}
        for round_ in range(ROUNDS):
            for name, commit in ways.items():
                start = time.perf_counter()
                for n in range(round_ * COMMITS, (round_ + 1) * COMMITS):
                    commit(n)
                samples[name].append((time.perf_counter() - start) / COMMITS * 1e6)
    return {name: {"least": min(times), "median": statistics.median(times)} for name, times in samples.items()}


def main(arguments: list[str]) -> int:
    """Measure in a folder, the current one by default, and write the results."""
    with tempfile.TemporaryDirectory(dir=arguments[0] if arguments else ".") as folder:
        figures = measured(Path(folder))
    sqlite = figures["SQLite"]["median"]
    print(f"{'':<16}{'least µs':>10}{'median µs':>11}{'to SQLite':>11}")
    for name, figure in figures.items():
        print(f"{name:<16}{figure['least']:>10.0f}{figure['median']:>11.0f}{figure['median'] / sqlite:>11.2f}")
    save("syncs", [Row(name, figure["median"], sqlite, "SQLite", "µs") for name, figure in figures.items()])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
