"""Programs: a set of rules prepared for evaluation, with the rules that recurse and those that are transitive closures.

An `or` that contains a recursive call becomes a rule of its own, so every recursive call is directly in the body of a
rule. Recursion through `not` has no meaning and is rejected here.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final, NamedTuple

from factstore.query.analysis.scope import Scopes
from factstore.query.analysis.unfold import unfolded
from factstore.query.language.ast import Branch, Clause, Not, Or, Rule, RuleCall, Variable, shared, walk
from factstore.query.language.clauses import DEFAULT_SOURCE, Rules, parse_rules
from factstore.query.language.dialect import invalid


class EdgeClauses(NamedTuple):
    """Clauses that relate a value to the next one: together they define the edges of a graph."""

    start: str
    end: str
    clauses: tuple[Clause, ...]


class Closure(NamedTuple):
    """A rule of two arguments that is `edge* base`: one argument moves along edges, the other is fixed by the base.

    `(r ?m ?f)` holds if a path of edges leads from ?m to a value for which `(base ?value ?f)` holds.
    """

    moving: int  # the position of the argument that moves
    edges: tuple[EdgeClauses, ...]
    bases: tuple[Branch, ...]


class Program:
    """Rules, the calls between them, and the properties that follow from these calls."""

    __slots__ = ("_closures", "_component_of", "_recursive", "memo", "rules", "scopes", "unfolded")

    def __init__(self, rules: Rules) -> None:
        self._component_of = _components({name: _called(rule) & rules.keys() for name, rule in rules.items()})
        self._recursive = {
            name for name, rule in rules.items() if len(self._component_of[name]) > 1 or name in _called(rule)
        }
        self.rules = self._flattened(rules)
        self.scopes = Scopes(self.rules)
        self.unfolded = {name: self._unfolded(name) for name in self._recursive}  # None: not possible
        self._closures = {name: None if rule is None else _closure(rule) for name, rule in self.unfolded.items()}
        self.memo: dict[Any, Any] = {}  # results that later stages computed from these rules

    def is_recursive(self, name: str) -> bool:
        """Tell whether a rule calls itself, directly or through others."""
        return name in self._recursive

    def component(self, name: str) -> frozenset[str]:
        """Return the rule and all rules that call it and that it calls, directly or through others."""
        return self._component_of[name]

    def closure(self, name: str) -> Closure | None:
        """Return a recursive rule as a transitive closure; None when it is not one."""
        return self._closures.get(name)

    def _unfolded(self, name: str) -> Rule | None:
        component = self._component_of[name]
        return self.rules[name] if len(component) == 1 else unfolded(self.rules, name, component)

    def _flattened(self, rules: Rules) -> Rules:
        flat: Rules = {}
        for name, rule in rules.items():
            if name in self._recursive:
                self._flatten(rule, self._component_of[name], flat)
            else:
                flat[name] = rule
        return flat

    def _flatten(self, rule: Rule, component: frozenset[str], flat: Rules) -> None:
        """Add a rule to `flat`; each `or` in it that contains a recursive call is added as a separate rule."""
        branches = []
        for branch in rule.branches:
            clauses: list[Clause] = []
            for clause in branch.clauses:
                recurses = any(isinstance(each, RuleCall) and each.name in component for each in walk((clause,)))
                if recurses and isinstance(clause, Not):
                    raise invalid(
                        f"rule {rule.name} calls itself through not, which has no meaning", branch.form, rule=rule.name
                    )
                if recurses and isinstance(clause, Or):
                    clauses.append(self._extracted(clause, f"{rule.name} or {len(flat)}", component, flat))
                else:
                    clauses.append(clause)
            branches.append(replace(branch, clauses=tuple(clauses)))
        flat[rule.name] = replace(rule, branches=tuple(branches))

    def _extracted(self, clause: Or, name: str, component: frozenset[str], flat: Rules) -> RuleCall:
        parameters = (*sorted(clause.required), *sorted(clause.variables - clause.required))
        branches = tuple(Branch(parameters, branch, clause.form) for branch in clause.branches)
        flat[name] = Rule(
            name, len(parameters), len(clause.required), branches
        )  # reserves the name until the rule is flattened
        component = self._component_of[name] = component | {name}
        self._recursive.add(name)
        for other in component:
            self._component_of[other] = component
        self._flatten(flat[name], component, flat)
        return RuleCall(DEFAULT_SOURCE, name, tuple(map(Variable, parameters)), clause.form, clause.variables)


def _called(rule: Rule) -> set[str]:
    return {clause.name for branch in rule.branches for clause in walk(branch.clauses) if isinstance(clause, RuleCall)}


def _components(calls: dict[str, set[str]]) -> dict[str, frozenset[str]]:
    """Return for each name its strongly connected component in the graph of calls; a set of one when it is alone."""
    reach = {name: set(called) for name, called in calls.items()}
    changed = True
    while changed:
        changed = False
        for names in reach.values():
            more = names.union(*(reach[name] for name in names))
            if len(more) > len(names):
                names |= more
                changed = True
    return {
        name: frozenset({other for other in names if name in reach[other]} | {name}) for name, names in reach.items()
    }


# -- closures


def _closure(rule: Rule) -> Closure | None:
    if rule.arity != 2 or rule.required:
        return None
    bases = tuple(branch for branch in rule.branches if not _recursions(rule, branch))
    rest = [branch for branch in rule.branches if _recursions(rule, branch)]
    if not bases or not rest:
        return None
    if len(rest) == 1 and _is_double(rule, rest[0]):
        return Closure(
            0, tuple(EdgeClauses(base.parameters[0], base.parameters[1], base.clauses) for base in bases), bases
        )
    moves = [_move(rule, branch) for branch in rest]
    if None in moves or len({move[0] for move in moves if move}) > 1:
        return None
    return Closure(moves[0][0], tuple(move[1] for move in moves if move), bases)  # type: ignore[index]


def _recursions(rule: Rule, branch: Branch) -> list[RuleCall]:
    # A call with another number of arguments is not recursion; it is reported as an error when the rule is called.
    calls = (clause for clause in branch.clauses if isinstance(clause, RuleCall) and clause.name == rule.name)
    return [call for call in calls if len(call.args) == rule.arity]


def _is_double(rule: Rule, branch: Branch) -> bool:
    """Tell whether a branch is `(r ?x ?z) (r ?z ?y)`."""
    calls = _recursions(rule, branch)
    if len(calls) != 2 or len(branch.clauses) != 2 or any(call.source != DEFAULT_SOURCE for call in calls):
        return False
    x, y = map(Variable, branch.parameters)
    pairs = {call.args for call in calls}
    return any((x, z) in pairs and (z, y) in pairs for z in (calls[0].args[0], calls[0].args[1]) if z not in (x, y))


def _move(rule: Rule, branch: Branch) -> tuple[int, EdgeClauses] | None:
    """Return which argument moves, and along which edge; None when a branch is not a single edge."""
    calls = _recursions(rule, branch)
    if len(calls) != 1 or calls[0].source != DEFAULT_SOURCE:
        return None
    call, clauses = calls[0], tuple(clause for clause in branch.clauses if clause is not calls[0])
    used = shared(clauses)
    for moving in (0, 1):
        fixed, start, end = branch.parameters[1 - moving], branch.parameters[moving], call.args[moving]
        if call.args[1 - moving] != Variable(fixed) or fixed in used or not isinstance(end, Variable):
            continue
        if end.name not in (start, fixed) and start in used and end.name in used:
            return moving, EdgeClauses(start, end.name, clauses)
    return None


_EMPTY: Final = Program({})


def compile_rules(form: Any) -> Program:
    """Return the program for rules as text or data; for None, a program without rules."""
    return _EMPTY if form is None else Program(parse_rules(form))
