"""Valid transactions on a database, and histories of them.

    db ──► forms, drawn in any order ──► those that the naive model accepts together

Law: the store accepts each transaction on the database that the strategy is made from.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

import factstore
from factstore.db.database import Database
from factstore.schema.attribute import Attribute
from factstore.testing.naive.transactions import Facts, NotModelled, Rejected, after, facts_of
from factstore.testing.strategies.entities import Values, field_of
from factstore.testing.strategies.schemas import Schema, database_of, writable
from factstore.testing.strategies.values import few_of, of_attribute

TEMPIDS = ("a", "b", "c")


def transactions(schema: Schema, *, values: Values | None = None, max_forms: int = 5) -> SearchStrategy[list[Any]]:
    """Return a strategy for tx-data that is valid on a database.

    The forms are maps, additions, retractions, `:db/cas` and `:db/retractEntity`, about new entities and those of the
    database. Values are few, so that upserts and replaced values are frequent, or any values of the type.

    Args:
        schema: the database; or tx-data that declares attributes: a new store in which only that was transacted.
        values: ident → the strategy for single values of an attribute.
        max_forms: the maximum number of forms.
    """
    return of_database(database_of(schema), values or {}, max_forms)


def histories(
    schema: Schema, *, values: Values | None = None, max_transactions: int = 5, max_forms: int = 5
) -> SearchStrategy[list[list[Any]]]:
    """Return a strategy for lists of tx-data; each is valid on the database after those before it.

    Args:
        schema: the database before the first; or tx-data that declares attributes: a new store in which only that was
            transacted.
        values: ident → the strategy for single values of an attribute.
        max_transactions, max_forms: the maximum numbers of transactions, and of forms in each.
    """
    return _told(database_of(schema), values or {}, max_transactions, max_forms).map(lambda told: told[0])


def databases(
    schema: Schema, *, values: Values | None = None, max_transactions: int = 5, max_forms: int = 5
) -> SearchStrategy[Database]:
    """Return a strategy for databases: those after `histories` with the same arguments. They need no connection."""
    return _told(database_of(schema), values or {}, max_transactions, max_forms).map(lambda told: told[1])


@st.composite
def _told(
    draw: DrawFn, db: Database, values: Values, max_transactions: int, max_forms: int
) -> tuple[list[list[Any]], Database]:
    """Draw a history, and return it with the database after it."""
    history = []
    for _ in range(draw(st.integers(0, max_transactions))):
        history.append(draw(of_database(db, values, max_forms)))
        db = factstore.with_(db, history[-1]).db_after
    return history, db


@st.composite
def of_database(draw: DrawFn, db: Database, values: Values, max_forms: int) -> list[Any]:
    """Draw tx-data that is valid on a database."""
    facts = facts_of(db)
    drawn = draw(st.lists(_Forms(db, facts, values).any(), max_size=max_forms))
    return accepted(facts, drawn, db)


def accepted(facts: Facts, drawn: list[Any], db: Database) -> list[Any]:
    """Return the forms that the model accepts together; the first ones are preferred."""
    kept: dict[int, Any] = {}
    for _ in range(2):  # a form that refers to a tempid is accepted only with a form about the tempid
        for i, form in enumerate(drawn):
            if i not in kept and _is_accepted(facts, [*kept.values(), form], db):
                kept[i] = form
    return [form for i, form in enumerate(drawn) if i in kept]


def _is_accepted(facts: Facts, forms: list[Any], db: Database) -> bool:
    try:
        after(facts, forms, db)
    except (Rejected, NotModelled):
        return False
    return True


class _Forms:
    """Strategies for single forms about a database."""

    def __init__(self, db: Database, facts: Facts, values: Values) -> None:
        self._db = db
        self._facts = sorted(facts, key=lambda fact: (fact[0], fact[1], repr(fact[2])))
        self._attributes = writable(db)
        self._values = values
        names = [self._name(e) for e in sorted({e for e, _, _ in facts})]
        self._old = st.sampled_from(names) if names else None
        self._any_entity = st.sampled_from(TEMPIDS) if self._old is None else self._old | st.sampled_from(TEMPIDS)

    def any(self) -> SearchStrategy[Any]:
        """Return the strategy for all forms."""
        if not self._attributes:
            return st.nothing()
        forms: list[SearchStrategy[Any]] = [self._map(), st.sampled_from(self._attributes).flatmap(self._add)]
        if self._old is not None:
            facts = st.sampled_from(self._facts)
            forms += [facts.map(self._retraction), facts.flatmap(self._swap)]
            forms += [st.tuples(st.just(":db/retractEntity"), self._old).map(list)]
        return st.one_of(forms)

    def _map(self) -> SearchStrategy[dict[str, Any]]:
        fields = {str(a.ident): field_of(a, self._value(a)) for a in self._attributes}
        subject = {":db/id": self._any_entity}
        return st.fixed_dictionaries({}, optional={**subject, **fields}).filter(lambda form: set(form) - {":db/id"})

    def _add(self, attribute: Attribute) -> SearchStrategy[list[Any]]:
        return st.tuples(
            st.just(":db/add"), self._any_entity, st.just(str(attribute.ident)), self._value(attribute)
        ).map(list)

    def _retraction(self, fact: tuple[Any, ...]) -> list[Any]:
        e, a, v = fact
        return [":db/retract", self._name(e), a, self._db.attribute(a).load(v)]

    def _swap(self, fact: tuple[Any, ...]) -> SearchStrategy[list[Any]]:
        e, a, v = fact
        attribute = self._db.attribute(a)
        old = attribute.load(v)
        return self._value(attribute).map(lambda new: [":db/cas", self._name(e), a, old, new])

    def _value(self, attribute: Attribute) -> SearchStrategy[Any]:
        given = self._values.get(attribute.ident)
        if given is not None:
            return given
        if attribute.is_ref:
            return self._any_entity
        return st.one_of(few_of(attribute), few_of(attribute), of_attribute(attribute))

    def _name(self, e: int) -> Any:
        """Return a lookup ref of an entity if it has one, and otherwise its id."""
        for other, a, v in self._facts:
            attribute = self._db.attribute(a)
            if other == e and attribute.unique is not None and not (attribute.is_ref or attribute.is_tuple):
                return [a, attribute.load(v)]
        return e
