"""Estimates for the planner: how many rows a pattern over a database will give, from the counts of its index."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from factstore.db.names import stored_or_none
from factstore.query.language.ast import BLANK, Pattern, Term, Variable
from factstore.query.relations.relation import Column, Relation
from factstore.query.sources.convert import as_values
from factstore.query.sources.match import UNKNOWN, is_known, value_at

if TYPE_CHECKING:
    from factstore.db.database import Database
    from factstore.schema.attribute import Attribute

# Assumptions that replace statistics.
_FACTS_PER_ENTITY: Final = 8.0
_FACTS_PER_VALUE: Final = 1 / 50  # of all facts, over all attributes
_VALUES_OF_MANY: Final = 2.0  # per entity, of an attribute with many values
_SELECTIVITY: Final = 0.5  # of a known value, for an entity that is known too


class Estimates:
    """The planner's questions about patterns over one database; counts are remembered for one run of a query."""

    __slots__ = ("_counts", "db")

    def __init__(self, db: Database) -> None:
        self.db = db
        self._counts: dict[tuple[int, Any], int] = {}

    def is_point(self, pattern: Pattern, relation: Relation) -> bool:
        """Tell, from the schema alone, whether a pattern gives at most one row for each row."""
        terms = pattern.terms
        attribute = self._attribute(terms[1], relation) if len(terms) > 1 else None
        if attribute is None or self.db.view.is_history:
            return False
        if not attribute.many and is_known(terms[0], relation):
            return True
        return attribute.unique is not None and len(terms) > 2 and value_at(terms[2], relation) is not UNKNOWN

    def estimate(self, pattern: Pattern, relation: Relation) -> float:
        """Return the expected number of rows of a relation after a join with a pattern."""
        e, a, v, tx, *_ = (*pattern.terms, BLANK, BLANK, BLANK)
        attribute = self._attribute(a, relation)
        e_known, v_known = is_known(e, relation), is_known(v, relation)
        if attribute is None:
            return relation.size * self._of_any_attribute(e_known, v_known)
        # A fact has one transaction: rows with different ones are joined with all facts together, not with each.
        is_joined = not e_known and isinstance(tx, Variable) and tx.name in relation.columns
        size = min(relation.size, 1) if is_joined else relation.size
        value = value_at(v, relation)
        if value is not UNKNOWN:
            return self._with_value(attribute, value, size, e_known)
        count = self.db.view.count(attribute.id)
        if e_known:
            fanout = min(_VALUES_OF_MANY, count) if attribute.many and not v_known else 1.0
            return relation.size * fanout * (_SELECTIVITY if v_known else 1.0)
        if isinstance(v, Variable) and v_known:
            return size * self._fanout(attribute, relation.columns[v.name])
        return size * float(count)

    def count_with(self, a: int, value: Any) -> int:
        """Return how many facts of an attribute have a stored value."""
        count = self._counts.get((a, value))
        if count is None:
            count = self._counts[a, value] = self.db.view.count_with(a, value)
        return count

    def _of_any_attribute(self, e_known: bool, v_known: bool) -> float:
        if e_known:
            return _FACTS_PER_ENTITY
        total = float(sum(map(self.db.view.count, self.db.view.attributes())))
        return total * _FACTS_PER_VALUE if v_known else total

    def _with_value(self, attribute: Attribute, value: Any, size: int, e_known: bool) -> float:
        value = stored_or_none(self.db, attribute, value)
        with_value = 0 if value is None else self.count_with(attribute.id, value)
        if not e_known:
            return size * float(with_value)
        count = self.db.view.count(attribute.id)
        return min(size * (with_value / count if count else 0.0), float(with_value))

    def _fanout(self, attribute: Attribute, column: Column) -> float:
        """Return the expected number of entities for each value of a column, from a sample of three values."""
        if attribute.unique is not None or not column.size:
            return 1.0
        rows = sorted({0, column.size // 2, column.size - 1})
        sample, _ = as_values(self.db, attribute, column.take(rows))
        counts = [self.count_with(attribute.id, value) for value in sample.machine()]
        return sum(counts) / len(rows)

    def _attribute(self, term: Term, relation: Relation) -> Attribute | None:
        key = value_at(term, relation)
        return self.db.schema.find(key) if isinstance(key, (str, int)) else None
