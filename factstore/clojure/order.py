"""The order of Clojure's `compare`: numbers by value, vectors element by element, other values only within one type."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from functools import cmp_to_key
from typing import Any, Final

from factstore.values.quoting import quoted

NUMBERS: Final = frozenset((int, float, Decimal, Fraction))
_VECTORS: Final = frozenset((tuple, list))


def comparable(x: Any, y: Any) -> tuple[Any, Any]:
    """Return two values that Python orders like the given ones; nil comes first.

    Raises: TypeError for values that have no order, such as a string and a number.
    """
    a, b = type(x), type(y)
    if a in NUMBERS and b in NUMBERS:
        return x, y
    if a in _VECTORS and b in _VECTORS:
        return _compare_elements(x, y), 0
    if x is None or y is None:
        return x is not None, y is not None
    if a is b:
        return x, y
    if isinstance(x, datetime) and isinstance(y, datetime):
        return x, y
    raise TypeError(f"{quoted(x)} and {quoted(y)} cannot be ordered")


def _compare_elements(x: Sequence[Any], y: Sequence[Any]) -> int:
    """Compare two vectors element by element; if the shorter is a prefix of the longer, the longer is greater."""
    return next((order for order in map(compare, x, y) if order), compare(len(x), len(y)))


def compare(x: Any, y: Any) -> int:
    """Return -1, 0 or 1; nil comes first."""
    x, y = comparable(x, y)
    return int(x > y) - int(x < y)


IN_ORDER: Final = cmp_to_key(compare)  # a key for `sorted`
