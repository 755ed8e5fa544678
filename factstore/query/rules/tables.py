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
from factstore.query.relations.relation import PLAIN, Column, Relation, concatenated, relation_of, strict


def places_of(arity: int) -> list[str]:
    """Return the names of a rule's arguments in its tables: their places."""
    return [str(place) for place in range(arity)]


class Rows:
    """Rows that only grow, each kept once."""

    __slots__ = ("_chunks", "_kinds", "_seen", "_strict", "names")

    def __init__(self, names: list[str]) -> None:
        self.names = names
        self._chunks: list[Relation] = []
        self._seen: set[Any] = set()
        self._kinds: tuple[type, ...] | None = None
        self._strict = False

    def add(self, relation: Relation) -> Relation:
        """Add rows, and return those that are new."""
        columns = [relation.column(name) for name in self.names]
        kinds = tuple(column.kind for column in columns)
        if relation.size and not self._strict and (kinds != (self._kinds or kinds) or not PLAIN.issuperset(kinds)):
            self._seen = {
                key for chunk in self._chunks for key in _strict_keys([chunk.columns[name] for name in self.names])
            }
            self._strict = True
        if relation.size and self._kinds is None:
            self._kinds = kinds
        which = []
        keys = _strict_keys(columns) if self._strict else zip(*(column.machine() for column in columns), strict=True)
        for i, key in enumerate(keys if columns else [()] * min(relation.size, 1)):
            if key not in self._seen:
                self._seen.add(key)
                which.append(i)
        fresh = relation_of(
            {name: column.take(which) for name, column in zip(self.names, columns, strict=True)},
            len(which),
            distinct=True,
        )
        if which:
            self._chunks.append(fresh)
        return fresh

    @property
    def size(self) -> int:
        """How many rows there are."""
        return len(self._seen)

    def all(self) -> Relation:
        """Return every row."""
        if len(self._chunks) != 1:
            columns = {
                name: concatenated([chunk.columns[name] for chunk in self._chunks] or [Column(object, [])])
                for name in self.names
            }
            size = sum(chunk.size for chunk in self._chunks)
            self._chunks = [Relation(min(size, 1) if not columns else size, columns, {}, distinct=True)]
        return self._chunks[0]


def _strict_keys(columns: list[Column]) -> Any:
    return zip(*(map(strict, column.values()) for column in columns), strict=True)


@dataclass(slots=True, eq=False)
class Table:
    """What is known of one rule for one set of bound arguments."""

    context: Context  # that of the rule's body
    rule: Rule
    bound: tuple[int, ...]
    inputs: Rows
    answers: Rows
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
                context, rule, places, Rows(list(map(str, places))), Rows(places_of(rule.arity))
            )
        return found

    def of(self, component: frozenset[str]) -> list[Table]:
        """Return the tables of some rules."""
        return [table for table in self._tables.values() if table.rule.name in component]
