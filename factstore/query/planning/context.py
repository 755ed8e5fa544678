"""What a running query has at hand: its sources, its rules, its callables, and the record of what it did."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, Protocol, TypeAlias

from factstore import registry
from factstore.errors import QueryError
from factstore.query.analysis.program import Program
from factstore.query.analysis.scope import Scopes
from factstore.query.functions.scalar import FUNCTIONS, get_by_keyword, plain_name
from factstore.query.guard import Guard
from factstore.query.language.ast import Clause, Pattern
from factstore.query.language.clauses import DEFAULT_SOURCE
from factstore.query.language.dialect import hint, nearest, shown
from factstore.query.relations.relation import Relation
from factstore.query.sources.collection import Tuples
from factstore.query.sources.database import Facts
from factstore.query.sources.functions import LOOKUPS
from factstore.query.sources.match import Limits, Match


class Source(Protocol):
    """What patterns are matched against."""

    @property
    def value(self) -> Any:
        """What a function gets that is given this source."""

    def check(self, pattern: Pattern) -> None:
        """Raise QueryError for a pattern that this source cannot answer."""

    def is_point(self, pattern: Pattern, relation: Relation, /) -> bool:
        """Tell whether a pattern is known to leave at most one row for each row."""

    def estimate(self, pattern: Pattern, relation: Relation, /) -> float:
        """Return about how many rows a relation will have once it is joined with a pattern."""

    def values_kind(self, pattern: Pattern, /) -> type | None:
        """Return the kind of a pattern's values when ranges of them can be read; else None."""

    def match(self, pattern: Pattern, relation: Relation, keep: Set[str], limits: Limits | None = None, /) -> Match:
        """Return a relation joined with what a pattern matches."""


class Opaque:
    """An input that is no source of facts, such as a log, under a source's name: functions may take it, patterns may not."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def check(self, pattern: Pattern) -> None:
        """Raise QueryError, always."""
        raise self._refused(pattern)

    def _refused(self, pattern: Pattern) -> QueryError:
        return QueryError(
            ":db.error/invalid-inputs",
            f"a source is a database or a collection of tuples, got {shown(self.value)}, asked by {shown(pattern.form)}",
            source=pattern.source,
            form=pattern.form,
        )

    # `check` comes before any of these.

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


def source_of(value: Any) -> Source:
    """Return the source that an input is."""
    if hasattr(value, "view") and hasattr(value, "schema"):
        return Facts(value)
    if hasattr(value, "tx_range"):
        return Opaque(value)
    return Tuples.of(value) or Opaque(value)


class Step(NamedTuple):
    """One step that a query took, for `explain`."""

    depth: int
    form: Any
    access: str
    estimate: float | None
    rows_in: int
    rows_out: int
    seconds: float


@dataclass(slots=True)
class Context:
    """One run of a query."""

    sources: dict[str, Source]
    program: Program
    subquery: Callable[..., Any]  # what the function `q` calls
    tables: Any  # the answers of recursive rules so far
    current: Any = None  # the pass over a recursive definition that is being made
    guard: Guard | None = None  # None: nothing limits it
    steps: list[Step] | None = None
    depth: int = 0

    @property
    def scopes(self) -> Scopes:
        """What can be bound, under the rules of this run."""
        return self.program.scopes

    def source(self, name: str, form: Any) -> Source:
        """Return a source by name. Raises: QueryError(:db.error/unknown-source)."""
        found = self.sources.get(name)
        if found is None:
            near = nearest(name, self.sources)
            raise QueryError(
                ":db.error/unknown-source",
                f"no source {name} is among the inputs {sorted(self.sources)}{hint(near)}, in {shown(form)}",
                source=name,
                form=form,
            )
        return found

    def under(self, source: str, form: Any) -> Context:
        """Return the context of a rule that is called with a source of its own."""
        if source == DEFAULT_SOURCE:
            return self
        return replace(self, sources={**self.sources, DEFAULT_SOURCE: self.source(source, form)})


# The clauses solved over a relation, and which of their variables to keep: `run.solve`, for what stands below it.
Solve: TypeAlias = Callable[[Context, tuple[Clause, ...], Relation, frozenset[str]], Relation]


def function_named(name: str, form: Any) -> Callable[..., Any]:
    """Return the built-in or registered function of this name.

    Raises: QueryError(:db.error/unknown-function), with the nearest known names.
    """
    if name.startswith(":"):
        return partial(get_by_keyword, name)
    found = FUNCTIONS.get(plain_name(name)) or registry.lookup(name)
    if found is None:
        near = nearest(name, FUNCTIONS) or registry.nearest(name) or nearest(name, LOOKUPS)
        raise QueryError(
            ":db.error/unknown-function",
            f"no function {name} is built in or registered{hint(near)}, in {shown(form)}",
            function=name,
            nearest=near,
            form=form,
        )
    return found
