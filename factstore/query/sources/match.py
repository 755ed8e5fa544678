"""Patterns at one step of a query: what is known and needed of each position, the facts that were read, and their join.

Uses relations and columns only; `fetch` reads the facts.
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
    from factstore.schema.attribute import Attribute

UNKNOWN: Final = object()
_POSITIONS: Final = 5  # e, a, v, transaction and operation
_VALUE: Final = 2

# What is known of a position: one value, a column of values, or nothing.
VALUE, COLUMN, FREE = 1, 2, 4


class Limits(NamedTuple):
    """A range of stored values, from low to high, that predicates require of a pattern's values; None is open."""

    low: Any = None
    high: Any = None
    low_open: bool = False
    high_open: bool = False


class Position(NamedTuple):
    """One position of a pattern: its value, a column of values by row, or the variable to bind; or not needed."""

    value: Any = UNKNOWN
    column: Column | None = None
    out: str | None = None

    @property
    def known(self) -> int:
        """What is known of it: VALUE, COLUMN or FREE."""
        return VALUE if self.value is not UNKNOWN else FREE if self.column is None else COLUMN

    @property
    def is_known(self) -> bool:
        return self.value is not UNKNOWN or self.column is not None

    @property
    def is_needed(self) -> bool:
        return self.value is not UNKNOWN or self.column is not None or self.out is not None


UNUSED: Final = Position()


class Needs(NamedTuple):
    """The positions of a pattern other than its attribute: what is known of each, and which variables to bind."""

    e: Position = UNUSED
    v: Position = UNUSED
    tx: Position = UNUSED
    op: Position = UNUSED

    def without_e(self) -> Needs:
        """Return what is left to check and bind once the facts were read by their entities."""
        return Needs(UNUSED, self.v, self.tx, self.op)

    def without_v(self) -> Needs:
        """Return what is left to check and bind once the facts were read by their values."""
        return Needs(self.e, UNUSED, self.tx, self.op)


class Match(NamedTuple):
    """A relation joined with a pattern, and the access path to its facts."""

    relation: Relation
    access: str


class Read(NamedTuple):
    """Facts as they were read: e, v, transaction and operation as columns of stored values; None for unneeded ones.

    `at` has the row of the relation that each fact belongs to. A slice of everything: fact i belongs to row i. None:
    each fact belongs to all rows, subject to a join.
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
    """Return the value of a term that is the same in all rows; otherwise UNKNOWN."""
    if isinstance(term, Constant):
        return term.value
    return relation.constants.get(term.name, UNKNOWN) if isinstance(term, Variable) else UNKNOWN


def is_known(term: Term, relation: Relation) -> bool:
    """Tell whether a term is a constant or a bound variable."""
    return isinstance(term, Constant) or (isinstance(term, Variable) and relation.binds(term.name))


def unbound_position(
    name: str, pattern: Pattern, before: Sequence[Position], equal: list[tuple[str, str]], keep: Set[str]
) -> Position:
    """Return the position of an unbound variable; a repeated one gets another name, added to `equal`."""
    if any(position.out == name for position in before):
        other = f"{name} {len(before)}"
        equal.append((name, other))
        return Position(out=other)
    repeats = sum(isinstance(term, Variable) and term.name == name for term in pattern.terms) > 1
    return Position(out=name) if name in keep or repeats else UNUSED


def narrowed(relation: Relation, positions: list[Position], masks: list[list[bool]]) -> tuple[Relation, list[Position]]:
    """Remove the rows that some mask excludes; each masked column already lacks the rows of its own mask."""
    size = relation.size
    kept = [all(not mask or mask[i] for mask in masks) for i in range(size)]
    remaining = iter(masks)
    narrowed = []
    for position in positions:
        if position.column is None:
            narrowed.append(position)
            continue
        mask = next(remaining)
        kept_here = [kept[i] for i in range(size) if not mask or mask[i]]
        narrowed.append(Position(column=position.column.take([i for i, each in enumerate(kept_here) if each])))
    return relation.filter(kept), narrowed


def both(keep: Any, other: Any) -> Any:
    """Return the mask of the rows that two masks keep; None keeps all."""
    if keep is None:
        return other
    if isinstance(keep, list) and isinstance(other, list):
        return [a and b for a, b in zip(keep, other, strict=True)]
    return np.asarray(keep, bool) & np.asarray(other, bool)


def check_terms(pattern: Pattern, *, takes_symbols: bool) -> None:
    """Reject more positions than a fact has, a naive datetime, and a symbol where facts cannot have one.

    Such a symbol is most likely a variable without its question mark.

    Args:
        takes_symbols: whether the values of the pattern's attribute can be symbols; True if the attribute is unknown.
    Raises: QueryError(:db.error/invalid-query).
    """
    if len(pattern.terms) > _POSITIONS:
        raise invalid("a pattern over facts has at most five places, [e a v tx op]", pattern.form)
    for position, term in enumerate(pattern.terms):
        if isinstance(term, Constant) and type(term.value) is Symbol and not (position == _VALUE and takes_symbols):
            message = f"no fact can have the symbol {term.value} in this place; a variable begins with a question mark"
            raise invalid(message, pattern.form)
        if isinstance(term, Constant) and is_naive(term.value):
            raise invalid("a naive datetime names no instant; say its time zone, as in datetime.now(UTC)", pattern.form)


def all_of(keep: list[bool] | Array) -> bool:
    """Tell whether a mask keeps every row."""
    return all(keep) if isinstance(keep, list) else bool(keep.all())


def joined(
    relation: Relation, outs: dict[str, Column], keys: list[tuple[Column, Column]], size: int, distinct: bool
) -> Relation:
    """Join a relation with facts that were read for all of its rows, on pairs of a column of it and one of theirs."""
    ours = {f"key {i}": pair[0] for i, pair in enumerate(keys)}
    theirs = {f"key {i}": pair[1] for i, pair in enumerate(keys)}
    facts = Relation(size, {**outs, **theirs}, {}, distinct)
    rows = algebra.join(relation.plus(ours, distinct=relation.distinct), facts)
    columns = {name: column for name, column in rows.columns.items() if name not in ours}
    return Relation(rows.size, columns, rows.constants, rows.distinct)


def agreeing(relation: Relation, positions: Sequence[Position], columns: Sequence[Column]) -> Relation:
    """Return the rows of a relation that agree with some fact at the positions, one of which has a column."""
    for position, column in zip(positions, columns, strict=True):
        if position.value is not UNKNOWN:
            keep = np.asarray(algebra.equal_stored(column, position.value), bool)
            columns = [each.take(keep) for each in columns]
    pairs = [
        (position.column, column)
        for position, column in zip(positions, columns, strict=True)
        if position.column is not None
    ]
    return relation.filter(algebra.members([ours for ours, _ in pairs], [theirs for _, theirs in pairs], relation.size))


def paired(relation: Relation, outs: dict[str, Column], size: int, distinct: bool) -> Relation:
    """Pair every row of a relation with every fact that was read; a single fact becomes variables of one value."""
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
    """Concatenate relations with the same variables; no row is in two of them."""
    parts = [part for part in parts if part.size]
    if not parts:
        return empty(names)
    if len(parts) == 1:
        return parts[0]
    columns = {name: concatenated([part.column(name) for part in parts]) for name in parts[0].names}
    return Relation(sum(part.size for part in parts), columns, {}, all(part.distinct for part in parts))


def bound_to(term: Term, values: list[Any], relation: Relation, keep: Set[str], attribute: Attribute | None) -> Match:
    """Return one row joined with the values of a term: entities, or stored values of an attribute."""
    if not isinstance(term, Variable) or term.name not in keep:
        return Match(relation if values else empty(relation.names), "one fact")
    if not values:
        return Match(empty(relation.names | {term.name}), "one fact")
    if len(values) == 1:
        value = values[0] if attribute is None else attribute.load(values[0])
        return Match(relation.fixed({term.name: value}), "one fact")
    column = Column(int, values) if attribute is None else loaded(attribute, values)
    return Match(
        Relation(len(values), {term.name: column}, relation.constants, distinct=True), "facts of one entity or value"
    )
