"""Transactions per second on your machine: `python -m benchmarks.throughput [--uri …] [--form …] [--batch …] [--threads …] …`.

Every option takes one or more values, separated by commas, and every combination is one measurement of --seconds. The result is a
table; --json FILE and --picture FILE also write it as JSON and as a picture (SVG).

    python -m benchmarks.throughput                                            # a first impression, half a minute
    python -m benchmarks.throughput --form map --batch 1,10,100,1000           # how much a larger transaction gains
    python -m benchmarks.throughput --uri /mnt/disk/try.facts --threads 1,8    # another disk; the store is created there, and kept
    python -m benchmarks.throughput --uri file --processes 1,2,4 --sync full   # processes that write to one file

"memory:" and "file" are new stores, made for one measurement; file is one in --folder. Any other uri is opened as `factstore.connect`
opens it. The attributes begin with :throughput/, but do not use a store that you need.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import queue
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Final, NamedTuple, NoReturn

import factstore

ID, NAME, NUMBER, AMOUNT, NOTE = (f":throughput/{name}" for name in ("id", "name", "number", "amount", "note"))
ONE: Final = {":db/cardinality": ":db.cardinality/one"}
SCHEMA: Final = [
    {":db/ident": ID, ":db/valueType": ":db.type/string", ":db/unique": ":db.unique/identity", **ONE},
    {":db/ident": NAME, ":db/valueType": ":db.type/string", ":db/index": True, **ONE},
    {":db/ident": NUMBER, ":db/valueType": ":db.type/long", ":db/index": True, **ONE},
    {":db/ident": AMOUNT, ":db/valueType": ":db.type/double", **ONE},
    {":db/ident": NOTE, ":db/valueType": ":db.type/string", **ONE},
]
PATIENCE: Final = 60  # seconds that processes may take longer than they measure
KNOWN: Final = 1_000  # entities per thread that exist before the clock starts


class Known(NamedTuple):
    """What a thread has asserted before the clock started: identities, and their entities."""

    ids: list[str]
    entities: list[int]


Form = Callable[[Known, int], Any]


def whole(id: str, n: int) -> dict[str, Any]:
    """Return an entity of five attributes."""
    return {ID: id, NAME: f"name {n % 997}", NUMBER: n, AMOUNT: n / 8, NOTE: "a note that stays as it is"}


FORMS: Final[dict[str, Form]] = {
    "add": lambda known, n: [":db/add", known.entities[n % KNOWN], NUMBER, n],
    "map": lambda known, n: whole(f"{known.ids[0]}-{n}", n),
    "upsert": lambda known, n: whole(known.ids[n % KNOWN], n),
    "lookup": lambda known, n: [":db/add", [ID, known.ids[n % KNOWN]], NUMBER, n],
    "edn": lambda known, n: f'{{{ID} "{known.ids[0]}-{n}" {NAME} "name {n % 997}" {NUMBER} {n}}}',
}
MEANING: Final = {
    "add": "one datom of a known entity",
    "map": "a new entity with five attributes",
    "upsert": "a known identity with five attributes, of which three change",
    "lookup": "one datom of an entity given as a lookup ref",
    "edn": "a new entity with three attributes, as text",
}


class Cell(NamedTuple):
    """One measurement: a combination of the options."""

    uri: str
    sync: str
    form: str
    batch: int
    threads: int
    processes: int


class Result(NamedTuple):
    """What a measurement found: rates per second, and the milliseconds of a transaction."""

    cell: Cell
    transactions: float
    forms: float
    p50: float
    p99: float


# -- one measurement


def transact_until(
    conn: factstore.Connection, cell: Cell, known: Known, begin: Callable[[], Any], s: float
) -> list[float]:
    """Transact for some seconds from when all are ready, and return the seconds of each transaction."""
    form, taken = FORMS[cell.form], []
    text = cell.form == "edn"
    begin()
    last = time.perf_counter()
    end = last + s
    for first in itertools.count(0, cell.batch):
        made = [form(known, n) for n in range(first, first + cell.batch)]
        conn.transact(f"[{' '.join(made)}]" if text else made)
        now = time.perf_counter()
        taken.append(now - last)
        last = now
        if now >= end:
            return taken
    raise AssertionError


def known_of(conn: factstore.Connection) -> Known:
    """Assert the entities of a thread."""
    prefix = uuid.uuid4().hex[:12]
    ids = [f"{prefix}/{n}" for n in range(KNOWN)]
    report = conn.transact([{":db/id": id, **whole(id, n)} for n, id in enumerate(ids)])
    return Known(ids, [report.tempids[id] for id in ids])


def in_threads(conn: factstore.Connection, cell: Cell, begin: Callable[[], Any], s: float) -> list[float]:
    """Return the seconds of the transactions of all threads of this process."""
    known = [known_of(conn) for _ in range(cell.threads)]
    together = threading.Barrier(cell.threads, action=begin)
    found: list[list[float]] = []
    failed: list[BaseException] = []

    def work(mine: Known) -> None:
        try:
            found.append(transact_until(conn, cell, mine, together.wait, s))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(mine,)) for mine in known]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    return [seconds for each in found for seconds in each]


def child(uri: str, cell: Cell, barrier: Barrier, s: float, results: Any) -> None:
    """Measure in a process of its own, together with the others."""
    try:
        with factstore.connect(uri, sync=cell.sync) as conn:  # type: ignore[arg-type]
            results.put(in_threads(conn, cell, barrier.wait, s))
    except BaseException as error:
        barrier.abort()
        results.put(f"{type(error).__name__}: {error}")


def in_processes(uri: str, cell: Cell, s: float) -> list[float]:
    """Return the seconds of the transactions of all processes."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(cell.processes), context.Queue()
    processes = [context.Process(target=child, args=(uri, cell, barrier, s, results)) for _ in range(cell.processes)]
    for process in processes:
        process.start()
    try:
        found = [results.get(timeout=s + PATIENCE) for _ in processes]
    except queue.Empty:
        raise Refused("a process ended, or did not answer") from None
    finally:
        for process in processes:
            process.join(PATIENCE)
    errors = [each for each in found if isinstance(each, str) and not each.startswith("BrokenBarrierError")]
    if errors:
        raise Refused(errors[0])
    return [seconds for each in found for seconds in each]


def measure(cell: Cell, s: float, folder: Path) -> Result:
    """Measure one combination."""
    with place(cell.uri, folder) as uri, factstore.connect(uri, sync=cell.sync) as conn:  # type: ignore[arg-type]
        conn.transact(SCHEMA)
        taken = in_threads(conn, cell, lambda: None, s) if cell.processes == 1 else in_processes(uri, cell, s)
    in_a_row = sum(taken) / (cell.threads * cell.processes)
    rate = len(taken) / in_a_row
    ordered = sorted(taken)
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return Result(cell, rate, rate * cell.batch, statistics.median(ordered) * 1e3, p99 * 1e3)


@contextmanager
def place(uri: str, folder: Path) -> Iterator[str]:
    """Return where a store is: "file" is a new one in a folder, and removed afterwards."""
    if uri != "file":
        yield uri
        return
    with tempfile.TemporaryDirectory(prefix="throughput-", dir=folder) as own:
        yield str(Path(own) / "store.facts")


# -- options and output


class Refused(Exception):
    """A measurement is not possible; the message states why."""


def cells(options: argparse.Namespace) -> list[Cell]:
    """Return all combinations that are possible: a store in memory has no sync and one process."""
    axes = (options.uri, options.sync, options.form, options.batch, options.threads, options.processes)
    made = [Cell(*values) for values in itertools.product(*axes)]
    in_memory = [cell for cell in made if cell.uri.startswith("memory:")]
    dropped = {cell for cell in in_memory if cell.processes > 1}
    once = {cell._replace(sync=options.sync[0]): None for cell in in_memory if cell not in dropped}
    kept = [cell for cell in made if not cell.uri.startswith("memory:") or cell in once]
    if not kept:
        refuse("a store in memory belongs to one process; use --processes 1, or --uri file")
    return kept


def shown(cell: Cell) -> tuple[str, ...]:
    sync = "" if cell.uri.startswith("memory:") else cell.sync
    return (cell.uri, sync, cell.form, f"{cell.batch:,}", str(cell.threads), str(cell.processes))


COLUMNS: Final = (
    "uri",
    "sync",
    "form",
    "batch",
    "threads",
    "processes",
    "transactions/s",
    "forms/s",
    "p50 ms",
    "p99 ms",
)
WIDTHS: Final = (12, 6, 8, 7, 9, 11, 16, 12, 10, 10)


def line(texts: Sequence[str]) -> str:
    return "".join(
        text.ljust(width) if i < 3 else text.rjust(width)
        for i, (text, width) in enumerate(zip(texts, WIDTHS, strict=True))
    )


def row(found: Result) -> str:
    figures = (f"{found.transactions:,.0f}", f"{found.forms:,.0f}", f"{found.p50:,.3f}", f"{found.p99:,.3f}")
    uri, *rest = shown(found.cell)
    return line((uri if len(uri) < WIDTHS[0] else f"…{uri[2 - WIDTHS[0] :]}", *rest, *figures))


def label(cell: Cell) -> str:
    """Return what a bar shows; a single thread or process is not mentioned."""
    uri, sync, form, *_ = shown(cell)
    counts = ((cell.batch, "forms"), (cell.threads, "threads"), (cell.processes, "processes"))
    words = [uri[-20:], sync, form, *(f"{count:,} {what}" for count, what in counts if count > 1)]
    return " · ".join(filter(None, words))


def picture(results: Sequence[Result]) -> str:
    """Draw the forms per second of each measurement as a bar."""
    width, left, high, top = 900, 330, 24, 54
    height = top + high * len(results) + 16
    most = max(found.forms for found in results)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        '<text x="16" y="26" font-size="16" fill="#1c2024">Forms per second</text>',
        '<text x="16" y="44" fill="#60646c">in transactions of one form, or of the number that is stated</text>',
    ]
    for i, found in enumerate(results):
        y = top + high * i
        long = (width - left - 90) * found.forms / most
        parts.append(
            f'<text x="{left - 10}" y="{y + 16}" text-anchor="end" fill="#1c2024">{escape(label(found.cell))}</text>'
        )
        parts.append(f'<rect x="{left}" y="{y + 3}" width="{max(long, 1):.1f}" height="{high - 7}" fill="#2f6fde"/>')
        parts.append(f'<text x="{left + long + 8:.1f}" y="{y + 16}" fill="#60646c">{found.forms:,.0f}</text>')
    return "\n".join([*parts, "</svg>\n"])


def refuse(reason: str) -> NoReturn:
    print(f"python -m benchmarks.throughput: {reason}", file=sys.stderr)
    raise SystemExit(2)


def words(allowed: Sequence[str] | None = None) -> Callable[[str], list[str]]:
    def read(text: str) -> list[str]:
        found = [word.strip() for word in text.split(",")]
        for word in found:
            if not word or (allowed is not None and word not in allowed):
                raise argparse.ArgumentTypeError(f"{word!r} is not one of {', '.join(allowed or ['a uri'])}")
        return list(dict.fromkeys(found))

    return read


def numbers(text: str) -> list[int]:
    found = []
    for word in text.split(","):
        if not word.strip().isdecimal() or int(word) == 0:
            raise argparse.ArgumentTypeError(f"{word!r} is not a whole number from 1")
        found.append(int(word))
    return list(dict.fromkeys(found))


def seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found <= 3_600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0, at most 3,600")
    return found


def parser() -> argparse.ArgumentParser:
    forms = "; ".join(f"{name}: {meaning}" for name, meaning in MEANING.items())
    made = argparse.ArgumentParser(
        prog="python -m benchmarks.throughput",
        description=(__doc__ or "").split("\n\n", 1)[0],
        epilog="Each option but --seconds, --folder, --json and --picture takes several values, separated by commas.",
    )
    made.add_argument("--uri", type=words(), default=["memory:", "file"], help="memory:, file, a path or another uri")
    made.add_argument("--sync", type=words(["full", "none"]), default=["full", "none"], help="full, none; of files")
    made.add_argument("--form", type=words(list(FORMS)), default=list(FORMS), help=forms)
    made.add_argument("--batch", type=numbers, default=[1, 100], help="forms per transaction")
    made.add_argument("--threads", type=numbers, default=[1], help="threads per process, on one connection")
    made.add_argument("--processes", type=numbers, default=[1], help="processes that write to one store")
    made.add_argument("--seconds", type=seconds, default=1.0, help="how long one combination is measured")
    made.add_argument(
        "--folder", type=Path, help="the folder for the stores of --uri file; default: the system's for temporary files"
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the results as JSON")
    made.add_argument("--picture", type=Path, metavar="FILE", help="write the results as a picture (SVG)")
    return made


def as_json(results: Sequence[Result]) -> str:
    rows = []
    for found in results:
        cell, figures = found.cell._asdict(), found._asdict()
        del figures["cell"]
        rows.append({**cell, "sync": shown(found.cell)[1] or None, **figures})
    return json.dumps(rows, indent=1) + "\n"


def main(arguments: list[str] | None = None) -> None:
    options = parser().parse_args(arguments)
    folder = options.folder or Path(tempfile.gettempdir())
    for path in (folder, *(path.absolute().parent for path in (options.json, options.picture) if path)):
        if not path.is_dir():
            refuse(f"the folder {path} does not exist")
    results, wanted = [], cells(options)
    print(line(COLUMNS))
    for cell in wanted:
        try:
            results.append(measure(cell, options.seconds, folder))
        except (factstore.FactStoreError, Refused) as error:
            refuse(f"{' '.join(filter(None, shown(cell)))}: {error}")
        print(row(results[-1]), flush=True)
    if options.json:
        options.json.write_text(as_json(results), encoding="utf-8")
    if options.picture:
        options.picture.write_text(picture(results), encoding="utf-8")


if __name__ == "__main__":
    main()
