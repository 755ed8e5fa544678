"""mypy checks the arguments and results of typed jobs, and accepts the examples that use them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mypy_page import ROOT, rejected_and_expected

EXAMPLES = [path for path in sorted((ROOT / "examples").glob("[0-9]*.py")) if "@app.job" in path.read_text(encoding="utf-8")]


def test_mypy_accepts_and_rejects_the_lines_that_it_must() -> None:
    found, expected = rejected_and_expected(Path(__file__).with_name("typed_lines.py"))
    assert expected == found
    assert len(expected) >= 20


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_mypy_accepts_the_examples(path: Path) -> None:
    assert (set(), set()) == rejected_and_expected(path)


def test_there_are_examples() -> None:
    assert EXAMPLES
