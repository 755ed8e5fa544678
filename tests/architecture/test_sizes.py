"""The budget of docs/architecture.md: small functions, small modules. Measured with `ast`, docstrings included."""

from __future__ import annotations

from statistics import median, quantiles

import pytest

from tests.architecture.source import PACKAGES, ROOT, functions, modules

LONGEST_FUNCTION = 64
LONGEST_MODULE = 560
MEDIAN_FUNCTION = 8
NINTH_DECILE = 30


@pytest.mark.parametrize("package", PACKAGES)
def test_no_function_is_longer_than_a_screen(package: str) -> None:
    assert [] == [function for function in functions(package) if function.lines > LONGEST_FUNCTION]


@pytest.mark.parametrize("package", PACKAGES)
def test_most_functions_are_small(package: str) -> None:
    lines = [function.lines for function in functions(package)]
    assert median(lines) <= MEDIAN_FUNCTION
    assert quantiles(lines, n=10)[-1] <= NINTH_DECILE


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_holds_one_idea(path) -> None:
    assert path.read_text(encoding="utf-8").count("\n") <= LONGEST_MODULE
