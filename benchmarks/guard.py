"""A guard against slower code: `python -m benchmarks.guard [NAME …] [--update]`; about a minute, part of `.ci/run`.

Each check runs beside a baseline in the same process, by turns: plain Python, arrays of numpy, or SQLite, which scale with the machine
as this store does. Seconds are those of the processor, and the least of several rounds counts, so that other programs disturb little.
A check fails if its ratio is more than 1.25 times the one in results/guard.json, twice in a row. --update stores the ratios of this
run there; do so when a check became faster, or slower for a good reason, on a quiet machine.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import platform
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
from pyrsistent import PMap, pmap

import factstore
import overseer
from benchmarks import forms
from benchmarks.graphs import SHAPES
from benchmarks.harness import RESULTS, Row, save
from benchmarks.people import ATTRIBUTES, people
from benchmarks.same_work import CLOSURE, POINT, QUERIES, RULES, SCHEMA

ALLOWED: Final = 1.25  # a larger ratio than this times the committed one fails
ROUNDS: Final = 12
ENOUGH: Final = 0.005  # seconds of the processor that a sample takes at least

Run = Callable[[], Any]
P: Final = [{":pid": i, **dict(zip(ATTRIBUTES, person, strict=True))} for i, person in enumerate(people(2_000), 1)]


class Check(NamedTuple):
    """What is guarded: `prepare` returns a run of a number of operations, outside the clock."""

    prepare: Callable[[], Run]
    operations: int
    baseline: Callable[[], Run]
    baseline_name: str
    repeatable: bool = False  # on the same store: the run only reads


# -- baselines: work that is not ours


class Part(NamedTuple):
    entity: int
    value: str


def python() -> Run:
    """Calls, named tuples, dicts, a sort and a persistent map: what a transaction or a pull is made of."""

    def part(entity: int, value: str) -> Part:
        return Part(entity, value)

    def run() -> None:
        found: dict[int, dict[str, Any]] = {}
        kept: PMap[int, Part] = pmap()
        for i in range(1_000):
            one = part(i * 7919 % 1_009, f"value {i}")
            found.setdefault(one.entity, {})[one.value] = [one.entity, i]
            if i % 8 == 0:
                kept = kept.set(one.entity, one)
        assert sorted(found.items(), key=lambda pair: pair[0])[0][0] == 0

    return run


def arrays() -> Run:
    """Sorts, searches and groups of columns, and a set of tuples: what a query is made of."""
    rng = np.random.default_rng(1)
    keys, values = rng.integers(0, 1_000, 20_000), rng.integers(0, 1 << 40, 20_000)

    def run() -> None:
        order = np.lexsort((values, keys))
        cuts = np.searchsorted(keys[order], np.arange(1_000))
        sums = np.add.reduceat(values[order], cuts)
        assert 1_000 == len(set(zip(cuts.tolist(), sums.tolist(), strict=True)))

    return run


def sqlite() -> Run:
    """Upserts of rows by key into a table with two indexes, and a read of each."""
    rows = [tuple(p.values()) for p in P[:200]]

    def run() -> None:
        c = sqlite3.connect(":memory:", isolation_level=None)
        c.execute("CREATE TABLE people(pid INTEGER PRIMARY KEY,name TEXT,last TEXT,sex TEXT,age INT,salary INT)")
        c.execute("CREATE INDEX a ON people(name)")
        c.execute("CREATE INDEX b ON people(salary)")
        for row in rows:
            c.execute("INSERT OR REPLACE INTO people VALUES(?,?,?,?,?,?)", row)
            assert row == c.execute("SELECT * FROM people WHERE pid=?", row[:1]).fetchone()

    return run


# -- checks


def store(*transactions: Sequence[Any]) -> tuple[factstore.Connection, dict[Any, int]]:
    """Return a new store and the entities of its people."""
    conn = factstore.connect("memory:")
    for tx_data in (SCHEMA, *transactions):
        conn.transact(list(tx_data))
    return conn, {d.v: d.e for d in conn.db().datoms("aevt", ":pid")}


def one_by_one(form: Callable[[dict[str, Any], int], Any], *, start: bool = True, count: int = 300) -> Check:
    """Guard a transaction of one form about each of some people."""

    def prepare() -> Run:
        conn, ids = store(P[:count] if start else [])
        txs = [[form(p, ids.get(p[":pid"], 0))] for p in P[:count]]

        def run() -> None:
            for tx in txs:
                conn.transact(tx)

        return run

    return Check(prepare, count, python, "plain Python")


def form(name: str, count: int = 200) -> Check:
    """Guard a row of `benchmarks.forms`: transactions in a store that grows while they are measured."""
    conn, es = forms.store()
    forms.SALARY[0] = conn.db().attribute(":salary").id
    make = forms.SIMPLE.get(name)
    step = forms.conditional(name, conn, es) if make is None else lambda i: conn.transact(make(conn, es, i))
    assert step is not None
    numbers = itertools.count()

    def prepare() -> Run:
        def run() -> None:
            for i in itertools.islice(numbers, count):
                step(i)

        return run

    return Check(prepare, count, python, "plain Python", repeatable=True)


def in_one() -> Run:
    conn, _ = store()
    return lambda: conn.transact(P)


class World(NamedTuple):
    db: factstore.Database
    some: list[int]
    t: int


@cache
def world() -> World:
    """Return a database of people whose ages were written five times, some of them, and the t in the middle."""
    conn, ids = store(P)
    ts = [conn.transact([[":db/add", e, ":age", 100 + i] for e in ids.values()]).db_after.basis_t for i in range(5)]
    conn._committer.index()
    return World(conn.db(), [ids[n] for n in range(1, 2_000, 10)], ts[2])


def each(read: Callable[[World, int], Any]) -> Check:
    """Guard a read of one entity, of some in turn."""

    def prepare() -> Run:
        here = world()

        def run() -> None:
            for e in here.some:
                read(here, e)

        return run

    return Check(prepare, len(world().some), python, "plain Python", repeatable=True)


def query(text: str, db: factstore.Database | None = None, *inputs: Any) -> Check:
    """Guard a query, by default of the people."""

    def prepare() -> Run:
        return partial(factstore.q, text, world().db if db is None else db, *inputs)

    return Check(prepare, 1, arrays, "arrays of numpy", repeatable=True)


@cache
def tree() -> factstore.Database:
    edges = SHAPES["wide-5x3"]()
    nodes = {node for edge in edges for node in edge}
    maps = [{":db/id": f"n{node}", ":pid": node} for node in nodes]
    conn, _ = store([*maps, *([":db/add", f"n{a}", ":follows", f"n{b}"] for a, b in edges)])
    conn._committer.index()
    return conn.db()


def jobs(count: int = 100) -> Check:
    """Guard a worker with default settings that claims and finishes jobs."""

    def prepare() -> Run:
        conn = factstore.connect("memory:")
        overseer.install(conn)
        conn.transact([overseer.job_txn("guard") for _ in range(count)])
        return lambda: overseer.Worker(conn, {"guard": lambda job: None}).run(until_idle=True)

    return Check(prepare, count, python, "plain Python")


def job_enqueued(count: int = 200) -> Check:
    def prepare() -> Run:
        conn = factstore.connect("memory:")
        overseer.install(conn)
        txs = [[overseer.job_txn("guard")] for _ in range(count)]

        def run() -> None:
            for tx in txs:
                conn.transact(tx)

        return run

    return Check(prepare, count, python, "plain Python")


PULLED: Final = list(ATTRIBUTES)
FORMS: Final = (
    *("order with three nested lines", "two maps with tempids", "EDN text", "cardinality many, one added"),
    *("ref to a lookup ref", "transaction function", "key=", "if_unchanged_since", "with_ in a chain"),
)
CHECKS: Final[dict[str, Callable[[], Check]]] = {
    "add one datom": lambda: one_by_one(lambda p, e: [":db/add", e, ":salary", -1]),
    "new map": lambda: one_by_one(lambda p, e: p, start=False),
    "upsert by identity": lambda: one_by_one(lambda p, e: {**p, ":salary": -1}),
    "lookup ref": lambda: one_by_one(lambda p, e: [":db/add", [":pid", p[":pid"]], ":salary", -1]),
    "map with :db/id": lambda: one_by_one(lambda p, e: {":db/id": e, ":salary": -1, ":age": -1}),
    "compare and swap": lambda: one_by_one(lambda p, e: [":db/cas", e, ":age", p[":age"], -1]),
    "retract an entity": lambda: one_by_one(lambda p, e: [":db/retractEntity", e]),
    **{name: partial(form, name) for name in FORMS},
    "2,000 maps in one": lambda: Check(in_one, 2_000, sqlite, "SQLite"),
    "with_": lambda: each(lambda here, e: factstore.with_(here.db, [[":db/add", e, ":salary", -1]])),
    "point query": lambda: each(lambda here, e: factstore.q(POINT, here.db, 1 + (e - here.some[0]) % 2_000)),
    "join": lambda: query(QUERIES["q4"]),
    "join by value": lambda: query(QUERIES["q5"]),
    "aggregate": lambda: query(QUERIES["join-aggregate"]),
    "recursive rule": lambda: query(CLOSURE, tree(), RULES),
    "query as of": lambda: query("[:find (sum ?a) . :with ?e :where [?e :age ?a]]", world().db.as_of(world().t)),
    "pull": lambda: each(lambda here, e: factstore.pull(here.db, PULLED, e)),
    "pull as of": lambda: each(lambda here, e: factstore.pull(here.db.as_of(here.t), PULLED, e)),
    "entity": lambda: each(lambda here, e: factstore.entity(here.db, e)[":age"]),  # type: ignore[index]
    "history of one": lambda: each(lambda here, e: list(here.db.history().datoms("eavt", e, ":age"))),
    "enqueue": job_enqueued,
    "claim and finish": jobs,
}


# -- measuring


def spent(run: Run, times: int) -> float:
    """Return the seconds of the processor that a run takes."""
    gc.collect()
    start = time.process_time()
    for _ in range(times):
        run()
    return (time.process_time() - start) / times


def repeats(run: Run) -> int:
    """Return how often a run must be repeated to fill a sample; it is warm then."""
    run()
    return max(1, round(ENOUGH / max(spent(run, 1), 1e-6)))


def measure(name: str, *, rounds: int = ROUNDS) -> Row:
    """Measure a check beside its baseline, by turns."""
    check = CHECKS[name]()
    baseline, ours = check.baseline(), check.prepare()
    times, own = repeats(baseline), repeats(ours) if check.repeatable else 1
    mine, theirs = [], []
    for _ in range(rounds):
        theirs.append(spent(baseline, times))
        mine.append(spent(ours if check.repeatable else check.prepare(), own))
    ours_us, baseline_us = min(mine) * 1e6 / check.operations, min(theirs) * 1e6
    return Row(name, ours_us, baseline_us, check.baseline_name, "µs", part=name)


def guarded(name: str, committed: float) -> Row:
    """Measure a check; one that is slower than committed is measured once more, longer, and the lower ratio counts."""
    row = measure(name)
    if ratio(row) > committed * ALLOWED:
        row = min(row, measure(name, rounds=2 * ROUNDS), key=ratio)
    return row


def ratio(row: Row) -> float:
    return row.ratio or 0.0


def committed() -> dict[str, float]:
    """Return the committed ratios by name."""
    path = RESULTS / "guard.json"
    if not path.exists():
        refuse(f"there are no ratios to compare with: {path.name} does not exist; run with --update to make it")
    found = json.loads(path.read_text(encoding="utf-8"))
    version, here = (".".join(each.split(".")[:2]) for each in (found["python"], platform.python_version()))
    if version != here:
        print(f"guard: the ratios are those of CPython {version}, this is {here}: nothing is compared")
        raise SystemExit(0)
    return {row["name"]: row["ratio"] for row in found["rows"]}


def refuse(reason: str) -> NoReturn:
    print(f"python -m benchmarks.guard: {reason}", file=sys.stderr)
    raise SystemExit(2)


def compared(names: Sequence[str]) -> list[str]:
    """Measure checks, print them, and return those that became slower."""
    known, slower, faster = committed(), [], []
    for name in names:
        if name not in known:
            refuse(f"there is no committed ratio of {name!r}; run with --update, on a quiet machine")
        row = guarded(name, known[name])
        change = ratio(row) / known[name]
        if change > ALLOWED:
            slower.append(f"{name} takes {change:.2f} times as long as committed")
        elif change < 1 / ALLOWED:
            faster.append(name)
        print(f"{name:<31}{row.ours:>10,.4g} µs{ratio(row):>10.4g}{known[name]:>10.4g}{change:>8.2f}", flush=True)
    if faster:
        print(f"faster than committed: {', '.join(faster)}; store the new ratios with --update, or they guard nothing")
    return slower


def updated(names: Sequence[str]) -> None:
    """Measure checks and store their ratios; each is the median of three measurements."""
    rows = []
    for name in names:
        rows.append(sorted((measure(name) for _ in range(3)), key=ratio)[1])
        print(f"{name:<31}{rows[-1].ours:>10,.4g} µs{ratio(rows[-1]):>10.4g}", flush=True)
    save("guard", rows)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard")
    parser.add_argument("--update", action="store_true", help="store the ratios of this run")
    parser.add_argument("checks", nargs="*", metavar="NAME", help="only these checks")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.checks if name not in CHECKS]
    if unknown:
        refuse(f"no check is called {unknown[0]!r}; checks are {', '.join(map(repr, CHECKS))}")
    names = options.checks or list(CHECKS)
    if options.update:
        updated(names)
        return
    print(f"{'check':<31}{'ours':>13}{'ratio':>10}{'committed':>10}{'change':>8}")
    slower = compared(names)
    if slower:
        raise SystemExit("slower than committed: " + "; ".join(slower))


if __name__ == "__main__":
    main()
