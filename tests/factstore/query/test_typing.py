"""mypy checks queries built in Python, and the methods of databases: each page contains lines that it must refuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mypy_page import rejected_and_expected

PAGES = {"typed_queries.py": 15, "typed_methods.py": 10}  # the lines that must be refused, at least


@pytest.mark.parametrize("name", PAGES)
def test_mypy_accepts_and_refuses_the_lines_that_it_must(name: str) -> None:
    found, expected = rejected_and_expected(Path(__file__).with_name(name))
    assert expected == found
    assert len(expected) >= PAGES[name]
