"""The context of a running query: its sources, its rules, its limits, and a record of its steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

from factstore.errors import QueryError
from factstore.query.analysis.program import Program
from factstore.query.analysis.scope import Scopes
from factstore.query.guard import Guard
from factstore.query.language.ast import Clause
from factstore.query.language.clauses import DEFAULT_SOURCE
from factstore.query.language.dialect import hint, nearest, shown
from factstore.query.relations.relation import Relation
from factstore.query.sources.source import Source


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
    subquery: Callable[..., Any]  # called by the function `q`
    tables: Any  # the results of recursive rules so far
    current: Any = None  # the current pass over a recursive definition
    guard: Guard | None = None  # None: no limits
    steps: list[Step] | None = None
    depth: int = 0

    @property
    def scopes(self) -> Scopes:
        """The scopes of variables under the rules of this run."""
        return self.program.scopes

    def source(self, name: str, form: Any) -> Source:
        """Return a source by name. Raises: QueryError(:db.error/unknown-source)."""
        source = self.sources.get(name)
        if source is None:
            near = nearest(name, self.sources)
            raise QueryError(
                ":db.error/unknown-source",
                f"no source {name} is among the inputs {sorted(self.sources)}{hint(near)}, in {shown(form)}",
                source=name,
                form=form,
            )
        return source

    def under(self, source: str, form: Any) -> Context:
        """Return the context of a rule that is called with this source as its default source."""
        if source == DEFAULT_SOURCE:
            return self
        return replace(self, sources={**self.sources, DEFAULT_SOURCE: self.source(source, form)})


# `run.solve`, for modules below it: solves clauses over a relation, and keeps some of their variables.
Solve: TypeAlias = Callable[[Context, tuple[Clause, ...], Relation, frozenset[str]], Relation]
