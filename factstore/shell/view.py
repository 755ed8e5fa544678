"""The moment that the shell shows: `.as-of`, `.since` and `.history` change it, and queries read it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from factstore.db.database import Database

Point: TypeAlias = int | datetime


@dataclass(frozen=True, slots=True)
class View:
    """The limits of the databases that queries read; without limits, the newest database."""

    as_of: Point | None = None
    since: Point | None = None
    history: bool = False

    def of(self, db: Database) -> Database:
        """Return a database within these limits."""
        if self.as_of is not None:
            db = db.as_of(self.as_of)
        if self.since is not None:
            db = db.since(self.since)
        return db.history() if self.history else db

    def __str__(self) -> str:
        parts = [
            "" if self.as_of is None else f"as of {_shown(self.as_of)}",
            "" if self.since is None else f"since {_shown(self.since)}",
            "history" if self.history else "",
        ]
        return ", ".join(part for part in parts if part)


def point_of(db: Database, text: str) -> Point:
    """Return the point in time in a text: t, or a moment in words, by the clock of the connection.

    Raises: DatabaseError(:db.error/invalid-point).
    """
    point = db.exactly(text)
    db.as_of(point)
    return point


def _shown(point: Point) -> str:
    return point.isoformat(" ", "seconds") if isinstance(point, datetime) else f"t {point}"
