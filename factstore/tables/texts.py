"""Conversion of the texts of a CSV file to values, by the type of the attribute.

Law: the result does not depend on the locale, and a text is accepted only as a whole; a ValueError states what is
    expected.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from factstore.values.types import Symbol, Uri

MISSING: Final = ("", "NA")  # texts of an import that mean no value
_UUID: Final = re.compile(r"\{?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\}?", re.ASCII | re.IGNORECASE)
_FRACTION: Final = re.compile(r"[.,][0-9]{6}([0-9]+)")
_TRUTHS: Final[Mapping[str, bool]] = {"true": True, "1": True, "false": False, "0": False}


def _is_odd(text: str) -> bool:
    """Return whether a number has a form that only Python accepts: digits of other scripts, or 1_000."""
    return not text.isascii() or "_" in text


def whole(text: str) -> int:
    """Return the whole number of a text."""
    try:
        number = int(text)
    except ValueError:
        why = "too many digits" if text.strip().lstrip("+-").isdigit() else _DIGITS
        raise ValueError(why) from None
    if _is_odd(text):
        raise ValueError(_DIGITS)
    return number


_DIGITS: Final = "expected digits, with or without a sign"


def real(text: str) -> float:
    """Return the float nearest to the number of a text; `inf` and `nan` are accepted."""
    try:
        number = float(text)
    except ValueError:
        raise ValueError(_REAL) from None
    if _is_odd(text):
        raise ValueError(_REAL)
    if math.isinf(number) and any(character.isdigit() for character in text):
        raise ValueError("outside the range of a 64-bit float")
    return number


_REAL: Final = "expected a number such as 1.5 or 2e-3"


def decimal(text: str) -> Decimal:
    """Return the decimal of a text, with all its digits."""
    try:
        number = Decimal(text)
    except ArithmeticError:
        raise ValueError(_FINITE) from None
    if _is_odd(text) or not number.is_finite():
        raise ValueError(_FINITE)
    return number


_FINITE: Final = "expected a finite number such as 1.50"


def truth(text: str) -> bool:
    """Return the truth value of a text."""
    value = _TRUTHS.get(text.strip().lower())
    if value is None:
        raise ValueError("expected true, false, 1 or 0")
    return value


def instant(text: str) -> datetime:
    """Return the datetime of a text in ISO 8601."""
    rest = _FRACTION.search(text)
    if rest is not None and rest[1].strip("0"):
        raise ValueError("an instant has microseconds, and this one has more digits")
    try:
        return datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError("expected a time such as 2026-01-31T12:00:00Z") from None


def uuid(text: str) -> UUID:
    """Return the UUID of a text."""
    if not _UUID.fullmatch(text.strip()):
        raise ValueError("expected 32 hexadecimal digits, with or without hyphens")
    return UUID(text.strip())


# By the name of a value type; text for any other type stays text, which the type accepts or rejects.
READERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "long": whole,
    "bigint": whole,
    "double": real,
    "float": real,
    "bigdec": decimal,
    "boolean": truth,
    "instant": instant,
    "uuid": uuid,
    "uri": Uri,
    "symbol": Symbol,
}
