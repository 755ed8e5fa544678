"""Unfolding: the bodies of mutually recursive rules replace the calls of them, so that a rule calls only itself.

    (odd ?a ?b)  = next(?a ?c) even(?c ?b), or next(?a ?b)
    (even ?a ?b) = next(?a ?c) odd(?c ?b)         →   (odd ?a ?b) = next(?a ?c) next(?c ?d) odd(?d ?b), or next(?a ?b)

An unfolded rule may be a transitive closure or right-linear; both are faster than semi-naive evaluation of all its
rules.
Law: an unfolded rule has the same answers as the rule.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count
from typing import Final

from factstore.query.language.ast import (
    BindEach,
    Binding,
    BindTuple,
    Branch,
    Call,
    Clause,
    Not,
    Or,
    Pattern,
    Rule,
    RuleCall,
    Term,
    Variable,
    walk,
)
from factstore.query.language.clauses import DEFAULT_SOURCE

_MAX_DEFINITIONS: Final = 64  # of one unfolded rule
Names = Mapping[str, str]


def unfolded(rules: Mapping[str, Rule], name: str, component: frozenset[str]) -> Rule | None:
    """Return a rule so that it calls no other rule of its component; None when this is not possible."""
    fresh = count()
    waiting, done = list(rules[name].branches), list[Branch]()
    for _ in range(_MAX_DEFINITIONS):
        if not waiting:
            return replace(rules[name], branches=tuple(done))
        branch = waiting.pop(0)
        call = next(
            (each for each in branch.clauses if isinstance(each, RuleCall) and each.name in component - {name}), None
        )
        if call is None:
            done.append(branch)
            continue
        has_distinct_variables = len(call.variables) == len(call.args)  # no constant, no _, no repeated variable
        if call.source != DEFAULT_SOURCE or not has_distinct_variables:
            return None
        waiting[:0] = [_inlined(branch, call, other, next(fresh)) for other in rules[call.name].branches]
    return None


def _inlined(branch: Branch, call: RuleCall, other: Branch, number: int) -> Branch:
    """Return a definition in which the clauses of another definition replace a call."""
    local = frozenset().union(*(each.variables for each in walk(other.clauses)))
    names = {name: f"{name}~{number}" for name in local}
    names |= {
        parameter: term.name
        for parameter, term in zip(other.parameters, call.args, strict=True)
        if isinstance(term, Variable)
    }
    inside = tuple(_renamed(each, names) for each in other.clauses)
    i = branch.clauses.index(call)
    return replace(branch, clauses=(*branch.clauses[:i], *inside, *branch.clauses[i + 1 :]))


def _renamed(clause: Clause, names: Names) -> Clause:
    variables = frozenset(names.get(name, name) for name in clause.variables)
    if isinstance(clause, Pattern):
        return replace(clause, terms=_terms(clause.terms, names), variables=variables)
    if isinstance(clause, RuleCall):
        return replace(clause, args=_terms(clause.args, names), variables=variables)
    if isinstance(clause, Call):
        return replace(
            clause,
            function=names.get(clause.function, clause.function),
            args=_terms(clause.args, names),
            binding=None if clause.binding is None else _binding(clause.binding, names),
            needs=frozenset(names.get(name, name) for name in clause.needs),
            variables=variables,
        )
    if isinstance(clause, Not):
        listed = None if clause.names is None else tuple(names.get(name, name) for name in clause.names)
        return replace(
            clause, names=listed, clauses=tuple(_renamed(each, names) for each in clause.clauses), variables=variables
        )
    if isinstance(clause, Or):
        required = frozenset(names.get(name, name) for name in clause.required)
        branches = tuple(tuple(_renamed(each, names) for each in branch) for branch in clause.branches)
        return replace(clause, required=required, branches=branches, variables=variables)
    return clause


def _terms(terms: tuple[Term, ...], names: Names) -> tuple[Term, ...]:
    return tuple(Variable(names.get(term.name, term.name)) if isinstance(term, Variable) else term for term in terms)


def _binding(binding: Binding, names: Names) -> Binding:
    if isinstance(binding, Variable):
        return Variable(names.get(binding.name, binding.name))
    if isinstance(binding, BindTuple):
        return BindTuple(tuple(_binding(part, names) for part in binding.parts))
    return BindEach(_binding(binding.part, names)) if isinstance(binding, BindEach) else binding
