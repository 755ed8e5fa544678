"""Comparisons and arithmetic on whole columns of numbers and datetimes; None where they do not apply.

Law: where a vector answers, it answers what the function of the same name does row by row.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from itertools import pairwise
from typing import Any, Final

import numpy as np

from factstore.query.relations.relation import Array, Column, machine_value

_NUMBERS: Final = frozenset((int, float))
_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "=": operator.eq,
    "not=": operator.ne,
    "!=": operator.ne,
}
_STRICT: Final = frozenset(("=", "not=", "!="))
_ARITHMETIC: Final[Mapping[str, Callable[[Any, Any], Any]]] = {"+": operator.add, "-": operator.sub, "*": operator.mul}
_SAFE: Final = {"+": 1 << 61, "-": 1 << 61, "*": 1 << 30}  # whole numbers below which two cannot overflow
_EXACT: Final = 1 << 53  # whole numbers below which a float holds them exactly


def _machine(arg: Any) -> tuple[type, Any] | None:
    """Return the kind and machine form of an argument of numbers or datetimes; otherwise None."""
    kind, data = (arg.kind, arg.data) if isinstance(arg, Column) else machine_value(arg)
    if kind not in _NUMBERS and kind is not datetime:
        return None
    return kind, data


def compared(name: str, args: list[Any]) -> Array | None:
    """Return the mask of the rows in which a comparison holds.

    Args:
        args: columns of arrays, and values.
    """
    holds = _COMPARISONS.get(name)
    parts = [_machine(arg) for arg in args]
    if holds is None or None in parts or len(parts) < 2 or (len(parts) > 2 and name in ("not=", "!=")):
        return None
    kinds = {part[0] for part in parts if part}
    if len(kinds) > 1:
        if name in _STRICT or datetime in kinds or not all(_is_exact(part[1]) for part in parts if part):
            return None
    elif name == "==" and datetime in kinds:
        return None
    mask: Any = None
    for left, right in pairwise(part[1] for part in parts if part):
        here = holds(left, right)
        mask = here if mask is None else mask & here
    return mask if isinstance(mask, np.ndarray) else None


def _is_exact(data: Any) -> bool:
    if isinstance(data, np.ndarray):
        return data.dtype.kind == "f" or not len(data) or (int(data.max()) <= _EXACT and int(data.min()) >= -_EXACT)
    return type(data) is float or bool(abs(data) <= _EXACT)


def calculated(name: str, args: list[Any]) -> Column | None:
    """Return a sum, difference or product of two arguments, or one more or less than one."""
    if name in ("inc", "dec") and len(args) == 1:
        name, args = ("+" if name == "inc" else "-"), [args[0], 1]
    step = _ARITHMETIC.get(name)
    parts = [_machine(arg) for arg in args]
    if step is None or None in parts or len(parts) != 2:
        return None
    kinds = {part[0] for part in parts if part}
    if datetime in kinds or not all(part[0] is float or _is_below(part[1], _SAFE[name]) for part in parts if part):
        return None
    if len(kinds) > 1 and not all(_is_exact(part[1]) for part in parts if part):
        return None
    found = step(parts[0][1], parts[1][1])  # type: ignore[index]
    return Column(float if float in kinds else int, found) if isinstance(found, np.ndarray) else None


def _is_below(data: Any, limit: int) -> bool:
    if isinstance(data, np.ndarray):
        return not len(data) or (int(data.max()) < limit and int(data.min()) > -limit)
    return bool(abs(data) < limit)
