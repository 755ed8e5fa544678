"""Many maps with the same keys: their facts, column by column.

A transaction of thousands of maps is mostly one shape. Types are checked and facts are made for a whole attribute at
once, which takes a third of the time. Law: the facts are those of the maps one by one, in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Any, Final

from factstore.datom import USER_BASE
from factstore.transact.direct.compiled import Row
from factstore.transact.direct.writing import Writing
from factstore.values.types import Stored

FEWEST: Final = 16  # maps in a row for which this is worth it


def read(writing: Writing, forms: Sequence[Any]) -> None:
    """Read forms: runs of maps with the same keys together, all others one by one. Raises: as `Writing.read`."""
    start, count = 0, len(forms)
    if count < FEWEST:
        writing.read(forms)
        return
    while start < count:
        end = _end_of_run(forms, start)
        run = forms[start:end]
        if end - start < FEWEST or type(run[0]) is not dict or not _create(writing, run):
            writing.read(run)
        start = end


def _end_of_run(forms: Sequence[Any], start: int) -> int:
    """Return the end of the forms from `start` on that are maps with the same keys in the same order."""
    first, end = forms[start], start + 1
    if type(first) is not dict:
        while end < len(forms) and type(forms[end]) is not dict:
            end += 1
        return end
    keys = tuple(first)
    while end < len(forms) and type(forms[end]) is dict and tuple(forms[end]) == keys:
        end += 1
    return end


def _create(writing: Writing, maps: Sequence[dict[Any, Any]]) -> bool:
    """Create an entity from each map, and return True; False if that needs more than the types of the values."""
    shape = writing.shape_of(tuple(maps[0]))
    rows = [row for row in shape.rows if row is not None and (row[4] is None or row[4].is_identity)]
    if not rows or len(rows) < len(shape.rows):
        return False
    values = zip(*[form.values() for form in maps], strict=True)
    columns = [_stored(row, column) for row, column in zip(rows, values, strict=True)]
    identities = [(row, column) for row, column in zip(rows, columns, strict=True) if row[4] is not None]
    if not all(_are_new(writing, row, column) for row, column in identities):
        return False
    first = USER_BASE | writing.next_n
    es = range(first, first + len(maps))
    for row, column in identities:
        writing.owners.update(zip(zip(repeat(row[0]), column), es, strict=False))
    facts: list[Any] = [None] * (len(maps) * len(rows))
    for i, (row, column) in enumerate(zip(rows, columns, strict=True)):
        facts[i :: len(rows)] = zip(es, repeat(row[0]), column, repeat(writing.t), repeat(True), strict=False)
    writing.facts += facts
    writing.next_n += len(maps)
    return True


def _stored(row: Row, column: Sequence[Any]) -> Sequence[Stored]:
    """Return the stored forms of the values of one attribute. Raises: ValueError."""
    _, kind, check, store, _ = row
    kinds = set(map(type, column))
    if kinds == {kind} and all(map(check, column)):
        return column
    if kinds == {str}:  # keywords, for example: few of the texts differ
        stored = {v: store(v) for v in set(column)}
        return [stored[v] for v in column]
    return [v if type(v) is kind and check(v) else store(v) for v in column]


def _are_new(writing: Writing, row: Row, column: Sequence[Stored]) -> bool:
    """Return whether no entity has any of the values of a unique identity, and no two of them are equal."""
    a, special, owners = row[0], row[4], writing.owners
    if special is None or len(set(column)) < len(column) or any((a, v) in owners for v in column if owners):
        return False
    holder_of, order = writing.holder_of, special.order
    return not writing.may_hold(a) or all(holder_of(a, v, order) is None for v in column)
