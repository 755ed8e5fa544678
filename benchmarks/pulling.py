"""Reading entities: pulls and navigation, beside SQLite tables and, where it is at hand, Datalevin."""

from __future__ import annotations

import random
import shlex
import sqlite3
import subprocess
from collections.abc import Callable
from functools import cache

import factstore
from benchmarks.harness import Row, pair, show, timed
from benchmarks.people import ATTRIBUTES, SCHEMA, people

Run = Callable[[], int]
P = people()
PATTERN = list(ATTRIBUTES)
LINKS = """
[{:db/ident :next    :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
 {:db/ident :friends :db/valueType :db.type/ref :db/cardinality :db.cardinality/many}]
"""
NESTED = "[:name {:friends [:name :age {:friends [:name]}]}]"
ORDER = random.Random(1).sample(range(len(P)), len(P))
FRIENDS = 3


def friends_of(i: int) -> list[int]:
    return [(i * 7 + k * 13 + 1) % len(P) for k in range(FRIENDS)]


@cache
def world() -> tuple[factstore.Database, list[int]]:
    """Return a database of people who know each other, and their ids."""
    conn = factstore.connect("memory:")
    conn.transact(SCHEMA)
    conn.transact(LINKS)
    tempids = conn.transact(
        [{":db/id": str(i), **dict(zip(ATTRIBUTES, p, strict=True))} for i, p in enumerate(P)]
    ).tempids
    ids = [tempids[str(i)] for i in range(len(P))]
    conn.transact(
        [{":db/id": e, ":next": ids[ORDER[i]], ":friends": [ids[j] for j in friends_of(i)]} for i, e in enumerate(ids)]
    )
    conn._committer.index()
    return conn.db(), ids


@cache
def table() -> sqlite3.Connection:
    c = sqlite3.connect(":memory:")
    c.execute("CREATE TABLE people(id INTEGER PRIMARY KEY,name TEXT,last TEXT,sex TEXT,age INT,salary INT,next INT)")
    c.executemany("INSERT INTO people VALUES(?,?,?,?,?,?,?)", [(i, *p, ORDER[i]) for i, p in enumerate(P)])
    c.execute("CREATE TABLE friends(id INT, friend INT)")
    c.execute("CREATE INDEX f ON friends(id)")
    c.executemany("INSERT INTO friends VALUES(?,?)", [(i, j) for i in range(len(P)) for j in friends_of(i)])
    return c


# -- one entity, many, nested


def pull_one() -> Run:
    db, ids = world()
    asked = [ids[i] for i in ORDER[:5000]]

    def run() -> int:
        for e in asked:
            found = factstore.pull(db, PATTERN, e)
        assert found == dict(zip(ATTRIBUTES, P[ORDER[4999]], strict=True))
        return len(asked)

    return run


def sqlite_one() -> Run:
    c = table()

    def run() -> int:
        for i in ORDER[:5000]:
            found = c.execute("SELECT name,last,sex,age,salary FROM people WHERE id=?", (i,)).fetchone()
        assert found == tuple(P[ORDER[4999]])
        return 5000

    return run


def pull_thousand() -> Run:
    db, ids = world()
    asked = [ids[i] for i in ORDER[:1000]]

    def run() -> int:
        for _ in range(20):
            found = factstore.pull_many(db, PATTERN, asked)
        assert found[999] == dict(zip(ATTRIBUTES, P[ORDER[999]], strict=True))
        return 20

    return run


def sqlite_thousand() -> Run:
    c = table()
    sql = f"SELECT id,name,last,sex,age,salary FROM people WHERE id IN ({','.join('?' * 1000)})"

    def run() -> int:
        for _ in range(20):
            found = {row[0]: dict(zip(ATTRIBUTES, row[1:], strict=True)) for row in c.execute(sql, ORDER[:1000])}
        assert found[ORDER[999]] == dict(zip(ATTRIBUTES, P[ORDER[999]], strict=True))
        return 20

    return run


def nested(together: bool) -> Callable[[], Run]:
    def factory() -> Run:
        db, ids = world()
        asked = [ids[i] for i in ORDER[:500]]

        def run() -> int:
            if together:
                last = factstore.pull_many(db, NESTED, asked)[-1]
            else:
                for e in asked:
                    last = factstore.pull(db, NESTED, e)
            assert last is not None
            assert sorted(each[":name"] for each in last[":friends"]) == sorted(P[j][0] for j in friends_of(ORDER[499]))
            return len(asked)

        return run

    return factory


def sqlite_nested() -> Run:
    c = table()
    friends = "SELECT p.id, p.name, p.age FROM friends f JOIN people p ON p.id = f.friend WHERE f.id = ?"

    def run() -> int:
        for i in ORDER[:500]:
            found = {":name": c.execute("SELECT name FROM people WHERE id=?", (i,)).fetchone()[0], ":friends": []}
            for j, name, age in c.execute(friends, (i,)).fetchall():
                more = [{":name": row[1]} for row in c.execute(friends, (j,))]
                found[":friends"].append({":name": name, ":age": age, ":friends": more})
        assert FRIENDS == len(found[":friends"])
        return 500

    return run


def navigate() -> Run:
    db, ids = world()

    def run() -> int:
        here = factstore.entity(db, ids[0])
        for _ in range(10_000):
            here = here[":next"]  # type: ignore[index]
        assert isinstance(here, factstore.Entity)
        return 10_000

    return run


def read_attributes() -> Run:
    db, ids = world()

    def run() -> int:
        for i in ORDER[:2000]:
            here = factstore.entity(db, ids[i])
            assert here is not None
            found = [here[a] for a in ATTRIBUTES]
        assert found == list(P[ORDER[1999]])
        return 2000 * len(ATTRIBUTES)

    return run


def sqlite_navigate() -> Run:
    c = table()

    def run() -> int:
        here = 0
        for _ in range(10_000):
            (here,) = c.execute("SELECT next FROM people WHERE id=?", (here,)).fetchone()
        assert 0 <= here < len(P)
        return 10_000

    return run


def sqlite_attributes() -> Run:
    c = table()
    asked = [f"SELECT {a.removeprefix(':')} FROM people WHERE id=?" for a in ATTRIBUTES]

    def run() -> int:
        for i in ORDER[:2000]:
            found = [c.execute(sql, (i,)).fetchone()[0] for sql in asked]
        assert found == list(P[ORDER[1999]])
        return 2000 * len(ATTRIBUTES)

    return run


# -- beside Datalevin

BESIDE_DATALEVIN: dict[str, tuple[str, Callable[[], Run], float, str]] = {
    "pull": ("pull 5 attributes of one entity", pull_one, 1e6, "µs"),
    "pull_many": ("pull_many of 1,000", pull_thousand, 1e3, "ms"),
    "nested": ("nested pull, 3 levels, one by one", nested(False), 1e6, "µs"),
    "nested_many": ("nested pull, 3 levels, 500 together", nested(True), 1e6, "µs"),
    "step": ("entity: a step along a reference", navigate, 1e6, "µs"),
    "attribute": ("entity: an attribute", read_attributes, 1e6, "µs"),
}


def beside_datalevin(command: str) -> list[Row]:
    """Run Datalevin's program on the same data, then ours; the least of seven samples each."""
    lines = ["\t".join(map(str, (i + 1, *P[i], ORDER[i] + 1, *(j + 1 for j in friends_of(i))))) for i in ORDER]
    done = subprocess.run(shlex.split(command), input="\n".join(lines), stdout=subprocess.PIPE, check=True, text=True)
    told = (line.split() for line in done.stdout.splitlines())
    rows = []
    for metric, seconds in told:
        name, factory, scale, unit = BESIDE_DATALEVIN[metric]
        ours = min(timed(factory()) for _ in range(7))
        rows.append(Row(f"{name}, best of 7", ours * scale, float(seconds) * scale, "Datalevin", unit))
        show(rows[-1])
    return rows


JOBS: dict[str, Callable[[], list[Row]]] = {
    "pull": lambda: [
        pair(
            "pull 5 attributes of one entity", pull_one, sqlite_one, baseline_name="SQLite row", samples=5, aim="<= 20"
        ),
        pair(
            "pull_many of 1,000",
            pull_thousand,
            sqlite_thousand,
            baseline_name="SQLite",
            samples=5,
            scale=1e3,
            unit="ms",
            aim="<= 0.75",
        ),
        pair(
            "nested pull, 3 levels, one by one", nested(False), sqlite_nested, baseline_name="SQLite joins", samples=5
        ),
        pair(
            "nested pull, 3 levels, 500 together", nested(True), sqlite_nested, baseline_name="SQLite joins", samples=5
        ),
    ],
    "entity": lambda: [
        pair("entity: a step along a reference", navigate, sqlite_navigate, baseline_name="SQLite row", aim="<= 5"),
        pair("entity: an attribute", read_attributes, sqlite_attributes, baseline_name="SQLite row", aim="<= 5"),
    ],
}
