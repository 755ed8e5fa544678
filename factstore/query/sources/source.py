"""Sources of facts: the protocol that patterns are matched through, and which source an input is."""

from __future__ import annotations

from collections.abc import Set
from typing import Any, Final, Protocol

from factstore.db.names import stored_or_none
from factstore.errors import DatabaseError, QueryError
from factstore.query.language.ast import Constant, Pattern
from factstore.query.language.dialect import shown
from factstore.query.relations.relation import Relation
from factstore.query.sources.collection import Tuples
from factstore.query.sources.database import Facts
from factstore.query.sources.match import Limits, Match

_WITH_VALUE: Final = 3  # terms of a pattern that has a value


class FactSource(Protocol):
    """A source of facts, against which patterns are matched."""

    @property
    def value(self) -> Any:
        """The argument that a function receives for this source."""

    def check(self, pattern: Pattern) -> None:
        """Raise QueryError for a pattern that this source cannot answer."""

    def is_point(self, pattern: Pattern, relation: Relation, /) -> bool:
        """Tell whether a pattern is certain to give at most one row for each row."""

    def estimate(self, pattern: Pattern, relation: Relation, /) -> float:
        """Return the expected number of rows of a relation after a join with a pattern."""

    def values_kind(self, pattern: Pattern, /) -> type | None:
        """Return the kind of a pattern's values if ranges of them can be read; otherwise None."""

    def match(self, pattern: Pattern, relation: Relation, keep: Set[str], limits: Limits | None = None, /) -> Match:
        """Return a relation joined with the facts that match a pattern."""


class Opaque:
    """An input under the name of a source without facts, such as a log: for functions, not for patterns."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def check(self, pattern: Pattern) -> None:
        """Raise QueryError, always."""
        raise self._refused(pattern)

    def _refused(self, pattern: Pattern) -> QueryError:
        return QueryError(
            ":db.error/invalid-inputs",
            f"a source is a database or a collection of tuples, got {shown(self.value)}, "
            f"asked by {shown(pattern.form)}",
            source=pattern.source,
            form=pattern.form,
        )

    # `check` is called before any of these.

    def is_point(self, pattern: Pattern, _relation: Relation) -> bool:
        """Raise QueryError, always."""
        raise self._refused(pattern)

    def estimate(self, pattern: Pattern, _relation: Relation) -> float:
        """Raise QueryError, always."""
        raise self._refused(pattern)

    def values_kind(self, pattern: Pattern) -> type | None:
        """Raise QueryError, always."""
        raise self._refused(pattern)

    def match(self, pattern: Pattern, _relation: Relation, _keep: Set[str], _limits: Limits | None = None) -> Match:
        """Raise QueryError, always."""
        raise self._refused(pattern)


def source_of(value: Any) -> FactSource:
    """Return an input as a source: of a database, of a collection, or an opaque one."""
    if hasattr(value, "view") and hasattr(value, "schema"):
        return Facts(value)
    if hasattr(value, "tx_range"):
        return Opaque(value)
    return Tuples.of(value) or Opaque(value)


def why_never(source: FactSource, pattern: Pattern) -> str | None:
    """Return why a pattern can never match: its attribute cannot have the constant as a value; otherwise None."""
    if not isinstance(source, Facts) or len(pattern.terms) < _WITH_VALUE:
        return None
    a, v = pattern.terms[1:_WITH_VALUE]
    if not isinstance(a, Constant) or not isinstance(v, Constant):
        return None
    attribute = source.attribute(a.value, pattern.form)
    try:
        if stored_or_none(source.db, attribute, v.value) is not None:
            return None
    except DatabaseError:
        return None
    reason = "stands for no entity" if attribute.is_ref else f"is no {attribute.value_type.name}"
    return f"never: {shown(v.value)} {reason}"
