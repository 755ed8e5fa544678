"""Unfolding: a rule with the rules that it calls in a circle written out in place, so that it calls none but itself.

    (odd ?a ?b)  = next(?a ?c) even(?c ?b), or next(?a ?b)
    (even ?a ?b) = next(?a ?c) odd(?c ?b)         →   (odd ?a ?b) = next(?a ?c) next(?c ?d) odd(?d ?b), or next(?a ?b)

What is unfolded may turn out to be a closure, which is walked where rounds would answer for every rule on the way.
Law: an unfolded rule has the answers of the rule.
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

_MOST: Final = 64  # definitions that one rule may become
Names = Mapping[str, str]


def unfolded(rules: Mapping[str, Rule], name: str, component: frozenset[str]) -> Rule | None:
    """Return a rule of a component that calls no other rule of it; None when it cannot be written so."""
    fresh = count()
    waiting, done = list(rules[name].branches), list[Branch]()
    for _ in range(_MOST):
        if not waiting:
            return replace(rules[name], branches=tuple(done))
        branch = waiting.pop(0)
        call = next(
            (each for each in branch.clauses if isinstance(each, RuleCall) and each.name in component - {name}), None
        )
        if call is None:
            done.append(branch)
            continue
        if call.source != DEFAULT_SOURCE or len(call.variables) < len(call.args):  # a constant, _ or a variable twice
            return None
        waiting[:0] = [_written_out(branch, call, other, next(fresh)) for other in rules[call.name].branches]
    return None


def _written_out(branch: Branch, call: RuleCall, other: Branch, number: int) -> Branch:
    """Return a definition with a call in it replaced by what a definition of the rule that it calls says."""
    local = frozenset().union(*(each.variables for each in walk(other.clauses)))
    names = {name: f"{name}~{number}" for name in local}
    names |= {
        parameter: term.name
        for parameter, term in zip(other.parameters, call.args, strict=True)
        if isinstance(term, Variable)
    }
    inside = tuple(_renamed(each, names) for each in other.clauses)
    at = branch.clauses.index(call)
    return replace(branch, clauses=(*branch.clauses[:at], *inside, *branch.clauses[at + 1 :]))


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
