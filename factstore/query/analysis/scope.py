"""Scopes: which variables the clauses can bind, and whether every clause of a query can be solved at all.

    a pattern needs no variable
    a call needs its arguments
    a `not` needs the variables that it shares with other clauses
    an `or` and a rule need the variables that one of their branches cannot bind itself

This module does not use data. Law: if `check` accepts the clauses, the planner finds an order for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any, Final

from factstore.concurrency.bounded_cache import BoundedCache
from factstore.errors import QueryError
from factstore.query.functions.scalar import FUNCTIONS
from factstore.query.language.ast import (
    BindEach,
    Binding,
    BindTuple,
    Branch,
    Call,
    Clause,
    Constant,
    Given,
    Not,
    Or,
    Pattern,
    Rule,
    RuleCall,
    Variable,
)
from factstore.query.language.dialect import invalid, nearest, shown
from factstore.values.quoting import did_you_mean

Rules = dict[str, Rule]
_MAX_CACHED: Final = 4096  # bodies
Adornment = frozenset[int]  # the positions of the arguments that the caller binds


class Scopes:
    """The variables that clauses can bind, for one set of rules; results are cached."""

    __slots__ = ("_branches", "_rules", "rules")

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._branches: BoundedCache[tuple[int, frozenset[str]], tuple[Any, bool]] = BoundedCache(
            max_entries=_MAX_CACHED
        )
        self._rules: dict[tuple[str, Adornment], bool] = {}

    def is_ready(self, clause: Clause, bound: Set[str]) -> bool:
        """Tell whether a clause can be solved once these variables are bound; for a `not`, whether its body can."""
        if isinstance(clause, Pattern | Given):
            return True
        if isinstance(clause, Call):
            return clause.needs <= bound
        if isinstance(clause, Or):
            inside = clause.variables & bound
            return clause.required <= bound and all(
                self._solves(branch, inside, clause.variables - inside, clause.variables) for branch in clause.branches
            )
        if isinstance(clause, RuleCall):
            return self.solves_rule(self.rule(clause), adornment(clause, bound))
        return self._solves(clause.clauses, frozenset(bound & clause.variables), frozenset(), frozenset())

    def bindable(self, clauses: Iterable[Clause], bound: Set[str]) -> tuple[set[str], list[Clause]]:
        """Return the variables that clauses can bind in some order, and the clauses that never become ready.

        A `not` binds nothing, so it is in neither.
        """
        bindable = set(bound)
        waiting: list[Clause] = [clause for clause in clauses if not isinstance(clause, Not)]
        while True:
            ready = [clause for clause in waiting if self.is_ready(clause, bindable)]
            if not ready:
                return bindable, waiting
            for clause in ready:
                bindable |= clause.variables
            waiting = [clause for clause in waiting if clause not in ready]

    def joins(self, clause: Not, outside: Set[str]) -> frozenset[str]:
        """Return the variables by which a `not` is joined with the clauses beside it."""
        return frozenset(clause.names) if clause.names is not None else clause.variables & outside

    def solves_rule(self, rule: Rule, bound: Adornment) -> bool:
        """Tell whether a rule can be solved when these arguments are bound."""
        key = rule.name, bound
        if key not in self._rules:
            self._rules[key] = True  # the assumption for recursive calls; the outer call decides
            self._rules[key] = all(position in bound for position in range(rule.required)) and all(
                self._solves_branch(branch, bound) for branch in rule.branches
            )
        return self._rules[key]

    def _solves_branch(self, branch: Branch, bound: Adornment) -> bool:
        given = frozenset(branch.parameters[position] for position in bound)
        head = frozenset(branch.parameters)
        return self._solves(branch.clauses, given, head - given, head)

    def _solves(
        self, clauses: tuple[Clause, ...], bound: frozenset[str], wanted: frozenset[str], head: frozenset[str]
    ) -> bool:
        key = id(clauses), bound
        cached = self._branches.get(key)
        if cached is None:
            bindable, waiting = self.bindable(clauses, bound)
            solved = (
                not waiting
                and wanted <= bindable
                and all(
                    self._not_problem(clause, bindable, head) is None for clause in clauses if isinstance(clause, Not)
                )
            )
            cached = self._branches.put(key, (clauses, solved))
        return cached[1]

    def _not_problem(self, clause: Not, bindable: Set[str], head: Set[str]) -> frozenset[str] | None:
        """Return the unbound variables because of which a `not` cannot be solved; None when it can be."""
        shared = self.joins(clause, bindable | head)
        if not shared:
            return clause.variables
        if not shared <= bindable:
            return shared - bindable
        inside, waiting = self.bindable(clause.clauses, shared)
        for each in waiting:
            return missing(each, inside)
        for each in clause.clauses:
            if isinstance(each, Not) and (problem := self._not_problem(each, inside, shared)) is not None:
                return problem
        return None

    def rule(self, call: RuleCall) -> Rule:
        """Return the rule that is called.

        Raises: QueryError(:db.error/unknown-rule, :db.error/invalid-query).
        """
        rule = self.rules.get(call.name)
        if rule is None:
            near = nearest(call.name, self.rules)
            if call.name in FUNCTIONS:
                advice = f"; {call.name} is a function, whose call needs a vector around it, [{shown(call.form)}]"
            else:
                advice = did_you_mean(near)
            raise QueryError(
                ":db.error/unknown-rule",
                f"no rule {call.name}/{len(call.args)} is among the rules of the query{advice}, in {shown(call.form)}",
                rule=call.name,
                nearest=near,
                form=call.form,
            )
        if rule.arity != len(call.args):
            raise invalid(
                f"rule {rule.name} takes {rule.arity} arguments, got {len(call.args)}", call.form, rule=rule.name
            )
        return rule

    def check(self, clauses: tuple[Clause, ...], bound: Set[str], wanted: Iterable[str]) -> None:
        """Raise QueryError(:db.error/insufficient-binding) for a clause or a wanted variable that nothing can bind."""
        bindable, waiting = self.bindable(clauses, bound)
        for clause in waiting:
            raise unbound(missing(clause, bindable), clause.form)
        for clause in clauses:
            if isinstance(clause, Not) and (problem := self._not_problem(clause, bindable, frozenset())) is not None:
                raise unbound(problem, clause.form)
        lacking = [name for name in wanted if name not in bindable]
        if lacking:
            raise unbound(lacking, lacking, "of :find and :with")


def adornment(call: RuleCall, bound: Set[str]) -> Adornment:
    """Return the positions of the arguments of a call that are constants or bound."""
    return frozenset(
        position
        for position, term in enumerate(call.args)
        if isinstance(term, Constant) or (isinstance(term, Variable) and term.name in bound)
    )


def missing(clause: Clause, bound: Set[str]) -> frozenset[str]:
    """Return the unbound variables for which a clause may wait."""
    if isinstance(clause, Call):
        return clause.needs - bound
    if isinstance(clause, Or) and clause.required - bound:
        return clause.required - bound
    return clause.variables - bound


def unbound(names: Iterable[str], form: Any, where: str = "") -> QueryError:
    """Return the error for variables that nothing binds."""
    listed = sorted(names)
    if not listed:
        return QueryError(
            ":db.error/insufficient-binding",
            f"a clause that shares no variable with the others cannot be joined, in {shown(form)}",
            variables=listed,
            form=form,
        )
    named = f"{' and '.join(listed)} {where}".rstrip()
    return QueryError(
        ":db.error/insufficient-binding", f"nothing binds {named}, in {shown(form)}", variables=listed, form=form
    )


def binds_many(binding: Binding | None) -> bool:
    """Tell whether a binding may expand one value to several rows."""
    if isinstance(binding, BindTuple):
        return any(map(binds_many, binding.parts))
    return isinstance(binding, BindEach)
