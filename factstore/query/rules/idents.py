"""Idents and lookup refs that are passed to a recursive rule are replaced by the entities that they name.

A pattern accepts a name wherever an entity is expected. Recursion needs the entity earlier: a value that a rule derives
is an entity id, and would never equal the name that the caller passed. So names are replaced before a rule's table or
graph contains them, if the rule's parameter stands for an entity in a pattern of the rule, or of a rule that it calls.

Law: a recursive rule has the same answers for names and for the ids of their entities.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final, TypeAlias

from factstore.db.names import entity_or_none
from factstore.errors import DatabaseError, QueryError
from factstore.query.language.ast import Clause, Constant, Or, Pattern, RuleCall, Term, Variable
from factstore.query.language.clauses import DEFAULT_SOURCE
from factstore.query.language.dialect import shown
from factstore.query.planning.context import Context
from factstore.query.relations.relation import Column, Relation, column_of, strict
from factstore.query.sources.database import Facts
from factstore.values.types import Keyword

EntityArguments: TypeAlias = dict[int, str]  # the arguments of a rule that stand for entities, each with its source
_NAME_KINDS: Final = frozenset((str, Keyword, object))
_V: Final = 2


def with_entities(context: Context, call: RuleCall, relation: Relation) -> tuple[RuleCall, Relation]:
    """Return a call of a rule, and the caller's rows, with entity ids instead of names.

    Args:
        context: the context of the rule's definitions.
    Returns: the call and the rows; replaced columns are added to the rows, and the original columns stay.
    """
    doubtful = [position for position, term in enumerate(call.args) if _may_be_name(term, relation)]
    sources = entity_arguments(context, call.name) if doubtful else {}
    args = list(call.args)
    for position in doubtful:
        if position not in sources:
            continue
        term, source = args[position], context.source(sources[position], call.form)
        if isinstance(term, Variable) and term.name in relation.columns:
            name = f"{term.name} entity"
            relation = relation.plus(
                {name: _entities(source, relation.columns[term.name], call)}, distinct=relation.distinct
            )
            args[position] = Variable(name)
        else:
            is_constant = isinstance(term, Constant)
            value = term.value if is_constant else relation.constants[term.name]  # type: ignore[union-attr]
            args[position] = Constant(_entity(source, value, call))
    if args == list(call.args):
        return call, relation
    variables = frozenset(term.name for term in args if isinstance(term, Variable))
    return replace(call, args=tuple(args), variables=variables), relation


def _may_be_name(term: Term, relation: Relation) -> bool:
    if isinstance(term, Variable) and term.name in relation.columns:
        return relation.columns[term.name].kind in _NAME_KINDS
    if isinstance(term, Variable) and term.name in relation.constants:
        return isinstance(relation.constants[term.name], str | list | tuple)
    return isinstance(term, Constant) and isinstance(term.value, str | list | tuple)


def _entities(source: Any, column: Column, call: RuleCall) -> Column:
    entities: dict[Any, Any] = {}
    values = []
    for value in column.values():
        key = strict(value)
        if key not in entities:
            entities[key] = _entity(source, value, call)
        values.append(entities[key])
    return column_of(values)


def _entity(source: Any, value: Any, call: RuleCall) -> Any:
    """Return the entity that a value names; the value itself, which matches nothing, when there is no such entity."""
    try:
        eid = entity_or_none(source.db, value)
    except DatabaseError as error:
        raise QueryError(
            error.code, f"{error.message}, in {shown(call.form)}", **{**error.data, "form": call.form}
        ) from error
    return value if eid is None else eid


def entity_arguments(context: Context, name: str) -> EntityArguments:
    """Return the arguments of a rule that stand for entities; computed once for each run and set of sources."""
    memo = context.tables.entity_arguments
    source = id(context.sources.get(DEFAULT_SOURCE))
    if (name, source) not in memo:
        component = context.program.component(name)
        memo.update({(each, source): {} for each in component})
        before = -1
        while before < (before := sum(len(memo[each, source]) for each in component)):
            for each in component:
                for branch in context.program.rules[each].branches:
                    variables = _entity_variables(context, branch.clauses)
                    arguments = {
                        position: variables[parameter]
                        for position, parameter in enumerate(branch.parameters)
                        if parameter in variables
                    }
                    memo[each, source] = {**arguments, **memo[each, source]}
    return memo[name, source]


def _entity_variables(context: Context, clauses: Iterable[Clause]) -> dict[str, str]:
    """Return the variables of clauses that stand for entities, each with the source of these entities."""
    sources: dict[str, str] = {}
    for clause in clauses:
        if isinstance(clause, Pattern):
            for name in _of_pattern(context, clause):
                sources.setdefault(name, clause.source)
        elif isinstance(clause, Or):
            for branch in clause.branches:
                inside = _entity_variables(context, branch)
                sources = {**{name: source for name, source in inside.items() if name in clause.variables}, **sources}
        elif isinstance(clause, RuleCall):
            inner = context.under(clause.source, clause.form)
            for position, source in entity_arguments(inner, clause.name).items():
                term = clause.args[position]
                if isinstance(term, Variable):
                    sources.setdefault(term.name, clause.source if source == DEFAULT_SOURCE else source)
    return sources


def _of_pattern(context: Context, pattern: Pattern) -> list[str]:
    source = context.source(pattern.source, pattern.form)
    if not isinstance(source, Facts):
        return []
    terms = [term for i, term in enumerate(pattern.terms) if i in (0, 1, 3) or (i == _V and _is_ref(source, pattern))]
    return [term.name for term in terms if isinstance(term, Variable)]


def _is_ref(source: Facts, pattern: Pattern) -> bool:
    a = pattern.terms[1]
    return isinstance(a, Constant) and source.attribute(a.value, pattern.form).is_ref
