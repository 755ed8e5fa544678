"""Semi-naive evaluation: recursive rules evaluated in rounds, each of which uses only what the previous round added.

    round:  for each table and each definition of its rule
              solve the definition from the newly demanded bindings
              solve it once for each recursive call whose answers grew, with the new answers (the delta) as that call

The demanded bindings are those for which answers are needed (as the magic set computes them): a recursive call demands
the values that it binds, so only relevant answers are derived.

Law: a derivation is made in the round after the last of its premises was added, so none is missed. Values come from a
finite set, so the rounds end, on cyclic data too.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from factstore.query.analysis.scope import adornment
from factstore.query.language.ast import Branch, Clause, Given, RuleCall
from factstore.query.planning.context import AnswerTable, Context, Solve
from factstore.query.planning.plan import seeded
from factstore.query.relations.relation import UNIT, Relation
from factstore.query.rules.arguments import RecursiveCall, columns_of, join_answers, without
from factstore.query.rules.idents import with_entities


def evaluate(call: RecursiveCall) -> Relation:
    """Return the answers of a recursive rule."""
    context = call.context
    table = context.tables.table(context, call.rule, call.bound)
    table.demand(call.seed())
    component = context.program.component(call.rule.name)
    while deltas := _deltas(context, component):
        if context.guard is not None:
            context.guard.check(sum(each.answers.size for each in context.tables.of(component)), "a rule")
        for delta in deltas:
            _run_round(delta, component, call.solve)
    return table.answers.all()


class Delta(NamedTuple):
    """What a round has to use for one table: additions since the previous round."""

    table: AnswerTable
    demanded: Relation | None
    answers: dict[int, Relation]  # new answers of the recursive calls in the table's rule, by identity of the call


def _deltas(context: Context, component: frozenset[str]) -> list[Delta]:
    """Take the additions from all tables; return one delta for each table that has something to do."""
    tables = context.tables.of(component)
    added = {id(table): table.take_new_answers() for table in tables}
    deltas = []
    for table in tables:
        answers = {
            key: rows
            for calls in table.calls.values()
            for key, (_, callee) in calls.items()
            if (rows := added[id(callee)]) is not None
        }
        demanded = table.take_new_demand()
        if demanded is not None or answers:
            deltas.append(Delta(table, demanded, answers))
    return deltas


def _run_round(delta: Delta, component: frozenset[str], solve: Solve) -> None:
    table = delta.table
    for number, branch in enumerate(table.rule.branches):
        names = dict(zip(columns_of(range(len(branch.parameters))), branch.parameters, strict=True))
        calls = tuple(table.calls.get(number, {}).items())
        if delta.demanded is not None:
            definition = Definition(table.context, table, number, component)
            _derive(definition, branch.clauses, delta.demanded.renamed(names), solve)
        for i, (key, (call, _)) in enumerate(calls):
            if key not in delta.answers:
                continue
            earlier = {each for each, _ in calls[:i]}
            definition = Definition(table.context, table, number, component, done={key}, demanded=earlier)
            resolved, _ = with_entities(table.context.under(call.source, call.form), call, UNIT)
            seed = join_answers(UNIT, delta.answers[key], resolved, call.variables)
            _derive(definition, _rest(table, branch, call, names), seed, solve)


def _rest(table: AnswerTable, branch: Branch, call: RuleCall, names: dict[str, str]) -> tuple[Clause, ...]:
    """Return the clauses of a definition without a call, restricted to the demanded bindings."""
    rest = tuple(clause for clause in branch.clauses if clause is not call)
    if not table.bound:
        return rest
    demanded = table.demanded.all().renamed(names)
    return (*rest, Given(demanded, call.form, frozenset(demanded.names)))


def _derive(definition: Definition, clauses: tuple[Clause, ...], seed: Relation, solve: Solve) -> None:
    """Solve the clauses of a definition, and add the result to the answers of its table."""
    table = definition.table
    parameters = table.rule.branches[definition.number].parameters
    rows = solve(replace(definition.context, recursion=definition), clauses, seed, frozenset(parameters))
    if rows.size:
        table.add_answers(rows.renamed(dict(zip(parameters, columns_of(range(len(parameters))), strict=True))))


@dataclass(slots=True)
class Definition:
    """One evaluation of one definition in a round; it decides which recursive calls are ready, and answers them.

    Calls run in the order in which they first ran: the demand of a later call depends on the answers of the earlier
    ones, so only this order demands every needed binding in time. A call that precedes the one whose delta is used has
    demanded its bindings in an earlier round.
    """

    context: Context
    table: AnswerTable
    number: int
    component: frozenset[str]
    done: set[int] = field(default_factory=set)
    demanded: set[int] = field(default_factory=set)

    def is_ready(self, call: RuleCall, bound: Set[str]) -> bool:
        """Tell whether a recursive call can run now."""
        key = id(call)
        if key in self.demanded:
            return True
        for earlier, (_, callee) in self.table.calls.get(self.number, {}).items():
            if earlier == key:
                return all(position in adornment(call, bound) for position in callee.bound)
            if earlier not in self.done and earlier not in self.demanded:
                return False
        rule = self.context.scopes.rule(call)
        return not self.table.bound or self.context.scopes.solves_rule(rule, adornment(call, bound))

    def run(self, call: RuleCall, relation: Relation, keep: Set[str]) -> Relation:
        """Return a relation joined with the answers so far, and demand the bindings of the call."""
        calls = self.table.calls.setdefault(self.number, {})
        rule = self.context.scopes.rule(call)
        inner = self.context.under(call.source, call.form)
        key = id(call)
        if key not in calls:
            bound = adornment(call, relation.names) if self.table.bound else frozenset()
            calls[key] = call, inner.tables.table(inner, rule, bound)
        callee = calls[key][1]
        resolved, rows = with_entities(inner, call, relation)
        if key not in self.demanded:
            seed = seeded(resolved.args, columns_of(range(rule.arity)), rows)
            callee.demand(seed.keep(frozenset(columns_of(callee.bound))))
        self.done.add(key)
        joined = join_answers(rows, callee.answers.all(), resolved, keep)
        return without(joined, rows.names - relation.names)
