"""The difference of two databases: the retractions and assertions that lead from one to the other.

    of one store     both databases share the log up to some t; only events after that t are read
    of two stores    all facts are compared, attribute by attribute

This module reads views. It does not use queries or transactions.
Law: the first database's facts, without the retracted and with the asserted ones, are the second's facts.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from factstore.datom import Datom, Fact, t_of
from factstore.db.database import check_database
from factstore.errors import DatabaseError
from factstore.rendering import html_table, text_table
from factstore.schema.attribute import NO_HISTORY, Attribute

if TYPE_CHECKING:
    from factstore.columns.column import FactArrays
    from factstore.db.database import Database
    from factstore.index.view import View
    from factstore.values.types import Keyword

MOST_SHOWN: Final = 200  # datoms of a table in a notebook
_HEADER: Final = ("", "entity", "attribute", "value", "t")


class Difference(tuple[Datom, ...]):
    """The datoms that lead from one database to another: a tuple that prints as a table."""

    _idents: dict[int, Keyword]

    @classmethod
    def between(cls, first: Database, second: Database, facts: list[Fact]) -> Self:
        """Return facts as a difference: retractions as datoms of the first database, assertions of the second."""
        difference = cls((second if fact[4] else first).datom(fact) for fact in facts)
        difference._idents = {fact[1]: (second if fact[4] else first).schema.attribute(fact[1]).ident for fact in facts}
        return difference

    def __str__(self) -> str:
        return text_table(_HEADER, self._rows())

    def _repr_html_(self) -> str:
        shown = self[:MOST_SHOWN]
        omitted = f", the last {len(self) - MOST_SHOWN} not shown" if len(self) > MOST_SHOWN else ""
        caption = f"{len(self)} datom{'' if len(self) == 1 else 's'} apart{omitted}"
        return html_table(caption, _HEADER, islice(self._rows(), MOST_SHOWN), added=[datom.added for datom in shown])

    def _rows(self) -> Iterator[tuple[object, ...]]:
        return (("+" if d.added else "-", d.e, self._idents[d.a], d.v, t_of(d.tx)) for d in self)


def diff(first: Database, second: Database) -> Difference:
    """Return the retractions and assertions that lead from one database to another, as datoms.

    Args:
        first, second: databases of one store or of two, of any time, also filtered or speculative ones; not histories.
    Returns: a tuple that prints as a table, with datoms in order of entity and attribute, retractions first. Each datom
        has the transaction that asserted the fact: a retraction that of the first database, an assertion that of the
        second. A fact of both databases is no difference, even if it was retracted and asserted again in between.
    Raises: DatabaseError(:db.error/history-not-supported).
    Cost: reads the events between the two if they are of one store and neither is filtered, otherwise all their facts.
    """
    for db in (first, second):
        check_database("diff", db)
        if db.is_history:
            raise DatabaseError(
                ":db.error/history-not-supported",
                f"a difference compares the states at two times, and {db!r} contains all times; use as_of",
            )
    facts = [fact for a in _attributes(first, second) for fact in _of_attribute(first, second, a)]
    facts.sort(key=lambda fact: (fact[0], fact[1], fact[4]))
    return Difference.between(first, second, facts)


def _attributes(*databases: Database) -> list[int]:
    """Return the attributes in the schema of any database; novelty can contain later ones that no schema has."""
    return sorted({a for db in databases for a in db.view.attributes() if db.schema.find(a) is not None})


def _of_attribute(first: Database, second: Database, a: int) -> Iterator[Fact]:
    t = _shared_t(first, second, a)
    if t is not None:
        yield from _since(first, second, a, t)
        return
    before, after = _rows(first, a), _rows(second, a)
    if before is None or after is None or _declared(first, a) != _declared(second, a):
        retracted, asserted = before, after
    else:
        retracted, asserted = _apart(before, after, first.schema.attribute(a))
    yield from _facts(retracted, a, added=False)
    yield from _facts(asserted, a, added=True)


def _shared_t(first: Database, second: Database, a: int) -> int | None:
    """Return a t up to which both are the same and after which all events are kept; None if there is none."""
    if first.store is None or first.store is not second.store:
        return None
    attributes = first.schema.find(a), second.schema.find(a)
    for db, attribute in zip((first, second), attributes, strict=True):
        if db.since_t is not None or db.is_filtered or attribute is None or _drops_history(db, attribute):
            return None
    return min(min(db.view.upto, db.view.layers[0].upto) for db in (first, second))


def _drops_history(db: Database, attribute: Attribute) -> bool:
    """Tell whether past values of an attribute can have been dropped, now or earlier."""
    return attribute.no_history or bool(db.view.cut(is_history=True).facts_of(attribute.id, NO_HISTORY))


class _Change(NamedTuple):
    """The change of one fact after some t."""

    held: bool  # whether the fact was true at that t
    first: Fact  # its first event after that t
    last: Fact


def _since(first: Database, second: Database, a: int, t: int) -> Iterator[Fact]:
    """Yield the differences among the facts with an event after a t up to which both databases are the same."""
    before, after = _changes(first.view, a, t), _changes(second.view, a, t)
    for key in before.keys() | after.keys():
        in_first, in_second = before.get(key), after.get(key)
        change = in_first or in_second
        assert change is not None
        fact = change.first
        first_has = change.held if in_first is None else in_first.last[4]
        second_has = change.held if in_second is None else in_second.last[4]
        if first_has and not second_has:
            yield (*fact[:3], _asserted_at(first, fact) if in_first is None else in_first.last[3], False)
        elif second_has and not first_has:
            yield (*fact[:3], _asserted_at(second, fact) if in_second is None else in_second.last[3], True)


def _asserted_at(db: Database, fact: Fact) -> int:
    return next(own[3] for own in db.view.facts_of(fact[0], fact[1]) if own[2] == fact[2])


def _changes(view: View, a: int, t: int) -> dict[tuple[int, object], _Change]:
    """Return the change of each fact of an attribute with an event after a t, by entity and value."""
    changes: dict[tuple[int, object], _Change] = {}
    if view.upto > t:
        for fact in _facts(view.cut(after=t, is_history=True).by_entity(a), a):
            key = fact[0], fact[2]
            change = changes.get(key)
            changes[key] = _Change(not fact[4], fact, fact) if change is None else change._replace(last=fact)
    return changes


def _rows(db: Database, a: int) -> FactArrays | None:
    return None if db.schema.find(a) is None else db.view.by_entity(a)


def _declared(db: Database, a: int) -> tuple[str, str]:
    attribute = db.schema.attribute(a)
    return attribute.ident, attribute.value_type.name


def _apart(before: FactArrays, after: FactArrays, attribute: Attribute) -> tuple[FactArrays, FactArrays]:
    from factstore.columns.column import BY_ENTITY, without
    from factstore.columns.kind import KINDS

    kind = KINDS[attribute.value_type.ident]
    return without(before, after, BY_ENTITY, kind), without(after, before, BY_ENTITY, kind)


def _facts(rows: FactArrays | None, a: int, *, added: bool | None = None) -> Iterator[Fact]:
    """Yield rows as facts; if `added` is None, it is read from the rows."""
    if rows is not None:
        ops = rows.added.tolist() if added is None and rows.added is not None else [added is not False] * rows.size
        for e, v, t, op in zip(rows.e.tolist(), rows.v.tolist(), rows.t.tolist(), ops, strict=True):
            yield e, a, v, t, op
