"""The questions that `benchmarks.queries` asks, put to us and to SQLite: `python -m benchmarks.asked ours|sqlite SECTION`.

Each call is a process of its own and prints a line of JSON for a question: the least seconds of seven samples on the clock, the
middle one of the processor, how many rows the answer has, the sum of its last column and a digest of all of it, by which answers are
compared. Other peers are programs that print such lines too.
"""

from __future__ import annotations

import gc
import json
import os
import sqlite3
import statistics
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import factstore
from benchmarks import graphs
from benchmarks.people import ATTRIBUTES, COLUMNS, SCHEMA, people

Ask = Callable[[], Any]

SAMPLES = 7
SPAN = 0.02 if os.environ.get("QUICK") else 0.15  # seconds a sample lasts at least
ENOUGH = 20.0  # seconds: what takes longer is not repeated

PEOPLE = {
    "q1": '[:find ?e :where [?e :name "Ivan"]]',
    "q2": '[:find ?e ?a :where [?e :name "Ivan"] [?e :age ?a]]',
    "q2s": '[:find ?e ?a :where [?e :age ?a] [?e :name "Ivan"]]',
    "q3": '[:find ?e ?a :where [?e :name "Ivan"] [?e :age ?a] [?e :sex "male"]]',
    "q4": '[:find ?e ?l ?a :where [?e :name "Ivan"] [?e :last ?l] [?e :age ?a] [?e :sex "male"]]',
    "q5": '[:find ?e1 ?l ?a :where [?e :name "Ivan"] [?e :age ?a] [?e1 :age ?a] [?e1 :last ?l]]',
    "qpred1": "[:find ?e ?s :where [?e :salary ?s] [(> ?s 50000)]]",
    "qpred2": "[:find ?e ?s :in $ ?least :where [?e :salary ?s] [(> ?s ?least)]]",
}
MILLIONS = {
    **{name: PEOPLE[name] for name in ("q2", "q4", "qpred1")},
    "count-by-name": "[:find ?n (count ?e) :where [?e :name ?n]]",
    "avg-by-name": "[:find ?n (avg ?s) :with ?e :where [?e :name ?n] [?e :salary ?s]]",
    "join-agg": '[:find ?l (count ?e) (avg ?s) :where [?e :sex "male"] [?e :last ?l] [?e :salary ?s]]',
    "topk": "[:find ?e ?s :where [?e :salary ?s] :order-by [?s :desc ?e :asc] :limit 10]",
}
TABLE = {
    "q1": "SELECT id FROM people WHERE name='Ivan'",
    "q2": "SELECT id,age FROM people WHERE name='Ivan'",
    "q2s": "SELECT id,age FROM people WHERE age IS NOT NULL AND name='Ivan'",
    "q3": "SELECT id,age FROM people WHERE name='Ivan' AND sex='male'",
    "q4": "SELECT id,last,age FROM people WHERE name='Ivan' AND sex='male'",
    "q5": "SELECT DISTINCT b.id,b.last,b.age FROM people a JOIN people b ON a.age=b.age WHERE a.name='Ivan'",
    "qpred1": "SELECT id,salary FROM people WHERE salary>50000",
    "qpred2": "SELECT id,salary FROM people WHERE salary>?",
    "count-by-name": "SELECT name,count(*) FROM people GROUP BY name",
    "avg-by-name": "SELECT name,avg(salary) FROM people GROUP BY name",
    "join-agg": "SELECT last,count(*),avg(salary) FROM people WHERE sex='male' GROUP BY last",
    "topk": "SELECT id,salary FROM people ORDER BY salary DESC,id LIMIT 10",
}
RULES = "[[(follows ?x ?y) [?x :follows ?y]] [(follows ?x ?y) [?x :follows ?t] (follows ?t ?y)]]"
CLOSURE = "[:find ?x ?y :in $ % :where (follows ?x ?y)]"
REACH = "[:find ?y :in $ % ?x :where (follows ?x ?y)]"
HOPS = "[:find ?a ?c :in $ [?a ...] :where [?a :follows ?b] [?b :follows ?c]]"
HOP = "[:find ?c :in $ ?a :where [?a :follows ?b] [?b :follows ?c]]"
TRIANGLES = "[:find ?a ?b ?c :where [?a :follows ?b] [?b :follows ?c] [?a :follows ?c]]"
UNIQUE = {
    ":db/valueType": ":db.type/long",
    ":db/cardinality": ":db.cardinality/one",
    ":db/unique": ":db.unique/identity",
}
POINTS = {
    "find its entity": "[:find ?e . :in $ ?id :where [?e :person/id ?id]]",
    "find one attribute": "[:find ?n . :in $ ?id :where [?e :person/id ?id] [?e :name ?n]]",
    "find three attributes": "[:find ?n ?l ?a :in $ ?id :where [?e :person/id ?id] [?e :name ?n] [?e :last ?l] [?e :age ?a]]",
}

# -- measuring


class Sample(NamedTuple):
    """Seconds an answer took: on the clock, and of the processor."""

    wall: float
    cpu: float


def measured(
    metric: str, ask: Ask, per: int = 1, *, rows: Callable[[Any], Iterable[Any]] = lambda answer: answer
) -> None:
    """Ask until it is warm, then seven times for a while, and print what it took."""
    first = time.perf_counter()
    answer = ask()
    first = time.perf_counter() - first
    told = {"metric": metric, **compared(rows(answer))}
    del answer
    end = time.perf_counter() + min(0.5, 3 * first)
    while time.perf_counter() < end:
        ask()
    samples = [lasting(ask) for _ in range(SAMPLES if first < ENOUGH else 1)]
    least, cpu = min(sample.wall for sample in samples), statistics.median(sample.cpu for sample in samples)
    print(json.dumps({**told, "min": least / per, "cpu": cpu / per, "first": first}), flush=True)


def lasting(ask: Ask) -> Sample:
    """Return the seconds that an answer takes, over as many as fill a sample."""
    gc.collect()
    times, cpu, start = 0, time.process_time(), time.perf_counter()
    while True:
        ask()
        times += 1
        passed = time.perf_counter() - start
        if passed >= SPAN:
            return Sample(passed / times, (time.process_time() - cpu) / times)


def compared(rows: Iterable[Any]) -> dict[str, Any]:
    """Return what tells one answer from another: its size, the sum of its last column, and a digest of all its rows."""
    count, check, digest = 0, 0.0, 0
    for row in rows:
        values = tuple(round(value, 6) if isinstance(value, float) else value for value in row)
        count += 1
        check += values[-1] if isinstance(values[-1], (int, float)) else 0
        digest += zlib.crc32(repr(values).encode())
    return {"count": count, "check": round(check, 3), "digest": digest}


# -- ours


def town(size: int, *, unique: bool = False) -> tuple[factstore.Connection, dict[int, int]]:
    """Return a database of so many people, and their numbers by entity."""
    conn = factstore.connect("memory:")
    rows = people(size)
    table: dict[str, Any] = {name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)}
    mapping = dict(zip(COLUMNS, ATTRIBUTES, strict=True))
    if unique:
        table, mapping = {"id": list(range(1, size + 1)), **table}, {"id": ":person/id", **mapping}
        conn.transact([{":db/ident": ":person/id", **UNIQUE}])
    conn.transact(SCHEMA)
    conn.load(table, mapping, batch_rows=200_000, progress=False)
    conn._committer.index()
    entities = sorted(factstore.q("[:find [?e ...] :where [?e :name]]", conn.db()))
    return conn, {e: i + 1 for i, e in enumerate(entities)}


def crowd(edges: list[graphs.Edge]) -> tuple[factstore.Connection, dict[int, int], dict[int, int]]:
    """Return a database of a graph, its numbers by entity, and its entities by number."""
    conn = factstore.connect("memory:")
    many = {":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/many"}
    conn.transact([{":db/ident": ":node/id", **UNIQUE}, {":db/ident": ":follows", **many}])
    nodes = sorted({node for edge in edges for node in edge})
    tempids = conn.transact([{":db/id": str(node), ":node/id": node} for node in nodes]).tempids
    entity = {node: tempids[str(node)] for node in nodes}
    conn.transact([[":db/add", entity[a], ":follows", entity[b]] for a, b in edges])
    conn._committer.index()
    return conn, {e: node for node, e in entity.items()}, entity


def renamed(numbers: Mapping[int, int], columns: int) -> Callable[[Any], Iterable[Any]]:
    """Return what puts numbers for the entities in the first so many columns of an answer."""
    return lambda answer: (tuple(numbers.get(v, v) if i < columns else v for i, v in enumerate(row)) for row in answer)


def ours_people(size: int = 20_000, queries: Mapping[str, str] = PEOPLE) -> None:
    conn, numbers = town(size)
    db = conn.db()
    for name, query in queries.items():
        inputs = (50_000,) if name == "qpred2" else ()
        columns = 0 if "(count" in query or "(avg" in query else 1
        measured(
            name, lambda query=query, inputs=inputs: factstore.q(query, db, *inputs), rows=renamed(numbers, columns)
        )  # type: ignore[misc]


def ours_rules() -> None:
    for name, shape in graphs.SHAPES.items():
        conn, numbers, _ = crowd(shape())
        db = conn.db()
        measured(f"rules-{name}", lambda db=db: factstore.q(CLOSURE, db, RULES), rows=renamed(numbers, 2))  # type: ignore[misc]


def ours_graph() -> None:
    conn, numbers, entity = crowd(graphs.network())
    db = conn.db()
    begin = [entity[node] for node in graphs.starts()]
    measured("2hop-100", lambda: factstore.q(HOPS, db, begin), rows=lambda answer: ((numbers[c],) for _, c in answer))
    one_by_one: Ask = lambda: [row for node in begin for row in factstore.q(HOP, db, node)]  # noqa: E731
    measured("2hop-100 one by one", one_by_one, rows=renamed(numbers, 1))
    measured("tri-all", lambda: factstore.q(TRIANGLES, db), rows=renamed(numbers, 3))
    closures = {"chain": graphs.chain(), "tree": graphs.tree()}
    for name, edges in closures.items():
        conn, numbers, entity = crowd(edges)
        db, root = conn.db(), entity[1]
        measured(f"{name}-src", lambda db=db, root=root: factstore.q(REACH, db, RULES, root), rows=renamed(numbers, 1))  # type: ignore[misc]
        measured(f"{name}-full", lambda db=db: factstore.q(CLOSURE, db, RULES), rows=renamed(numbers, 2))  # type: ignore[misc]


def ours_points() -> None:
    conn, numbers = town(20_000, unique=True)
    db = conn.db()
    wanted = list(range(1, 20_001, 20))
    for name, query in POINTS.items():
        many: Ask = lambda query=query: [factstore.q(query, db, i) for i in wanted]  # type: ignore[misc]  # noqa: E731
        measured(
            name,
            many,
            len(wanted),
            rows=lambda answer: ((numbers.get(a, a),) if not isinstance(a, set) else min(a) for a in answer),
        )


# -- SQLite: a table with an index on every column, in memory


def sqlite_town(size: int) -> sqlite3.Connection:
    c = sqlite3.connect(":memory:", isolation_level=None, cached_statements=512)
    c.execute("CREATE TABLE people(id INTEGER PRIMARY KEY,name TEXT,last TEXT,sex TEXT,age INT,salary INT)")
    c.execute("BEGIN")
    c.executemany("INSERT INTO people VALUES(?,?,?,?,?,?)", ((i + 1, *row) for i, row in enumerate(people(size))))
    for column in COLUMNS:
        c.execute(f"CREATE INDEX p_{column} ON people({column})")
    c.execute("COMMIT")
    c.execute("ANALYZE")
    return c


def sqlite_crowd(edges: list[graphs.Edge]) -> sqlite3.Connection:
    c = sqlite3.connect(":memory:", isolation_level=None)
    c.execute("CREATE TABLE follows(src INT,dst INT,PRIMARY KEY(src,dst)) WITHOUT ROWID")
    c.execute("CREATE INDEX followed ON follows(dst,src)")
    c.execute("BEGIN")
    c.executemany("INSERT INTO follows VALUES(?,?)", edges)
    c.execute("COMMIT")
    c.execute("ANALYZE")
    return c


def sqlite_people(size: int = 20_000, queries: Iterable[str] = PEOPLE) -> None:
    c = sqlite_town(size)
    for name in queries:
        inputs = (50_000,) if name == "qpred2" else ()
        measured(name, lambda sql=TABLE[name], inputs=inputs: c.execute(sql, inputs).fetchall())  # type: ignore[misc]


ALL_PAIRS = (
    "WITH RECURSIVE r(x,y) AS (SELECT src,dst FROM follows"
    " UNION SELECT r.x,f.dst FROM r JOIN follows f ON f.src=r.y) SELECT x,y FROM r"
)
REACHED = (
    "WITH RECURSIVE r(y) AS (SELECT dst FROM follows WHERE src=?"
    " UNION SELECT f.dst FROM r JOIN follows f ON f.src=r.y) SELECT y FROM r"
)


def sqlite_rules() -> None:
    for name, shape in graphs.SHAPES.items():
        c = sqlite_crowd(shape())
        measured(f"rules-{name}", lambda c=c: c.execute(ALL_PAIRS).fetchall())  # type: ignore[misc]


def sqlite_graph() -> None:
    c = sqlite_crowd(graphs.network())
    begin = graphs.starts()
    hop = "SELECT DISTINCT b.dst FROM follows a JOIN follows b ON b.src=a.dst WHERE a.src=?"
    for name in ("2hop-100", "2hop-100 one by one"):  # asked at once it is slower
        measured(name, lambda: [row for node in begin for row in c.execute(hop, (node,)).fetchall()])
    triangles = "SELECT a.src,a.dst,b.dst FROM follows a JOIN follows b ON b.src=a.dst JOIN follows x ON x.src=a.src AND x.dst=b.dst"
    measured("tri-all", lambda: c.execute(triangles).fetchall())
    for name, edges in {"chain": graphs.chain(), "tree": graphs.tree()}.items():
        c = sqlite_crowd(edges)
        measured(f"{name}-src", lambda c=c: c.execute(REACHED, (1,)).fetchall())  # type: ignore[misc]
        measured(f"{name}-full", lambda c=c: c.execute(ALL_PAIRS).fetchall())  # type: ignore[misc]


def sqlite_points() -> None:
    c = sqlite_town(20_000)
    wanted = list(range(1, 20_001, 20))
    for name, columns in zip(POINTS, ("id", "name", "name,last,age"), strict=True):
        sql = f"SELECT {columns} FROM people WHERE id=?"
        measured(name, lambda sql=sql: [c.execute(sql, (i,)).fetchone() for i in wanted], len(wanted))  # type: ignore[misc]


ASKED: dict[str, dict[str, Callable[[], None]]] = {
    "ours": {
        "people": ours_people,
        "1 million": lambda: ours_people(200_000, MILLIONS),
        "4 million": lambda: ours_people(800_000, MILLIONS),
        "rules": ours_rules,
        "graph": ours_graph,
        "points": ours_points,
    },
    "sqlite": {
        "people": sqlite_people,
        "1 million": lambda: sqlite_people(200_000, MILLIONS),
        "4 million": lambda: sqlite_people(800_000, MILLIONS),
        "rules": sqlite_rules,
        "graph": sqlite_graph,
        "points": sqlite_points,
    },
}

if __name__ == "__main__":
    ASKED[sys.argv[1]][sys.argv[2]]()
