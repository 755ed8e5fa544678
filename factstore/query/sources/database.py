"""A database as a source: patterns over facts, matched by its view.

A pattern is matched against one attribute at a time. `access` chooses how its facts are read, from exact counts. The
most frequent case, one row with a known entity or value, has a shorter way.
"""

from __future__ import annotations

from collections.abc import Set
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from factstore.db.names import entity_or_none, stored_or_none
from factstore.errors import QueryError
from factstore.query.language.ast import BLANK, Blank, Constant, Pattern, Term, Variable
from factstore.query.language.dialect import shown
from factstore.query.relations import algebra
from factstore.query.relations.relation import Column, Relation, empty, repeated
from factstore.query.sources import access
from factstore.query.sources.access import FEW
from factstore.query.sources.convert import as_entities, as_values, kind_of, loaded, transaction
from factstore.query.sources.estimates import Estimates
from factstore.query.sources.fetch import FactRequest, rows_with
from factstore.query.sources.match import (
    UNKNOWN,
    UNUSED,
    Limits,
    Match,
    Needs,
    Position,
    Read,
    all_of,
    both,
    bound_to,
    check_terms,
    joined,
    narrowed,
    paired,
    stacked,
    unbound_position,
    value_at,
    where_equal,
)
from factstore.values.quoting import did_you_mean

if TYPE_CHECKING:
    from factstore.db.database import Database
    from factstore.schema.attribute import Attribute

_POSITIONS_OF_POINT: Final = 3
_E, _A, _V, _TX = range(4)


class Facts(Estimates):
    """A database as a source of facts."""

    __slots__ = ()

    @property
    def value(self) -> Database:
        """The argument that a function receives for this source."""
        return self.db

    # -- before running

    def check(self, pattern: Pattern) -> None:
        """Raise QueryError for a pattern that cannot match because it does not fit the schema."""
        a = pattern.terms[_A] if len(pattern.terms) > _A else BLANK
        attribute = self.attribute(a.value, pattern.form) if isinstance(a, Constant) else None
        check_terms(pattern, takes_symbols=attribute is None or attribute.value_type.name == "symbol")

    def attribute(self, key: Any, form: Any) -> Attribute:
        """Return the attribute that a query names.

        Raises: QueryError(:db.error/unknown-attribute), with the nearest declared idents.
        """
        attribute = self.db.schema.find(key) if isinstance(key, str) or type(key) is int else None
        if attribute is None:
            near = self.db.schema.nearest(key)
            raise QueryError(
                ":db.error/unknown-attribute",
                f"no attribute {shown(key)} is declared{did_you_mean(near)}, in {shown(form)}",
                attribute=key,
                nearest=near,
                form=form,
            )
        return attribute

    def values_kind(self, pattern: Pattern) -> type | None:
        """Return the kind of the values of a pattern's attribute; None if the pattern does not name one attribute."""
        a = pattern.terms[_A] if len(pattern.terms) > _V else BLANK
        return kind_of(self.attribute(a.value, pattern.form)) if isinstance(a, Constant) else None

    # -- matching

    def match(self, pattern: Pattern, relation: Relation, keep: Set[str], limits: Limits | None = None) -> Match:
        """Return a relation joined with the facts that match a pattern.

        Args:
            keep: the variables still needed; the pattern's other variables are not bound.
            limits: a range for the pattern's values, if its entity and value are free.
        """
        terms = pattern.terms
        a = terms[_A] if len(terms) > _A else BLANK
        key = value_at(a, relation)
        if key is not UNKNOWN:
            attribute = self.db.schema.find(key) if isinstance(key, (str, int)) else None
            if attribute is None:
                return Match(empty(relation.names | (pattern.variables & keep)), "no such attribute")
            if not relation.columns and len(terms) <= _POSITIONS_OF_POINT and not self.db.view.is_history:
                point = self._match_point(attribute, pattern, relation, keep)
                if point is not None:
                    return point
            return self._match(attribute, pattern, relation, keep, limits)
        if isinstance(a, Variable) and a.name in relation.columns:
            return self._match_each(a.name, pattern, relation, keep)
        return self._match_any(a, pattern, relation, keep)

    def _match_point(self, attribute: Attribute, pattern: Pattern, relation: Relation, keep: Set[str]) -> Match | None:
        """Match for a relation of one row, with a known entity or value; None when neither is known.

        The shortest way for the most frequent pattern: its cost is that of a small query.
        """
        terms, view, a = pattern.terms, self.db.view, attribute.id
        e_term, v_term = terms[_E], terms[_V] if len(terms) > _V else BLANK
        e, v = value_at(e_term, relation), value_at(v_term, relation)
        if e is UNKNOWN and v is UNKNOWN:
            return None
        if v is not UNKNOWN:
            v = stored_or_none(self.db, attribute, v)
            if v is None:
                return Match(empty(relation.names | (pattern.variables & keep)), "no such value")
        if e is UNKNOWN:
            if attribute.unique is not None:
                return bound_to(e_term, list(view.unique_holders_of(a, v)), relation, keep, None)
            if self.count_with(a, v) > FEW:
                return self._match_holders(attribute, e_term, v, relation, keep)
            return bound_to(e_term, list(view.holders_of(a, v)), relation, keep, None)
        e = e if type(e) is int else entity_or_none(self.db, e)
        values = () if e is None else view.values_of(e, a)
        if v is not UNKNOWN:
            return Match(relation if v in values else empty(relation.names), "one fact")
        return bound_to(v_term, list(values), relation, keep, attribute)

    def _match_holders(self, attribute: Attribute, term: Term, v: Any, relation: Relation, keep: Set[str]) -> Match:
        """Match for a relation of one row and a value that many entities have."""
        entities = Column(int, rows_with(self, attribute.id, v).e)
        columns = {term.name: entities} if isinstance(term, Variable) and term.name in keep else {}
        size = entities.size if columns else 1
        return Match(Relation(size, columns, relation.constants, distinct=True), "rows with the value")

    def _match_each(self, name: str, pattern: Pattern, relation: Relation, keep: Set[str]) -> Match:
        """Match once for each attribute among the values of a bound variable."""
        rows_by_key: dict[Any, list[int]] = {}
        for i, key in enumerate(relation.columns[name].values()):
            rows_by_key.setdefault(key if isinstance(key, str | int) else None, []).append(i)
        parts = []
        for key, rows in rows_by_key.items():
            attribute = None if key is None or type(key) is bool else self.db.schema.find(key)
            if attribute is not None:
                parts.append(self._match(attribute, pattern, relation.take(rows, len(rows)), keep, None).relation)
        return Match(stacked(parts, relation.names | (pattern.variables & keep)), f"each of {len(parts)} attributes")

    def _match_any(self, a: Term, pattern: Pattern, relation: Relation, keep: Set[str]) -> Match:
        """Match once for each attribute that has facts, and bind the variable to its id."""
        ids = self._attributes_of(value_at(pattern.terms[_E], relation))
        out = a.name if isinstance(a, Variable) and (a.name in keep or pattern.terms.count(a) > 1) else None
        parts = []
        for attribute in map(self.db.schema.find, ids):
            if attribute is None:
                continue
            rows = relation
            if out is not None:
                rows = relation.plus({out: repeated(attribute.id, relation.size)}, distinct=relation.distinct)
            part = self._match(attribute, pattern, rows, keep, None, idents=False).relation
            if part.size:
                parts.append(part)
        matched = stacked(parts, relation.names | (pattern.variables & keep))
        if out is None:
            matched = Relation(matched.size, matched.columns, matched.constants, distinct=False)
        return Match(matched.keep(relation.names | keep), f"all of {len(ids)} attributes")

    def _attributes_of(self, e: Any) -> list[int]:
        """Return the ids of the attributes that an entity has facts of; of all, when the entity is unknown."""
        view = self.db.view
        if e is UNKNOWN:
            return view.attributes()
        eid = entity_or_none(self.db, e)
        return [] if eid is None else sorted({fact[1] for fact in view.facts_about(eid)})

    def _match(
        self,
        attribute: Attribute,
        pattern: Pattern,
        relation: Relation,
        keep: Set[str],
        limits: Limits | None,
        *,
        idents: bool = True,
    ) -> Match:
        names = relation.names | (pattern.variables & keep)
        equal: list[tuple[str, str]] = []
        resolved = self._resolved(attribute, pattern, relation, keep, equal, idents)
        if resolved is None or not resolved[0].size:
            return Match(empty(names), "no such value")
        relation, needs = resolved
        result = access.read(FactRequest(self, attribute, needs, relation, limits))
        if isinstance(result, Match):
            return result
        rows = self._joined(attribute, needs, result, relation)
        for first, second in equal:
            rows = where_equal(rows, first, second)
        return Match(rows.keep(names), result.access)

    # -- what is known of each position

    def _resolved(
        self,
        attribute: Attribute,
        pattern: Pattern,
        relation: Relation,
        keep: Set[str],
        equal: list[tuple[str, str]],
        idents: bool,
    ) -> tuple[Relation, Needs] | None:
        """Return the rows that can match, and what they need, in stored form; None when a constant cannot match."""
        positions: list[Position] = []
        masks: list[list[bool]] = []
        for i, term in enumerate(pattern.terms):
            if i == _A:
                continue
            if isinstance(term, Blank):
                positions.append(UNUSED)
                continue
            value = value_at(term, relation)
            if value is not UNKNOWN:
                value = self._stored(attribute, i, value, idents)
                if value is None:
                    return None
                positions.append(Position(value=value))
                continue
            assert isinstance(term, Variable)
            if term.name in relation.columns:
                column, mask = self._stored_column(attribute, i, relation.columns[term.name])
                positions.append(Position(column=column))
                masks.append(mask or [])
            else:
                positions.append(unbound_position(term.name, pattern, positions, equal, keep))
        if any(masks):
            relation, positions = narrowed(relation, positions, masks)
        return relation, Needs(*positions)

    def _stored(self, attribute: Attribute, position: int, value: Any, idents: bool) -> Any:
        if position == _E:
            return entity_or_none(self.db, value)
        if position == _V:
            if attribute.is_ref and not idents and type(value) is not int:
                return None
            return stored_or_none(self.db, attribute, value)
        if position == _TX:
            return transaction(self.db, value)
        return value if type(value) is bool else None

    def _stored_column(self, attribute: Attribute, position: int, column: Column) -> tuple[Column, list[bool] | None]:
        if position == _V:
            return as_values(self.db, attribute, column)
        if position in (_E, _TX):
            return as_entities(self.db, column)
        return (column, None) if column.kind is bool else (Column(bool, []), [False] * column.size)

    # -- joining

    def _joined(self, attribute: Attribute, needs: Needs, read: Read, relation: Relation) -> Relation:
        """Join a relation with the facts that were read: check the known positions, bind the others."""
        at, keep = read.at, None
        for position, column in zip(needs, read.columns, strict=True):
            if column is None:
                continue  # already checked by the way it was read, or not needed
            if position.value is not UNKNOWN:
                keep = both(keep, algebra.equal_stored(column, position.value))
            elif position.column is not None and at is not None:
                keep = both(keep, algebra.equal_columns(column, position.column.take(at)))
        if keep is not None and not all_of(keep):
            read = read.filter(keep)
        at, size = read.at, read.size
        outs = self._outs(attribute, needs, read)
        distinct = self._is_distinct(attribute, needs)
        if at is None:
            keys = [
                (position.column, column)
                for position, column in zip(needs, read.columns, strict=True)
                if position.column and column
            ]
            return joined(relation, outs, keys, size, distinct) if keys else paired(relation, outs, size, distinct)
        if not outs:
            if isinstance(at, slice):
                return relation
            at = sorted(set(at)) if isinstance(at, list) else np.unique(at)
            return relation.take(at, len(at))
        rows = relation if isinstance(at, slice) else relation.take(at, size)
        return rows.plus(outs, distinct=relation.distinct and distinct)

    def _outs(self, attribute: Attribute, needs: Needs, read: Read) -> dict[str, Column]:
        """Return the variables that a pattern binds, as columns of what was read."""
        outs: dict[str, Column] = {}
        for i, (position, column) in enumerate(zip(needs, read.columns, strict=True)):
            if position.out is not None and column is not None:
                is_tuple = i == 1 and attribute.is_tuple
                outs[position.out] = loaded(attribute, column.data) if is_tuple else column
        return outs

    def _is_distinct(self, attribute: Attribute, needs: Needs) -> bool:
        """Tell whether every fact that was read gives a different row."""
        if self.db.view.is_history:
            return all(position is not UNUSED for position in needs)
        has_v = needs.v is not UNUSED
        return (needs.e is not UNUSED and (has_v or not attribute.many)) or (has_v and attribute.unique is not None)
