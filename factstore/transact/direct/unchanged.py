"""The condition `if_unchanged_since` on the direct way: the newest events of the entities tell whether it holds."""

from __future__ import annotations

from factstore.datom import N_MASK
from factstore.db.database import Point
from factstore.transact.direct.reads import Before
from factstore.transact.direct.writing import Writing


def is_unchanged(writing: Writing, since: Point) -> bool:
    """Return whether no entity that a transaction changes has events after a point.

    The result is False also if it is not easy to see. Raises: DatabaseError for an invalid point.
    """
    t = since if type(since) is int and 0 <= since <= N_MASK else writing.database.t_at(since)
    subjects = {key[0] for key in writing.said or ()}
    subjects.update(fact[0] for fact in writing.facts)
    subjects.update(e for e, _, _ in writing.rare.retracted)
    subjects.update(writing.rare.doomed)
    return not any(_has_events(writing, e, t) for e in subjects if e < writing.first_fresh and e != writing.tx)


def _has_events(before: Before, e: int, t: int) -> bool:
    """Return whether an entity may have events after t."""
    for novelty, _ in before.layers:
        for a in novelty.attributes_of(e):
            strand = novelty.strands[a]
            chain = strand.of_entity(e)
            if (chain is not None and chain[0][3] > t) or any(rows.t[0] > t for rows in strand.loaded):
                return True
    index = before.index
    if t >= index.basis_t:
        return False
    for a in index.attributes_of(e):
        if any(began > t for _, began in index.values_of(a, e)):
            return True
        if any(began > t or ended > t for _, began, ended in index.past_values_of(a, e)):
            return True
    return False
