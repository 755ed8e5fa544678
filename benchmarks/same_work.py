"""The work of benchmarks/datomic.clj in this store, and its durable row in SQLite: a program that `benchmarks.datomic` runs.

It is started with a folder of data, seconds to warm up, seconds of a sample and the number of samples, and reads the name of a row per
line; the answer is a line of JSON: the least and the middle seconds per operation, and the count and the sum of the answer, in which a
number of a person stands for an entity.
"""

from __future__ import annotations

import gc
import json
import sqlite3
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import factstore
from benchmarks.graphs import SHAPES
from benchmarks.people import ATTRIBUTES, COLUMNS, TYPES

DURABLE = 300  # people that the durable rows upsert, one per transaction
Run = Callable[[], Any]
Numbers = Mapping[Any, int]


@dataclass(frozen=True)
class Measured:
    """What is reported about a row: seconds per operation, and what tells one answer from another."""

    min: float
    median: float
    count: int
    sum: float


class Settings(NamedTuple):
    """How to measure: the folder of the data, and the lengths of the warm-up and of samples."""

    folder: Path
    warm: float
    span: float
    samples: int

    @classmethod
    def of(cls, folder: str, warm: str, span: str, samples: str) -> Settings:
        """Return the settings that the arguments of the program name."""
        return cls(Path(folder), float(warm), float(span), int(samples))


# -- measuring


class Clock:
    """The seconds since it was made: on the clock or, where the machine was busy with other programs, of the processor."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    @property
    def wall(self) -> float:
        return time.perf_counter() - self._wall

    @property
    def passed(self) -> float:
        return min(self.wall, time.process_time() - self._cpu)


def lasting(run: Run, span: float) -> float:
    """Return the seconds of a run, over as many runs as fill a sample."""
    gc.collect()
    times, clock = 0, Clock()
    while True:
        run()
        times += 1
        if clock.wall >= span:
            return clock.passed / times


def repeated(how: Settings, run: Run) -> list[float]:
    """Measure a run that can be repeated, after it has been warmed up."""
    end = time.perf_counter() + min(how.warm, 0.5)  # nothing is compiled here; caches are filled
    while time.perf_counter() < end:
        run()
    return [lasting(run, how.span) for _ in range(how.samples)]


def once(how: Settings, prepare: Callable[[], Run], *, on_disk: bool = False) -> tuple[list[float], Any]:
    """Measure a run that needs a new store each time; `prepare` returns the run. Also return what the last run returned.

    A run on disk waits for it, so that only the clock counts.
    """
    seconds: list[float] = []
    for _ in range(min(how.samples, 5) + 1):
        run = prepare()
        gc.collect()
        clock = Clock()
        after = run()
        seconds.append(clock.wall if on_disk else clock.passed)
    return seconds[1:], after


def total(answer: Any, numbers: Numbers) -> float:
    """Return the sum of the numbers of an answer; `numbers` maps entities to what stands for them."""
    if isinstance(answer, (int, float)):
        return numbers.get(answer, answer)
    if isinstance(answer, Mapping):
        return total(answer.values(), numbers)
    if isinstance(answer, Iterable) and not isinstance(answer, str):
        return sum(total(one, numbers) for one in answer)
    return 0


def reported(seconds: Sequence[float], answer: Any, numbers: Numbers) -> Measured:
    count = len(answer) if hasattr(answer, "__len__") else 1
    return Measured(min(seconds), statistics.median(seconds), count, float(total(answer, numbers)))


# -- data


@cache
def table(how: Settings, name: str) -> list[list[str]]:
    return [line.split("\t") for line in (how.folder / f"{name}.tsv").read_text().splitlines()]


def people(how: Settings) -> list[dict[str, Any]]:
    """Return the people as maps for a transaction."""
    return [
        {":pid": int(row[0]), **dict(zip(ATTRIBUTES, (*row[1:4], int(row[4]), int(row[5])), strict=True))}
        for row in table(how, "people")
    ]


ONE = {":db/cardinality": ":db.cardinality/one"}
IDENTITY = {":db/valueType": ":db.type/long", ":db/unique": ":db.unique/identity", **ONE}
SCHEMA = [
    {":db/ident": ":pid", **IDENTITY},
    {":db/ident": ":key", **IDENTITY},
    {":db/ident": ":follows", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/many"},
    {":db/ident": ":value", ":db/valueType": ":db.type/long", **ONE},
    *(
        {":db/ident": name, ":db/valueType": f":db.type/{kind}", ":db/index": True, **ONE}
        for name, kind in zip(ATTRIBUTES, TYPES, strict=True)
    ),
]


def fresh(uri: str = "memory:") -> factstore.Connection:
    conn = factstore.connect(uri, sync="full")
    conn.transact(SCHEMA)
    return conn


def by_number(db: factstore.Database, attribute: str) -> dict[Any, int]:
    return {d.v: d.e for d in db.datoms("aevt", attribute)}


class World(NamedTuple):
    """A database, the numbers of its entities, some of them to read one by one, and a moment of its past."""

    conn: factstore.Connection
    db: factstore.Database
    numbers: Numbers
    some: list[int]
    t: int = 0


@cache
def town(how: Settings) -> World:
    conn = fresh()
    everyone = people(how)
    for start in range(0, len(everyone), 1000):
        conn.transact(everyone[start : start + 1000])
    conn._committer.index()
    ids = by_number(conn.db(), ":pid")
    return World(conn, conn.db(), {e: n for n, e in ids.items()}, [ids[n] for n in range(1, len(everyone), 20)])


def crowd(how: Settings, shape: str) -> World:
    conn = fresh()
    edges = table(how, shape)
    nodes = dict.fromkeys(node for edge in edges for node in edge)
    maps = [{":db/id": f"n{node}", ":pid": int(node)} for node in nodes]
    conn.transact([*maps, *([":db/add", f"n{a}", ":follows", f"n{b}"] for a, b in edges)])
    conn._committer.index()
    return World(conn, conn.db(), {e: n for n, e in by_number(conn.db(), ":pid").items()}, [])


def written_again(how: Settings) -> World:
    """Return a store of keys whose values were written ten times, and the t after the fifth time."""
    conn = fresh()
    rounds: dict[str, list[dict[str, int]]] = {}
    for number, key, value in table(how, "versions"):
        rounds.setdefault(number, []).append({":key": int(key), ":value": int(value)})
    ts = [conn.transact(maps).db_after.basis_t for maps in rounds.values()]
    conn._committer.index()
    ids = by_number(conn.db(), ":key")
    return World(conn, conn.db(), {}, [ids[n] for n in range(1, len(ids), 10)], ts[4])


past = cache(written_again)

# -- reads

QUERIES = {
    "q1": '[:find ?e :where [?e :name "Ivan"]]',
    "q2": '[:find ?e ?a :where [?e :name "Ivan"] [?e :age ?a]]',
    "q3": '[:find ?e ?a :where [?e :name "Ivan"] [?e :age ?a] [?e :sex "male"]]',
    "q4": '[:find ?e ?l ?a :where [?e :name "Ivan"] [?e :last ?l] [?e :age ?a] [?e :sex "male"]]',
    "q5": '[:find ?e1 ?l ?a :where [?e :name "Ivan"] [?e :age ?a] [?e1 :age ?a] [?e1 :last ?l]]',
    "predicate": "[:find ?e ?s :where [?e :salary ?s] [(> ?s 50000)]]",
    "count-by-name": "[:find ?n (count ?e) :where [?e :name ?n]]",
    "avg-by-name": "[:find ?n (avg ?s) :with ?e :where [?e :name ?n] [?e :salary ?s]]",
    "join-aggregate": '[:find ?l (count ?e) (avg ?s) :where [?e :sex "male"] [?e :last ?l] [?e :salary ?s]]',
}
POINT = "[:find ?a . :in $ ?p :where [?e :pid ?p] [?e :age ?a]]"
RULES = "[[(follows ?x ?y) [?x :follows ?y]] [(follows ?x ?y) [?x :follows ?t] (follows ?t ?y)]]"
CLOSURE = "[:find ?x ?y :in $ % :where (follows ?x ?y)]"
SUM = "[:find (sum ?v) . :with ?e :where [?e :value ?v]]"
ADDED = "[:find (count ?v) . :with ?e ?t :where [?e :value ?v ?t true]]"


def asked(how: Settings, run: Run, numbers: Numbers | None = None) -> Measured:
    answer = run()
    return reported(repeated(how, run), answer, numbers or {})


def each(how: Settings, read: Callable[[Any], Any], things: Sequence[Any], numbers: Numbers | None = None) -> Measured:
    """Measure a read of each of some things, one by one."""
    answer = [read(thing) for thing in things]

    def run() -> None:
        for thing in things:
            read(thing)

    seconds = [second / len(things) for second in repeated(how, run)]
    return reported(seconds, answer, numbers or {})


def query(how: Settings, text: str) -> Measured:
    world = town(how)
    return asked(how, lambda: factstore.q(text, world.db), world.numbers)


def rule(how: Settings, shape: str) -> Measured:
    world = crowd(how, shape)
    return asked(how, lambda: factstore.q(CLOSURE, world.db, RULES), world.numbers)


def first_of_the_past(how: Settings) -> Measured:
    def prepare() -> Run:
        world = written_again(how)
        return lambda: factstore.q(SUM, world.db.as_of(world.t))

    return reported(*once(how, prepare), {})


Work = Callable[[Settings], Measured]


def reading_one(name: str, how: Settings) -> Measured:
    """Measure a read of one entity, of a thousand of them in turn."""
    (db, some), columns = (town(how).db, town(how).some), list(ATTRIBUTES)
    reads: dict[str, Callable[[Any], Any]] = {
        "pull": lambda e: factstore.pull(db, columns, e),
        "pull-all": lambda e: factstore.pull(db, ["*"], e),
        "entity": lambda e: factstore.entity(db, e)[":age"],  # type: ignore[index]
        "with": lambda e: len(factstore.with_(db, [[":db/add", e, ":age", 101]]).tx_data),
    }
    return each(how, reads[name], some, town(how).numbers if name == "pull-all" else {})


def reading_the_past(name: str, how: Settings) -> Measured:
    """Measure a read of one entity that was written ten times, of a thousand of them in turn."""
    db, some, t = past(how).db, past(how).some, past(how).t
    reads: dict[str, Callable[[Any], Any]] = {
        "pull-now": lambda e: factstore.pull(db, [":value"], e),
        "pull-as-of": lambda e: factstore.pull(db.as_of(t), [":value"], e),
        "history-entity": lambda e: [d.v for d in db.history().datoms("eavt", e, ":value")],
    }
    return each(how, reads[name], some)


READS: dict[str, Work] = {
    **{name: partial(query, text=text) for name, text in QUERIES.items()},
    **{f"rules-{shape}": partial(rule, shape=shape) for shape in SHAPES},
    "point": lambda how: each(how, partial(factstore.q, POINT, town(how).db), range(1, len(people(how)), 20)),
    **{name: partial(reading_one, name) for name in ("pull", "pull-all", "entity", "with")},
    "pull-many": lambda how: asked(how, partial(factstore.pull_many, town(how).db, list(ATTRIBUTES), town(how).some)),
    **{name: partial(reading_the_past, name) for name in ("pull-now", "pull-as-of", "history-entity")},
    "now-aggregate": lambda how: asked(how, lambda: factstore.q(SUM, past(how).db)),
    "as-of-aggregate": lambda how: asked(how, lambda: factstore.q(SUM, past(how).db.as_of(past(how).t))),
    "as-of-aggregate-first": first_of_the_past,
    "history-aggregate": lambda how: asked(how, lambda: factstore.q(ADDED, past(how).db.history())),
}

# -- writes

Forms = list[Any]


def left(conn: factstore.Connection) -> list[Any]:
    """Return what is asserted of the people: the values of the five attributes."""
    db = conn.db()
    return [d.v for attribute in ATTRIBUTES for d in db.datoms("aevt", attribute)]


def written(
    how: Settings, start: Forms, forms: Callable[[Mapping[int, int]], list[Forms]], uri: Callable[[], str] | None = None
) -> Measured:
    """Measure transactions one by one in a new store of `start`; `forms` makes them from the ids of the people."""
    made = [0]

    def prepare() -> Run:
        conn = fresh(uri() if uri else "memory:")
        if start:
            conn.transact(start)
        txs = forms(by_number(conn.db(), ":pid"))
        made[0] = len(txs)

        def run() -> factstore.Connection:
            for tx in txs:
                conn.transact(tx)
            return conn

        return run

    seconds, conn = once(how, prepare, on_disk=uri is not None)
    return reported([second / made[0] for second in seconds], left(conn), {})


def raised(person: dict[str, Any]) -> dict[str, Any]:
    """Return a person whose salary changed."""
    return {**person, ":salary": person[":salary"] + 1}


def add_1(how: Settings) -> Measured:
    everyone = people(how)

    def forms(ids: Mapping[int, int]) -> list[Forms]:
        return [[[":db/add", ids[p[":pid"]], a, p[a]]] for p in everyone for a in ATTRIBUTES]

    return written(how, [{":pid": p[":pid"]} for p in everyone], forms)


def one_by_one(how: Settings, form: Callable[[dict[str, Any], Mapping[int, int]], Any]) -> Measured:
    """Measure a transaction of one form about each of the people."""
    everyone = people(how)
    return written(how, everyone, lambda ids: [[form(p, ids)] for p in everyone])


def durable(how: Settings) -> Measured:
    some = people(how)[:DURABLE]
    return written(how, some, lambda _: [[raised(p)] for p in some], lambda: str(how.folder / f"{uuid.uuid4()}.facts"))


WRITES: dict[str, Work] = {
    "add-1": add_1,
    "add-5": lambda how: written(how, [], lambda _: [[p] for p in people(how)]),
    "upsert": lambda how: one_by_one(how, lambda p, _: raised(p)),
    "lookup-ref": lambda how: one_by_one(how, lambda p, _: [":db/add", [":pid", p[":pid"]], ":age", 101]),
    "cas": lambda how: one_by_one(how, lambda p, ids: [":db/cas", ids[p[":pid"]], ":age", p[":age"], 101]),
    "retract-entity": lambda how: one_by_one(how, lambda p, ids: [":db/retractEntity", ids[p[":pid"]]]),
    "add-all": lambda how: written(how, [], lambda _: [people(how)]),
    "durable": durable,
    "durable-local": durable,
}

# -- SQLite: a table with an index on every column and a write-ahead log, synced at every commit


def sqlite_durable(how: Settings) -> Measured:
    some = people(how)[:DURABLE]
    names = ",".join(COLUMNS)
    sets = ",".join(f"{column}=excluded.{column}" for column in COLUMNS)
    sql = f"INSERT INTO people(pid,{names}) VALUES(?,?,?,?,?,?) ON CONFLICT(pid) DO UPDATE SET {sets}"

    def prepare() -> Run:
        c = sqlite3.connect(how.folder / f"{uuid.uuid4()}.sqlite", isolation_level=None)
        c.execute("PRAGMA journal_mode=WAL")
        c.execute("PRAGMA synchronous=FULL")
        c.execute("CREATE TABLE people(pid INTEGER PRIMARY KEY,name TEXT,last TEXT,sex TEXT,age INT,salary INT)")
        for column in COLUMNS:
            c.execute(f"CREATE INDEX p_{column} ON people({column})")
        c.execute("BEGIN")
        c.executemany(sql, [tuple(p.values()) for p in some])
        c.execute("COMMIT")
        rows = [tuple(raised(p).values()) for p in some]

        def run() -> sqlite3.Connection:
            for row in rows:
                c.execute(sql, row)
            return c

        return run

    seconds, c = once(how, prepare, on_disk=True)
    values = [v for row in c.execute(f"SELECT {names} FROM people") for v in row]
    return reported([second / len(some) for second in seconds], values, {})


WORK: dict[str, dict[str, Work]] = {"ours": {**READS, **WRITES}, "sqlite": {"durable": sqlite_durable}}


def main() -> None:
    side, *settings = sys.argv[1:]
    how = Settings.of(*settings)
    for line in sys.stdin:
        print(json.dumps(asdict(WORK[side][line.strip()](how))), flush=True)


if __name__ == "__main__":
    main()
