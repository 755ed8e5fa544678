"""Hidden attributes: their facts appear on no page, in no export and in no answer of a query.

A composite tuple repeats the values of its members, so it is hidden with any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from factstore.datom import Datom
    from factstore.db.database import Database


class Hidden:
    """A set of attributes that a console does not show."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names = frozenset(names)

    def __bool__(self) -> bool:
        return bool(self.names)

    def ids(self, db: Database) -> frozenset[int]:
        """Return the ids of the hidden attributes of a database, composite tuples of them included."""
        if not self.names:
            return frozenset()
        own = {eid for name in self.names if (eid := db.schema.entid(name)) is not None}
        tuples = {attribute.id for attribute in db.schema.attributes if own.intersection(attribute.members)}
        return frozenset(own | tuples)

    def visible(self, db: Database) -> Callable[[int], bool]:
        """Return the test of an attribute's id."""
        hidden = self.ids(db)
        return lambda a: a not in hidden

    def removed_from(self, db: Database, *others: Database) -> Database:
        """Return a database without the facts of the hidden attributes.

        Args:
            others: databases with which it is compared. An attribute that is hidden in one of them is hidden, so that
                an attribute of a backup stays hidden after it was renamed in the store.
        """
        hidden = self.ids(db).union(*map(self.ids, others))

        def keep(_db: Database, datom: Datom) -> bool:
            return datom.a not in hidden

        return db.filter(keep) if hidden else db
