"""Destructuring: inputs and results of functions as columns, by their bindings.

Uses neither clauses nor databases. Raises ValueError for a vector that is too short for its binding, and for other
values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from itertools import product
from typing import Any, Final, NamedTuple

import numpy as np

from factstore.query.guard import Guard
from factstore.query.language.ast import BindEach, Binding, BindTuple, Blank, Variable, bound_by
from factstore.query.language.dialect import shown
from factstore.query.relations.frames import columns_in
from factstore.query.relations.relation import Column, Relation, column_of, given, input_of, relation_of, strict
from factstore.query.sources.collection import rows_of
from factstore.values.types import is_missing

_ROWS_PER_CHECK: Final = 4096  # rows between two checks of the guard


class Parts(NamedTuple):
    """Destructured values: columns of their parts, and for each row the number of its value."""

    columns: dict[str, Column]
    at: list[int]


def destructure(
    binding: Binding,
    values: Sequence[Any],
    column: Callable[[Iterable[Any]], Column] = column_of,
    guard: Guard | None = None,
) -> Parts:
    """Return the rows that a binding makes of values; None gives no row, and neither does a row that contains it.

    Args:
        column: a function that makes a column of values.
        guard: checked while rows are made.
    """
    names = bound_by(binding)
    at: list[int] = []
    rows: list[tuple[Any, ...]] = []
    for i, value in enumerate(values):
        if is_missing(value):
            continue
        for row in _rows(binding, value, guard):
            rows.append(row)
            at.append(i)
            if guard is not None and not len(rows) % _ROWS_PER_CHECK:
                guard.check(len(rows), "a step")
    if len(set(names)) < len(names):
        same = [_is_consistent(names, row) for row in rows]
        rows = [row for row, kept in zip(rows, same, strict=True) if kept]
        at = [i for i, kept in zip(at, same, strict=True) if kept]
    columns = {}
    for i, name in enumerate(names):
        columns[name] = column([row[i] for row in rows])
        if guard is not None:
            guard.check(len(rows), "a step")
    return Parts(columns, at)


def _is_consistent(names: tuple[str, ...], row: tuple[Any, ...]) -> bool:
    first: dict[str, Any] = {}
    return all(strict(first.setdefault(name, value)) == strict(value) for name, value in zip(names, row, strict=True))


def _rows(binding: Binding, value: Any, guard: Guard | None) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of one value, with their parts in the order of the binding's variables."""
    if isinstance(binding, Variable):
        yield (value,)
    elif isinstance(binding, Blank):
        yield ()
    elif isinstance(binding, BindEach):
        for each in _elements(value) if guard is None else _elements_within(value, guard):
            yield from _rows(binding.part, each, guard)
    else:
        parts = _slots(binding, value)
        for combined in product(
            *(tuple(_rows(part, slot, guard)) for part, slot in zip(binding.parts, parts, strict=False))
        ):
            yield tuple(each for row in combined for each in row)


def _elements(value: Any) -> list[Any]:
    rows = rows_of(value)
    if rows is None:
        raise ValueError(f"expected a collection, got {shown(value)}")
    return rows


def _elements_within(value: Any, guard: Guard) -> Iterable[Any]:
    """Return the elements of a collection; those of an iterator one by one, because it may be infinite."""
    if isinstance(value, Sized):
        guard.check(len(value), "a step")
    return value if isinstance(value, Iterator | range) else _elements(value)


def _slots(binding: BindTuple, value: Any) -> Sequence[Any]:
    if not isinstance(value, list | tuple):
        if not isinstance(value, np.ndarray) or not value.ndim:
            raise ValueError(f"expected a vector of {len(binding.parts)}, got {shown(value)}")
        return _slots(binding, list(value))
    if len(value) < len(binding.parts):
        raise ValueError(f"expected {len(binding.parts)} elements, got {len(value)}: {shown(value)}")
    return value


def binding_text(binding: Binding) -> str:
    """Return a binding as text."""
    if isinstance(binding, BindTuple):
        return f"[{' '.join(map(binding_text, binding.parts))}]"
    if isinstance(binding, BindEach):
        inside = binding_text(binding.part)
        return f"[{inside}]" if isinstance(binding.part, BindTuple) else f"[{inside} ...]"
    return binding.name if isinstance(binding, Variable) else "_"


def relation_from(binding: Binding, value: Any) -> Relation:
    """Return an input as a relation, by its binding."""
    if isinstance(binding, Variable):
        return Relation(1, {}, {binding.name: given(value)}, distinct=True)
    names = bound_by(binding)
    if isinstance(binding, BindEach) and isinstance(binding.part, Variable):
        elements = _elements(value)
        return relation_of({binding.part.name: input_of(elements)}, len(elements))
    if isinstance(binding, BindEach) and isinstance(binding.part, BindTuple) and len(set(names)) == len(names):
        parts = binding.part.parts
        if all(isinstance(part, Variable | Blank) for part in parts):
            framed = columns_in(value)
            if framed is not None and framed and len(framed) >= len(parts):
                inputs = [column._replace(is_input=True) for column in framed]
                return relation_of(
                    {part.name: inputs[i] for i, part in enumerate(parts) if isinstance(part, Variable)}, inputs[0].size
                )
            rows = [_slots(binding.part, row) for row in _elements(value)]
            columns = {
                part.name: input_of([row[i] for row in rows])
                for i, part in enumerate(parts)
                if isinstance(part, Variable)
            }
            return relation_of(columns, len(rows))
    destructured = destructure(binding, [value], input_of)
    return relation_of(destructured.columns, len(destructured.at))
