"""The history of one entity: each assertion and retraction about it, with its time and the facts of its transaction.

This module reads a database's history. It does not use queries or transactions.
Law: the rows are the datoms about the entity in the database's history, in order of time, each exactly once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, overload

from factstore.datom import Fact, tx_of
from factstore.db.database import Database, check_database
from factstore.rendering import html_table, shown_as_record, text_table
from factstore.schema.attribute import TX_INSTANT, Attribute
from factstore.values.types import Keyword, order_key

_HEADER: Final = ("when", "t", "why", "", "attribute", "value")


@shown_as_record
class EntityEvent(NamedTuple):
    """One assertion or retraction about an entity."""

    when: datetime | None  # None for a fact that every new store has
    t: int
    why: Mapping[Keyword, Any]  # the transaction's own attributes, except its instant
    attribute: Keyword
    added: bool
    value: Any  # for a reference, the ident of the referenced entity if it has one


class EntityHistory(Sequence[EntityEvent]):
    """The events of an entity, oldest first; prints as a table."""

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
        """Yield the rows of the table; the facts of a transaction are shown only in its first row."""
        last_t = -1
        for when, t, why, attribute, added, value in self.rows:
            text = "" if t == last_t else ", ".join(f"{name} {each}" for name, each in why.items())
            yield "" if when is None else f"{when:%Y-%m-%d %H:%M:%S}", t, text, "+" if added else "-", attribute, value
            last_t = t


def entity_history(db: Database, eid: Any) -> EntityHistory:
    """Return the events of an entity, each with its time, its transaction, and the transaction's own attributes.

    Args:
        db: a database; `as_of`, `since` and `filter` limit the events.
        eid: an entity id, ident or lookup ref, resolved in this database.
    Returns: the events, oldest first; within a transaction, the retraction of a value precedes the assertion that
        replaces it. Empty if no entity has this ident or lookup ref.
    """
    check_database("entity_history", db)
    entity_id = db.entid(eid)
    history = db if db.is_history else db.history()
    facts = [] if entity_id is None else history.view.facts_about(entity_id)
    facts.sort(key=lambda fact: (fact[3], fact[1], fact[4], order_key(fact[2])))
    transactions = {t: (db.instant_of(t), _transaction(db, t)) for t in {fact[3] for fact in facts}}
    return EntityHistory(entity_id, tuple(_event(db, fact, *transactions[fact[3]]) for fact in facts))


def _event(db: Database, fact: Fact, when: datetime | None, why: Mapping[Keyword, Any]) -> EntityEvent:
    _, a, v, t, added = fact
    attribute = db.schema.attribute(a)
    return EntityEvent(when, t, why, attribute.ident, added, _shown(db, attribute, v))


def _transaction(db: Database, t: int) -> Mapping[Keyword, Any]:
    """Return a transaction's own attributes, except its instant; the values of cardinality many are a tuple."""
    values: dict[Keyword, Any] = {}
    # The current facts of the transaction are read, even if the database is a history or limited by `since`.
    for _, a, v, _, _ in db.view.cut(after=-1, is_history=False).facts_about(tx_of(t)):
        attribute = db.schema.attribute(a)
        if a == TX_INSTANT:
            continue
        value = _shown(db, attribute, v)
        values[attribute.ident] = (*values.get(attribute.ident, ()), value) if attribute.many else value
    return values


def _shown(db: Database, attribute: Attribute, v: Any) -> Any:
    ident = db.schema.ident(v) if attribute.is_ref else None
    return attribute.load(v) if ident is None else ident
