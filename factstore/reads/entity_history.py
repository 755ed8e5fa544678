"""The life of one entity: each assertion and retraction about it, when it was, and what its transaction says of itself.

Reads a database's history; knows neither queries nor writing.
Law: the rows are the datoms of the database's history about the entity, in order of time, none missing and none twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, overload

from factstore.datom import Fact, tx_of
from factstore.rendering import html_table, text_table
from factstore.schema.attribute import TX_INSTANT, Attribute
from factstore.values.types import Keyword, order_key

if TYPE_CHECKING:
    from factstore.db.database import Database

_HEADER: Final = ("when", "t", "why", "", "attribute", "value")


class EntityEvent(NamedTuple):
    """One assertion or retraction about an entity."""

    when: datetime | None  # None: the store began with it
    t: int
    why: Mapping[Keyword, Any]  # what the transaction says of itself, besides its instant
    attribute: Keyword
    added: bool
    value: Any  # a reference is the ident of what it refers to, when that has one


class EntityHistory(Sequence[EntityEvent]):
    """The events of an entity's life, oldest first; prints as a table."""

    __slots__ = ("eid", "rows")

    def __init__(self, eid: int | None, rows: tuple[EntityEvent, ...]) -> None:
        self.eid = eid
        self.rows = rows

    @overload
    def __getitem__(self, at: int) -> EntityEvent: ...
    @overload
    def __getitem__(self, at: slice) -> tuple[EntityEvent, ...]: ...
    def __getitem__(self, at: int | slice) -> EntityEvent | tuple[EntityEvent, ...]:
        return self.rows[at]

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<EntityHistory {self.eid}, {len(self.rows)} events>"

    def __str__(self) -> str:
        return text_table(_HEADER, self._cells())

    def _repr_html_(self) -> str:
        return html_table(f"Entity {self.eid}", _HEADER, self._cells(), added=[row.added for row in self.rows])

    def _cells(self) -> Iterator[tuple[object, ...]]:
        """Yield what the table shows; what a transaction says stands at its first row."""
        last = -1
        for when, t, why, attribute, added, value in self.rows:
            said = "" if t == last else ", ".join(f"{name} {each}" for name, each in why.items())
            yield "" if when is None else f"{when:%Y-%m-%d %H:%M:%S}", t, said, "+" if added else "-", attribute, value
            last = t


def entity_history(db: Database, eid: Any) -> EntityHistory:
    """Return what happened to an entity: when, by which transaction, with what it says of itself, and what it changed.

    Args:
        db: a database; `as_of`, `since` and `filter` limit what is told.
        eid: an entity id, ident or lookup ref, resolved in this database.
    Returns: the events, oldest first, retractions before what took their place; none for a name that names nothing.
    """
    found = db.entid(eid)
    history = db if db.is_history else db.history()
    facts = [] if found is None else history.view.facts_about(found)
    facts.sort(key=lambda fact: (fact[3], fact[1], fact[4], order_key(fact[2])))
    about = {t: (db.instant_of(t), _says(db, t)) for t in {fact[3] for fact in facts}}
    return EntityHistory(found, tuple(_event(db, fact, *about[fact[3]]) for fact in facts))


def _event(db: Database, fact: Fact, when: datetime | None, why: Mapping[Keyword, Any]) -> EntityEvent:
    _, a, v, t, added = fact
    attribute = db.schema.attribute(a)
    return EntityEvent(when, t, why, attribute.ident, added, _shown(db, attribute, v))


def _says(db: Database, t: int) -> Mapping[Keyword, Any]:
    """Return what a transaction says of itself: a value, or a tuple of values where the attribute takes many."""
    said: dict[Keyword, Any] = {}
    # Neither `since` nor the history of the transaction's own facts matters here: the question is what it says.
    for _, a, v, _, _ in db.view.cut(after=-1, is_history=False).facts_about(tx_of(t)):
        attribute = db.schema.attribute(a)
        if a == TX_INSTANT:
            continue
        value = _shown(db, attribute, v)
        said[attribute.ident] = (*said.get(attribute.ident, ()), value) if attribute.many else value
    return said


def _shown(db: Database, attribute: Attribute, v: Any) -> Any:
    ident = db.schema.ident(v) if attribute.is_ref else None
    return attribute.load(v) if ident is None else ident
