"""Known: what the entities of a transaction have already; asked for value by value, or for all of them in one go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from factstore.db.database import Database
from factstore.transact.expand import Claim
from factstore.values.types import Stored

ValuesOf: TypeAlias = Callable[[int, int], tuple[Stored, ...]]

# Fewer are quicker one by one than as columns.
_BULK: Final = 256


def known_values(db: Database, asserted: Sequence[Claim], first_fresh: int) -> ValuesOf:
    """Return a function that gives the values of an entity and an attribute in the database before."""
    if len(asserted) < _BULK:
        return db.view.values_of
    wanted: dict[int, set[int]] = {}
    for e, attribute, _, _ in asserted:
        if e < first_fresh and not attribute.many:
            wanted.setdefault(attribute.id, set()).add(e)
    known: dict[tuple[int, int], tuple[Stored, ...]] = {}
    for a, es in wanted.items():
        if len(es) >= _BULK:
            _fetch(db, a, list(es), known)
    if not known:
        return db.view.values_of
    values_of = db.view.values_of

    def recall(e: int, a: int) -> tuple[Stored, ...]:
        found = known.get((e, a))
        return values_of(e, a) if found is None else found

    return recall


def _fetch(db: Database, a: int, es: list[int], known: dict[tuple[int, int], tuple[Stored, ...]]) -> None:
    import numpy as np

    for e in es:
        known[e, a] = ()
    rows, positions = db.view.of_entities(a, np.array(es, np.int64))
    for v, position in zip(rows.v.tolist(), positions.tolist(), strict=True):
        key = (es[position], a)
        known[key] = (*known[key], v)
