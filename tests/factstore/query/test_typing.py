"""mypy checks queries built in Python: fields, comparisons, rules, and what an answer is made of."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = Path(__file__).with_name("typed_queries.py")


def test_mypy_accepts_and_refuses_the_lines_that_it_must() -> None:
    api = pytest.importorskip("mypy.api")
    limit = sys.getrecursionlimit()
    try:
        out, err, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary", "--show-error-codes", str(PAGE)])
    finally:
        sys.setrecursionlimit(limit)  # which mypy sets to what Python's stack cannot hold in every function
    found = {(int(line), code) for line, code in re.findall(r"typed_queries\.py:(\d+): error: .*\[([\w-]+)\]", out)}
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    expected = {(i, match[1]) for i, line in enumerate(lines, 1) if (match := re.search(r"# error: ([\w-]+)$", line))}
    assert expected == found
    assert "" == err
    assert len(expected) >= 15
