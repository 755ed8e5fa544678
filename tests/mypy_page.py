"""mypy on a page of lines: it must reject the lines marked `# error: code`, and accept all others."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def rejected_and_expected(page: Path) -> tuple[set[tuple[int, str]], set[tuple[int, str]]]:
    """Return the lines with the codes that mypy rejects, and those that are marked."""
    api = pytest.importorskip("mypy.api")
    limit = sys.getrecursionlimit()
    try:
        out, err, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), "--no-error-summary", "--show-error-codes", str(page)])
    finally:
        sys.setrecursionlimit(limit)  # which mypy sets to what Python's stack cannot hold in every function
    assert "" == err
    found = {(int(line), code) for line, code in re.findall(rf"{page.name}:(\d+): error: .*\[([\w-]+)\]", out)}
    lines = page.read_text(encoding="utf-8").splitlines()
    return found, {(i, match[1]) for i, line in enumerate(lines, 1) if (match := re.search(r"# error: ([\w-]+)$", line))}
