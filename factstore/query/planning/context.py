"""The context of a running query: its sources, its rules, its limits, and a record of its steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol, TypeAlias

from factstore.errors import QueryError
from factstore.query.analysis.program import Program
from factstore.query.analysis.scope import Adornment, Scopes
from factstore.query.guard import Guard
from factstore.query.language.ast import Clause, Rule, RuleCall
from factstore.query.language.clauses import DEFAULT_SOURCE
from factstore.query.language.dialect import nearest, shown
from factstore.query.relations.relation import Relation
from factstore.query.relations.seen import SeenRows
from factstore.query.sources.source import FactSource
from factstore.values.quoting import did_you_mean


class ExecutedStep(NamedTuple):
    """One step that a query took, for `explain`."""

    depth: int
    form: Any
    access: str
    estimate: float | None
    rows_in: int
    rows_out: int
    seconds: float


class RecursiveCalls(Protocol):
    """The definition of a recursive rule that is being evaluated, as the planner and the dispatch of rules use it."""

    @property
    def component(self) -> frozenset[str]:
        """The names of the rules that are evaluated together."""

    def is_ready(self, call: RuleCall, bound: Set[str], /) -> bool:
        """Tell whether a recursive call can run now."""

    def run(self, call: RuleCall, relation: Relation, keep: Set[str], /) -> Relation:
        """Return a relation joined with the answers of a recursive call so far."""


class AnswerTable(Protocol):
    """The demanded bindings and the answers of one recursive rule."""

    @property
    def context(self) -> Context:
        """The context of the rule's definitions."""

    @property
    def rule(self) -> Rule:
        """The rule."""

    @property
    def bound(self) -> tuple[int, ...]:
        """The positions of the arguments that are demanded."""

    @property
    def demanded(self) -> SeenRows:
        """The bindings for which answers are needed."""

    @property
    def answers(self) -> SeenRows:
        """The answers so far."""

    @property
    def calls(self) -> dict[int, dict[int, tuple[RuleCall, AnswerTable]]]:
        """For each definition its recursive calls, by identity, each with the table that answers it."""

    def demand(self, bindings: Relation, /) -> None:
        """Add bindings for which answers are needed."""

    def add_answers(self, answers: Relation, /) -> None:
        """Add answers."""

    def take_new_demand(self) -> Relation | None:
        """Return the bindings demanded since the last call; None when there are none."""

    def take_new_answers(self) -> Relation | None:
        """Return the answers added since the last call; None when there are none."""


class AnswerTables(Protocol):
    """The tables of recursive rules in one run of a query."""

    @property
    def entity_arguments(self) -> dict[tuple[str, int], dict[int, str]]:
        """For each rule and default source the arguments that stand for entities, each with its source."""

    def table(self, context: Context, rule: Rule, bound: Adornment, /) -> AnswerTable:
        """Return the table of a rule for these bound arguments."""

    def of(self, component: frozenset[str], /) -> Sequence[AnswerTable]:
        """Return the tables of some rules."""


@dataclass(slots=True)
class Context:
    """One run of a query."""

    sources: dict[str, FactSource]
    program: Program
    subquery: Callable[..., Any]  # called by the function `q`
    tables: AnswerTables
    recursion: RecursiveCalls | None = None  # None: no definition of a recursive rule is being evaluated
    guard: Guard | None = None  # None: no limits
    steps: list[ExecutedStep] | None = None
    depth: int = 0

    @property
    def scopes(self) -> Scopes:
        """The scopes of variables under the rules of this run."""
        return self.program.scopes

    def source(self, name: str, form: Any) -> FactSource:
        """Return a source by name. Raises: QueryError(:db.error/unknown-source)."""
        source = self.sources.get(name)
        if source is None:
            near = nearest(name, self.sources)
            raise QueryError(
                ":db.error/unknown-source",
                f"no source {name} is among the inputs {sorted(self.sources)}{did_you_mean(near)}, in {shown(form)}",
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
