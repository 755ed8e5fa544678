"""Reading entities and the past beside a plain SQLite table, in one run: `python -m benchmarks.reading [name …]`.

Every sample checks what it read. Stores are in memory and indexed; SQLite has a primary key, and a history table for the past.
"""

from __future__ import annotations

import random
import sqlite3
import sys
from collections.abc import Callable
from functools import cache

import factstore
from benchmarks.harness import Row, pair, save
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
    tempids = conn.transact([{":db/id": str(i), **dict(zip(ATTRIBUTES, p, strict=True))} for i, p in enumerate(P)]).tempids
    ids = [tempids[str(i)] for i in range(len(P))]
    conn.transact([{":db/id": e, ":next": ids[ORDER[i]], ":friends": [ids[j] for j in friends_of(i)]} for i, e in enumerate(ids)])
    conn._committer.index()
    return conn.db(), ids


@cache
def table() -> sqlite3.Connection:
    c = sqlite3.connect(":memory:")
    c.execute("CREATE TABLE people(id INTEGER PRIMARY KEY,name TEXT,last TEXT,sex TEXT,age INT,salary INT)")
    c.executemany("INSERT INTO people VALUES(?,?,?,?,?,?)", [(i, *p) for i, p in enumerate(P)])
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
            found = factstore.pull_many(db, NESTED, asked) if together else [factstore.pull(db, NESTED, e) for e in asked]
            last = found[-1]
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


# -- the past

NUMBERS = [{":db/ident": f":n/{name}", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"} for name in "abcde"]
ENTITIES = 200_000
AGGREGATE = "[:find (sum ?b) . :with ?e :where [?e :n/a ?a] [(< ?a 50000)] [?e :n/b ?b]]"


def number(name: str, i: int, version: int) -> int:
    return (i * 7919 + ord(name) * 31 + version * 104_729) % 1_000_003


@cache
def million() -> tuple[factstore.Connection, int]:
    """Return a store with a million live and a million past facts, and the t between them."""
    conn = factstore.connect("memory:")
    conn.transact(NUMBERS)
    columns = {name: [number(name, i, 0) for i in range(ENTITIES)] for name in "abcde"}
    conn.load(columns, {name: f":n/{name}" for name in "abcde"}, batch_rows=ENTITIES, progress=False)
    middle = conn.db().basis_t
    ids = sorted(d.e for d in conn.db().datoms("aevt", ":n/a"))
    for start in range(0, ENTITIES, 10_000):
        part = range(start, start + 10_000)
        conn.transact([[":db/add", ids[i], f":n/{name}", number(name, i, 1)] for i in part for name in "abcde"])
    conn._committer.index()
    return conn, middle


def aggregate(*, past: bool, fresh: bool) -> Callable[[], Run]:
    def factory() -> Run:
        conn, middle = million()
        version = 0 if past else 1
        expected = sum(number("b", i, version) for i in range(ENTITIES) if number("a", i, version) < 50_000)
        if fresh:
            conn._committer._begin_anew()  # an empty cache
        db = conn.db().as_of(middle) if past else conn.db()
        for _ in range(0 if fresh else 5):  # a column is kept once it was asked for often enough
            factstore.q(AGGREGATE, db)

        def run() -> int:
            assert factstore.q(AGGREGATE, db) == expected
            return 1

        return run

    return factory


def entity_of_then(past: bool) -> Callable[[], Run]:
    def factory() -> Run:
        conn, middle = million()
        db = conn.db().as_of(middle) if past else conn.db()
        first = min(d.e for d in db.datoms("aevt", ":n/a"))
        pattern = [f":n/{name}" for name in "abcde"]

        def run() -> int:
            for i in range(0, ENTITIES, 400):
                found = factstore.pull(db, pattern, first + i)
                assert found is not None
                assert found[":n/c"] == number("c", i, 0 if past else 1)
            return ENTITIES // 400

        return run

    return factory


KEYS, VERSIONS = 10_000, 10


@cache
def versions() -> tuple[factstore.Connection, int]:
    conn = factstore.connect("memory:")
    conn.transact(NUMBERS[:2])
    conn.load({"a": list(range(KEYS)), "b": [0] * KEYS}, {"a": ":n/a", "b": ":n/b"}, batch_rows=KEYS, progress=False)
    ids = sorted(d.e for d in conn.db().datoms("aevt", ":n/a"))
    for version in range(1, VERSIONS):
        conn.transact([[":db/add", e, ":n/b", version * KEYS + i] for i, e in enumerate(ids)])
    conn._committer.index()
    return conn, conn.db().basis_t - VERSIONS // 2


def all_as_of() -> Run:
    conn, t = versions()
    conn._committer._begin_anew()  # an empty cache
    db = conn.db().as_of(t)

    def run() -> int:
        b = db.attribute(":n/b").id
        rows = db.view.by_entity(b)
        assert (KEYS, (VERSIONS // 2 - 1) * KEYS) == (rows.size, int(rows.v[0]))
        return 1

    return run


def query_as_of() -> Run:
    conn, t = versions()
    db = conn.db().as_of(t)

    def run() -> int:
        assert KEYS == factstore.q("[:find (count ?e) . :where [?e :n/b ?v]]", db)
        return 1

    return run


def sqlite_as_of() -> Run:
    c = sqlite3.connect(":memory:")
    c.execute("CREATE TABLE h(k INT, v INT, since INT, until INT, PRIMARY KEY(k, since)) WITHOUT ROWID")
    rows = ((k, n * KEYS + k, n, n + 1 if n + 1 < VERSIONS else 1 << 60) for k in range(KEYS) for n in range(VERSIONS))
    c.executemany("INSERT INTO h VALUES(?,?,?,?)", rows)
    at = VERSIONS // 2 - 1

    def run() -> int:
        assert KEYS == len(c.execute("SELECT k, v FROM h WHERE since <= ? AND until > ?", (at, at)).fetchall())
        return 1

    return run


# -- taking out, comparing, finding words


def excise() -> Run:
    conn = factstore.connect("memory:")
    conn.transact(NUMBERS)
    for start in range(0, ENTITIES, 50_000):
        part = range(start, start + 50_000)
        conn.load({n: [number(n, i, 0) for i in part] for n in "abcde"}, {n: f":n/{n}" for n in "abcde"}, batch_rows=5000, progress=False)
    conn._committer.index()
    user = next(iter(conn.db().datoms("aevt", ":n/a"))).e + 77

    def run() -> int:
        assert 5 == conn.excise(user).datoms
        assert [] == list(conn.db().history().datoms("eavt", user))
        return 1

    return run


def difference() -> Run:
    conn, _ = million()
    db = conn.db()
    after = conn.transact([{":n/a": n} for n in range(100)]).db_after

    def run() -> int:
        assert 101 == len(factstore.diff(db, after))
        return 1

    return run


JOBS: dict[str, Callable[[], list[Row]]] = {
    "pull": lambda: [
        pair("pull 5 attributes of one entity", pull_one, sqlite_one, baseline_name="SQLite row", aim="<= 20"),
        pair("pull_many of 1,000", pull_thousand, sqlite_thousand, baseline_name="SQLite", scale=1e3, unit="ms", aim="<= 0.75"),
        pair("nested pull, 3 levels, one by one", nested(False), sqlite_nested, baseline_name="SQLite joins"),
        pair("nested pull, 3 levels, 500 together", nested(True), sqlite_nested, baseline_name="SQLite joins"),
    ],
    "entity": lambda: [
        pair("entity: a step along a reference", navigate, aim="<= 5"),
        pair("entity: an attribute", read_attributes, aim="<= 5"),
    ],
    "past": lambda: [
        pair(
            "query as of the middle, 1 M live and 1 M past, warm",
            aggregate(past=True, fresh=False),
            aggregate(past=False, fresh=False),
            baseline_name="the present",
            scale=1e3,
            unit="ms",
            aim="ratio <= 2",
        ),
        pair(
            "the same, first time",
            aggregate(past=True, fresh=True),
            aggregate(past=False, fresh=True),
            baseline_name="the present",
            scale=1e3,
            unit="ms",
            aim="ratio <= 2",
        ),
        pair("pull as of the middle", entity_of_then(True), entity_of_then(False), baseline_name="the present"),
    ],
    "versions": lambda: [
        pair(
            "10,000 of 100,000 versions as of t, first time",
            all_as_of,
            sqlite_as_of,
            baseline_name="SQLite",
            scale=1e3,
            unit="ms",
            aim="<= 5",
        ),
        pair("a query of them, warm", query_as_of, sqlite_as_of, baseline_name="SQLite", scale=1e3, unit="ms", aim="<= 5"),
    ],
    "change": lambda: [
        pair("excise one user among a million datoms", excise, samples=1, scale=1, unit="s", aim="<= 2"),
        pair("diff after 101 datoms among 2 million", difference, scale=1e3, unit="ms"),
    ],
}


def main() -> None:
    wanted = sys.argv[1:]
    rows = [row for name, job in JOBS.items() if not wanted or name in wanted for row in job()]
    if not wanted:
        save("reading", rows)


if __name__ == "__main__":
    main()
