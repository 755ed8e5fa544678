"""Tabling: the demanded bindings and the answers of recursive rules, kept while a query runs.

There is one table for each rule, set of bound arguments and default source. Its demanded bindings and its answers only
grow; it also keeps what was added to each since the last round.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from factstore.query.analysis.scope import Adornment
from factstore.query.language.ast import Rule, RuleCall
from factstore.query.language.clauses import DEFAULT_SOURCE
from factstore.query.planning.context import AnswerTable, Context
from factstore.query.relations import algebra
from factstore.query.relations.relation import UNIT, Relation
from factstore.query.relations.seen import SeenRows
from factstore.query.rules.arguments import columns_of


@dataclass(slots=True, eq=False)
class RuleTable:
    """What is known about one rule for one set of bound arguments."""

    context: Context  # the context of the rule's definitions
    rule: Rule
    bound: tuple[int, ...]
    demanded: SeenRows
    answers: SeenRows
    # For each definition its recursive calls in the order in which they first ran, each with the table of its answers.
    calls: dict[int, dict[int, tuple[RuleCall, AnswerTable]]] = field(default_factory=dict)
    _new_demand: list[Relation] = field(default_factory=list)
    _new_answers: list[Relation] = field(default_factory=list)

    def demand(self, bindings: Relation) -> None:
        """Add bindings for which answers are needed."""
        fresh = self.demanded.add(bindings)
        if fresh.size:
            self._new_demand.append(fresh)

    def add_answers(self, answers: Relation) -> None:
        """Add answers."""
        fresh = self.answers.add(answers)
        if fresh.size:
            self._new_answers.append(fresh)

    def take_new_demand(self) -> Relation | None:
        """Return the bindings demanded since the last call of this method; None when there are none."""
        return _taken(self._new_demand)

    def take_new_answers(self) -> Relation | None:
        """Return the answers added since the last call of this method; None when there are none."""
        return _taken(self._new_answers)


def _taken(added: list[Relation]) -> Relation | None:
    if not added:
        return None
    names = list(added[0].columns)
    taken = algebra.union(added, names) if names else UNIT
    added.clear()
    return taken


class RuleTables:
    """All tables of one run of a query."""

    __slots__ = ("_tables", "entity_arguments")

    def __init__(self) -> None:
        self._tables: dict[tuple[str, Adornment, int], RuleTable] = {}
        self.entity_arguments: dict[tuple[str, int], dict[int, str]] = {}  # see `idents.entity_arguments`

    def table(self, context: Context, rule: Rule, bound: Adornment) -> RuleTable:
        """Return the table of a rule for these bound arguments."""
        key = rule.name, bound, id(context.sources.get(DEFAULT_SOURCE))
        table = self._tables.get(key)
        if table is None:
            positions = tuple(sorted(bound))
            demanded, answers = SeenRows(list(columns_of(positions))), SeenRows(list(columns_of(range(rule.arity))))
            table = self._tables[key] = RuleTable(context, rule, positions, demanded, answers)
        return table

    def of(self, component: frozenset[str]) -> list[RuleTable]:
        """Return the tables of the rules in a component."""
        return [table for table in self._tables.values() if table.rule.name in component]
