"""Tables: what is known so far of recursive rules while they are evaluated in rounds.

A table belongs to one rule and one set of bound arguments. It holds the inputs asked for and the answers found, both only
ever growing, and what was added since the last round.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from factstore.query.analysis.scope import Adornment
from factstore.query.language.ast import Rule, RuleCall
from factstore.query.planning.context import Context
from factstore.query.relations.relation import Relation
from factstore.query.relations.seen import SeenRows


def places_of(arity: int) -> list[str]:
    """Return the names of a rule's arguments in its tables: their places."""
    return [str(place) for place in range(arity)]


@dataclass(slots=True, eq=False)
class Table:
    """What is known of one rule for one set of bound arguments."""

    context: Context  # that of the rule's body
    rule: Rule
    bound: tuple[int, ...]
    inputs: SeenRows
    answers: SeenRows
    new_inputs: list[Relation] = field(default_factory=list)
    new_answers: list[Relation] = field(default_factory=list)
    # For each definition its recursive calls in the order in which they are made, with the tables that answer them.
    orders: dict[int, dict[int, tuple[RuleCall, Table]]] = field(default_factory=dict)

    def ask(self, inputs: Relation) -> None:
        """Ask for answers to further inputs."""
        fresh = self.inputs.add(inputs)
        if fresh.size:
            self.new_inputs.append(fresh)

    def answer(self, answers: Relation) -> None:
        """Add answers."""
        fresh = self.answers.add(answers)
        if fresh.size:
            self.new_answers.append(fresh)


class Tables:
    """All tables of one run of a query, by rule, bound arguments and default source."""

    __slots__ = ("_tables", "entity_places")

    def __init__(self) -> None:
        self._tables: dict[Any, Table] = {}
        self.entity_places: dict[Any, Any] = {}  # what `names` worked out of rules in this run

    def table(self, context: Context, rule: Rule, bound: Adornment) -> Table:
        """Return the table of a rule for these bound arguments."""
        key = rule.name, bound, id(context.sources.get("$"))
        found = self._tables.get(key)
        if found is None:
            places = tuple(sorted(bound))
            found = self._tables[key] = Table(
                context, rule, places, SeenRows(list(map(str, places))), SeenRows(places_of(rule.arity))
            )
        return found

    def of(self, component: frozenset[str]) -> list[Table]:
        """Return the tables of some rules."""
        return [table for table in self._tables.values() if table.rule.name in component]
