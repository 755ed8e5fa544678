"""The demonstration's command line: runs the jobs with one worker and with several, and tells what came of it."""

from __future__ import annotations

import argparse
import shlex
import sys
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

import factstore

from . import findings, jobs, pipeline, questions, report, runs, source
from .progress import Progress, snapshot
from .runs import Run

DEFAULT_MONTHS = "all"


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the settings that the command line gives."""
    parser = argparse.ArgumentParser(
        prog="overseer demo",
        description="Load New York's flights of 2013 as durable jobs, find out what delayed them, and write a page about it.",
    )
    parser.add_argument(
        "--store", type=Path, metavar="FOLDER", default=Path("demo-out"), help="where the stores go (default: demo-out)"
    )
    parser.add_argument(
        "--months", type=_months, default=DEFAULT_MONTHS, help="1 to 12: how many months to load, or all"
    )
    parser.add_argument(
        "--workers", type=_count, default=2, help="how many workers the second run has (default: 2); 1: no second run"
    )
    parser.add_argument("--html", type=Path, help="where the page goes (default: flights.html in that folder)")
    parser.add_argument(
        "--lease", type=float, default=15.0, help="seconds after which a silent worker's jobs are taken over"
    )
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    return parser.parse_args(argv)


def _months(text: str) -> tuple[int, ...]:
    if text == "all":
        return pipeline.ALL_MONTHS
    if text.isdigit() and 1 <= int(text) <= 12:
        return pipeline.ALL_MONTHS[: int(text)]
    raise argparse.ArgumentTypeError(f"expected 1 to 12, or all; got {text!r}")


def _count(text: str) -> int:
    if text.isdigit() and int(text) >= 1:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number of workers, at least 1; got {text!r}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration and return the exit code."""
    given = arguments(argv)
    page: Path = given.html or given.store / "flights.html"
    try:
        source.data_folder()
        given.store.mkdir(parents=True, exist_ok=True)
        done = _run_all(given.store, given.months, page, most=given.workers, lease=given.lease)
    except (source.DataMissing, runs.RunFailed, factstore.FactStoreError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    with factstore.connect(done[-1].store, create=False) as conn:
        db = conn.db()
        report.write(db, page, [run._asdict() for run in done])
        _tell(db, done, page)
    if given.open:
        webbrowser.open(page.resolve().as_uri())
    return 0


def _run_all(folder: Path, months: Sequence[int], page: Path, *, most: int, lease: float) -> list[Run]:
    """Run once with one worker and once with several, each on a store of its own."""
    print(
        f"Flights of {_several(len(months), 'month')} of 2013, {len(pipeline.graph(months))} jobs, stores in {folder}\n"
    )
    done = []
    for workers in sorted({1, most}):
        print(_several(workers, "worker"), flush=True)
        progress = Progress()
        store = _fresh(folder / f"{workers}-worker{'s' * (workers > 1)}.facts")
        done.append(runs.run(str(store), months, page, workers=workers, lease=lease, watch=_shown_by(progress)))
        progress.close()
    return done


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count > 1)}"


def _shown_by(progress: Progress) -> Callable[[runs.Look], None]:
    return lambda look: progress.show(snapshot(look.db, look.datoms, look.seconds))


def _fresh(store: Path) -> Path:
    """Return the path of a store after removing what an earlier demonstration left there."""
    for ending in ("", "-lock", "-turn"):
        store.with_name(store.name + ending).unlink(missing_ok=True)
    return store


def _tell(db: factstore.Database, done: Sequence[Run], page: Path) -> None:
    """Print the summary, and history at work."""
    counts = {name: factstore.q(questions.COUNT, db, f":{attribute}") or 0 for name, attribute in COUNTED.items()}
    print("\nIn the store: " + ", ".join(f"{count:,} {name}" for name, count in counts.items()) + "\n")
    print(f"{'workers':>8} {'jobs':>6} {'datoms':>11} {'transactions':>13} {'seconds':>8} {'datoms/s':>9}")
    for run in done:
        rate = run.datoms / run.seconds
        print(f"{run.workers:8} {run.jobs:6} {run.datoms:11,} {run.transactions:13,} {run.seconds:8.1f} {rate:9,.0f}")
    if len(done) > 1:
        print(f"\n{done[-1].workers} workers took {done[-1].seconds / done[0].seconds:.0%} of the time of one.")
    _tell_history(db)
    print(f"\nThe page: {page.resolve()}")
    print(f"To count the jobs of the store: {status_command(done[-1].store)}")
    print(f"To open its console, with the extra `console`: {console_command(done[-1].store)}")


def status_command(store: str) -> str:
    """Return a command that works without an active virtual environment, because it names this Python."""
    return shlex.join([sys.executable, "-m", "overseer", "status", "--store", store])


def console_command(store: str) -> str:
    """Return the command that opens the console of a store; see `status_command`."""
    return shlex.join([sys.executable, "-m", "factstore", "console", store])


COUNTED = {
    "flights": "flight/key",
    "hours of weather": "weather/key",
    "planes": "plane/model",
    "airports": "airport/name",
    "airlines": "airline/name",
}


def _tell_history(db: factstore.Database) -> None:
    began = min(at for _, _, at in factstore.q(questions.STATUSES, db.history()))
    middle = findings.middle(db, began)
    print(f"\nEvery job as of {middle:%H:%M:%S.%f}, the middle of the run: one query of db.as_of(…)")
    standing: dict[str, list[str]] = {}
    for job, status in sorted(factstore.q(questions.STANDING, db.as_of(middle))):
        standing.setdefault(status.rpartition("/")[2], []).append(jobs.label(job))
    for status in report.STATUSES:
        if status in standing:
            print(f"  {status:10} {len(standing[status]):3}  {', '.join(standing[status])}")
    life_of = pipeline.flights(1)
    print(f"\nThe whole life of {life_of}: one query of db.history()")
    for at, attribute, value, added in findings.life(db, life_of):
        if attribute in TOLD:
            print(f"  {(at - began).total_seconds():8.3f} s  {'+' if added else '-'} {attribute:14} {value}")
    _tell_origin(db)


TOLD = frozenset({":job/status", ":job/attempt", ":job/worker"})


def _tell_origin(db: factstore.Database) -> None:
    for key, job, worker, at in sorted(factstore.q(questions.PROVENANCE, db)):
        print(
            f"\nThe flight that came latest, {key}, is known from {job}, run by {worker} at {at:%H:%M:%S}: one query."
        )
