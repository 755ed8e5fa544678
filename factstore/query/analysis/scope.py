"""Scopes: which variables clauses can bind, and whether every clause of a query can be run at all.

    a pattern needs nothing · a call its arguments · a `not` what it shares with the clauses beside it ·
    an `or` and a rule what no branch of theirs binds by itself

Nothing here knows data. Law: what `check` lets pass, the planner can put in order.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from typing import Any, Final

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
from factstore.query.language.dialect import hint, invalid, nearest, shown

Rules = dict[str, Rule]
_REMEMBERED: Final = 4096  # bodies
Adornment = frozenset[int]  # the places of a rule's arguments that the caller binds


class Scopes:
    """What can be bound by clauses, under one set of rules; remembers what it worked out."""

    __slots__ = ("_branches", "_rules", "rules")

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._branches: dict[tuple[int, frozenset[str]], tuple[Any, bool]] = {}
        self._rules: dict[tuple[str, Adornment], bool] = {}

    def is_ready(self, clause: Clause, bound: Set[str]) -> bool:
        """Tell whether a clause can be run once these variables are bound; of a `not`, whether its body can."""
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
        """Return every variable that clauses can bind in some order, and the clauses, without any `not`, that stay unready."""
        known = set(bound)
        waiting: list[Clause] = [clause for clause in clauses if not isinstance(clause, Not)]
        while True:
            ready = [clause for clause in waiting if self.is_ready(clause, known)]
            if not ready:
                return known, waiting
            for clause in ready:
                known |= clause.variables
            waiting = [clause for clause in waiting if clause not in ready]

    def joins(self, clause: Not, outside: Set[str]) -> frozenset[str]:
        """Return the variables by which a `not` is joined with what stands beside it."""
        return frozenset(clause.names) if clause.names is not None else clause.variables & outside

    def solves_rule(self, rule: Rule, bound: Adornment) -> bool:
        """Tell whether a rule can be run when these of its arguments are bound."""
        key = rule.name, bound
        if key not in self._rules:
            self._rules[key] = True  # a recursive call is taken to work; whether it does, its first call decides
            self._rules[key] = all(place in bound for place in range(rule.required)) and all(
                self._solves_branch(branch, bound) for branch in rule.branches
            )
        return self._rules[key]

    def _solves_branch(self, branch: Branch, bound: Adornment) -> bool:
        given = frozenset(branch.parameters[place] for place in bound)
        head = frozenset(branch.parameters)
        return self._solves(branch.clauses, given, head - given, head)

    def _solves(
        self, clauses: tuple[Clause, ...], bound: frozenset[str], wanted: frozenset[str], head: frozenset[str]
    ) -> bool:
        key = id(clauses), bound
        found = self._branches.get(key)
        if found is None:
            known, waiting = self.bindable(clauses, bound)
            solved = (
                not waiting
                and wanted <= known
                and all(self._not_problem(clause, known, head) is None for clause in clauses if isinstance(clause, Not))
            )
            if len(self._branches) >= _REMEMBERED:  # queries come and go under the same rules
                self._branches.clear()
            found = self._branches[key] = clauses, solved
        return found[1]

    def _not_problem(self, clause: Not, known: Set[str], head: Set[str]) -> frozenset[str] | None:
        """Return the variables for want of which a `not` cannot be run; None when it can."""
        shared = self.joins(clause, known | head)
        if not shared:
            return clause.variables
        if not shared <= known:
            return shared - known
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
            what = (
                f"; the function {call.name} is called inside of a vector, [{shown(call.form)}]"
                if call.name in FUNCTIONS
                else hint(near)
            )
            raise QueryError(
                ":db.error/unknown-rule",
                f"no rule {call.name}/{len(call.args)} is among the rules given{what}, in {shown(call.form)}",
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
        known, waiting = self.bindable(clauses, bound)
        for clause in waiting:
            raise unbound(missing(clause, known), clause.form)
        for clause in clauses:
            if isinstance(clause, Not) and (problem := self._not_problem(clause, known, frozenset())) is not None:
                raise unbound(problem, clause.form)
        lacking = [name for name in wanted if name not in known]
        if lacking:
            raise unbound(lacking, lacking, "of :find and :with")


def adornment(call: RuleCall, bound: Set[str]) -> Adornment:
    """Return the places of a call's arguments that are constants or bound."""
    return frozenset(
        place
        for place, term in enumerate(call.args)
        if isinstance(term, Constant) or (isinstance(term, Variable) and term.name in bound)
    )


def missing(clause: Clause, bound: Set[str]) -> frozenset[str]:
    """Return the variables whose binding a clause may wait for."""
    if isinstance(clause, Call):
        return clause.needs - bound
    if isinstance(clause, Or) and clause.required - bound:
        return clause.required - bound
    return clause.variables - bound


def unbound(names: Iterable[str], form: Any, where: str = "") -> QueryError:
    """Return the error of variables that nothing binds."""
    listed = sorted(names)
    what = f"{' and '.join(listed)}{' ' + where if where else ''}" if listed else "a clause that shares no variable"
    return QueryError(
        ":db.error/insufficient-binding",
        f"nothing binds {what}, in {shown(form)}"
        if listed
        else f"{what} with the others cannot be joined, in {shown(form)}",
        variables=listed,
        form=form,
    )


def binds_many(binding: Binding | None) -> bool:
    """Tell whether a binding may take one value apart into several rows."""
    if isinstance(binding, BindTuple):
        return any(map(binds_many, binding.parts))
    return isinstance(binding, BindEach)
