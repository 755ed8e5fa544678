"""The limits of docs/architecture.md: small functions, modules and folders. Measured with `ast`, docstrings included."""

from __future__ import annotations

from pathlib import Path
from statistics import median, quantiles

import pytest

from tests.architecture.source import PACKAGES, ROOT, folders, functions, modules

LONGEST_FUNCTION = 40  # lines
HIGHEST_COMPLEXITY = 15  # McCabe: one more than the number of branches
LONGEST_MODULE = 500  # lines
WIDEST_LINE = 120  # columns
FILES_AT_THE_TOP = 12  # of factstore
FILES_IN_A_FOLDER = 14
MEDIAN_FUNCTION = 8  # lines
NINTH_DECILE = 30  # lines


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_is_longer_than_a_screen(package: str) -> None:
    assert [] == [function for function in functions(package) if function.lines > LONGEST_FUNCTION]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_has_too_many_branches(package: str) -> None:
    assert [] == [function for function in functions(package) if function.complexity > HIGHEST_COMPLEXITY]


@pytest.mark.parametrize("package", PACKAGES)
def test_most_functions_are_small(package: str) -> None:
    lines = [function.lines for function in functions(package)]
    assert median(lines) <= MEDIAN_FUNCTION
    assert quantiles(lines, n=10)[-1] <= NINTH_DECILE


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_a_module_is_not_longer_than_its_limit(path: Path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= LONGEST_MODULE


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_no_line_is_wider_than_a_screen(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [] == [number for number, line in enumerate(lines, 1) if len(line) > WIDEST_LINE]


@pytest.mark.parametrize("folder", folders(), ids=relative)
def test_a_folder_can_be_read_at_a_glance(folder: Path) -> None:
    limit = FILES_AT_THE_TOP if folder == ROOT / "factstore" else FILES_IN_A_FOLDER
    assert len(list(folder.glob("*.py"))) <= limit
