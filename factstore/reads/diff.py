"""The difference of two databases: what must be retracted and asserted to get from one to the other.

    of one store     both grew from the log as far as some t; only what happened after that t is looked at
    of two stores    all facts are compared, attribute by attribute

Reads views; knows neither queries nor writing.
Law: taking the retractions from the first database's facts and adding the assertions gives the second's.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from factstore.datom import Datom, Fact, t_of
from factstore.errors import DatabaseError
from factstore.rendering import html_table, text_table
from factstore.schema.attribute import NO_HISTORY, Attribute
from factstore.values.quoting import described

if TYPE_CHECKING:
    from factstore.columns.column import FactArrays
    from factstore.db.database import Database
    from factstore.index.view import View
    from factstore.values.types import Keyword

MOST_SHOWN: Final = 200  # datoms in a notebook
_HEADER: Final = ("", "entity", "attribute", "value", "t")


class Difference(tuple[Datom, ...]):
    """Datoms that lead from one database to another; a tuple that prints as a table."""

    _idents: dict[int, Keyword]

    @classmethod
    def between(cls, first: Database, second: Database, facts: list[Fact]) -> Self:
        """Return the difference that some facts are, each said by the database that has it."""
        found = cls((second if fact[4] else first).datom(fact) for fact in facts)
        found._idents = {fact[1]: (second if fact[4] else first).schema.attribute(fact[1]).ident for fact in facts}
        return found

    def __str__(self) -> str:
        return text_table(_HEADER, self._rows())

    def _repr_html_(self) -> str:
        shown = self[:MOST_SHOWN]
        left = f", the last {len(self) - MOST_SHOWN} not shown" if len(self) > MOST_SHOWN else ""
        caption = f"{len(self)} datom{'' if len(self) == 1 else 's'} apart{left}"
        return html_table(caption, _HEADER, islice(self._rows(), MOST_SHOWN), added=[datom.added for datom in shown])

    def _rows(self) -> Iterator[tuple[object, ...]]:
        return (("+" if d.added else "-", d.e, self._idents[d.a], d.v, t_of(d.tx)) for d in self)


def diff(first: Database, second: Database) -> Difference:
    """Return what must be retracted and asserted to get from one database to another, as datoms.

    Args:
        first, second: databases of any time, filtered or speculated on, of one store or of two; not histories.
    Returns: datoms in order of entity and attribute, retractions first: a tuple that prints as a table. A retraction carries the
        transaction that had asserted the fact in the first database, an assertion the one that did in the second. A fact that
        both have is no difference, even if it was retracted and asserted again in between.
    Raises: DatabaseError(:db.error/history-not-supported).
    Cost: what happened between the two, if they are of one store and neither is filtered; else all facts of both.
    """
    for db in (first, second):
        if not hasattr(db, "is_history"):
            raise DatabaseError(
                ":db.error/not-a-database", f"a difference is between two databases, got {described(db)}"
            )
        if db.is_history:
            raise DatabaseError(
                ":db.error/history-not-supported",
                f"a difference is between what is true at two times; {db!r} has every time at once",
            )
    found = [fact for a in _attributes(first, second) for fact in _of_attribute(first, second, a)]
    found.sort(key=lambda fact: (fact[0], fact[1], fact[4]))
    return Difference.between(first, second, found)


def _attributes(*databases: Database) -> list[int]:
    """Return the attributes that any of these knows; novelty may hold some that came after a database."""
    return sorted({a for db in databases for a in db.view.attributes() if db.schema.find(a) is not None})


def _of_attribute(first: Database, second: Database, a: int) -> Iterator[Fact]:
    t = _shared_t(first, second, a)
    if t is not None:
        yield from _since(first, second, a, t)
        return
    before, after = _rows(first, a), _rows(second, a)
    if before is None or after is None or _declared(first, a) != _declared(second, a):
        gone, come = before, after
    else:
        gone, come = _apart(before, after, first.schema.attribute(a))
    yield from _facts(gone, a, added=False)
    yield from _facts(come, a, added=True)


def _shared_t(first: Database, second: Database, a: int) -> int | None:
    """Return the t up to which both are the same and after which all events are known; None to compare in full."""
    if first.store is None or first.store is not second.store:
        return None
    known = first.schema.find(a), second.schema.find(a)
    for db, attribute in zip((first, second), known, strict=True):
        if db.since_t is not None or db.is_filtered or attribute is None or _forgets(db, attribute):
            return None
    return min(min(db.view.upto, db.view.layers[0].upto) for db in (first, second))


def _forgets(db: Database, attribute: Attribute) -> bool:
    """Tell whether past values of an attribute may have been dropped at any time."""
    return attribute.no_history or bool(db.view.cut(is_history=True).facts_of(attribute.id, NO_HISTORY))


class _Change(NamedTuple):
    """What became of one fact: whether it held at the start and does at the end, and the events that say since when."""

    held: bool
    first: Fact
    last: Fact


def _since(first: Database, second: Database, a: int, t: int) -> Iterator[Fact]:
    """Yield the differences among the facts that anything happened to after a t that both databases have grown from."""
    before, after = _changes(first.view, a, t), _changes(second.view, a, t)
    for key in before.keys() | after.keys():
        one, two = before.get(key), after.get(key)
        known = one or two
        assert known is not None
        holds = known.held if one is None else one.last[4]
        will_hold = known.held if two is None else two.last[4]
        if holds and not will_hold:
            yield (*known.first[:3], _asserted_at(first, known.first) if one is None else one.last[3], False)
        elif will_hold and not holds:
            yield (*known.first[:3], _asserted_at(second, known.first) if two is None else two.last[3], True)


def _asserted_at(db: Database, fact: Fact) -> int:
    return next(found[3] for found in db.view.facts_of(fact[0], fact[1]) if found[2] == fact[2])


def _changes(view: View, a: int, t: int) -> dict[tuple[int, object], _Change]:
    """Return what happened to each fact of an attribute after a t."""
    found: dict[tuple[int, object], _Change] = {}
    if view.upto > t:
        for fact in _facts(view.cut(after=t, is_history=True).by_entity(a), a):
            key = fact[0], fact[2]
            known = found.get(key)
            found[key] = _Change(not fact[4], fact, fact) if known is None else known._replace(last=fact)
    return found


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
    """Yield rows as facts; `added` None: as the rows say."""
    if rows is not None:
        ops = rows.added.tolist() if added is None and rows.added is not None else [added is not False] * rows.size
        for e, v, t, op in zip(rows.e.tolist(), rows.v.tolist(), rows.t.tolist(), ops, strict=True):
            yield e, a, v, t, op
