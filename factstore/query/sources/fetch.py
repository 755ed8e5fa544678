"""Reads of facts: one function for each way to read the facts of one attribute from a database's view.

`access` chooses among them. A function that reads facts returns a `Read`, which the caller joins with its rows. A
pattern that binds no variable needs no facts: the two functions for it return the rows that have a matching fact, as
a `Match`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from factstore.datom import tx_of
from factstore.index.column_memory import WHOLE_COLUMN_PAYS
from factstore.query.relations import algebra, array_tables
from factstore.query.relations.relation import PLAIN, Array, Column, Ints, Relation
from factstore.query.sources.convert import kind_of, transactions
from factstore.query.sources.estimates import Estimates
from factstore.query.sources.match import UNKNOWN, Limits, Match, Needs, Position, Read, agreeing

if TYPE_CHECKING:
    from factstore.columns.column import FactArrays
    from factstore.index.view import View
    from factstore.schema.attribute import Attribute

_SORTED_AT_ONCE: Final = 1 << 18  # rows of an attribute that are sorted by value for one range; the next one profits
_SEARCHES_PER_ROW: Final = 40  # rows that can be put into a dictionary in the time of one search by value
_PRODUCT: Final = 4  # pairs for each row on both sides, from which on rows are joined on every known position


class FactRequest(NamedTuple):
    """The facts of one attribute that a pattern needs at one step of a query."""

    source: Estimates
    attribute: Attribute
    needs: Needs
    relation: Relation
    limits: Limits | None

    @property
    def view(self) -> View:
        return self.source.db.view

    @property
    def is_large_part(self) -> bool:
        """Whether reading the whole attribute costs no more than reading the facts of the rows."""
        return self.relation.size * WHOLE_COLUMN_PAYS > self.view.count(self.attribute.id)


# -- facts one by one


def one_by_one(request: FactRequest) -> Read:
    """Read the facts of each row's entity; with a free entity, the facts with the one known value."""
    view, a, relation = request.view, request.attribute.id, request.relation
    e, v, tx, op = request.needs
    size = relation.size
    at: list[int] = []
    facts: list[Any] = []
    if not e.is_known:
        facts = view.facts_with(a, v.value)
        at = [0] * len(facts)
    else:
        entities = [e.value] * size if e.column is None else e.column.machine()
        if view.is_history or tx.is_needed or op.is_needed:
            for i, eid in enumerate(entities):
                events = view.facts_of(eid, a)
                facts += events
                at += [i] * len(events)
        else:
            for i, eid in enumerate(entities):
                for value in view.values_of(eid, a):
                    facts.append((eid, a, value, 0, True))
                    at.append(i)
    es, _, vs, ts, ops = zip(*facts, strict=True) if facts else ((), (), (), (), ())
    columns = (
        Column(int, list(es)),
        Column(kind_of(request.attribute), list(vs)),
        Column(int, list(map(tx_of, ts))),
        Column(bool, list(ops)),
    )
    return Read(columns, len(facts), at if size > 1 or relation.columns else None, "facts one by one")


# -- by entity


def of_entity(request: FactRequest) -> Read:
    """Read the facts of the one entity."""
    rows, _ = request.view.of_entities(request.attribute.id, np.array([request.needs.e.value]))
    return _read(request.attribute, rows, None, request.needs.without_e(), "rows of the entity")


def of_entities(request: FactRequest) -> Read:
    """Read the facts of each row's entity."""
    rows, at = request.view.of_entities(request.attribute.id, _entities(request))
    return _read(request.attribute, rows, at, request.needs.without_e(), "rows of the entities")


def of_entities_in_whole_column(request: FactRequest) -> Read:
    """Read the whole attribute by entity, and find each row's entity in it."""
    rows = request.view.by_entity(request.attribute.id)
    places, at = array_tables.positions_of(rows.e, _entities(request))
    return _gathered(request.attribute, rows, places, at, request.needs.without_e(), "rows of the entities")


def of_distinct_entities(request: FactRequest) -> Read:
    """Read the facts of the rows' entities, each once, to be joined on entity and value.

    For an attribute with many values: each fact of an entity with each value requested of it would be their product.
    """
    rows, _ = request.view.of_entities(request.attribute.id, np.unique(_entities(request)))
    return _read(request.attribute, rows, None, request.needs, "rows of the entities")


def _entities(request: FactRequest) -> Array:
    column = request.needs.e.column
    assert column is not None
    return column.array()


# -- by value


def with_value(request: FactRequest) -> Read:
    """Read the facts with the one value."""
    rows = rows_with(request.source, request.attribute.id, request.needs.v.value)
    return _read(request.attribute, rows, None, request.needs.without_v(), "rows with the value")


def rows_with(source: Estimates, a: int, value: Any) -> FactArrays:
    """Return the rows of the index for one attribute with one value."""
    view = source.db.view
    if source.count_with(a, value) * WHOLE_COLUMN_PAYS > view.count(a):
        view.by_value(a)  # The view keeps it, so that this read and the next are slices of it.
    return view.between(a, value, value)


def with_values(request: FactRequest) -> Read:
    """Read the facts with each row's value: by one search per distinct value, or in the whole attribute if cheaper."""
    attribute, needs, view, column = request.attribute, request.needs.without_v(), request.view, request.needs.v.column
    assert column is not None
    a = attribute.id
    distinct = algebra.distinct(Relation(column.size, {"?v": column}, {})).columns["?v"]
    if kind_of(attribute) is int and distinct.size * WHOLE_COLUMN_PAYS > view.count(a):
        rows = view.by_value(a)
        places, at = array_tables.positions_of(rows.v, column.array())
        return _gathered(attribute, rows, places, at, needs, "rows with the values")
    values = distinct.array()
    if values.dtype == object and distinct.size * _SEARCHES_PER_ROW > view.count(a):
        rows = view.by_value(a)
        at, places = algebra.matches([column], [_value_column(attribute, rows.v)])
        at, places = np.asarray(at, np.int64), np.asarray(places, np.int64)
        return _gathered(attribute, rows, places, at, needs, "all rows, by value")
    rows, at = view.with_values(a, values if values.dtype != object else distinct.machine())
    if distinct.size < column.size:
        back, places = algebra.matches([column], [distinct.take(at)])
        rows, at = rows.take(np.asarray(places, np.int64)), np.asarray(back, np.int64)
    return _read(attribute, rows, at, needs, "rows with the values")


def in_range(request: FactRequest) -> Read:
    """Read the facts with values in a range."""
    a, view, limits = request.attribute.id, request.view, request.limits
    assert limits is not None
    if view.count(a) <= _SORTED_AT_ONCE:
        view.by_value(a)
    rows = view.between(a, limits.low, limits.high, low_open=limits.low_open, high_open=limits.high_open)
    return _read(request.attribute, rows, None, request.needs, "rows with values in the range")


def whole_column(request: FactRequest) -> Read:
    """Read all facts of the attribute."""
    rows = request.view.by_entity(request.attribute.id)
    return _read(request.attribute, rows, None, request.needs, "all rows")


# -- rows that have a matching fact


def has_value(request: FactRequest) -> Match:
    """Keep the rows whose entity is among those with the one value."""
    holders = rows_with(request.source, request.attribute.id, request.needs.v.value).e
    return Match(request.relation.filter(np.isin(_entities(request), holders)), "entities with the value")


def has_fact(request: FactRequest) -> Match:
    """Keep the rows whose entity has a fact of the attribute, or one with the row's value."""
    view, attribute, relation = request.view, request.attribute, request.relation
    e, v, _, _ = request.needs
    entities = _entities(request)
    at: Array | slice
    if request.is_large_part or attribute.many:
        rows = (
            view.by_entity(attribute.id)
            if request.is_large_part
            else view.of_entities(attribute.id, np.unique(entities))[0]
        )
        if v.column is not None and attribute.many and kind_of(attribute) is int:
            pairs = array_tables.pairs_of(rows.e, rows.v)
            if pairs is not None:
                return Match(relation.filter(pairs.holds(entities, v.column.array())), "pairs of entity and value")
        values = _value_column(attribute, rows.v)
        if attribute.many and array_tables.count_of(rows.e, entities) > _PRODUCT * (rows.size + relation.size):
            return Match(agreeing(relation, (e, v), (Column(int, rows.e), values)), "pairs of entity and value")
        places, at = array_tables.positions_of(rows.e, entities)
        values = values.take(places)
    else:
        rows, at = view.of_entities(attribute.id, entities)
        values = Column(kind_of(attribute), rows.v)
    agrees = _agrees(values, at, v)
    if agrees is not None:
        at = agrees if isinstance(at, slice) else at[agrees]
    mask = np.zeros(relation.size, bool)
    mask[at] = True
    return Match(relation.filter(mask), "entities that have the attribute")


def _agrees(values: Column, at: Array | slice, v: Position) -> Ints | None:
    """Return where values read for some rows are the values that the rows require; None when they require none."""
    if v.value is not UNKNOWN:
        return np.flatnonzero(algebra.equal_stored(values, v.value))
    if v.column is not None:
        return np.flatnonzero(algebra.equal_columns(values, v.column.take(at)))
    return None


# -- rows of the index as columns


def _read(attribute: Attribute, rows: FactArrays, at: Array | None, needs: Needs, access: str) -> Read:
    e, v, tx, op = needs
    columns = (
        Column(int, rows.e) if e.is_needed else None,
        _value_column(attribute, rows.v) if v.is_needed else None,
        Column(int, transactions(rows.t)) if tx.is_needed else None,
        Column(bool, np.ones(rows.size, bool) if rows.added is None else rows.added) if op.is_needed else None,
    )
    return Read(columns, rows.size, at, access)


def _gathered(
    attribute: Attribute, rows: FactArrays, places: Ints | slice, at: Ints | slice, needs: Needs, access: str
) -> Read:
    """Return the rows at some places of a whole column; only the columns that are needed are copied."""
    read = _read(attribute, rows, None, needs, access)
    if isinstance(places, slice):
        return read._replace(at=at)
    e, v, tx, op = (None if column is None else column.take(places) for column in read.columns)
    return Read((e, v, tx, op), len(places), at, access)


def _value_column(attribute: Attribute, values: Array) -> Column:
    """Return the values of a whole column, with a dictionary where that pays."""
    kind = kind_of(attribute)
    # Not decimals: 1.0M and 1.00M are equal, and each is returned as it was asserted.
    if values.dtype == object and kind in PLAIN and kind is not Decimal:
        coded = array_tables.dictionary_of(values)
        if coded is not None:
            return Column(kind, *coded)
    return Column(kind, values)
