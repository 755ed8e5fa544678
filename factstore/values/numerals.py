"""Whole numbers of any size as decimal text, and back.

Python rejects `str(n)` and `int(text)` beyond the limit of `sys.set_int_max_str_digits` (4,300 digits), because both
take quadratic time. Dividing a number into halves takes less, so data with such numbers can be written and read.
Law: `from_digits(to_digits(n)) == n`.
"""

from __future__ import annotations

import decimal
from typing import Final

MAX_DIGITS: Final = 1_000_000  # limit for a number in a text, which bounds the time of reading
_FEW_DIGITS: Final = 640  # Python converts this many with any limit
_FEW_BITS: Final = 2_000
_DEFAULT_BITS: Final = 14_000  # 4,214 digits


def is_short(n: int) -> bool:
    """Return whether Python itself can convert a number to text, as `json` and `csv` do, with its default limit."""
    return n.bit_length() <= _DEFAULT_BITS


def to_digits(n: int) -> str:
    """Return the decimal text of an int of any size."""
    if n.bit_length() <= _FEW_BITS:
        return int.__repr__(n)
    with decimal.localcontext() as context:
        context.prec, context.Emax, context.Emin = decimal.MAX_PREC, decimal.MAX_EMAX, decimal.MIN_EMIN
        context.traps[decimal.Inexact] = True
        digits = str(_decimal(abs(n), abs(n).bit_length()))
    return f"-{digits}" if n < 0 else digits


def _decimal(n: int, bits: int) -> decimal.Decimal:
    """Return a number >= 0 as a Decimal, which multiplies fast and converts to text in linear time."""
    if bits <= _FEW_BITS:
        return decimal.Decimal(n)
    half = bits // 2
    high = n >> half
    return _decimal(high, bits - half) * decimal.Decimal(2) ** half + _decimal(n - (high << half), half)


def from_digits(text: str) -> int:
    """Return the int of decimal digits with an optional sign.

    Raises: ValueError for other text, and for more than MAX_DIGITS.
    """
    if len(text) <= _FEW_DIGITS:
        return int(text)
    digits = text.lstrip("+-")
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"more than {MAX_DIGITS:,} digits")
    if not (digits.isdecimal() and digits.isascii()) or len(text) - len(digits) > 1:
        raise ValueError("not a whole number")
    n = _int(digits)
    return -n if text[0] == "-" else n


def _int(digits: str) -> int:
    if len(digits) <= _FEW_DIGITS:
        return int(digits)
    half = len(digits) // 2
    power: int = 10**half
    return _int(digits[:-half]) * power + _int(digits[-half:])
