"""Preparation: parses a query, destructures its inputs, and checks everything that can be wrong with either.

Parsed and checked queries are cached.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sized
from datetime import datetime
from typing import Any, Final

from factstore.concurrency.bounded_cache import BoundedCache
from factstore.errors import QueryError
from factstore.query.analysis.program import Program, compile_rules
from factstore.query.answer.assemble import check_find
from factstore.query.builder.built import Built
from factstore.query.calls import check_call
from factstore.query.guard import Guard
from factstore.query.language.ast import (
    BindEach,
    Blank,
    Call,
    Input,
    Pattern,
    Query,
    RuleCall,
    RulesInput,
    SourceInput,
    SourceName,
    walk,
)
from factstore.query.language.clauses import DEFAULT_SOURCE, Rules
from factstore.query.language.query import parse_query
from factstore.query.planning.context import Context
from factstore.query.relations.algebra import join
from factstore.query.relations.relation import PLAIN, UNIT, Relation, Untold, written
from factstore.query.rules.tables import RuleTables
from factstore.query.sources.bindings import binding_text, relation_from
from factstore.query.sources.database import Facts
from factstore.query.sources.source import source_of
from factstore.values.types import is_missing, is_naive

_CACHED: Final = 256  # parsed queries, and the same number of compiled sets of rules
_queries: BoundedCache[Any, Query] = BoundedCache(max_entries=_CACHED)
_programs: BoundedCache[Any, Program] = BoundedCache(max_entries=_CACHED)


def parsed(query: Any) -> Query:
    """Return a query in its typed form. Raises: QueryError(:db.error/invalid-query)."""
    if type(query) is str:
        return _queries.get(query) or _queries.put(query, parse_query(query))
    if isinstance(query, Built):
        return query.ast
    try:
        key = written(query)
    except Untold:
        return parse_query(query)
    return _queries.get(key) or _queries.put(key, parse_query(query))


def inputs_of(query: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return all inputs of a query: those of the caller, and those that a built query adds."""
    return (*inputs, *query.bound) if type(query) is not str and isinstance(query, Built) else inputs


def rules_among(query: Query, inputs: tuple[Any, ...]) -> Rules:
    """Return the rules among the inputs of a query."""
    rules = [value for part, value in zip(query.inputs, inputs, strict=False) if isinstance(part, RulesInput)]
    return _compiled(rules[0]).rules if rules else {}


def _compiled(rules: Any) -> Program:
    try:
        key = rules if type(rules) is str else written(rules)
    except Untold:
        return compile_rules(rules)
    return _programs.get(key) or _programs.put(key, compile_rules(rules))


def kept(query: Query, relation: Relation) -> frozenset[str]:
    """Return the variables that the answer needs: its own, and inputs that its aggregates and pulls use."""
    return query.names | (query.side_names & relation.names) if query.side_names else query.names


def prepared(
    query: Query,
    inputs: tuple[Any, ...],
    subquery: Callable[..., Any],
    guard: Guard | None = None,
    steps: list[Any] | None = None,
) -> tuple[Context, Relation]:
    """Return the context of a run and the relation of its inputs; raise QueryError if one of them is wrong."""
    if not inputs and query.inputs == (SourceInput(DEFAULT_SOURCE),) and not _reads_sources(query):
        inputs = ((),)
    if len(inputs) != len(query.inputs):
        raise _wrong_number(query, len(inputs))
    context = Context({}, _NO_RULES, subquery, RuleTables(), guard=guard, steps=steps)
    relation = UNIT
    for part, value in zip(query.inputs, inputs):
        if isinstance(part, SourceInput):
            context.sources[part.name] = source_of(value)
        elif isinstance(part, RulesInput):
            context.program = _compiled(value)
        elif not isinstance(part, Blank):
            bound = _input(part, value, guard)
            relation = bound if relation is UNIT else _joined(relation, bound, guard)
    _check(query, context, relation)
    _check_instants(relation, context)
    return context, relation


def _wrong_number(query: Query, got: int) -> QueryError:
    names = [_name_of(part) for part in query.inputs]
    many = "" if len(names) == 1 else "s"
    text = f"the query takes {len(names)} input{many} ({' '.join(names)}), got {got}"
    if missing := names[got:]:
        text += f": {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
    return QueryError(":db.error/invalid-inputs", text, expected=len(names), got=got)


def _name_of(part: Input) -> str:
    if isinstance(part, SourceInput):
        return part.name
    return "%" if isinstance(part, RulesInput) else binding_text(part)


def _joined(left: Relation, right: Relation, guard: Guard | None) -> Relation:
    """Return the join of two inputs; their product is counted before it is made."""
    if guard is not None and left.columns.keys().isdisjoint(right.columns):
        guard.check(left.size * right.size, "the product of the inputs")
    return join(left, right)


def _reads_sources(query: Query) -> bool:
    """Tell whether any part of a query reads a source; a query that only calculates needs no input."""
    reads = any(
        isinstance(clause, Pattern | RuleCall)
        or (isinstance(clause, Call) and any(isinstance(term, SourceName) for term in clause.args))
        for clause in walk(query.clauses)
    )
    return reads or query.pulls


_PRESENT: Final = PLAIN | {list, tuple}  # types whose values, except None, are never missing


def _input(part: Any, value: Any, guard: Guard | None) -> Relation:
    if value is None or (type(value) not in _PRESENT and is_missing(value)):
        name = binding_text(part)
        raise QueryError(":db.error/invalid-inputs", f"the input for {name} is nil", input=name)
    if guard is not None and isinstance(part, BindEach) and isinstance(value, Sized):
        guard.check(len(value), "an input")
    try:
        return relation_from(part, value)
    except ValueError as error:
        name = binding_text(part)
        raise QueryError(
            ":db.error/invalid-inputs", f"the input for {name} does not fit: {error}", input=name
        ) from error


def _check_instants(relation: Relation, context: Context) -> None:
    """Reject naive datetimes among the inputs of a query over facts: the instants that they mean are not defined."""
    if not relation.columns and _SURE.issuperset(map(type, relation.constants.values())):
        return
    doubtful = [(name, value) for name, value in relation.constants.items() if type(value) not in _SURE]
    mixed = [(name, column) for name, column in relation.columns.items() if column.kind is object]
    if not (doubtful or mixed) or not any(isinstance(source, Facts) for source in context.sources.values()):
        return
    for name, column in mixed:
        doubtful += [(name, value) for value in column.values()]
    for name, value in doubtful:
        if is_naive(value):
            raise _naive(name, value)


_SURE: Final = (PLAIN - {datetime}) | {tuple, frozenset}  # types other than datetime and its subclasses


def _naive(name: str, value: Any) -> QueryError:
    text = f"the input for {name} has a naive datetime, {value!r}; give it a time zone, as in datetime.now(UTC)"
    return QueryError(":db.error/invalid-inputs", text, input=name, value=value)


_NO_RULES: Final = compile_rules(None)


def _check(query: Query, context: Context, relation: Relation) -> None:
    """Raise QueryError if a query is wrong, before any of it runs: an empty relation must not hide the error.

    The result depends only on the query, its rules and the schemas, so it is cached while these stay the same.
    """
    basis = (context.program, *[getattr(source.value, "schema", None) for source in context.sources.values()])
    last = query.memo.get("checked")
    if last is not None and len(last) == len(basis) and None not in basis and all(map(operator.is_, last, basis)):
        return
    context.scopes.check(query.clauses, relation.names, sorted(query.names))
    check_find(query, context)
    if query.having:
        context.scopes.check(query.having, {*query.columns, *relation.constants}, ())
    _check_clauses((*query.clauses, *query.having), context)
    waiting = _rules_called(query.clauses, context)
    checked: set[tuple[str, int]] = set()
    while waiting:
        name, inner = waiting.pop()
        # A rule called with another source is checked again: its patterns must also be valid for that source.
        key = name, id(inner.sources.get(DEFAULT_SOURCE))
        if key not in checked:
            checked.add(key)
            for branch in context.program.rules[name].branches:
                _check_clauses(branch.clauses, inner)
                waiting += _rules_called(branch.clauses, inner)
    query.memo["checked"] = basis


def _rules_called(clauses: Any, context: Context) -> list[tuple[str, Context]]:
    return [(call.name, context.under(call.source, call.form)) for call in walk(clauses) if isinstance(call, RuleCall)]


def _check_clauses(clauses: Any, context: Context) -> None:
    for clause in walk(clauses):
        if isinstance(clause, Pattern):
            context.source(clause.source, clause.form).check(clause)
        elif isinstance(clause, Call):
            check_call(clause, context)
            for term in clause.args:
                if isinstance(term, SourceName):
                    context.source(term.name, clause.form)
        elif isinstance(clause, RuleCall):
            context.scopes.rule(clause)
            if clause.source != DEFAULT_SOURCE:
                context.source(clause.source, clause.form)
