"""Decimals: arithmetic of bigdec that keeps every digit, independent of the caller's `decimal` context.

Law: a result is equal to that of fractions. A quotient that no decimal is equal to, such as 1/3, is a ValueError, as
in Clojure. Operands of other types are left to Python.
"""

from __future__ import annotations

import decimal
import operator
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

MAX_DIGITS: Final = 1_000_000  # of a result; two numbers of a few characters can have a sum of billions of digits
_EXACT: Final = decimal.Context(
    prec=decimal.MAX_PREC,
    Emax=decimal.MAX_EMAX,
    Emin=decimal.MIN_EMIN,
    traps=[decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow],
)
_KINDS: Final = frozenset((Decimal, int))


def _exactly(
    step: Callable[[Decimal, Decimal], Decimal], other: Callable[[Any, Any], Any]
) -> Callable[[Any, Any], Any]:
    """Return an operation that is exact for a decimal with a decimal or a whole number."""

    def calculate(x: Any, y: Any) -> Any:
        if type(x) not in _KINDS or type(y) not in _KINDS or type(x) is type(y) is int:
            return other(x, y)
        return step(Decimal(x), Decimal(y))

    return calculate


def _add(x: Decimal, y: Decimal) -> Decimal:
    _check_span(x, y)
    return _EXACT.add(x, y)


def _subtract(x: Decimal, y: Decimal) -> Decimal:
    _check_span(x, y)
    return _EXACT.subtract(x, y)


def _check_span(x: Decimal, y: Decimal) -> None:
    if abs(x.adjusted() - y.adjusted()) > MAX_DIGITS:
        raise ValueError(f"the result has more than {MAX_DIGITS:,} digits")


def _divide(x: Decimal, y: Decimal) -> Decimal:
    if not (x.is_finite() and y.is_finite() and y):
        return _EXACT.divide(x, y)
    quotient = _ratio(x, y)
    rest, twos, fives = quotient.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    if rest != 1:
        raise ValueError(f"{x} / {y} has no end as a decimal; divide doubles for a rounded quotient")
    places = max(twos, fives)
    return _EXACT.scaleb(Decimal(quotient.numerator * 10**places // quotient.denominator), -places)


def _ratio(x: Decimal, y: Decimal) -> Fraction:
    for value in (x, y):
        if abs(value.adjusted()) > MAX_DIGITS:
            raise ValueError(f"the result has more than {MAX_DIGITS:,} digits")
    return Fraction(x) / Fraction(y)


def _quotient(x: Decimal, y: Decimal) -> Decimal:
    return Decimal(int(_ratio(x, y)))  # towards zero


def _remainder(x: Decimal, y: Decimal) -> Decimal:
    return _EXACT.subtract(x, _EXACT.multiply(y, _quotient(x, y)))


def _modulo(x: Decimal, y: Decimal) -> Decimal:
    return _EXACT.subtract(x, _EXACT.multiply(y, Decimal(_ratio(x, y).__floor__())))


add: Final = _exactly(_add, operator.add)
subtract: Final = _exactly(_subtract, operator.sub)
multiply: Final = _exactly(_EXACT.multiply, operator.mul)


def divided(other: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return division that is exact for decimals, and `other` for anything else."""
    return _exactly(_divide, other)


def quotient(other: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return division towards zero that is exact for decimals, and `other` for anything else."""
    return _exactly(_quotient, other)


def remainder(other: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the remainder of a division that rounds towards zero."""
    return _exactly(_remainder, other)


def modulo(other: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return the remainder of a division that rounds towards minus infinity."""
    return _exactly(_modulo, other)


def negate(x: Any) -> Any:
    """Return a number with the opposite sign."""
    return _EXACT.minus(x) if type(x) is Decimal else -x


def absolute(x: Any) -> Any:
    """Return the absolute value of a number."""
    return x.copy_abs() if type(x) is Decimal else abs(x)
