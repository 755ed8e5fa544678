"""The evaluation: clauses become steps over a relation, one after the other, until all are done.

After each step, variables that are no longer needed are dropped, and so are rows that are equal without them. An answer
is a set, so a query never carries the same binding twice.
"""

from __future__ import annotations

import time
from typing import TypeAlias

from factstore.errors import DatabaseError, QueryError
from factstore.query.calls import run_call
from factstore.query.language.ast import Call, Clause, Given, Not, Or, Pattern
from factstore.query.language.dialect import shown
from factstore.query.planning.blocks import BLOCK, blocks_of
from factstore.query.planning.context import Context, ExecutedStep
from factstore.query.planning.plan import PlannedStep, choose
from factstore.query.relations import algebra
from factstore.query.relations.relation import Relation, empty
from factstore.query.rules.dispatch import run_rule
from factstore.query.sources.match import Match, stacked
from factstore.query.sources.source import why_never

Names: TypeAlias = frozenset[str]
_DISTINCT_PAYS = 64  # rows


def solve(
    context: Context, clauses: tuple[Clause, ...], relation: Relation, keep: Names, *, is_set: bool = True
) -> Relation:
    """Return the rows of a relation for which all clauses hold, with these variables, each row once.

    Args:
        keep: variables of the answer; the relation and the clauses bind all of them.
        is_set: False when repeated rows make no difference; they are then not removed.
    """
    waiting = list(clauses)
    outside: Names = frozenset()
    if Not in map(type, clauses):
        outside = keep.union(context.scopes.bindable(clauses, relation.names)[0])
    while waiting and relation.size:
        if context.guard is not None:
            context.guard.check(relation.size)
        choice = choose(context, waiting, relation, outside)
        waiting, relation = take_step(context, choice, waiting, relation, keep, outside, is_set=is_set)
    if not relation.size:
        return empty(keep)
    if context.guard is not None:
        context.guard.check(relation.size)
    return algebra.distinct(relation.keep(keep)) if is_set else relation.keep(keep)


def take_step(
    context: Context,
    choice: PlannedStep,
    waiting: list[Clause],
    relation: Relation,
    keep: Names,
    outside: Names,
    *,
    is_set: bool = True,
) -> tuple[list[Clause], Relation]:
    """Return the waiting clauses and the relation after the chosen step."""
    done, needed, rest = (choice.clause, *choice.settled), keep, []
    for clause in waiting:
        if clause not in done:
            rest.append(clause)
            needed |= clause.variables
    relation = _step(context, choice, relation, needed, outside)
    if relation.columns:
        relation = relation.keep(needed)
        if not relation.distinct and relation.size > _DISTINCT_PAYS and (rest or is_set):
            relation = algebra.distinct(relation)
    return rest, relation


def _step(context: Context, choice: PlannedStep, relation: Relation, needed: Names, outside: Names) -> Relation:
    if context.steps is None:
        return _run(context, choice, relation, needed, outside)[0]
    position = len(context.steps)
    context.depth += 1
    started = time.perf_counter()
    rows, access = _run(context, choice, relation, needed, outside)
    seconds = time.perf_counter() - started
    context.depth -= 1
    form = [choice.clause.form, *(call.form for call in choice.settled)]
    context.steps.insert(
        position, ExecutedStep(context.depth, form, access, choice.estimate, relation.size, rows.size, seconds)
    )
    return rows


def _run(
    context: Context, choice: PlannedStep, relation: Relation, needed: Names, outside: Names
) -> tuple[Relation, str]:
    clause = choice.clause
    if isinstance(clause, Pattern):
        return _pattern(context, clause, relation, needed, choice)
    if isinstance(clause, Call):
        return run_call(context, clause, relation), "predicate" if clause.binding is None else "function"
    if isinstance(clause, Not):
        return _not(context, clause, relation, outside), "rows without a match"
    if isinstance(clause, Or):
        return _or(context, clause, relation, needed), "branches"
    if isinstance(clause, Given):
        return algebra.join(relation, clause.relation), "demanded bindings"
    return run_rule(context, clause, relation, needed, solve)


def _pattern(context: Context, pattern: Pattern, relation: Relation, needed: Names, choice: PlannedStep) -> Match:
    if context.guard is None or relation.size < 2:
        return _matched(context, pattern, relation, needed, choice)
    parts, access, size = [], "", 0
    for block in blocks_of(context, pattern, relation, BLOCK):
        rows, access = _matched(context, pattern, block, needed, choice)
        parts.append(rows)
        size += rows.size
        context.guard.check(size)
    return Match(stacked(parts, relation.names | (pattern.variables & needed)), access)


def _matched(context: Context, pattern: Pattern, relation: Relation, needed: Names, choice: PlannedStep) -> Match:
    source = context.source(pattern.source, pattern.form)
    try:
        match = source.match(pattern, relation, needed, choice.limits)
        if context.steps is not None and not match.relation.size:
            return match._replace(access=why_never(source, pattern) or match.access)
        return match
    except DatabaseError as error:  # a lookup ref whose value has the wrong type
        raise QueryError(
            error.code, f"{error.message}, in {shown(pattern.form)}", **{**error.data, "form": pattern.form}
        ) from error


def _not(context: Context, clause: Not, relation: Relation, outside: Names) -> Relation:
    names = context.scopes.joins(clause, outside)
    matches = solve(context, clause.clauses, algebra.distinct(relation.keep(names)), names)
    return algebra.antijoin(relation, matches)


def _or(context: Context, clause: Or, relation: Relation, needed: Names) -> Relation:
    inside = clause.variables & relation.names
    out = inside | (clause.variables & needed)
    seed = algebra.distinct(relation.keep(inside))
    rows = algebra.union([solve(context, branch, seed, out) for branch in clause.branches], sorted(out))
    return rows if relation.names == inside else algebra.join(relation, rows)
