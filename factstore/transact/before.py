"""Holders: which entities have a unique value in the database before the transaction.

Asked for while tempids are resolved and again while uniqueness is checked; each value is looked up once, and many values of
one attribute in one go.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from factstore.db.database import Database
from factstore.values.types import Stored

# Fewer are quicker one by one than as a column.
BULK: Final = 32


class Holders:
    """A memory of look-ups in one database value."""

    __slots__ = ("_known", "_view")

    def __init__(self, db: Database) -> None:
        self._view = db.view
        self._known: dict[tuple[int, Stored], tuple[int, ...]] = {}

    def of(self, a: int, v: Stored) -> tuple[int, ...]:
        """Return the entities that have a value."""
        found = self._known.get((a, v))
        if found is None:
            found = self._known[a, v] = self._view.holders_of(a, v)
        return found

    def fetch(self, pairs: Iterable[tuple[int, Stored]]) -> None:
        """Look up these attributes and values, for `of` to find."""
        known = self._known
        wanted: dict[int, list[Stored]] = {}
        for pair in pairs:
            if pair not in known:
                known[pair] = ()
                wanted.setdefault(pair[0], []).append(pair[1])
        for a, values in wanted.items():
            self._fetch(a, values)

    def _fetch(self, a: int, values: list[Any]) -> None:
        known = self._known
        if len(values) < BULK:
            for v in values:
                known[a, v] = self._view.holders_of(a, v)
            return
        rows, positions = self._view.with_values(a, values)
        for e, position in zip(rows.e.tolist(), positions.tolist(), strict=True):
            key = (a, values[position])
            known[key] = (*known[key], e)
