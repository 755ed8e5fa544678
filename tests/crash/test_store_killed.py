"""SIGKILL at any moment: what was acknowledged is there, nothing is there by half, and the store checks out."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import factstore
from factstore import maintain

# Does one kind of work for ever, telling each acknowledged transaction; a small index threshold makes it index all the time.
WORK = """
import sys
import factstore
from factstore import maintain
from factstore.commit import indexing
indexing.LEAST_ROWS = indexing.LEAST_ROWS_AT_CLOSE = 200
kind, path, backup = sys.argv[1:]
conn = factstore.connect(path, sync="none")
n = conn.db().basis_t * 1000
print("ready", flush=True)
while True:
    n += 1
    if kind == "load":
        report = conn.load([{"n": f"{n}-{i}", "v": i} for i in range(40)], {"n": ":k/name", "v": ":k/value"}, progress=False)
        t = report.basis_t
    else:
        t = conn.transact([{":k/name": f"{n}-{i}", ":k/value": i} for i in range(40)]).t
    print(t, flush=True)
    if kind == "index":
        conn._committer.index()
    if kind == "gc":
        conn._committer.index()
        maintain.collect(conn)
    if kind == "backup":
        from factstore.storage import open_storage
        target = open_storage(backup, sync="none")
        maintain.copy(conn._storage, target)
        target.close()
"""

SCHEMA = [
    {
        ":db/ident": ":k/name",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
        ":db/unique": ":db.unique/identity",
    },
    {":db/ident": ":k/value", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
]


def killed_after(lines: int, kind: str, path: Path) -> int:
    """Let a process work until it has said so many lines and a little more, kill it, and return the last t it acknowledged."""
    argv = [sys.executable, "-c", WORK, kind, str(path), f"{path}-copy"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        acknowledged = 0
        for _ in range(lines):
            said = process.stdout.readline().strip()
            acknowledged = int(said) if said.isdigit() else acknowledged
        process.send_signal(signal.SIGKILL)
        for said in process.stdout:
            acknowledged = int(said) if said.strip().isdigit() else acknowledged
        return acknowledged


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["transact", "load", "index", "gc", "backup"])
def test_a_killed_process_loses_nothing_it_acknowledged(kind, tmp_path):
    path = tmp_path / "killed.facts"
    with factstore.connect(str(path)) as conn:
        conn.transact(SCHEMA)
    rounds = int(os.environ.get("KILLS", "6"))
    chance = random.Random(kind)
    for _ in range(rounds):
        acknowledged = killed_after(chance.randint(1, 12), kind, path)
        with factstore.connect(str(path)) as conn:
            db = conn.db()
            assert db.basis_t >= acknowledged
            found = maintain.check(conn)
            assert found.ok, found.problems
            # Each transaction after the schema is of 40 entities with two facts, whole or not at all.
            assert 40 * (db.basis_t - 1) == factstore.q("[:find (count ?e) . :where [?e :k/name]]", db)
            assert 40 * (db.basis_t - 1) == factstore.q("[:find (count ?e) . :where [?e :k/value]]", db)
    if kind == "backup":
        with factstore.connect(f"{path}-copy", create=False) as copy:
            found = maintain.check(copy)
            assert found.ok, found.problems


def test_two_processes_that_index_at_once_leave_one_good_index(tmp_path):
    path = tmp_path / "both.facts"
    with factstore.connect(str(path)) as conn:
        conn.transact(SCHEMA)
    argv = [sys.executable, "-c", WORK, "index", str(path), "none"]
    processes = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    acknowledged = []
    for process in processes:
        assert process.stdout is not None
        acknowledged += [line.strip() for line, _ in zip(process.stdout, range(30), strict=False)]
    for process in processes:
        process.kill()
        process.communicate()
    with factstore.connect(str(path)) as conn:
        assert conn.db().view.index.version > 1
        assert max(int(line) for line in acknowledged if line.isdigit()) <= conn.db().basis_t
        found = maintain.check(conn)
        assert found.ok, found.problems
