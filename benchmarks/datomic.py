"""The same work in this store and in Datomic, in one run: `python -m benchmarks.datomic [--rows NAME,…] [--quick] [--ours] [--json]`.

Datomic is com.datomic/peer in memory, and com.datomic/local on disk for the durable row; Maven fetches both the first time. Each row is
measured alternately on both sides, on the same data, each side in a process of its own that was warmed up. The ratio compares the least
seconds, of the clock or, where the machine was busy, of the processor; results keep the medians, too. Numbers of rows and sums of the answers must agree: a difference fails the run. --ours measures
this store alone and compares it with the figures of Datomic in results/datomic.json. Without Java or Maven, nothing is measured.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

from benchmarks import java
from benchmarks.graphs import SHAPES
from benchmarks.harness import RESULTS, Row, save
from benchmarks.people import people

HERE: Final = Path(__file__).parent
PEER: Final = "com.datomic:peer:1.0.7277"
LOCAL: Final = "com.datomic:local:1.0.291"
JAVA_OPTIONS: Final = ("-Xms2g", "-Xmx4g", "-XX:+UseG1GC")
SCALE: Final = {"µs": 1e6, "ms": 1e3}


class Work(NamedTuple):
    """A row of the table: its title, its group, the unit, and the goal as a ratio or, in the unit, as a limit."""

    title: str
    group: str
    unit: str
    ratio: float = math.inf
    limit: float = math.inf
    other: str = "Datomic"

    @property
    def goal(self) -> str:
        """The goal as a text."""
        return f"<= {self.limit:g}" if self.limit < math.inf else f"ratio <= {self.ratio:g}"

    def missed(self, row: Row) -> bool:
        """Whether a result misses the goal."""
        return row.ours > self.limit or (row.ratio is not None and row.ratio > self.ratio)


ROWS: Final[dict[str, Work]] = {
    "q1": Work("q1: entities with a value", "queries", "ms", 0.15),
    "q2": Work("q2: q1 and one attribute of them", "queries", "ms", 0.1),
    "q3": Work("q3: q2 with a value of a third attribute", "queries", "ms", 0.05),
    "q4": Work("q4: q3 and a second attribute", "queries", "ms", 0.05),
    "q5": Work("q5: a join by value, 20,000 rows", "queries", "ms", 0.2),
    "predicate": Work("a comparison, 10,100 of 20,000 entities", "queries", "ms", 0.25),
    "count-by-name": Work("count of 20,000 in ten groups", "queries", "ms", 0.02),
    "avg-by-name": Work("average of 20,000 in ten groups", "queries", "ms", 0.02),
    "join-aggregate": Work("a join, count and average in six groups", "queries", "ms", 0.02),
    "point": Work("point query with an input", "queries", "µs", limit=15),
    **{f"rules-{shape}": Work(f"recursive rule, {shape}", "rules", "ms", 0.2) for shape in SHAPES},
    "add-1": Work("add one datom", "writes", "µs", 0.35),
    "add-5": Work("new entity with 5 attributes and an identity", "writes", "µs", 0.35),
    "upsert": Work("upsert of 5 attributes, one changed", "writes", "µs", 0.35),
    "lookup-ref": Work("add by a lookup ref", "writes", "µs", 0.5),
    "cas": Work("compare and swap", "writes", "µs", 0.3),
    "retract-entity": Work("retract an entity", "writes", "µs", 0.5),
    "add-all": Work("20,000 people with an identity in one transaction", "writes", "ms", 0.15),
    "with": Work("with_ of one datom", "writes", "µs", limit=30),
    "pull": Work("pull of 5 attributes", "pulls", "µs", 1.0),
    "pull-all": Work("pull of all attributes", "pulls", "µs", 1.0),
    "pull-many": Work("pull_many of 1,000", "pulls", "ms", 0.5),
    "entity": Work("an attribute of an entity", "pulls", "µs", 1.0),
    "pull-now": Work("pull of one attribute, written ten times", "past", "µs", 1.5),
    "pull-as-of": Work("pull of one attribute as of an earlier t", "past", "µs", 2.0),
    "history-entity": Work("history of an attribute of one entity, 19 datoms", "past", "µs", 2.0),
    "now-aggregate": Work("aggregate over 10,000 entities now", "past", "ms", 0.2),
    "as-of-aggregate": Work("aggregate as of the middle of 100,000 versions, warm", "past", "ms", 0.2),
    "as-of-aggregate-first": Work("aggregate as of the middle, first query of a store", "past", "ms", 0.6),
    "history-aggregate": Work("aggregate over the history of 10,000 entities", "past", "ms", 0.2),
    "durable": Work("durable upsert on disk", "durable", "µs", 1.3, other="SQLite WAL, full"),
    "durable-local": Work("durable upsert on disk", "durable", "µs", 0.4, other="Datomic Local"),
}


class Ended(Exception):
    """The program of a side ended before it reported; the message states which."""


class Side:
    """A program that measures rows: it reads the name of a row and answers with a line of JSON."""

    def __init__(self, command: Iterable[str]) -> None:
        self._process = subprocess.Popen(
            list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, cwd=HERE.parent
        )

    def measure(self, row: str) -> dict[str, float]:
        """Return what the program reports about a row."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):
            print(row, file=self._process.stdin, flush=True)
        for line in self._process.stdout:
            if line.startswith("{"):
                found: dict[str, float] = json.loads(line)
                return found
        raise Ended(f"the program that measures {row} ended with code {self._process.wait()}")

    def close(self) -> None:
        """End the program."""
        with self._process, suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()


def write_data(folder: Path, *, size: int = 20_000, keys: int = 10_000) -> None:
    """Write the data that all sides read: people, graphs, and keys whose values are written ten times."""
    r = random.Random(8)
    tables: dict[str, Iterable[tuple[Any, ...]]] = {
        "people": ((i, *row) for i, row in enumerate(people(size), 1)),
        "versions": ((t, k, r.randrange(1_000_000)) for t in range(1, 11) for k in range(1, keys + 1)),
        **{shape: edges() for shape, edges in SHAPES.items()},
    }
    for name, rows in tables.items():
        (folder / f"{name}.tsv").write_text("".join("\t".join(map(str, row)) + "\n" for row in rows))


class Bench:
    """The sides of a run, started when they are first used, and closed together."""

    def __init__(self, folder: Path, *, quick: bool, stack: ExitStack) -> None:
        warm, span, samples = ("0.5", "0.03", "3") if quick else ("4", "0.15", "5")
        self._settings = (str(folder), warm, span, samples)
        self._stack = stack
        self._sides: dict[str, Side] = {}
        self._commands = {
            "ours": lambda: [sys.executable, "-m", "benchmarks.same_work", "ours"],
            "SQLite WAL, full": lambda: [sys.executable, "-m", "benchmarks.same_work", "sqlite"],
            "Datomic": lambda: java.command(HERE / "datomic.clj", PEER, *JAVA_OPTIONS),
            "Datomic Local": lambda: java.command(HERE / "datomic_local.clj", LOCAL, *JAVA_OPTIONS),
        }

    def side(self, name: str) -> Side:
        """Return a side, which stays warm until the end of the run."""
        if name not in self._sides:
            self._sides[name] = self.new_side(name)
            self._stack.callback(self._sides[name].close)
        return self._sides[name]

    def new_side(self, name: str) -> Side:
        """Start the program of a side."""
        return Side([*self._commands[name](), *self._settings])

    @contextmanager
    def ours(self) -> Iterator[Side]:
        """Start our side for one row, so that no row is measured beside the data of another."""
        side = self.new_side("ours")
        try:
            yield side
        finally:
            side.close()


def measure(bench: Bench, name: str, *, rounds: int) -> Row:
    """Measure a row on both sides by turns; answers must agree."""
    work = ROWS[name]
    other = bench.side(work.other)
    mine, theirs = [], []
    with bench.ours() as ours:
        for _ in range(rounds):
            theirs.append(other.measure(name.removesuffix("-local")))
            mine.append(ours.measure(name))
    row = made(name, mine, theirs)
    for one, another in zip(mine, theirs, strict=True):
        if one["count"] != another["count"] or not math.isclose(one["sum"], another["sum"], rel_tol=1e-9):
            texts = [f"{found['count']} rows with the sum {found['sum']:.6g}" for found in (another, one)]
            row.note = f"{name}: {work.other} answers {texts[0]}, we {texts[1]}"
    return row


def measure_ours(bench: Bench, name: str, known: Mapping[str, Mapping[str, Any]]) -> Row:
    """Measure our side of a row and compare it with the figure of the other side that an earlier run stored."""
    with bench.ours() as ours:
        row = made(name, [ours.measure(name)], [])
    row.baseline = known.get(name, {}).get("baseline")
    return row


def made(name: str, mine: list[dict[str, float]], theirs: list[dict[str, float]]) -> Row:
    """Return the row of what was measured."""
    work = ROWS[name]
    scale = SCALE[work.unit]

    def least(found: list[dict[str, float]]) -> float | None:
        return min(one["min"] for one in found) * scale if found else None

    row = Row(work.title, least(mine) or 0.0, least(theirs), work.other, work.unit, work.goal, part=name)
    medians = {"ours": mine, work.other: theirs}
    row.medians = {
        side: statistics.median(one["median"] for one in found) * scale for side, found in medians.items() if found
    }
    return row


HEAD: Final = f"{'':<24}{'ours':>12}{'Datomic':>12}{'ratio':>8}  goal"


def show(name: str, row: Row) -> None:
    """Print a row as soon as it is known."""
    baseline = "" if row.baseline is None else f"{row.baseline:,.4g}"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    other = "" if row.baseline_name == "Datomic" else f"  beside {row.baseline_name}"
    verdict = "missed  " if ROWS[name].missed(row) else ""
    print(f"{name:<24}{row.ours:>9,.4g} {row.unit}{baseline:>12}{ratio:>8}  {verdict}{row.aim}{other}", flush=True)


def chosen(names: str | None) -> list[str]:
    """Return the rows that a list of names selects: a row, a group, or the first words of rows."""
    if names is None:
        return list(ROWS)
    selected: set[str] = set()
    for name in names.split(","):
        found = {row for row, work in ROWS.items() if name in (row, work.group) or row.startswith(f"{name}-")}
        if not found:
            groups = ", ".join(dict.fromkeys(work.group for work in ROWS.values()))
            refuse(f"no row is called {name!r}; rows are {', '.join(ROWS)}; groups are {groups}")
        selected |= found
    return [row for row in ROWS if row in selected]


def refuse(reason: str) -> NoReturn:
    print(f"python -m benchmarks.datomic: {reason}", file=sys.stderr)
    raise SystemExit(2)


def stored() -> dict[str, dict[str, Any]]:
    """Return the rows of the last whole run by name."""
    path = RESULTS / "datomic.json"
    if not path.exists():
        refuse(f"--ours compares with {path.name}, which does not exist; run without --ours first")
    return {row["part"]: row for row in json.loads(path.read_text(encoding="utf-8"))["rows"]}


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.datomic")
    parser.add_argument("--rows", metavar="NAME,…", help="only these rows or groups, such as pull,entity or writes")
    parser.add_argument("--quick", action="store_true", help="shorter samples; results are not stored")
    parser.add_argument("--ours", action="store_true", help="only our side, compared with stored figures of Datomic")
    parser.add_argument("--json", action="store_true", help="print lines of JSON instead of the table")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    return parser.parse_args(arguments)


def run(names: list[str], options: argparse.Namespace) -> Iterator[tuple[str, Row]]:
    """Measure rows one after the other; a row whose other side is unavailable is left out, and the reason is printed."""
    known = stored() if options.ours else {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="datomic-")))
        write_data(folder)
        bench = Bench(folder, quick=options.quick, stack=stack)
        rounds = 1 if options.quick else 2
        for name in names:
            try:
                yield name, measure_ours(bench, name, known) if options.ours else measure(bench, name, rounds=rounds)
            except java.Unavailable as reason:
                print(f"{name} is not measured: {reason}", flush=True)
                if ROWS[name].other == "Datomic":
                    return


def main(arguments: list[str] | None = None) -> None:
    options = parsed(arguments)
    names = chosen(options.rows)
    if options.list:
        print("\n".join(f"{name:<24}{ROWS[name].group:<10}{ROWS[name].title}" for name in names))
        return
    if not options.json:
        print(HEAD)
    rows: list[Row] = []
    try:
        for name, row in run(names, options):
            rows.append(row)
            if options.json:
                print(json.dumps({"row": name, **vars(row), "ratio": row.ratio}, ensure_ascii=False), flush=True)
            else:
                show(name, row)
    except Ended as reason:
        raise SystemExit(f"python -m benchmarks.datomic: {reason}") from None
    finally:  # what was measured before an interruption is stored, too
        if rows and not (options.quick or options.ours):
            save("datomic", rows)
    wrong = [row.note for row in rows if row.note]
    if wrong:
        raise SystemExit("answers differ: " + "; ".join(wrong))


if __name__ == "__main__":
    main()
