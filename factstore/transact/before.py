"""Reads of the database before a transaction: the holders of unique values, and the values of entities.

Holders are needed twice: to resolve tempids, and to check uniqueness. Each value is looked up once. Many look-ups of
one attribute are done together on columns, few are done one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeAlias

from factstore.db.database import Database
from factstore.transact.stages import Claim
from factstore.values.types import Stored

ValuesOf: TypeAlias = Callable[[int, int], tuple[Stored, ...]]

BULK: Final = 32  # values of one attribute from which on a column is faster than single look-ups of holders
_BULK_OF_ENTITIES: Final = 256  # the same for entities whose values are read


class Holders:
    """The entities that have unique values in one database, looked up once per value."""

    __slots__ = ("_holders", "_view")

    def __init__(self, db: Database) -> None:
        self._view = db.view
        self._holders: dict[tuple[int, Stored], tuple[int, ...]] = {}

    def of(self, a: int, v: Stored) -> tuple[int, ...]:
        """Return the entities that have a value."""
        holders = self._holders.get((a, v))
        if holders is None:
            holders = self._holders[a, v] = self._view.holders_of(a, v)
        return holders

    def fetch(self, pairs: Iterable[tuple[int, Stored]]) -> None:
        """Look up the holders of these pairs of attribute and value in advance."""
        holders = self._holders
        missing: dict[int, list[Stored]] = {}
        for pair in pairs:
            if pair not in holders:
                holders[pair] = ()
                missing.setdefault(pair[0], []).append(pair[1])
        for a, values in missing.items():
            self._fetch(a, values)

    def _fetch(self, a: int, values: list[Any]) -> None:
        holders = self._holders
        if len(values) < BULK:
            for v in values:
                holders[a, v] = self._view.holders_of(a, v)
            return
        rows, positions = self._view.with_values(a, values)
        for e, position in zip(rows.e.tolist(), positions.tolist(), strict=True):
            key = (a, values[position])
            holders[key] = (*holders[key], e)


def values_before(db: Database, asserted: Sequence[Claim], first_fresh: int) -> ValuesOf:
    """Return a function that returns the values of an entity and an attribute in the database before."""
    if len(asserted) < _BULK_OF_ENTITIES:
        return db.view.values_of
    entities: dict[int, set[int]] = {}
    for e, attribute, _, _ in asserted:
        if e < first_fresh and not attribute.many:
            entities.setdefault(attribute.id, set()).add(e)
    fetched: dict[tuple[int, int], tuple[Stored, ...]] = {}
    for a, es in entities.items():
        if len(es) >= _BULK_OF_ENTITIES:
            _fetch_values(db, a, list(es), fetched)
    if not fetched:
        return db.view.values_of
    values_of = db.view.values_of

    def fetched_or_read(e: int, a: int) -> tuple[Stored, ...]:
        values = fetched.get((e, a))
        return values_of(e, a) if values is None else values

    return fetched_or_read


def _fetch_values(db: Database, a: int, es: list[int], fetched: dict[tuple[int, int], tuple[Stored, ...]]) -> None:
    import numpy as np

    for e in es:
        fetched[e, a] = ()
    rows, positions = db.view.of_entities(a, np.array(es, np.int64))
    for v, position in zip(rows.v.tolist(), positions.tolist(), strict=True):
        key = (es[position], a)
        fetched[key] = (*fetched[key], v)
