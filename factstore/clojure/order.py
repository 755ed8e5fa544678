"""The order of Clojure's `compare`: numbers by value, vectors slot by slot, other values within one type."""

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
    """Return what orders two values; nil comes first. Raises: TypeError for two that have no order between them."""
    a, b = type(x), type(y)
    if a in NUMBERS and b in NUMBERS:
        return x, y
    if a in _VECTORS and b in _VECTORS:
        return _compare_slots(x, y), 0
    if x is None or y is None:
        return x is not None, y is not None
    if a is b:
        return x, y
    if isinstance(x, datetime) and isinstance(y, datetime):
        return x, y
    raise TypeError(f"{quoted(x)} and {quoted(y)} have no order between them")


def _compare_slots(x: Sequence[Any], y: Sequence[Any]) -> int:
    """Compare two vectors slot by slot; of two that agree as far as the shorter goes, the longer is greater."""
    return next((found for found in map(compare, x, y) if found), compare(len(x), len(y)))


def compare(x: Any, y: Any) -> int:
    """Return -1, 0 or 1; nil comes first."""
    x, y = comparable(x, y)
    return int(x > y) - int(x < y)


IN_ORDER: Final = cmp_to_key(compare)  # a key for `sorted`
