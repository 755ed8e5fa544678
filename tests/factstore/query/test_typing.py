"""mypy checks queries built in Python: fields, comparisons, rules, and what an answer is made of."""

from __future__ import annotations

from pathlib import Path

from tests.mypy_page import rejected_and_expected


def test_mypy_accepts_and_refuses_the_lines_that_it_must() -> None:
    found, expected = rejected_and_expected(Path(__file__).with_name("typed_queries.py"))
    assert expected == found
    assert len(expected) >= 15
