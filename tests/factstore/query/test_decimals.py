"""Arithmetic of decimals in queries: every digit, in every decimal context of the caller."""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore import QueryError, q

DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**40), max_value=10**40)
NUMBERS = DECIMALS | st.integers(-(10**30), 10**30)
EXACT: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    "+": lambda x, y: x + y,
    "-": lambda x, y: x - y,
    "*": lambda x, y: x * y,
    "quot": lambda x, y: Fraction(math.trunc(x / y)),
    "rem": lambda x, y: x - y * math.trunc(x / y),
    "mod": lambda x, y: x - y * math.floor(x / y),
}


def calculated(function: str, *values: Any) -> Any:
    names = [f"?v{i}" for i in range(len(values))]
    return q([":find", "?r", ".", ":in", *names, ":where", [(function, *names), "?r"]], *values)


@given(st.sampled_from(sorted(EXACT)), DECIMALS, NUMBERS, st.integers(1, 40), st.booleans())
def test_arithmetic_of_decimals_is_that_of_fractions_in_every_context(
    function: str, x: Decimal, y: Any, precision: int, swapped: bool
) -> None:
    first, second = (y, x) if swapped else (x, y)
    if function in ("quot", "rem", "mod") and not second:
        return
    with localcontext() as context:
        context.prec = precision
        context.traps[decimal.Inexact] = True
        found = calculated(function, first, second)
    assert Decimal is type(found)
    assert EXACT[function](Fraction(first), Fraction(second)) == Fraction(found)


@given(st.lists(DECIMALS, min_size=1, max_size=20), st.integers(1, 40))
def test_sums_of_decimals_have_every_digit(values: list[Decimal], precision: int) -> None:
    with localcontext() as context:
        context.prec = precision
        found = q("[:find (sum ?x) . :with ?i :in [[?i ?x]]]", list(enumerate(values)))
    assert sum(map(Fraction, values)) == Fraction(found)


@pytest.mark.parametrize(
    ("function", "values", "expected"),
    [
        ("/", (Decimal(1), Decimal(8)), Decimal("0.125")),
        ("/", (Decimal("1e30"), 4), Decimal("2.5e29")),
        ("/", (7, Decimal("0.7")), Decimal(10)),
        ("-", (Decimal("1234567890123456789012345678901.5"),), Decimal("-1234567890123456789012345678901.5")),
        ("abs", (Decimal("-1234567890123456789012345678901.5"),), Decimal("1234567890123456789012345678901.5")),
        ("inc", (Decimal("1234567890123456789012345678901.5"),), Decimal("1234567890123456789012345678902.5")),
        ("dec", (Decimal("1234567890123456789012345678901.5"),), Decimal("1234567890123456789012345678900.5")),
        ("+", (1 << 200, 1), (1 << 200) + 1),
        ("*", (0.5, Decimal(3)), 1.5),
    ],
)
def test_decimals_keep_their_digits(function: str, values: tuple[Any, ...], expected: Any) -> None:
    found = calculated(function, *values)
    assert expected == found
    assert type(expected) is type(found)


def test_the_median_of_decimals_is_exact() -> None:
    values = [Decimal("12345678901234567890123456789012345.1"), Decimal("12345678901234567890123456789012345.4")]
    assert Decimal("12345678901234567890123456789012345.25") == q("[:find (median ?x) . :in [?x ...]]", values)


@pytest.mark.parametrize(
    ("function", "values", "expected"),
    [
        ("/", (Decimal(1), Decimal("1e999999")), Decimal("1e-999999")),
        ("/", (Decimal("9e999999"), Decimal("3e999998")), Decimal(30)),
        ("quot", (Decimal("7e999999"), Decimal("2e999998")), Decimal(35)),
        ("rem", (Decimal("1e999999"), Decimal(7)), Decimal(6)),
        ("mod", (Decimal("-1e999999"), Decimal(7)), Decimal(1)),
        ("mod", (Decimal(-1), Decimal(7)), Decimal(6)),
        ("quot", (Decimal(-1), Decimal(7)), Decimal(0)),
    ],
)
def test_decimals_of_a_million_digits_are_divided_at_once(function: str, values: tuple[Any, ...], expected: Decimal) -> None:
    """As fractions of integers these would take minutes, and nothing could stop them."""
    assert str(expected) == str(calculated(function, *values))


@pytest.mark.parametrize(
    ("function", "values", "part"),
    [
        ("bigint", (Decimal("1e999999"),), "at most 10,000 digits"),
        ("long", (Decimal("1e999999"),), "at most 10,000 digits"),
        ("/", (Decimal("1e999999"), Decimal("7e999998")), "no end as a decimal"),
        ("/", (Decimal(1), Decimal(3)), "no end as a decimal"),
        ("/", (Decimal(1), Decimal(0)), "DivisionByZero"),
        ("+", (Decimal("1e99999999"), Decimal(1)), "more than 1,000,000 digits"),
        ("quot", (Decimal("1e99999999"), Decimal(3)), "more than 1,000,000 digits"),
    ],
)
def test_a_result_that_no_decimal_is_fails_the_query(function: str, values: tuple[Any, ...], part: str) -> None:
    with pytest.raises(QueryError, match=part) as raised:
        calculated(function, *values)
    assert ":db.error/function-failed" == raised.value.code
