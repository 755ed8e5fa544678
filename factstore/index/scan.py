"""Scans in the order of an index (EAVT, AEVT, AVET, VAET): the facts with a prefix, or from a position, both ways.

    group   all facts with one leading component: an entity (EAVT), attribute (AEVT, AVET), referenced entity (VAET)

Facts are read when needed, one group at a time. The newest event of a fact comes first, as in Datomic.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final

import numpy as np

from factstore.columns import column
from factstore.columns.column import FactArrays, Range
from factstore.datom import ORDERS, Fact
from factstore.index.view import View, in_order
from factstore.values.types import order_key

_CHUNK: Final = 4096


def facts_of(rows: FactArrays, a: int) -> Iterator[Fact]:
    """Yield rows of an attribute as facts, converting one chunk at a time."""
    for start in range(0, rows.size, _CHUNK):
        part = rows.take(slice(start, start + _CHUNK))
        added = [True] * part.size if part.added is None else part.added.tolist()
        for e, v, t, op in zip(part.e.tolist(), part.v.tolist(), part.t.tolist(), added, strict=True):
            yield e, a, v, t, op


def prefix(view: View, index: str, components: tuple[Any, ...]) -> Iterator[Fact]:
    """Yield the facts with these leading components: stored values in the order of the index, then a t."""
    order = ORDERS[index]
    facts: Iterable[Fact]
    if not components:
        facts = chain.from_iterable(map(_group_reader(view, index), _groups(view, index)))
    elif index == "avet" and len(components) >= 2:
        facts = in_order(view.facts_with(components[0], components[1]), index)
    elif index in ("eavt", "aevt") and len(components) >= 2:
        e, a = (components[order.index(0)], components[order.index(1)])
        facts = in_order(view.facts_of(e, a), index)
        if len(components) == 2:
            return iter(facts)
    else:
        facts = _group_reader(view, index)(components[0])
    wanted = tuple(zip(order, components, strict=False))
    t = components[3] if len(components) > 3 else None
    return (
        fact
        for fact in facts
        if (t is None or fact[3] == t) and all(_same(fact[component], part) for component, part in wanted)
    )


def seek(view: View, index: str, components: tuple[Any, ...], *, backwards: bool = False) -> Iterator[Fact]:
    """Yield the facts from these components to the end of the index; or backwards to its start."""
    read = _group_reader(view, index)
    if components:
        # Before the groups are listed: most callers read only a few facts of the first group.
        yield from _from(_ordered(read(components[0]), backwards), index, components, backwards)
    for group in _groups_beyond(view, index, components[:1], backwards):
        yield from _ordered(read(group), backwards)


def _groups_beyond(view: View, index: str, first: tuple[Any, ...], backwards: bool) -> Iterable[Any]:
    groups = _groups(view, index)
    at = len(groups) if backwards else 0
    if first:
        at = bisect_left(groups, first[0]) if backwards else bisect_right(groups, first[0])
    return reversed(groups[:at]) if backwards else groups[at:]


def _ordered(facts: Iterable[Fact], backwards: bool) -> Iterable[Fact]:
    return reversed(list(facts)) if backwards else facts


def between(view: View, a: int, region: Range) -> Iterator[Fact]:
    """Yield the facts of an attribute with values in a range, in order of value."""
    rows = view.between(a, region.low, region.high, low_open=region.low_open, high_open=region.high_open)
    return facts_of(_rows_newest_first(rows), a)


def _from(facts: Iterable[Fact], index: str, components: tuple[Any, ...], backwards: bool) -> Iterator[Fact]:
    order = ORDERS[index][1 : len(components)]
    start = tuple(order_key(part) for part in components[1:3])

    def reached(fact: Fact) -> bool:
        key = tuple(order_key(fact[component]) for component in order)
        return key <= start if backwards else key >= start

    return filter(reached, facts)


def _same(left: Any, right: Any) -> bool:
    return type(left) is type(right) and bool(left == right)


def _groups(view: View, index: str) -> list[Any]:
    """Return all leading components, in order."""
    attributes = view.attributes()
    if index == "aevt":
        return attributes
    if index == "avet":
        return [a for a in attributes if view.schema.attribute(a).has_avet]
    if index == "eavt":
        return _distinct(view.by_entity(a).e for a in attributes)
    return _distinct(view.by_value(a).v for a in attributes if view.schema.attribute(a).is_ref)


def _distinct(columns: Iterable[Any]) -> list[int]:
    parts = list(columns)
    return np.unique(np.concatenate(parts)).tolist() if parts else []


def _group_reader(view: View, index: str) -> Callable[[Any], Iterable[Fact]]:
    if index == "eavt":
        return lambda e: in_order(view.facts_about(e), index)
    if index == "aevt":  # without a column if there are no rows, as for an attribute that few stores use
        return lambda a: facts_of(_rows_newest_first(view.by_entity(a)), a) if view.count(a) else ()
    if index == "avet":
        return lambda a: facts_of(_rows_newest_first(view.by_value(a)), a)
    return lambda v: in_order(view.facts_referring(v), index)


def _rows_newest_first(rows: FactArrays) -> FactArrays:
    """Return rows with the newest event of each fact first; they come with the oldest first."""
    if rows.added is None or rows.size < 2:
        return rows
    group = np.append(0, np.cumsum(~column.same_as_next(rows)))
    return rows.take(np.lexsort((~rows.added, -rows.t, group)))
