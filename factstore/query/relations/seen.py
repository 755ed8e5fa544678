"""Seen rows: a set of rows that grows, and that returns which of the added rows are new.

Rows are compared by plain Python equality as long as every column has one plain type; otherwise by type and value.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from factstore.query.relations.relation import PLAIN, Column, Relation, concatenated, relation_of, strict


class SeenRows:
    """The set of rows seen so far; it only grows."""

    __slots__ = ("_chunks", "_kinds", "_seen", "_strict", "names")

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._chunks: list[Relation] = []
        self._seen: set[Any] = set()
        self._kinds: tuple[type, ...] | None = None
        self._strict = False

    def add(self, relation: Relation) -> Relation:
        """Add rows, and return those that were not in the set before."""
        columns = [relation.column(name) for name in self.names]
        kinds = tuple(column.kind for column in columns)
        if relation.size and not self._strict and (kinds != (self._kinds or kinds) or not PLAIN.issuperset(kinds)):
            self._seen = {
                key for chunk in self._chunks for key in _strict_keys([chunk.columns[name] for name in self.names])
            }
            self._strict = True
        if relation.size and self._kinds is None:
            self._kinds = kinds
        positions = []
        keys = _strict_keys(columns) if self._strict else zip(*(column.machine() for column in columns), strict=True)
        for i, key in enumerate(keys if columns else [()] * min(relation.size, 1)):
            if key not in self._seen:
                self._seen.add(key)
                positions.append(i)
        fresh = relation_of(
            {name: column.take(positions) for name, column in zip(self.names, columns, strict=True)},
            len(positions),
            distinct=True,
        )
        if positions:
            self._chunks.append(fresh)
        return fresh

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(self._seen)

    def all(self) -> Relation:
        """Return all rows as one relation."""
        if len(self._chunks) != 1:
            columns = {
                name: concatenated([chunk.columns[name] for chunk in self._chunks] or [Column(object, [])])
                for name in self.names
            }
            size = sum(chunk.size for chunk in self._chunks)
            self._chunks = [Relation(min(size, 1) if not columns else size, columns, {}, distinct=True)]
        return self._chunks[0]


def _strict_keys(columns: list[Column]) -> Iterator[tuple[Any, ...]]:
    return zip(*(map(strict, column.values()) for column in columns), strict=True)
