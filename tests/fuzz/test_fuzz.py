"""The fuzzer: its corpus and some new inputs have no fault; and it finds the faults that it must."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from factstore import FactStoreError
from tests.fuzz import engines
from tests.fuzz.choices import Choices
from tests.fuzz.paths import inputs_of
from tests.fuzz.targets import NAMES

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _stay_in_this_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path.cwd())  # the targets of the command lines change it


@pytest.mark.parametrize("name", NAMES)
def test_no_input_of_the_corpus_has_a_fault(name: str) -> None:
    assert inputs_of(name)
    assert [] == [found for found in (engines.outcome(name, data) for data in inputs_of(name)) if found.startswith("fault")]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.binary(min_size=200, max_size=200))
def test_no_new_input_has_a_fault(name: str, data: bytes) -> None:
    found = engines.outcome(name, data)
    assert not found.startswith("fault"), found


def raises(error: BaseException) -> Any:
    def run(_rng: Random) -> None:
        raise error

    return run


def never_ends(_rng: Random) -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        (lambda _rng: None, "answered"),
        (raises(FactStoreError(":db.error/x", "no")), ":db.error/x"),
        (raises(ValueError("no")), "fault\n"),
        (raises(RecursionError()), "fault\n"),
        (raises(MemoryError()), "fault\n"),
        (never_ends, "fault\n"),
    ],
)
def test_anything_but_an_answer_or_an_error_of_the_family_is_a_fault(run: Any, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "target", lambda _name: run)
    monkeypatch.setattr(engines, "SECONDS_PER_INPUT", 0.2)
    found = engines.outcome("any", b"")
    assert found.startswith(expected) if expected == "fault\n" else expected == found


@given(st.binary(max_size=40), st.integers(1, 1000), st.integers(0, 40))
def test_the_same_input_makes_the_same_decisions(data: bytes, size: int, count: int) -> None:
    def decisions(rng: Random) -> Any:
        return rng.randrange(size), rng.choice(range(size)), rng.random(), rng.sample(range(50), 5), rng.randbytes(count)

    assert decisions(Choices(data)) == decisions(Choices(data))
    assert data[:count].ljust(count, b"\0") == Choices(data).randbytes(count)


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris is not installed: pip install factstore[fuzz], on Linux")
def test_atheris_chooses_inputs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", "address", "--seconds", "1", "--engine", "atheris"]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr[-2000:]
    assert '"target": "address"' in done.stdout
    assert any((tmp_path / ".fuzz" / "address" / "new").iterdir())
