"""Aggregates: one value of all the values that a variable has in a group, as tables of plain functions.

`AGGREGATES` take what stands before the variable, then the values; a registered callable is called the same way.
`GROUPED` holds those that can work on whole numpy columns, all groups at once. A group is never empty: no rows, no
group, no value.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import numpy as np

from factstore.clojure.order import IN_ORDER as _BY_ORDER
from factstore.query.functions.scalar import FUNCTIONS
from factstore.query.relations import algebra
from factstore.query.relations.orders import order_of
from factstore.query.relations.relation import Array, Column, Ints, Relation, column_of, strict
from factstore.values.exact import set_of
from factstore.values.quoting import quoted

_add: Final = FUNCTIONS["+"]
_SAFE: Final = 1 << 62


def _sum(values: list[Any]) -> Any:
    return _add(*values)


def _average(values: list[Any]) -> float:
    return float(_sum(values)) / len(values)


def _variance(values: list[Any]) -> float:
    mean = _average(values)
    return math.fsum((float(value) - mean) ** 2 for value in values) / len(values)


def _deviation(values: list[Any]) -> float:
    return math.sqrt(_variance(values))


def _median(values: list[Any]) -> Any:
    ordered = sorted(values, key=_BY_ORDER)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    total = _add(ordered[middle - 1], ordered[middle])
    return FUNCTIONS["/"](total, 2)


def _unique(values: list[Any]) -> list[Any]:
    return list({strict(value): value for value in values}.values())


def _number(n: Any) -> int:
    if type(n) is not int or n < 1:
        raise ValueError(f"expected how many, from 1, got {quoted(n)}")
    return n


def _least(*args: Any) -> Any:
    values = args[-1]
    if len(args) == 1:
        return min(values, key=_BY_ORDER)
    return tuple(sorted(values, key=_BY_ORDER)[: _number(args[0])])


def _greatest(*args: Any) -> Any:
    values = args[-1]
    if len(args) == 1:
        return max(values, key=_BY_ORDER)
    return tuple(sorted(values, key=_BY_ORDER, reverse=True)[: _number(args[0])])


def _random(*args: Any) -> Any:
    if len(args) == 1:
        return random.choice(args[0])
    return tuple(random.choices(args[1], k=_number(args[0])))


def _sample(n: Any, values: list[Any]) -> tuple[Any, ...]:
    values = _unique(values)
    return tuple(random.sample(values, min(_number(n), len(values))))


AGGREGATES: Final[Mapping[str, Callable[..., Any]]] = {
    "count": len,
    "count-distinct": lambda values: len(_unique(values)),
    "sum": _sum,
    "avg": _average,
    "median": _median,
    "variance": _variance,
    "stddev": _deviation,
    "min": _least,
    "max": _greatest,
    "distinct": set_of,
    "set": set_of,
    "rand": _random,
    "sample": _sample,
}


# -- whole columns, all groups at once


def _grouped_count(_column: Column, groups: Ints, count: int) -> Column:
    return Column(int, np.bincount(groups, minlength=count))


def _grouped_sum(column: Column, groups: Ints, count: int) -> Column | None:
    data = column.array()
    if column.kind is int and len(data) * max(int(data.max()), -int(data.min()), 1) < _SAFE:
        totals = np.zeros(count, np.int64)
        np.add.at(totals, groups, data)
        return Column(int, totals)
    if column.kind is float:
        return Column(float, np.bincount(groups, weights=data, minlength=count))
    return None


def _grouped_average(column: Column, groups: Ints, count: int) -> Column | None:
    total = _grouped_sum(column, groups, count)
    return None if total is None else Column(float, total.data / np.bincount(groups, minlength=count))


def _grouped_extreme(pick: np.ufunc) -> Callable[[Column, Ints, int], Column | None]:
    def extreme(column: Column, groups: Ints, count: int) -> Column | None:
        if column.kind not in (int, float, datetime):
            return None
        data: Array = column.array()
        order = order_of(groups)
        starts = np.searchsorted(groups[order], np.arange(count))
        return Column(column.kind, pick.reduceat(data[order], starts))

    return extreme


def _grouped_distinct_count(column: Column, groups: Ints, count: int) -> Column:
    pairs = algebra.distinct(Relation(column.size, {"group": Column(int, groups), "value": column}, {}))
    return Column(int, np.bincount(pairs.columns["group"].array(), minlength=count))


GROUPED: Final[Mapping[str, Callable[[Column, Ints, int], Column | None]]] = {
    "count": _grouped_count,
    "count-distinct": _grouped_distinct_count,
    "sum": _grouped_sum,
    "avg": _grouped_average,
    "min": _grouped_extreme(np.minimum),
    "max": _grouped_extreme(np.maximum),
}


def aggregated(function: Callable[..., Any], args: list[Any], column: Column, groups: Ints, count: int) -> Column:
    """Return the aggregate of each group by its function of values.

    Args:
        groups: for each row the number of its group, from 0 to `count`.
    """
    values: list[list[Any]] = [[] for _ in range(count)]
    for group, value in zip(groups.tolist(), column.values(), strict=True):
        values[group].append(value)
    return column_of([function(*args, each) for each in values])
