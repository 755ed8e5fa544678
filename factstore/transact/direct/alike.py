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
    rows = writing.shape_of(tuple(maps[0])).rows
    kept = [row for row in rows if row is not None]
    if not kept or any(row[4] is not None and not row[4].is_simple_if_new for row in kept):
        return False
    values = list(zip(*[form.values() for form in maps], strict=True))
    names = next((column for row, column in zip(rows, values, strict=True) if row is None), ())
    columns = [_stored(row, column) for row, column in zip(rows, values, strict=True) if row is not None]
    identities = [(row, column) for row, column in zip(kept, columns, strict=True) if row[4] and row[4].is_identity]
    if not (writing.are_new_tempids(names) and all(_are_new(writing, row, column) for row, column in identities)):
        return False
    first = USER_BASE | writing.next_n
    es = range(first, first + len(maps))
    for row, column in identities:
        writing.owners.update(zip(zip(repeat(row[0]), column), es, strict=False))
    facts: list[Any] = [None] * (len(maps) * len(kept))
    for i, (row, column) in enumerate(zip(kept, columns, strict=True)):
        of_row = list(zip(es, repeat(row[0]), column, repeat(writing.t), repeat(True), strict=False))
        facts[i :: len(kept)] = of_row
        if names and writing.said is not None:  # another form can mention the entity
            writing.said.update(zip(zip(es, repeat(row[0])), of_row, strict=True))
    writing.tempids.update(zip(names, es, strict=False))
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
    return writing.are_new(a, column, special.order)
