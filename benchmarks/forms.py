"""The forms of a transaction, one row for each: `python -m benchmarks.forms [name …]`.

Each row is the time of one small transaction in memory, the least of many rounds, in a store of 5,000 people. The
processor's time is measured, so other programs on the machine matter little. The last row is one large transaction.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from typing import Any, TypeAlias

import factstore
from benchmarks.harness import Row, save, show

Conn: TypeAlias = factstore.Connection
Step: TypeAlias = Callable[[int], object]

PEOPLE = 5_000
ROUNDS, OPERATIONS = 12, 400
LARGE = "20,000 people with an identity in one"
GOALS = {  # microseconds, but milliseconds for the large one; all other forms at most 25
    "order with three nested lines": "<= 50",
    "if_unchanged_since": "<= 30",
    "transaction function": "<= 40",
    "with_ of one datom": "<= 30",
    "with_ after a commit": "<= 30",
    "with_ in a chain": "<= 30",
    LARGE: "",
}
ATTRIBUTES: list[dict[str, Any]] = [
    {
        ":db/ident": name,
        ":db/valueType": f":db.type/{kind}",
        ":db/cardinality": f":db.cardinality/{cardinality}",
        **more,
    }
    for name, kind, cardinality, more in (
        (":pid", "long", "one", {":db/unique": ":db.unique/identity"}),
        (":name", "string", "one", {":db/index": True}),
        (":last-name", "string", "one", {":db/index": True}),
        (":sex", "keyword", "one", {":db/index": True}),
        (":age", "long", "one", {":db/index": True}),
        (":salary", "long", "one", {":db/index": True}),
        (":tags", "string", "many", {}),
        (":boss", "ref", "one", {}),
        (":order/id", "string", "one", {":db/unique": ":db.unique/identity"}),
        (":order/lines", "ref", "many", {":db/isComponent": True}),
        (":line/product", "string", "one", {}),
        (":line/count", "long", "one", {}),
        (":audit/user", "string", "one", {}),
    )
]
SEXES = (factstore.Keyword(":male"), factstore.Keyword(":female"))


def person(i: int) -> dict[str, Any]:
    """Return the map of one person."""
    return {
        ":pid": i,
        ":name": f"n{i % 100}",
        ":last-name": f"l{i % 50}",
        ":sex": SEXES[i % 2],
        ":age": i % 90,
        ":salary": i,
    }


def store(people: int = PEOPLE) -> tuple[Conn, list[int]]:
    """Return a connection to a new store in memory, and the ids of its people."""
    conn = factstore.connect("memory:")
    conn.transact(ATTRIBUTES)
    report = conn.transact([{":db/id": str(i), **person(i)} for i in range(people)])
    return conn, [report.tempids[str(i)] for i in range(people)]


def raised(db: factstore.Database, e: int) -> list[Any]:
    """Raise a salary: a transaction function that reads one value."""
    return [{":db/id": e, ":salary": db.view.values_of(e, SALARY[0])[0] + 1}]


SALARY = [0]
factstore.register("forms/raised", raised)


def order(i: int) -> dict[str, Any]:
    """Return an order with three lines."""
    return {":order/id": f"o{i}", ":order/lines": [{":line/product": f"p{k}", ":line/count": i + k} for k in range(3)]}


def text(i: int) -> str:
    """Return the EDN text of a new map."""
    return f'[{{:name "n{i}" :age {i % 90}}}]'


SIMPLE: dict[str, Callable[[Conn, list[int], int], Any]] = {
    "known entity, one datom": lambda c, es, i: [[":db/add", es[i % PEOPLE], ":age", i]],
    "new map of 5": lambda c, es, i: [{":name": "a", ":last-name": "b", ":sex": SEXES[0], ":age": i, ":salary": i}],
    "new map of 5 and an identity": lambda c, es, i: [person(PEOPLE + i)],
    "upsert of 5, one changed": lambda c, es, i: [{**person(i % PEOPLE), ":salary": -i}],
    "upsert of 1": lambda c, es, i: [{":pid": i % PEOPLE, ":salary": -i}],
    "map with :db/id": lambda c, es, i: [{":db/id": es[i % PEOPLE], ":name": f"m{i}", ":age": i}],
    "lookup ref": lambda c, es, i: [[":db/add", [":pid", i % PEOPLE], ":age", 1000 + i]],
    "map with a lookup ref": lambda c, es, i: [{":db/id": [":pid", i % PEOPLE], ":age": 1000 + i}],
    "cardinality many, one added": lambda c, es, i: [[":db/add", es[i % PEOPLE], ":tags", f"t{i}"]],
    "cardinality many, map with a list": lambda c, es, i: [{":db/id": es[i % PEOPLE], ":tags": [f"t{i}", f"u{i}"]}],
    "ref to an id": lambda c, es, i: [[":db/add", es[i % PEOPLE], ":boss", es[(i + 1) % PEOPLE]]],
    "ref to a lookup ref": lambda c, es, i: [{":db/id": es[i % PEOPLE], ":boss": [":pid", (i * 7) % PEOPLE]}],
    "order with three nested lines": lambda c, es, i: [order(i)],
    "two maps with tempids": lambda c, es, i: [
        {":db/id": "a", ":name": "x", ":boss": "b"},
        {":db/id": "b", ":name": "y", ":age": i},
    ],
    "EDN text": lambda c, es, i: text(i),
    "retract a value": lambda c, es, i: [[":db/retract", es[i % PEOPLE], ":salary", i % PEOPLE]],
    "retractEntity": lambda c, es, i: [[":db/retractEntity", es[i % PEOPLE]]],
    "cas": lambda c, es, i: [[":db/cas", es[i % PEOPLE], ":age", (i % PEOPLE) % 90, 100]],
    "transaction function": lambda c, es, i: [["forms/raised", es[i % PEOPLE]]],
}


def conditional(name: str, conn: Conn, es: list[int]) -> Step | None:
    """Return a row that is not only forms."""

    def plain(i: int) -> list[Any]:
        return [[":db/add", es[i % PEOPLE], ":age", i]]

    if name == "under annotate":
        return lambda i: conn.transact(plain(i))
    if name == "key=":
        return lambda i: conn.transact(plain(i), key=f"k{i}")
    if name == "if_unchanged_since":
        return lambda i: conn.transact(plain(i), if_unchanged_since=conn.db().basis_t)
    if name == "with_ of one datom":
        db = conn.db()
        return lambda i: factstore.with_(db, plain(i))
    if name == "with_ after a commit":
        return lambda i: factstore.with_(conn.transact(plain(i)).db_after, plain(i + 1))
    if name == "with_ in a chain":
        chain = [conn.db()]

        def step(i: int) -> None:
            chain[0] = factstore.with_(chain[0], plain(i)).db_after

        return step
    return None


CONDITIONAL = (
    "under annotate",
    "key=",
    "if_unchanged_since",
    "with_ of one datom",
    "with_ after a commit",
    "with_ in a chain",
)


def measured(name: str) -> float:
    """Return the microseconds of one transaction."""
    conn, es = store()
    SALARY[0] = conn.db().attribute(":salary").id
    make = SIMPLE.get(name)
    step = conditional(name, conn, es) if make is None else None
    block = conn.annotate({":audit/user": "ann"}) if name == "under annotate" else None
    if block is not None:
        block.__enter__()
    best = 1e9
    for r in range(ROUNDS):
        numbers = range(r * OPERATIONS, (r + 1) * OPERATIONS)
        data = [make(conn, es, i) for i in numbers] if make else []
        gc.collect()
        start = time.process_time()
        if make:
            for tx_data in data:
                conn.transact(tx_data)
        else:
            assert step is not None
            for i in numbers:
                step(i)
        best = min(best, (time.process_time() - start) / OPERATIONS)
    if block is not None:
        block.__exit__(None, None, None)
    conn.close()
    return best * 1e6


def all_at_once() -> float:
    """Return the milliseconds of one transaction of 20,000 people with an identity."""
    best = 1e9
    for _ in range(3):
        conn = factstore.connect("memory:")
        conn.transact(ATTRIBUTES)
        maps = [person(i) for i in range(20_000)]
        gc.collect()
        start = time.process_time()
        assert conn.transact(maps).size == 120_001
        best = min(best, time.process_time() - start)
        conn.close()
    return best * 1e3


def main(names: list[str]) -> None:
    """Measure the rows with these names, or all."""
    rows = []
    for name in (*SIMPLE, *CONDITIONAL, LARGE):
        if names and not any(part in name for part in names):
            continue
        value, unit = (all_at_once(), "ms") if name == LARGE else (measured(name), "µs")
        rows.append(Row(name, value, None, "", unit, GOALS.get(name, "<= 25")))
        show(rows[-1])
    if not names:
        save("forms", rows)


if __name__ == "__main__":
    main(sys.argv[1:])
