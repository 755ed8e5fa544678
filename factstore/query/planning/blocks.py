"""Blocks: a step of a query in several passes over parts of the rows, so that it can be stopped and streamed.

Law: the rows of all blocks together are those of the step in one pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil, isfinite
from typing import Final

from factstore.query.language.ast import Clause
from factstore.query.planning.context import Context
from factstore.query.planning.plan import estimate_of
from factstore.query.relations.relation import Relation

BLOCK: Final = 1 << 18  # rows


def blocks_of(context: Context, clause: Clause, relation: Relation, most: int) -> Iterator[Relation]:
    """Yield the rows of a relation in blocks, for each of which a clause is expected to give at most `most` rows."""
    size = relation.size
    expected = max(estimate_of(context, clause, relation), size) if size > 1 else 1.0
    step = size if expected <= most or not isfinite(expected) else max(1, ceil(size * most / expected))
    for start in range(0, size, step):
        yield relation if step >= size else relation.take(slice(start, start + step), min(step, size - start))
