"""The newest database as a committer keeps it.

Each commit creates a snapshot, and most are never read, so creating one must cost as little as possible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from factstore.db.database import Database

if TYPE_CHECKING:
    from factstore.index.cache import Cache
    from factstore.index.directory import Index
    from factstore.index.novelty import Novelty
    from factstore.schema.attribute import Schema


class Snapshot:
    """The parts of the newest database; the `Database` itself is created when it is first requested."""

    __slots__ = ("_database", "cache", "index", "instant", "next_n", "novelty", "schema", "store", "t")

    def __init__(
        self,
        index: Index,
        novelty: Novelty,
        schema: Schema,
        cache: Cache,
        t: int,
        next_n: int,
        instant: int,
        store: object,
    ) -> None:
        self.index = index
        self.novelty = novelty
        self.schema = schema
        self.cache = cache
        self.t = t
        self.next_n = next_n
        self.instant = instant
        self.store = store
        self._database: Database | None = None

    @property
    def database(self) -> Database:
        """The database value; always the same object."""
        if self._database is None:
            from factstore.index.view import Layer, View

            view = View(self.index, (Layer(self.novelty, self.t),), self.schema, self.cache, self.t)
            self._database = Database(view, self.schema, self.t, self.next_n, self.instant, store=self.store)
        return self._database


def database_of(value: Snapshot | Database) -> Database:
    """Return the database of a snapshot, or the database itself."""
    return value.database if type(value) is Snapshot else value  # type: ignore[return-value]
