"""`benchmarks.datomic`: its options, its rows, and what it says where there is no Java."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import datomic, java, same_work
from benchmarks.harness import Row
from benchmarks.people import people

ROOT = Path(__file__).parents[2]
SIZE, KEYS = 60, 20


@pytest.fixture(scope="module")
def how(tmp_path_factory: pytest.TempPathFactory) -> same_work.Settings:
    """The shortest measurement, of little data."""
    folder = tmp_path_factory.mktemp("data")
    datomic.write_data(folder, size=SIZE, keys=KEYS)
    return same_work.Settings.of(str(folder), "0", "0", "1")


# -- what is measured


def test_every_row_has_work_on_our_side_and_in_clojure():
    clojure = (ROOT / "benchmarks/datomic.clj").read_text()
    in_memory = {name.removeprefix("rules-") for name, work in datomic.ROWS.items() if work.other == "Datomic"}
    assert in_memory == {name for name in in_memory if f'"{name}"' in clojure}
    assert set(datomic.ROWS) == set(same_work.WORK["ours"])


def expected(name: str) -> tuple[int, float] | None:
    """Return the count and the sum of an answer, computed without a store; None: only a run without an error is checked."""
    rows = people(SIZE)
    ivans = [row for row in rows if row[0] == "Ivan"]
    ages, salaries = sum(row[3] for row in rows), sum(row[4] for row in rows)
    everything = (5 * SIZE, ages + salaries)
    known: dict[str, tuple[int, float]] = {
        "q2": (len(ivans), sum(row[3] for row in ivans) + sum(i for i, row in enumerate(rows, 1) if row[0] == "Ivan")),
        "count-by-name": (len({row[0] for row in rows}), SIZE),
        "rules-long-10x3": (165, sum(x + y for lane in range(3) for x, y in closure(lane * 11 + 1, 10))),
        "pull-now": (KEYS // 10, math.nan),
        "now-aggregate": (1, math.nan),
        "history-aggregate": (1, KEYS * 10),
        "add-1": everything,
        "add-5": everything,
        "add-all": everything,
        "upsert": (5 * SIZE, ages + salaries + SIZE),
        "lookup-ref": (5 * SIZE, 101 * SIZE + salaries),
        "cas": (5 * SIZE, 101 * SIZE + salaries),
        "retract-entity": (0, 0),
        "durable": (5 * SIZE, ages + salaries + SIZE),
        "with": (3, 9),  # the instant, what was retracted, and what was added, of each of three
    }
    return known.get(name)


def closure(first: int, length: int) -> Iterator[tuple[int, int]]:
    return ((first + i, first + j) for i in range(length + 1) for j in range(i + 1, length + 1))


@pytest.mark.parametrize("name", list(datomic.ROWS))
def test_our_side_of_a_row_answers_what_the_data_states(name: str, how: same_work.Settings):
    found = same_work.WORK["ours"][name](how)
    assert 0 < found.min <= found.median
    wanted = expected(name)
    if wanted is not None:
        count, total = wanted
        assert count == found.count
        assert math.isnan(total) or total == found.sum


def test_both_sides_of_the_durable_row_leave_the_same(how: same_work.Settings):
    ours, sqlite = (same_work.WORK[side]["durable"](how) for side in ("ours", "sqlite"))
    assert (ours.count, ours.sum) == (sqlite.count, sqlite.sum)


# -- the program


class Scripted:
    """A side that answers what it was given."""

    def __init__(self, **answer: float) -> None:
        self.answer = {"min": 1e-6, "median": 2e-6, "count": 3, "sum": 4.0, **answer}

    def measure(self, row: str) -> dict[str, float]:
        return self.answer


class Scenario:
    """A run whose sides are scripted."""

    def __init__(self, mine: Scripted, theirs: Scripted) -> None:
        self.mine, self.theirs = mine, theirs

    def side(self, name: str) -> Scripted:
        return self.theirs

    @contextmanager
    def ours(self) -> Iterator[Scripted]:
        yield self.mine


def measured(mine: Scripted, theirs: Scripted, row: str = "pull") -> Row:
    return datomic.measure(Scenario(mine, theirs), row, rounds=2)  # type: ignore[arg-type]


def test_the_ratio_compares_the_least_seconds():
    row = measured(Scripted(min=3e-6), Scripted(min=2e-6))
    assert (3.0, 2.0, 1.5) == (row.ours, row.baseline, row.ratio)
    assert {"ours": 2.0, "Datomic": 2.0} == row.medians


@pytest.mark.parametrize("different", [{"count": 2}, {"sum": 5.0}])
def test_answers_that_differ_are_reported(different: dict[str, float]):
    assert "" == measured(Scripted(), Scripted()).note
    assert measured(Scripted(), Scripted(**different)).note.startswith("pull: Datomic answers")


def test_a_missed_goal_is_a_ratio_or_a_limit():
    assert datomic.ROWS["pull"].missed(measured(Scripted(min=3e-6), Scripted(min=2e-6)))
    assert not datomic.ROWS["pull"].missed(measured(Scripted(min=2e-6), Scripted(min=3e-6)))
    assert datomic.ROWS["point"].missed(measured(Scripted(min=16e-6), Scripted(), "point"))


@pytest.mark.parametrize(
    ("names", "selected"),
    [
        ("pull-now", ["pull-now"]),
        ("entity,q1", ["q1", "entity"]),
        ("durable", ["durable", "durable-local"]),
        ("writes", [name for name, work in datomic.ROWS.items() if work.group == "writes"]),
        (None, list(datomic.ROWS)),
    ],
)
def test_rows_are_selected_by_name_by_group_and_by_first_words(names: str | None, selected: list[str]):
    assert selected == datomic.chosen(names)


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks.datomic", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, **env}, check=False)


def test_an_unknown_row_is_refused_with_the_names_of_all_rows():
    done = run("--rows", "q1,nothing")
    assert 2 == done.returncode
    assert "no row is called 'nothing'; rows are q1, q2" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_option_is_refused():
    done = run("--slow")
    assert 2 == done.returncode
    assert "unrecognized arguments: --slow" in done.stderr


def test_lines_of_json_compare_our_side_with_the_stored_figures():
    done = run("--ours", "--quick", "--json", "--rows", "rules-long-10x3")
    assert 0 == done.returncode, done.stderr
    found = json.loads(done.stdout)
    stored = datomic.stored()["rules-long-10x3"]
    assert ("rules-long-10x3", stored["baseline"], "Datomic") == (found["row"], found["baseline"], found["baseline_name"])
    assert found["ratio"] == found["ours"] / found["baseline"]


def test_without_java_the_program_says_so_and_ends():
    done = run("--rows", "q1,pull", "--quick", JAVA="/no/such/java")
    assert 0 == done.returncode, done.stderr
    assert "q1 is not measured: no java was found" in done.stdout
    assert "Traceback" not in done.stderr


def test_without_stored_figures_ours_cannot_be_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any):
    monkeypatch.setattr(datomic, "RESULTS", tmp_path)
    with pytest.raises(SystemExit) as error:
        datomic.main(["--ours"])
    assert 2 == error.value.code
    assert "run without --ours first" in capsys.readouterr().err


def test_a_program_that_ends_before_it_reports_is_an_error_with_its_code():
    side = datomic.Side([sys.executable, "-c", "raise SystemExit(7)"])
    with pytest.raises(datomic.Ended, match="the program that measures q1 ended with code 7"):
        side.measure("q1")
    side.close()


def test_lines_that_are_no_report_are_skipped():
    side = datomic.Side([sys.executable, "-c", "for line in open(0): print('loading'); print('{\"min\": 1}', flush=True)"])
    assert {"min": 1} == side.measure("q1") == side.measure("q2")
    side.close()


# -- libraries of the JVM


def found_in(*programs: str) -> Callable[[str], str | None]:
    return lambda name: f"/bin/{name}" if name in programs else None


def test_a_library_that_was_fetched_needs_no_maven(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    jar = tmp_path / "peer.jar"
    jar.touch()
    (tmp_path / "a-b-1.classpath").write_text(str(jar))
    monkeypatch.setattr(java, "CACHE", tmp_path)
    monkeypatch.setattr(java.shutil, "which", found_in("java"))
    monkeypatch.delenv("JAVA", raising=False)
    command = ["/bin/java", "-Xmx1g", "-cp", str(jar), "clojure.main", "x.clj"]
    assert command == java.command(Path("x.clj"), "a:b:1", "-Xmx1g")
    jar.unlink()
    with pytest.raises(java.Unavailable, match="no mvn was found"):
        java.command(Path("x.clj"), "a:b:1")


def test_the_reason_of_maven_is_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(java, "CACHE", tmp_path)
    monkeypatch.setattr(java.shutil, "which", found_in("java", "mvn"))
    monkeypatch.delenv("JAVA", raising=False)
    failed = subprocess.CompletedProcess([], 1, stdout="[INFO] x\n[ERROR] no such host\n")
    monkeypatch.setattr(java.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(java.Unavailable, match=r"Maven could not fetch a:b:1: .*no such host"):
        java.command(Path("x.clj"), "a:b:1")
