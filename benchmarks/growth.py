"""Whether costs grow with a store: `python -m benchmarks.growth [store] [paths] [large]`.

store    the same store at 10^5, 10^6 and 10^7 datoms; draws docs/pictures/growth.svg
paths    operations at two sizes: the exponent of their growth, which is 1 if the time is proportional to the size
large    a load of 50 million datoms in a process of its own: seconds and memory
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

import factstore
from benchmarks.harness import Row, save, show
from factstore import maintain

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


# -- operations at two sizes

Run = Callable[[], object]
PATHS: dict[str, tuple[Callable[[int], Run], int, int]] = {}  # name → what sets up a run, and the sizes


def path(name: str, small: int, large: int) -> Callable[[Callable[[int], Run]], Callable[[int], Run]]:
    """Add an operation to the paths."""

    def add(set_up: Callable[[int], Run]) -> Callable[[int], Run]:
        PATHS[name] = set_up, small, large
        return set_up

    return add


def with_schema(uri: str = "memory:") -> factstore.Connection:
    """Return a store with the attributes of the paths."""
    conn = factstore.connect(uri, sync="none")
    text = {":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}
    unique = {":db/ident": ":n/key", ":db/unique": ":db.unique/identity", **text}
    value = {
        ":db/ident": ":n/value",
        ":db/unique": ":db.unique/value",
        ":db/cardinality": ":db.cardinality/one",
        **_LONG,
    }
    conn.transact([*SCHEMA, unique, value])
    return conn


def with_many(count: int) -> tuple[factstore.Connection, int]:
    """Return a store, and an entity of it that has so many values of one attribute."""
    conn = with_schema()
    return conn, conn.transact([{":db/id": "e", ":n/many": list(range(count))}]).tempids["e"]


@path("retract the values of an attribute, in one transaction", 2_000, 20_000)
def retracted(count: int) -> Run:
    conn, e = with_many(count)
    return lambda: conn.transact([[":db/retract", e, ":n/many", i] for i in range(count)])


@path("retract them one by one", 1_000, 10_000)
def retracted_singly(count: int) -> Run:
    conn, e = with_many(count)
    return lambda: [conn.transact([[":db/retract", e, ":n/many", i]]) for i in range(count)]


@path("retract the entity", 2_000, 20_000)
def retracted_entity(count: int) -> Run:
    conn, e = with_many(count)
    return lambda: conn.transact([[":db/retractEntity", e]])


@path("write an entity with many values again", 2_000, 20_000)
def written_again(count: int) -> Run:
    conn, e = with_many(count)
    return lambda: conn.transact([{":db/id": e, ":n/many": list(range(count))}])


def rejected(conn: factstore.Connection, forms: list[object]) -> Run:
    """Return a transaction that must be rejected."""

    def run() -> None:
        try:
            conn.transact(forms)
        except factstore.TransactError:
            return
        raise AssertionError("a transaction with conflicts was committed")

    return run


@path("reject insert-only values that are asserted again", 2_000, 20_000)
def inserted_again(count: int) -> Run:
    conn = with_schema()
    e = conn.transact([{":db/id": "e", ":n/once": list(range(count))}]).tempids["e"]
    return rejected(conn, [{":db/id": e, ":n/once": list(range(count))}])


@path("declare 20 attributes one by one, among other idents", 2_000, 20_000)
def declared(count: int) -> Run:
    conn = with_schema()
    conn.transact([{":db/ident": f":i/x{i}"} for i in range(count)])
    return lambda: [conn.transact([{":db/ident": f":m/a{i}", **_MANY}]) for i in range(20)]


@path("declare attributes, in one transaction", 1_000, 10_000)
def declared_together(count: int) -> Run:
    conn = with_schema()
    return lambda: conn.transact([{":db/ident": f":m/a{i}", **_MANY} for i in range(count)])


@path("upsert by a unique key", 2_000, 20_000)
def upserted(count: int) -> Run:
    conn = with_schema()
    conn.transact([{":n/key": f"k{i}", ":n/a": i} for i in range(count)])
    return lambda: conn.transact([{":n/key": f"k{i}", ":n/a": i + 1} for i in range(count)])


@path("upsert one by one", 1_000, 10_000)
def upserted_singly(count: int) -> Run:
    conn = with_schema()
    conn.transact([{":n/key": f"k{i}", ":n/a": i} for i in range(count)])
    return lambda: [conn.transact([{":n/key": f"k{i}", ":n/a": i + 1}]) for i in range(count)]


@path("reject unique values that exist", 2_000, 20_000)
def conflicting(count: int) -> Run:
    conn = with_schema()
    conn.transact([{":n/value": i} for i in range(count)])
    return rejected(conn, [{":n/value": i} for i in range(count)])


@path("load rows with a unique number in no order, and index", 100_000, 1_000_000)
def loaded_keys(count: int) -> Run:
    keys = np.random.default_rng(1).permutation(count)

    def run() -> None:
        with with_schema() as conn:
            conn.load({"k": keys, "a": keys}, {"k": ":n/value", "a": ":n/a"}, progress=False)

    return run


@path("load datoms of five attributes, close, and open", 1_000_000, 10_000_000)
def closed(count: int) -> Run:
    def run() -> None:
        rng = np.random.default_rng(1)
        with tempfile.TemporaryDirectory(prefix="growth-") as folder:
            with with_schema(f"{folder}/store.facts") as conn:
                for _ in range(10):
                    table = {a: rng.integers(0, 1 << 20, count // 50) for a in ATTRIBUTES}
                    conn.load(table, {a: a for a in ATTRIBUTES}, progress=False)
            factstore.connect(f"{folder}/store.facts").close()

    return run


@path("index many small loads, each followed by facts about its entities", 150, 1_500)
def loaded_often(count: int) -> Run:
    conn = with_schema()
    for first in range(0, 200 * count, 200):
        values = np.arange(first, first + 200)
        conn.load({"key": values, "a": values}, {"key": ":n/value", "a": ":n/a"}, progress=False)
        conn.transact([[":db/add", [":n/value", first + n], ":n/b", n] for n in range(60)])
    return conn._committer.index


@path("check a store", 500_000, 5_000_000)
def checked(count: int) -> Run:
    conn = with_schema()
    table = {a: np.random.default_rng(1).integers(0, 1 << 20, count // 5) for a in ATTRIBUTES}
    conn.load(table, {a: a for a in ATTRIBUTES}, progress=False)
    conn._committer.index()
    return lambda: maintain.check(conn)


@path("build the index again from the log", 500_000, 5_000_000)
def rebuilt(count: int) -> Run:
    conn = with_schema()
    table = {a: np.random.default_rng(1).integers(0, 1 << 20, count // 5) for a in ATTRIBUTES}
    conn.load(table, {a: a for a in ATTRIBUTES}, progress=False)
    conn._committer.index()  # otherwise it runs beside the measured one
    return lambda: maintain.reindex(conn)


def seconds_of_cpu(run: Run) -> float:
    """Return the time of a run on the processors, which is not that of other programs."""
    gc.collect()
    start = time.process_time()
    run()
    return time.process_time() - start


def measured(name: str, size: int) -> float:
    """Return the seconds of a path at a size, the better one of two runs."""
    set_up, *_ = PATHS[name]
    return min(seconds_of_cpu(set_up(size)) for _ in range(2))


def paths() -> list[Row]:
    """Measure each path at both sizes, each in a process of its own: Python's collector visits what others keep."""
    rows = []
    spawned = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawned, max_tasks_per_child=1) as one_by_one:
        for name, (_, *sizes) in PATHS.items():
            small, large = (one_by_one.submit(measured, name, size).result() for size in sizes)
            exponent = float(np.log(large / small) / np.log(sizes[1] / sizes[0]))
            note = f"{small * 1e3:,.1f} ms at {sizes[0]:,}, {large * 1e3:,.1f} ms at {sizes[1]:,}"
            rows.append(Row(name, exponent, None, "", "exponent", "<= 1.15", note=note, part="paths"))
            show(rows[-1])
            print(" " * 8 + note, flush=True)
    return rows


LARGE, LARGE_BATCH, GROUPS = 10_000_000, 1_000_000, 1_000  # entities of five attributes


def load_large(path: str) -> None:
    """Load a store and ask it; print the figures as JSON. The memory is that of this process."""
    peak = PeakMemory()
    began = time.perf_counter()
    conn = factstore.connect(path)
    conn.transact(SCHEMA)
    rng = np.random.default_rng(1)
    values = {a: rng.integers(0, GROUPS if a == ":n/b" else 1 << 20, LARGE_BATCH) for a in ATTRIBUTES[1:]}
    made = peak.bytes()
    for i in range(LARGE // LARGE_BATCH):
        table = {ATTRIBUTES[0]: np.arange(LARGE_BATCH) + i * LARGE_BATCH, **values}
        conn.load(table, {a: a for a in table}, batch_rows=LARGE_BATCH, progress=False)
    loaded = time.perf_counter() - began
    conn.close()
    indexed = time.perf_counter() - began
    memory = peak.end() - made
    with factstore.connect(path, read_only=True) as reader:
        began = time.perf_counter()
        sums = factstore.q("[:find ?b (sum ?c) :with ?e :where [?e :n/b ?b] [?e :n/c ?c]]", reader.db())
        grouped = time.perf_counter() - began
    assert len(sums) == GROUPS
    assert sum(total for _, total in sums) == LARGE // LARGE_BATCH * int(values[":n/c"].sum())
    print(json.dumps({"loaded": loaded, "indexed": indexed, "memory": memory, "grouped": grouped}))


class PeakMemory:
    """The most memory that this process had, without mapped files, looked at 20 times a second."""

    def __init__(self) -> None:
        self._peak = 0
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def bytes(self) -> int:
        """Return how much it has now."""
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))

    def _look(self) -> None:
        while not self._ends.wait(0.05):
            self._peak = max(self._peak, self.bytes())

    def end(self) -> int:
        """Return the most that it had."""
        self._ends.set()
        self._thread.join()
        return self._peak


def large() -> list[Row]:
    """Measure the load of 50 million datoms, three times."""
    with tempfile.TemporaryDirectory(prefix="growth-") as folder:
        command = "import sys, benchmarks.growth as growth; growth.load_large(sys.argv[1])"
        outputs = [subprocess.check_output([sys.executable, "-c", command, f"{folder}/{i}.facts"]) for i in range(3)]
    of_runs = [json.loads(output) for output in outputs]
    rows = [
        Row(name, float(np.median([run[key] for run in of_runs])) / unit, None, "", label, aim, part="large")
        for name, key, unit, label, aim in (
            ("load 50 million datoms, durable", "loaded", 1, "s", "<= 40"),
            ("the same, indexed and closed", "indexed", 1, "s", "<= 60"),
            ("most memory meanwhile, without mapped files", "memory", 1 << 30, "GiB", "<= 1.5"),
            ("sum 10 million rows in 1,000 groups, cold", "grouped", 1, "s", "<= 4"),
        )
    ]
    for row in rows:
        show(row)
    return rows


def stores() -> list[Row]:
    """Measure the same store at all sizes, and draw the picture."""
    folder = tempfile.mkdtemp(prefix="growth-")
    try:
        found = [grown(f"{folder}/{size}.facts", size) for size in SIZES]
    finally:
        shutil.rmtree(folder)
    measures = [Measure(name, unit, [store[i][2] for store in found]) for i, (name, unit, _) in enumerate(found[0])]
    rows = [
        Row(f"{measure.name} at {size:,}", value, None, "", measure.unit, part="store")
        for measure in measures
        for size, value in zip(SIZES, measure.values, strict=True)
    ]
    for row in rows:
        show(row)
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(picture(measures), encoding="utf-8")
    return rows


def main() -> None:
    parts = {"store": stores, "paths": paths, "large": large}
    save("growth", [row for name in sys.argv[1:] or parts for row in parts[name]()])


if __name__ == "__main__":
    main()
