"""Places of a pattern: what stands in them at one step of a query, what was read for them, and how both are put together.

Knows relations and columns; reads nothing itself.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from factstore.query.language.ast import Constant, Pattern, Term, Variable
from factstore.query.language.dialect import invalid
from factstore.query.relations import algebra
from factstore.query.relations.relation import Array, Column, Relation, concatenated, empty, strict
from factstore.query.sources.convert import loaded
from factstore.values.types import Symbol, is_naive

if TYPE_CHECKING:
    from factstore.schema.attribute import Attribute, Schema

UNKNOWN: Final = object()
PLACES: Final = 5
_VALUE: Final = 2


class Limits(NamedTuple):
    """What predicates say of a pattern's values: from low to high, in stored form; None is open."""

    low: Any = None
    high: Any = None
    low_open: bool = False
    high_open: bool = False


class Place(NamedTuple):
    """One place of a pattern as it stands at this step: one known value, a known column, or a variable to be bound."""

    value: Any = UNKNOWN
    column: Column | None = None
    out: str | None = None

    @property
    def is_known(self) -> bool:
        return self.value is not UNKNOWN or self.column is not None

    @property
    def is_needed(self) -> bool:
        return self.value is not UNKNOWN or self.column is not None or self.out is not None


ANY: Final = Place()


class Match(NamedTuple):
    """A relation joined with a pattern, and how its facts were found."""

    relation: Relation
    access: str


class Read(NamedTuple):
    """Facts that were read: e, v, transaction and operation as columns of stored values; None for what nobody needs.

    `at` says which row of the relation each of them answers, a whole slice that each answers its own; None: all of them
    belong to every row.
    """

    columns: tuple[Column | None, Column | None, Column | None, Column | None]
    size: int
    at: list[int] | Array | slice | None
    access: str

    def filter(self, keep: list[bool] | Array) -> Read:
        """Return the facts for which the mask is true."""
        which: Any
        if isinstance(keep, list) and not isinstance(self.at, np.ndarray):
            which = [i for i, kept in enumerate(keep) if kept]
        else:
            which = np.flatnonzero(keep)
        e, v, tx, op = (None if column is None else column.take(which) for column in self.columns)
        at = self.at
        if isinstance(at, slice):
            at = which
        elif at is not None:
            at = [at[i] for i in which] if isinstance(at, list) else at[which]
        return Read((e, v, tx, op), len(which), at, self.access)


def value_at(term: Term, relation: Relation) -> Any:
    if isinstance(term, Constant):
        return term.value
    return relation.constants.get(term.name, UNKNOWN) if isinstance(term, Variable) else UNKNOWN


def is_known(term: Term, relation: Relation) -> bool:
    return isinstance(term, Constant) or (isinstance(term, Variable) and relation.binds(term.name))


def out_place(name: str, pattern: Pattern, places: list[Place], same: list[tuple[str, str]], keep: Set[str]) -> Place:
    """Return the place of a variable that is not bound yet; of one that stands twice, under a name of its own to compare."""
    if any(place.out == name for place in places):
        other = f"{name} {len(places)}"
        same.append((name, other))
        return Place(out=other)
    repeats = sum(isinstance(term, Variable) and term.name == name for term in pattern.terms) > 1
    return Place(out=name) if name in keep or repeats else ANY


def narrowed(relation: Relation, places: list[Place], masks: list[list[bool]]) -> tuple[Relation, list[Place]]:
    """Leave out the rows that some mask leaves out; a masked column lacks its own such rows already."""
    size = relation.size
    kept = [all(not mask or mask[i] for mask in masks) for i in range(size)]
    remaining = iter(masks)
    narrowed = []
    for place in places:
        if place.column is None:
            narrowed.append(place)
            continue
        mask = next(remaining)
        here = [kept[i] for i in range(size) if not mask or mask[i]]
        narrowed.append(Place(column=place.column.take([i for i, each in enumerate(here) if each])))
    return relation.filter(kept), narrowed


def both(keep: Any, other: Any) -> Any:
    if keep is None:
        return other
    if isinstance(keep, list) and isinstance(other, list):
        return [a and b for a, b in zip(keep, other, strict=True)]
    return np.asarray(keep, bool) & np.asarray(other, bool)


def check_terms(pattern: Pattern, *, takes_symbols: bool) -> None:
    """Refuse more places than a fact has, a naive datetime, and a symbol where no fact can have one.

    Such a symbol is most likely a variable without its question mark.

    Args:
        takes_symbols: whether the pattern's attribute, as far as it is known, has symbols for values.
    Raises: QueryError(:db.error/invalid-query).
    """
    if len(pattern.terms) > PLACES:
        raise invalid("a pattern over facts has at most five places, [e a v tx op]", pattern.form)
    for place, term in enumerate(pattern.terms):
        if isinstance(term, Constant) and type(term.value) is Symbol and not (place == _VALUE and takes_symbols):
            message = f"no fact can have the symbol {term.value} in this place; a variable begins with a question mark"
            raise invalid(message, pattern.form)
        if isinstance(term, Constant) and is_naive(term.value):
            raise invalid("a naive datetime names no instant; say its time zone, as in datetime.now(UTC)", pattern.form)


def all_of(keep: list[bool] | Array) -> bool:
    return all(keep) if isinstance(keep, list) else bool(keep.all())


def joined(
    relation: Relation, outs: dict[str, Column], keys: list[tuple[Column, Column]], size: int, distinct: bool
) -> Relation:
    """Join a relation with facts that were read for all of its rows, on pairs of a column of it and one of theirs."""
    known = {f"key {i}": pair[0] for i, pair in enumerate(keys)}
    right = Relation(size, {**outs, **{f"key {i}": pair[1] for i, pair in enumerate(keys)}}, {}, distinct)
    found = algebra.join(relation.plus(known, distinct=relation.distinct), right)
    columns = {name: column for name, column in found.columns.items() if name not in known}
    return Relation(found.size, columns, found.constants, found.distinct)


def agreeing(relation: Relation, places: Sequence[Place], columns: Sequence[Column]) -> Relation:
    """Return the rows of a relation that agree with some row that was read, in places of which the first is a column."""
    for place, column in zip(places, columns, strict=True):
        if place.value is not UNKNOWN:
            keep = np.asarray(algebra.equal_stored(column, place.value), bool)
            columns = [each.take(keep) for each in columns]
    pairs = [(place.column, column) for place, column in zip(places, columns, strict=True) if place.column is not None]
    return relation.filter(algebra.members([one for one, _ in pairs], [other for _, other in pairs], relation.size))


def paired(relation: Relation, outs: dict[str, Column], size: int, distinct: bool) -> Relation:
    """Pair every row of a relation with everything that was read; a single row becomes variables of one value."""
    if size == 1 and outs:
        return relation.fixed({name: column.values()[0] for name, column in outs.items()})
    if not outs:
        size = min(size, 1)
        return relation if size else empty(relation.names)
    return algebra.join(relation, Relation(size, outs, {}, distinct))


def where_equal(relation: Relation, first: str, second: str) -> Relation:
    """Return the rows in which two variables have the same value."""
    if first in relation.constants:
        same = strict(relation.constants[first]) == strict(relation.constants[second])
        return relation if same else empty(relation.names)
    return relation.filter(algebra.equal_columns(relation.columns[first], relation.columns[second]))


def stacked(parts: list[Relation], names: Set[str]) -> Relation:
    """Put relations of the same variables one below the other; rows of different parts are different."""
    parts = [part for part in parts if part.size]
    if not parts:
        return empty(names)
    if len(parts) == 1:
        return parts[0]
    columns = {name: concatenated([part.column(name) for part in parts]) for name in parts[0].names}
    return Relation(sum(part.size for part in parts), columns, {}, all(part.distinct for part in parts))


def found_one(
    term: Term, values: list[Any], relation: Relation, keep: Set[str], of: tuple[Schema, Attribute] | None
) -> Match:
    """Return one row joined with the values that a term of a pattern was found to have."""
    if not isinstance(term, Variable) or term.name not in keep:
        return Match(relation if values else empty(relation.names), "one fact")
    if not values:
        return Match(empty(relation.names | {term.name}), "one fact")
    column = Column(int, values) if of is None else loaded(*of, values)
    if len(values) == 1:
        return Match(relation.fixed({term.name: column.values()[0]}), "one fact")
    return Match(
        Relation(len(values), {term.name: column}, relation.constants, distinct=True), "facts of one entity or value"
    )
