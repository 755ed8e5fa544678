"""Names: idents and lookup refs that reach a recursive rule, as the entities that they stand for.

A pattern takes a name for its entity wherever an entity must stand. In recursion that is too late: a value met on the way is
an id, and would never meet the name that was asked for. So names become ids before a rule's table or walk sees them, wherever
the rule's parameter stands for an entity in some pattern of its own or of rules that it calls.

Law: a recursive rule that is asked with names answers what it answers when asked with ids.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from factstore.errors import DatabaseError, QueryError
from factstore.query.language.ast import Clause, Constant, Or, Pattern, RuleCall, Term, Variable
from factstore.query.language.clauses import DEFAULT_SOURCE
from factstore.query.language.dialect import shown
from factstore.query.planning.context import Context
from factstore.query.relations.relation import Column, Relation, column_of, strict
from factstore.query.sources.convert import entity
from factstore.query.sources.database import Facts
from factstore.values.types import Keyword

Places = dict[int, str]  # of a rule's arguments that stand for entities, each with the source that knows them
_NAMING: Final = frozenset((str, Keyword, object))
_V: Final = 2


def with_entities(context: Context, call: RuleCall, relation: Relation) -> tuple[RuleCall, Relation]:
    """Return a call of a rule, and the rows that it is made for, with ids in the place of names.

    Args:
        context: that of the rule's body.
    Returns: the rows with further columns for what had been names; their own stay as they came.
    """
    doubtful = [place for place, term in enumerate(call.args) if _may_be_name(term, relation)]
    places = entity_places(context, call.name) if doubtful else {}
    args = list(call.args)
    for place in doubtful:
        if place not in places:
            continue
        term, source = args[place], context.source(places[place], call.form)
        if isinstance(term, Variable) and term.name in relation.columns:
            name = f"{term.name} entity"
            relation = relation.plus(
                {name: _entities(source, relation.columns[term.name], call)}, distinct=relation.distinct
            )
            args[place] = Variable(name)
        else:
            value = term.value if isinstance(term, Constant) else relation.constants[term.name]  # type: ignore[union-attr]
            args[place] = Constant(_entity(source, value, call))
    if args == list(call.args):
        return call, relation
    variables = frozenset(term.name for term in args if isinstance(term, Variable))
    return replace(call, args=tuple(args), variables=variables), relation


def _may_be_name(term: Term, relation: Relation) -> bool:
    if isinstance(term, Variable) and term.name in relation.columns:
        return relation.columns[term.name].kind in _NAMING
    if isinstance(term, Variable) and term.name in relation.constants:
        return isinstance(relation.constants[term.name], str | list | tuple)
    return isinstance(term, Constant) and isinstance(term.value, str | list | tuple)


def _entities(source: Any, column: Column, call: RuleCall) -> Column:
    known: dict[Any, Any] = {}
    found = []
    for value in column.values():
        key = strict(value)
        if key not in known:
            known[key] = _entity(source, value, call)
        found.append(known[key])
    return column_of(found)


def _entity(source: Any, value: Any, call: RuleCall) -> Any:
    """Return the entity that a value stands for; the value itself when it stands for none, which will match nothing."""
    try:
        eid = entity(source.db, value)
    except DatabaseError as error:
        raise QueryError(
            error.code, f"{error.message}, in {shown(call.form)}", **{**error.data, "form": call.form}
        ) from error
    return value if eid is None else eid


def entity_places(context: Context, name: str) -> Places:
    """Return the arguments of a rule that stand for entities, worked out once a run and set of sources."""
    known = context.tables.entity_places
    key = name, id(context.sources.get(DEFAULT_SOURCE))
    if key not in known:
        component = context.program.component(name)
        known.update({(each, key[1]): {} for each in component})
        before = -1
        while before < (before := sum(len(known[each, key[1]]) for each in component)):
            for each in component:
                for branch in context.program.rules[each].branches:
                    found = _variables(context, branch.clauses)
                    places = {
                        place: found[parameter]
                        for place, parameter in enumerate(branch.parameters)
                        if parameter in found
                    }
                    known[each, key[1]] = {**places, **known[each, key[1]]}
    return known[key]  # type: ignore[no-any-return]


def _variables(context: Context, clauses: Iterable[Clause]) -> dict[str, str]:
    """Return the variables of clauses that stand for entities, each with the source that knows them."""
    found: dict[str, str] = {}
    for clause in clauses:
        if isinstance(clause, Pattern):
            for name in _of_pattern(context, clause):
                found.setdefault(name, clause.source)
        elif isinstance(clause, Or):
            for branch in clause.branches:
                inside = _variables(context, branch)
                found = {**{name: source for name, source in inside.items() if name in clause.variables}, **found}
        elif isinstance(clause, RuleCall):
            inner = context.under(clause.source, clause.form)
            for place, source in entity_places(inner, clause.name).items():
                term = clause.args[place]
                if isinstance(term, Variable):
                    found.setdefault(term.name, clause.source if source == DEFAULT_SOURCE else source)
    return found


def _of_pattern(context: Context, pattern: Pattern) -> list[str]:
    source = context.source(pattern.source, pattern.form)
    if not isinstance(source, Facts):
        return []
    terms = [term for i, term in enumerate(pattern.terms) if i in (0, 1, 3) or (i == _V and _is_ref(source, pattern))]
    return [term.name for term in terms if isinstance(term, Variable)]


def _is_ref(source: Facts, pattern: Pattern) -> bool:
    a = pattern.terms[1]
    return isinstance(a, Constant) and source.attribute(a.value, pattern.form).is_ref
