"""Dispatch: the answers of a rule call are the union of the rule's definitions, each solved from what the caller binds.

The definitions of a rule that is not recursive are solved directly. For a recursive rule, `STRATEGIES` are tried in
order; the first one that applies evaluates the call, and `explain` shows its name. The last one applies to every rule.
Law: all strategies that apply to a call return the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace
from typing import Final, NamedTuple

from factstore.query.analysis.scope import adornment
from factstore.query.language.ast import Rule, RuleCall, Term, Variable
from factstore.query.planning.context import Context, Solve
from factstore.query.planning.plan import seeded
from factstore.query.relations import algebra
from factstore.query.relations.relation import Relation
from factstore.query.rules import closure, linear, seminaive
from factstore.query.rules.arguments import RecursiveCall, columns_of, join_answers, without
from factstore.query.rules.idents import with_entities


class Strategy(NamedTuple):
    """A way to evaluate a call of a recursive rule."""

    name: str
    evaluate: Callable[[RecursiveCall], Relation | None]  # None: the strategy does not apply to this call


STRATEGIES: Final = (
    Strategy("transitive closure", closure.evaluate),
    Strategy("right-linear recursion", linear.evaluate),
    Strategy("semi-naive evaluation", seminaive.evaluate),
)


class Joined(NamedTuple):
    """The caller's rows joined with the answers of a rule, and how these were found, for `explain`."""

    relation: Relation
    access: str


def run_rule(context: Context, call: RuleCall, relation: Relation, keep: Set[str], solve: Solve) -> Joined:
    """Return a relation joined with the answers of a rule."""
    rule = context.scopes.rule(call)
    if context.recursion is not None and rule.name in context.recursion.component:
        return Joined(context.recursion.run(call, relation, keep), "rule: recursive call")
    inner = replace(context.under(call.source, call.form), recursion=None)
    if not context.program.is_recursive(rule.name):
        answers = _union(inner, rule, call, relation, keep, solve)
        return Joined(join_answers(relation, answers, call, keep), "rule")
    resolved, rows = with_entities(inner, call, relation)
    answers, strategy = _evaluated(RecursiveCall(inner, rule, resolved, rows, adornment(resolved, rows.names), solve))
    joined = join_answers(rows, answers, resolved, keep)
    return Joined(without(joined, rows.names - relation.names), f"rule: {strategy}")


def _evaluated(call: RecursiveCall) -> tuple[Relation, str]:
    """Return the answers of the first strategy that applies, and its name."""
    for strategy in STRATEGIES:
        answers = strategy.evaluate(call)
        if answers is not None:
            return answers, strategy.name
    raise AssertionError("semi-naive evaluation applies to every rule")


def _union(context: Context, rule: Rule, call: RuleCall, relation: Relation, keep: Set[str], solve: Solve) -> Relation:
    """Solve the definitions of a rule that is not recursive, for those arguments that the caller needs."""
    wanted = [position for position, term in enumerate(call.args) if _is_wanted(term, call, relation, keep)]
    parts = []
    for branch in rule.branches:
        seed = algebra.distinct(seeded(call.args, branch.parameters, relation))
        rows = solve(context, branch.clauses, seed, frozenset(branch.parameters[position] for position in wanted))
        parts.append(rows.renamed({branch.parameters[position]: str(position) for position in wanted}))
    return algebra.union(parts, columns_of(wanted))


def _is_wanted(term: Term, call: RuleCall, relation: Relation, keep: Set[str]) -> bool:
    return isinstance(term, Variable) and (term.name in keep or relation.binds(term.name) or call.args.count(term) > 1)
