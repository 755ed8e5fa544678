"""The planner: chooses the next clause at each step, by the number of rows that are really there.

Predicates run as soon as their variables are bound. Otherwise the clause with the fewest expected rows is next; of
equal ones, the first in the query. A comparison of a variable that a pattern binds becomes the range of values that
the pattern reads.
"""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime
from typing import Final, NamedTuple

from factstore.query.analysis.scope import adornment, binds_many, missing, unbound
from factstore.query.language.ast import Call, Clause, Constant, Given, Not, Or, Pattern, RuleCall, Term, Variable
from factstore.query.planning.context import Context
from factstore.query.relations.relation import Relation, machine_value
from factstore.query.sources.match import Limits
from factstore.values.types import is_nan

_RANGED: Final = frozenset((int, float, datetime, str))
_IN_RANGE: Final = 0.3  # assumed share of an attribute's rows in a range
_NEVER: Final = float("inf")
_RECURSION: Final = 10.0  # assumed rows of a recursive rule for each row that binds an argument


class PlannedStep(NamedTuple):
    """The next clause, its expected number of rows, and the predicates that hold because it reads only a range."""

    clause: Clause
    estimate: float | None
    limits: Limits | None = None
    settled: tuple[Call, ...] = ()


def choose(context: Context, waiting: list[Clause], relation: Relation, outside: Set[str]) -> PlannedStep:
    """Return the next step.

    Args:
        outside: the variables that the clauses around a `not` can bind.
    """
    if len(waiting) == 1 and isinstance(waiting[0], Pattern):
        return PlannedStep(waiting[0], None)
    best: PlannedStep | None = None
    lowest = _NEVER
    for clause in waiting:
        if not isinstance(clause, Pattern) and not _is_ready(context, clause, relation.names, outside):
            continue
        if isinstance(clause, Call) and clause.binding is None:
            return PlannedStep(clause, None)
        if len(waiting) == 1 or _is_point(context, clause, relation):
            return PlannedStep(clause, None)
        estimate, limits, settled = _estimate(context, clause, waiting, relation)
        if estimate < lowest or best is None:
            best, lowest = PlannedStep(clause, estimate, limits, settled), estimate
    if best is None:
        raise unbound(missing(waiting[0], relation.names), waiting[0].form)
    return best


def _is_ready(context: Context, clause: Clause, bound: Set[str], outside: Set[str]) -> bool:
    if isinstance(clause, Not):
        return context.scopes.joins(clause, outside) <= bound
    if isinstance(clause, RuleCall) and context.recursion is not None and clause.name in context.recursion.component:
        return context.recursion.is_ready(clause, bound)
    return context.scopes.is_ready(clause, bound)


def _is_point(context: Context, clause: Clause, relation: Relation) -> bool:
    """Tell whether a clause is a look-up for a single row, which no other clause can be cheaper than."""
    return (
        relation.size == 1
        and isinstance(clause, Pattern)
        and context.source(clause.source, clause.form).is_point(clause, relation)
    )


def _estimate(
    context: Context, clause: Clause, waiting: list[Clause], relation: Relation
) -> tuple[float, Limits | None, tuple[Call, ...]]:
    if isinstance(clause, Pattern):
        estimate = context.source(clause.source, clause.form).estimate(clause, relation)
        limits, settled = _limits(context, clause, waiting, relation) if len(waiting) > 1 else (None, ())
        return (estimate if limits is None else estimate * _IN_RANGE), limits, settled
    return estimate_of(context, clause, relation), None, ()


def estimate_of(context: Context, clause: Clause, relation: Relation) -> float:
    """Return the expected number of rows of a relation after a clause."""
    if isinstance(clause, Pattern):
        return context.source(clause.source, clause.form).estimate(clause, relation)
    if isinstance(clause, Call):
        return relation.size * (10.0 if binds_many(clause.binding) else 1.0)
    if isinstance(clause, Given):
        shared = clause.variables & relation.names
        return float(relation.size if shared else relation.size * clause.relation.size)
    if isinstance(clause, Or):
        return sum(_first_estimate(context, branch, relation) for branch in clause.branches)
    if isinstance(clause, RuleCall):
        return _rule_estimate(context, clause, relation)
    return float(relation.size)


def _first_estimate(context: Context, clauses: tuple[Clause, ...], relation: Relation) -> float:
    patterns = [clause for clause in clauses if isinstance(clause, Pattern)]
    return min((estimate_of(context, pattern, relation) for pattern in patterns), default=float(relation.size))


def _rule_estimate(context: Context, call: RuleCall, relation: Relation) -> float:
    rule = context.scopes.rule(call)
    if context.program.is_recursive(rule.name):
        return relation.size * _RECURSION if adornment(call, relation.names) else _NEVER
    inner = context.under(call.source, call.form)
    return sum(
        _first_estimate(inner, branch.clauses, seeded(call.args, branch.parameters, relation))
        for branch in rule.branches
    )


def seeded(args: tuple[Term, ...], parameters: tuple[str, ...], relation: Relation) -> Relation:
    """Return the parameters of a rule that a caller's rows bind, row by row; rows can be equal."""
    columns, constants = {}, {}
    for term, name in zip(args, parameters, strict=True):
        if isinstance(term, Constant):
            constants[name] = term.value
        elif isinstance(term, Variable) and term.name in relation.constants:
            constants[name] = relation.constants[term.name]
        elif isinstance(term, Variable) and term.name in relation.columns:
            columns[name] = relation.columns[term.name]
    return Relation(relation.size if columns else min(relation.size, 1), columns, constants, distinct=not columns)


# -- ranges


def _limits(
    context: Context, pattern: Pattern, waiting: list[Clause], relation: Relation
) -> tuple[Limits | None, tuple[Call, ...]]:
    """Return the range of the values of a pattern, from waiting comparisons, if its entity and value are free."""
    if len(pattern.terms) < 3 or not isinstance(pattern.terms[2], Variable):
        return None, ()
    name, e = pattern.terms[2].name, pattern.terms[0]
    if (
        relation.binds(name)
        or isinstance(e, Constant)
        or (isinstance(e, Variable) and (relation.binds(e.name) or e.name == name))
    ):
        return None, ()
    calls = [
        clause for clause in waiting if isinstance(clause, Call) and clause.binding is None and name in clause.needs
    ]
    if not calls:
        return None, ()
    kind = context.source(pattern.source, pattern.form).values_kind(pattern)
    limits, settled = Limits(), []
    for call in calls if kind in _RANGED else ():
        narrower = _narrowed(limits, call, name, kind, relation)
        if narrower is not None:
            limits = narrower
            settled.append(call)
    return (limits, tuple(settled)) if settled else (None, ())


def _narrowed(limits: Limits, call: Call, name: str, kind: type | None, relation: Relation) -> Limits | None:
    """Return the limits with those of a comparison; None if it has another form or a limit is already set."""
    if call.function not in ("<", "<=", ">", ">=", "=") or len(call.args) != 2:
        return None
    left, right = call.args
    is_left = isinstance(left, Variable) and left.name == name
    other = right if is_left else left
    if isinstance(other, Variable):
        if other.name == name or other.name not in relation.constants:
            return None
        value = relation.constants[other.name]
    elif isinstance(other, Constant):
        value = other.value
    else:
        return None
    found, machine = machine_value(value)
    if found is not kind or is_nan(machine):  # NaN is not ordered
        return None
    is_open = call.function in ("<", ">")
    is_upper = (call.function in ("<", "<=")) == is_left
    low = high = limits
    if call.function == "=" or not is_upper:
        if limits.low is not None:
            return None
        low = limits._replace(low=machine, low_open=is_open)
    if call.function == "=" or is_upper:
        if limits.high is not None:
            return None
        high = low._replace(high=machine, high_open=is_open)
    return high if call.function == "=" or is_upper else low
