"""`benchmarks.guard`: a check that became slower fails, and noise does not."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks import guard
from benchmarks.harness import RESULTS, Row


def written(folder: Path, python: str, **ratios: float) -> None:
    rows = [{"name": name.replace("_", " "), "ratio": ratio} for name, ratio in ratios.items()]
    (folder / "guard.json").write_text(json.dumps({"python": python, "rows": rows}))


@pytest.fixture
def ratios(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Make the guard measure these ratios, one after the other; the committed ratio of "pull" is 1."""
    monkeypatch.setattr(guard, "RESULTS", tmp_path)
    written(tmp_path, platform.python_version(), pull=1.0)

    def measured(*found: float) -> None:
        following: Iterator[float] = iter(found)
        monkeypatch.setattr(guard, "measure", lambda name, rounds=0: Row(name, next(following), 1.0, "", "µs", part=name))

    return measured


def test_a_ratio_up_to_a_quarter_above_the_committed_one_passes(ratios: Callable[..., None]):
    ratios(1.25)
    guard.main(["pull"])


def test_a_check_that_is_slower_once_is_measured_again(ratios: Callable[..., None]):
    ratios(1.5, 1.1)
    guard.main(["pull"])


def test_a_check_that_is_slower_twice_fails(ratios: Callable[..., None]):
    ratios(1.5, 1.4)
    with pytest.raises(SystemExit, match=r"slower than committed: pull takes 1\.40 times as long as committed"):
        guard.main(["pull"])


def test_a_check_that_became_much_faster_is_named_but_does_not_fail(ratios: Callable[..., None], capsys: Any):
    ratios(0.7)
    guard.main(["pull"])
    assert "faster than committed: pull; store the new ratios with --update" in capsys.readouterr().out


def test_ratios_of_another_python_are_not_compared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any):
    monkeypatch.setattr(guard, "RESULTS", tmp_path)
    written(tmp_path, "2.7.18", pull=1.0)
    with pytest.raises(SystemExit) as end:
        guard.main(["pull"])
    assert 0 == end.value.code
    assert "the ratios are those of CPython 2.7, this is 3." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pul"], "no check is called 'pul'; checks are 'add one datom', 'new map'"),
        (["entity"], "there is no committed ratio of 'entity'; run with --update"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
)
def test_a_bad_option_is_refused_with_a_sentence(arguments: list[str], message: str, ratios: Callable[..., None], capsys: Any):
    with pytest.raises(SystemExit) as error:
        guard.main(arguments)
    assert 2 == error.value.code
    assert message in capsys.readouterr().err


def test_without_committed_ratios_the_guard_says_how_to_make_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Any):
    monkeypatch.setattr(guard, "RESULTS", tmp_path)
    with pytest.raises(SystemExit) as error:
        guard.main([])
    assert 2 == error.value.code
    assert "run with --update to make it" in capsys.readouterr().err


def test_every_check_has_a_committed_ratio():
    rows = json.loads((RESULTS / "guard.json").read_text(encoding="utf-8"))["rows"]
    assert set(guard.CHECKS) == {row["name"] for row in rows}


@pytest.mark.parametrize("name", list(guard.CHECKS))
def test_a_check_runs(name: str):
    row = guard.measure(name, rounds=1)
    assert row.ours > 0
    assert guard.ratio(row) > 0


def test_an_update_stores_the_ratios_and_keeps_the_others(ratios: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    ratios(3.0, 1.0, 2.0)
    monkeypatch.setattr("benchmarks.harness.RESULTS", tmp_path)
    kept = {"name": "entity", "ours": 1.0, "baseline": 1.0, "part": "entity", "ratio": 1.0}
    (tmp_path / "guard.json").write_text(json.dumps({"rows": [kept]}))
    guard.main(["--update", "pull"])
    rows = json.loads((tmp_path / "guard.json").read_text())["rows"]
    assert {"entity": 1.0, "pull": 2.0} == {row["name"]: row["ratio"] for row in rows}
