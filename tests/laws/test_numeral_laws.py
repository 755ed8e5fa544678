"""Whole numbers as text: the same as Python's own, with no limit to their size."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from factstore.values.numerals import MAX_DIGITS, from_digits, to_digits

NUMBERS = st.one_of(st.integers(), st.integers(0, 40_000).flatmap(lambda bits: st.integers(-(1 << bits), 1 << bits)))


@pytest.fixture(scope="module", autouse=True)
def _python_shows_all() -> Iterator[None]:
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    yield
    sys.set_int_max_str_digits(before)


@given(NUMBERS)
@example(10**4300)
@example(-(10**4300) + 1)
def test_digits_are_those_of_python(n: int) -> None:
    assert str(n) == to_digits(n)


@given(NUMBERS)
@example(10**4300)
def test_digits_are_read_back(n: int) -> None:
    assert n == from_digits(to_digits(n))


@given(st.text("0123456789+-_ .e", min_size=700, max_size=2000))
def test_text_that_is_no_number_is_refused(text: str) -> None:
    if not text.lstrip("+-").isdecimal() or len(text) - len(text.lstrip("+-")) > 1:
        with pytest.raises(ValueError, match="whole number"):
            from_digits(text)


def test_numbers_of_more_digits_than_are_read_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 1,000,000 digits"):
        from_digits("1" * (MAX_DIGITS + 1))
