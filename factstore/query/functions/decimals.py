"""Decimals: arithmetic of bigdec that keeps every digit, independent of the caller's `decimal` context.

Law: a result is equal to that of fractions. A quotient that no decimal is equal to, such as 1/3, is a ValueError, as
in Clojure. Operands of other types are left to Python.
"""

from __future__ import annotations

import decimal
import operator
from collections.abc import Callable
from decimal import Decimal
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
    """Return the quotient without zeros at the end of its places.

    A quotient that ends has at most as many places as the divisor has bits, and no more whole digits than the dividend.
    """
    if not (x.is_finite() and y.is_finite() and y):
        return _EXACT.divide(x, y)
    _check_size(x, y)
    context = decimal.Context(_digits(x) + 4 * _digits(y) + 1, Emax=decimal.MAX_EMAX, Emin=decimal.MIN_EMIN, traps=[])
    found = context.divide(x, y)
    if context.flags[decimal.Inexact]:
        raise ValueError(f"{x} / {y} has no end as a decimal; divide doubles for a rounded quotient")
    shortest = _EXACT.normalize(found)
    return _EXACT.quantize(shortest, Decimal(1)) if shortest == shortest.to_integral_value() else shortest


def _digits(x: Decimal) -> int:
    return len(x.as_tuple().digits)


def _check_size(x: Decimal, y: Decimal) -> None:
    if max(abs(x.adjusted()), abs(y.adjusted())) > MAX_DIGITS:
        raise ValueError(f"the result has more than {MAX_DIGITS:,} digits")


def _quotient(x: Decimal, y: Decimal) -> Decimal:
    """Return the quotient, rounded towards zero."""
    if x.is_finite() and y.is_finite() and y:
        _check_size(x, y)
    return _EXACT.add(_EXACT.divide_int(x, y), Decimal(0))  # never -0


def _remainder(x: Decimal, y: Decimal) -> Decimal:
    return _EXACT.subtract(x, _EXACT.multiply(y, _quotient(x, y)))


def _modulo(x: Decimal, y: Decimal) -> Decimal:
    rest = _remainder(x, y)
    return _EXACT.add(rest, y) if rest and (rest < 0) != (y < 0) else rest


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
