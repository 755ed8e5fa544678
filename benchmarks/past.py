"""Reading the past: a query as of the middle of a million live and a million past facts, versions, differences, taking out."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import cache

import factstore
from benchmarks.harness import Row, pair

Run = Callable[[], int]

NUMBERS = [
    {":db/ident": f":n/{name}", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}
    for name in "abcde"
]
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
            with conn._committer._turn:
                conn._committer._reopen()  # an empty cache
        db = conn.db().as_of(middle) if past else conn.db()
        for _ in range(0 if fresh else 5):  # a column is kept once it was asked for often enough
            factstore.q(AGGREGATE, db)

        def run() -> int:
            assert factstore.q(AGGREGATE, db) == expected
            return 1

        return run

    return factory


@cache
def histories() -> sqlite3.Connection:
    """Return the same as two history tables: of a key, a value and the versions it held in."""
    c = sqlite3.connect(":memory:")
    for name in "ab":
        c.execute(f"CREATE TABLE {name}(k INT, v INT, since INT, until INT, PRIMARY KEY(k, since)) WITHOUT ROWID")
        rows = ((i, number(name, i, n), n, n + 1 if n == 0 else 1 << 60) for i in range(ENTITIES) for n in (0, 1))
        c.executemany(f"INSERT INTO {name} VALUES(?,?,?,?)", rows)
    c.execute("CREATE INDEX by_v ON a(v)")
    return c


def sqlite_aggregate(version: int) -> Callable[[], Run]:
    sql = (
        "SELECT sum(b.v) FROM a JOIN b ON b.k = a.k WHERE a.v < 50000"
        " AND a.since <= ?1 AND a.until > ?1 AND b.since <= ?1 AND b.until > ?1"
    )

    def factory() -> Run:
        c = histories()
        expected = sum(number("b", i, version) for i in range(ENTITIES) if number("a", i, version) < 50_000)

        def run() -> int:
            assert expected == c.execute(sql, (version,)).fetchone()[0]
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
    with conn._committer._turn:
        conn._committer._reopen()  # an empty cache
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


MOMENTS = 100


@cache
def moments() -> tuple[factstore.Connection, list[tuple[int, int]]]:
    """Return a store of 100 moments, at each of which 1,000 of 10,000 entities change, and a sum after each of them."""
    conn = factstore.connect("memory:")
    conn.transact(NUMBERS[:2])
    conn.load({"a": list(range(KEYS)), "b": [0] * KEYS}, {"a": ":n/a", "b": ":n/b"}, batch_rows=KEYS, progress=False)
    ids = sorted(d.e for d in conn.db().datoms("aevt", ":n/a"))
    values, after = [0] * KEYS, []
    for moment in range(MOMENTS):
        changed = range(moment % 10, KEYS, 10)
        for i in changed:
            values[i] = number("b", i, moment)
        report = conn.transact([[":db/add", ids[i], ":n/b", values[i]] for i in changed])
        after.append((report.db_after.basis_t, sum(values)))
    conn._committer.index()
    return conn, after


def scrub() -> Run:
    """Return a run that reads the sum at each moment, each with a database of its own, from an empty cache."""
    conn, after = moments()
    with conn._committer._turn:
        conn._committer._reopen()
    db = conn.db()

    def run() -> int:
        for t, expected in after:
            assert factstore.q("[:find (sum ?v) . :with ?e :where [?e :n/b ?v]]", db.as_of(t)) == expected
        return 1

    return run


def sqlite_scrub() -> Run:
    c = sqlite3.connect(":memory:")
    c.execute("CREATE TABLE h(k INT, v INT, since INT, until INT, PRIMARY KEY(k, since)) WITHOUT ROWID")
    since, values = [-1] * KEYS, [0] * KEYS
    for moment in range(MOMENTS):
        for i in range(moment % 10, KEYS, 10):
            c.execute("INSERT INTO h VALUES(?,?,?,?)", (i, values[i], since[i], moment))
            since[i], values[i] = moment, number("b", i, moment)
    c.executemany("INSERT INTO h VALUES(?,?,?,?)", ((i, values[i], since[i], 1 << 60) for i in range(KEYS)))
    _, after = moments()

    def run() -> int:
        for moment, (_, expected) in enumerate(after):
            sql = "SELECT sum(v) FROM h WHERE since <= ? AND until > ?"
            assert c.execute(sql, (moment, moment)).fetchone()[0] == expected
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


# -- taking out, comparing


def excise() -> Run:
    conn = factstore.connect("memory:")
    conn.transact(NUMBERS)
    for start in range(0, ENTITIES, 50_000):
        part = range(start, start + 50_000)
        conn.load(
            {n: [number(n, i, 0) for i in part] for n in "abcde"},
            {n: f":n/{n}" for n in "abcde"},
            batch_rows=5000,
            progress=False,
        )
    conn._committer.index()
    user = next(iter(conn.db().datoms("aevt", ":n/a"))).e + 77

    def run() -> int:
        assert 5 == conn.excise(user).datoms
        assert [] == list(conn.db().history().datoms("eavt", user))
        return 1

    return run


def sqlite_excise() -> Run:
    c = sqlite3.connect(":memory:")
    c.execute("PRAGMA secure_delete = ON")
    c.execute("CREATE TABLE facts(e INT, a TEXT, v INT, t INT, added INT, PRIMARY KEY(e, a, v, t)) WITHOUT ROWID")
    c.execute("CREATE INDEX by_value ON facts(a, v)")
    c.executemany(
        "INSERT INTO facts VALUES(?,?,?,?,1)",
        ((i, n, number(n, i, 0), i // 5000) for i in range(ENTITIES) for n in "abcde"),
    )

    def run() -> int:
        with c:
            assert 5 == c.execute("DELETE FROM facts WHERE e = 77").rowcount
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
        pair(
            "the same beside a history table",
            aggregate(past=True, fresh=False),
            sqlite_aggregate(0),
            baseline_name="SQLite",
            scale=1e3,
            unit="ms",
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
        pair(
            "a query of them, warm", query_as_of, sqlite_as_of, baseline_name="SQLite", scale=1e3, unit="ms", aim="<= 5"
        ),
        pair(
            "a query at each of 100 moments of 110,000 versions",
            scrub,
            sqlite_scrub,
            baseline_name="SQLite",
            scale=1e3,
            unit="ms",
            aim="<= 60",
        ),
    ],
    "change": lambda: [
        pair(
            "excise one user among a million datoms",
            excise,
            sqlite_excise,
            baseline_name="SQLite DELETE",
            samples=1,
            scale=1,
            unit="s",
            aim="<= 2",
        ),
        pair("diff after 101 datoms among 2 million", difference, scale=1e3, unit="ms"),
    ],
}
