"""The same store at 10^5, 10^6 and 10^7 datoms: `python -m benchmarks.growth` prints a table and draws docs/pictures/growth.svg."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

import factstore
from benchmarks.harness import Row, save, show

SIZES = (100_000, 1_000_000, 10_000_000)
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "growth.svg"
ATTRIBUTES = [f":n/{name}" for name in "abcde"]
_LONG = {":db/valueType": ":db.type/long"}
_MANY = {**_LONG, ":db/cardinality": ":db.cardinality/many"}
SCHEMA = [
    *({":db/ident": a, ":db/cardinality": ":db.cardinality/one", **_LONG} for a in ATTRIBUTES),
    {":db/ident": ":n/many", **_MANY},
    {":db/ident": ":n/once", ":db.attr/preds": "db/insert-only", **_MANY},
]


class Measure(NamedTuple):
    """One line of the picture."""

    name: str
    unit: str
    values: list[float]


def once(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def grown(path: str, size: int) -> list[tuple[str, str, float]]:
    """Build a store of so many datoms and measure it."""
    rng = np.random.default_rng(1)
    entities = size // 5
    batch = min(entities, 200_000)
    with factstore.connect(path, sync="none") as conn:
        conn.transact(SCHEMA)

        def load() -> None:
            for _ in range(entities // batch):
                table = {a: rng.integers(0, 1 << 20, batch) for a in ATTRIBUTES}
                conn.load(table, {a: a for a in ATTRIBUTES}, batch_rows=batch, progress=False)
            conn._committer.index()

        loaded = once(load)
    stored = Path(path).stat().st_blocks * 512
    opened = once(lambda: factstore.connect(path).close())
    with factstore.connect(path, sync="none") as conn:
        db = conn.db()
        a = db.attribute(":n/a").id
        wanted = rng.integers((2 << 42) + 200, (2 << 42) + entities - 100, 2000).tolist()
        for e in wanted:
            db.view.values_of(e, a)
        read = once(lambda: [db.view.values_of(e, a) for e in wanted]) / 2000
        e = conn.transact([{":db/id": "p", ":n/a": 1}]).tempids["p"]
        added = once(lambda: [conn.transact([[":db/add", e, ":n/b", i]]) for i in range(2000)]) / 2000
        query = "[:find ?e :in $ ?v :where [?e :n/a ?v] [?e :n/b ?b] [(< ?b 524288)]]"
        factstore.q(query, db, 1)
        asked = once(lambda: [factstore.q(query, db, v) for v in range(200)]) / 200
        of_many = [*many_values(conn, size // 1000), *changed_often(conn, size // 1000)]
    return [
        ("bulk load and index, per datom", "µs", loaded / size * 1e6),
        ("open", "ms", opened * 1e3),
        ("one attribute of an entity, warm", "µs", read * 1e6),
        ("one-datom transaction", "µs", added * 1e6),
        ("query by value, joined and filtered", "µs", asked * 1e6),
        ("on disk, per datom", "bytes", stored / size),
        *of_many,
    ]


def many_values(conn: factstore.Connection, count: int) -> list[tuple[str, str, float]]:
    """Measure an entity that has so many values of one attribute."""
    e = conn.transact([{":db/id": "e", ":n/many": list(range(count)), ":n/once": list(range(count))}]).tempids["e"]
    asserted = once(lambda: [conn.transact([[":db/add", e, ":n/many", count + i]]) for i in range(500)]) / 500
    retracted = once(lambda: [conn.transact([[":db/retract", e, ":n/many", count + i]]) for i in range(500)]) / 500

    def reject() -> None:
        try:
            conn.transact([[":db/add", e, ":n/once", count + i] for i in range(500)])
        except factstore.TransactError:
            return
        raise AssertionError("an insert-only attribute was asserted again")

    rejected = once(reject) / 500
    return [
        ("assert a value of an entity with size/1,000 of them", "µs", asserted * 1e6),
        ("retract one", "µs", retracted * 1e6),
        ("reject one, insert-only, in a transaction of 500", "µs", rejected * 1e6),
    ]


def changed_often(conn: factstore.Connection, count: int) -> list[tuple[str, str, float]]:
    """Measure reads of an entity with one value of an attribute that was changed so many times, and of older databases."""
    e = conn.transact([{":db/id": "e", ":n/many": [0]}]).tempids["e"]
    held = conn.db()
    for i in range(count):
        conn.transact([[":db/retract", e, ":n/many", i % 2], [":db/add", e, ":n/many", 1 - i % 2]])
    db, a = conn.db(), conn.db().attribute(":n/many").id

    def read(database: factstore.Database, expected: int) -> float:
        assert database.view.values_of(e, a) == (expected,)
        assert e in database.view.holders_of(a, expected)
        return once(lambda: [database.view.values_of(e, a) for _ in range(500)]) / 500

    return [
        ("values of an entity that changed size/1,000 times", "µs", read(db, count % 2) * 1e6),
        ("the same in a database from before", "µs", read(held, 0) * 1e6),
    ]


def picture(measures: list[Measure]) -> str:
    """Draw each measure over the size, both logarithmic."""
    width, height, left, top = 840, 420, 60, 30
    inner_w, inner_h = width - left - 340, height - top - 60
    low, high = -1.0, 3.0

    def x(i: int) -> float:
        return left + inner_w * i / (len(SIZES) - 1)

    def y(value: float) -> float:
        return top + inner_h * (high - np.log10(max(value, 0.1))) / (high - low)

    colours = ("#2f6fde", "#d9822b", "#29a383", "#8e4ec6", "#e5484d", "#60646c", "#0894b3", "#ad5700", "#d6409f")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="13">',
        "<title>Cost of the same operations at 100 thousand, 1 million and 10 million datoms</title>",
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
    ]
    for power in range(int(low), int(high) + 1):
        at = y(10.0**power)
        parts.append(f'<line x1="{left}" x2="{left + inner_w}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e4e6ea"/>')
        parts.append(f'<text x="{left - 10}" y="{at + 4:.1f}" text-anchor="end" fill="#60646c">{10.0**power:g}</text>')
    for i, size in enumerate(SIZES):
        parts.append(f'<text x="{x(i):.1f}" y="{height - 34}" text-anchor="middle" fill="#60646c">{size:,}</text>')
    parts.append(
        f'<text x="{left + inner_w / 2:.1f}" y="{height - 10}" text-anchor="middle" fill="#1c2024">datoms in the store</text>'
    )
    ends = sorted(range(len(measures)), key=lambda i: -measures[i].values[-1])
    labels, last = {}, -99.0
    for i in ends:
        last = labels[i] = max(y(measures[i].values[-1]), last + 18)
    for i, (measure, colour) in enumerate(zip(measures, colours, strict=True)):
        points = " ".join(f"{x(k):.1f},{y(v):.1f}" for k, v in enumerate(measure.values))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts += [
            f'<circle cx="{x(k):.1f}" cy="{y(v):.1f}" r="3.5" fill="{colour}"/>' for k, v in enumerate(measure.values)
        ]
        text = f"{measure.values[-1]:,.1f} {measure.unit}  {measure.name}"
        parts.append(f'<text x="{left + inner_w + 12}" y="{labels[i] + 4:.1f}" fill="{colour}">{text}</text>')
    return "\n".join([*parts, "</svg>\n"])


def main() -> None:
    folder = tempfile.mkdtemp(prefix="growth-")
    try:
        found = [grown(f"{folder}/{size}.facts", size) for size in SIZES]
    finally:
        shutil.rmtree(folder)
    measures = [Measure(name, unit, [store[i][2] for store in found]) for i, (name, unit, _) in enumerate(found[0])]
    rows = [
        Row(f"{measure.name} at {size:,}", value, None, "", measure.unit)
        for measure in measures
        for size, value in zip(SIZES, measure.values, strict=True)
    ]
    for row in rows:
        show(row)
    save("growth", rows)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture(measures), encoding="utf-8")


if __name__ == "__main__":
    main()
