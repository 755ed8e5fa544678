"""Streams: an answer block by block, for answers that are larger than memory.

The steps of a query run as usual until one of them, or the last, would return more than a block. From then on its rows
are solved in parts, so that no two parts have an answer in common: parts are cut along bound variables of the answer.
If none is bound, the returned rows are stored to remove duplicates; nothing else is stored.

Law: the blocks contain the rows of `solve`, each row once.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

import numpy as np

from factstore.query.language.ast import Clause, Given, Not, Pattern
from factstore.query.planning.context import Context
from factstore.query.planning.plan import PlannedStep, choose, estimate_of
from factstore.query.relations import algebra
from factstore.query.relations.relation import Ints, Relation
from factstore.query.relations.seen import SeenRows
from factstore.query.run import Names, solve, take_step

_MIN_STEP = 1024  # rows; solving a rule or an `or` for fewer is not efficient


def streamed(
    context: Context, clauses: tuple[Clause, ...], relation: Relation, keep: Names, block: int
) -> Iterator[Relation]:
    """Yield the rows for which all clauses hold, each row once, in relations of about `block` rows."""
    waiting = list(clauses)
    outside: Names = frozenset()
    if any(isinstance(clause, Not) for clause in clauses):
        outside = keep.union(context.scopes.bindable(clauses, relation.names)[0])
    while waiting and relation.size:
        choice = choose(context, waiting, relation, outside)
        if relation.size > 1 and (len(waiting) == 1 or _expected(context, choice, relation) > block):
            yield from _parts(context, choice, tuple(waiting), algebra.distinct(relation), keep, block)
            return
        waiting, relation = take_step(context, choice, waiting, relation, keep, outside)
    yield solve(context, (), relation, keep)


def _expected(context: Context, choice: PlannedStep, relation: Relation) -> float:
    return estimate_of(context, choice.clause, relation) if choice.estimate is None else choice.estimate


def _parts(
    context: Context, choice: PlannedStep, waiting: tuple[Clause, ...], relation: Relation, keep: Names, block: int
) -> Iterator[Relation]:
    expected = max(_expected(context, choice, relation), relation.size)
    step = max(1, int(relation.size * block / expected)) if isfinite(expected) else relation.size
    if not isinstance(choice.clause, Pattern | Given):
        step = max(step, _MIN_STEP)
    along = [name for name in relation.columns if name in keep]
    seen = None if along else SeenRows(sorted(keep.difference(relation.constants)))
    if along and len(along) < len(relation.columns):
        relation, starts = _clustered(relation, along)
    else:
        starts = np.arange(relation.size)
    for start, end in _cuts(starts, relation.size, step):
        solved = solve(context, waiting, relation.take(slice(start, end), end - start), keep)
        yield solved if seen is None else seen.add(solved).fixed(solved.constants)


def _clustered(relation: Relation, names: list[str]) -> tuple[Relation, Ints]:
    """Return a relation sorted into groups of rows that are equal in some variables, and the start of each group."""
    groups, _ = algebra.grouped([relation.columns[name] for name in names])
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    return relation.take(order, relation.size), starts


def _cuts(starts: Ints, size: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield ranges of about `step` rows; each begins at the start of a group."""
    start = 0
    while start < size:
        group = int(np.searchsorted(starts, start + step))
        end = int(starts[group]) if group < len(starts) else size
        yield start, end
        start = end
