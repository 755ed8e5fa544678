"""Arguments: how the terms of a rule call relate to the columns of the rule's answers.

The columns of answers and of seed relations are named by argument position: "0" is the first argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import NamedTuple

from factstore.query.analysis.scope import Adornment
from factstore.query.language.ast import Constant, Rule, RuleCall, Variable
from factstore.query.planning.context import Context, Solve
from factstore.query.planning.plan import seeded
from factstore.query.relations import algebra
from factstore.query.relations.relation import Relation


def columns_of(positions: Iterable[int]) -> tuple[str, ...]:
    """Return the column names of arguments."""
    return tuple(map(str, positions))


class RecursiveCall(NamedTuple):
    """A call of a recursive rule, with everything that a strategy needs to evaluate it."""

    context: Context  # the context of the rule's definitions
    rule: Rule
    call: RuleCall
    rows: Relation  # the caller's rows
    bound: Adornment
    solve: Solve

    def seed(self) -> Relation:
        """Return the seed relation: the distinct combinations of values that the caller binds."""
        every = seeded(self.call.args, columns_of(range(self.rule.arity)), self.rows)
        return algebra.distinct(every.keep(frozenset(columns_of(self.bound))))


def join_answers(relation: Relation, answers: Relation, call: RuleCall, keep: Set[str]) -> Relation:
    """Join a caller's rows with the answers of a rule."""
    first: dict[str, str] = {}  # for each variable the column of its first occurrence
    for position, term in enumerate(call.args):
        column = str(position)
        if not answers.binds(column):
            continue
        if isinstance(term, Constant):
            answers = algebra.join(answers, Relation(1, {}, {column: term.value}, distinct=True))
        elif isinstance(term, Variable) and term.name in first:
            answers = _where_equal(answers, first[term.name], column)
        elif isinstance(term, Variable):
            first[term.name] = column
    wanted = {column: name for name, column in first.items() if name in keep or relation.binds(name)}
    return algebra.join(relation, algebra.distinct(answers.renamed(wanted)))


def _where_equal(answers: Relation, first: str, second: str) -> Relation:
    return answers.filter(algebra.equal_columns(answers.column(first), answers.column(second)))


def without(relation: Relation, names: Set[str]) -> Relation:
    """Return a relation without some variables."""
    return relation.keep(relation.names - names) if names else relation
