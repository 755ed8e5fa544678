"""Right-linear recursion: a definition whose only recursive call passes on the free arguments unchanged.

    (along ?k ?a ?b) = ?a ?k ?m, (along ?k ?m ?b)     with ?k and ?a bound: every ?b of (?k ?m) is also a ?b of (?k ?a)

The answers for one set of bound arguments are its own and those of every set that it demands. So first the demanded
bindings are computed, as a fixed point, and then the definitions without recursion are solved once for all of them.
Semi-naive rounds would derive the answers of every demanded set, which is quadratic in the length of a chain.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, NamedTuple

from factstore.query.analysis.program import Program
from factstore.query.analysis.scope import Adornment
from factstore.query.language.ast import Blank, Branch, Clause, Constant, RuleCall, Variable, shared
from factstore.query.language.clauses import DEFAULT_SOURCE
from factstore.query.planning.context import Context, Solve
from factstore.query.relations import algebra
from factstore.query.relations.relation import Column, Relation, relation_of, repeated
from factstore.query.relations.seen import SeenRows
from factstore.query.rules.arguments import RecursiveCall, columns_of
from factstore.query.rules.idents import with_entities

_SEED: Final = "seed"  # column: the number of the row of the seed relation that demands a binding


class RecursiveDefinition(NamedTuple):
    """A definition with a recursive call; its other clauses compute the bindings that the call demands."""

    branch: Branch
    call: RuleCall
    clauses: tuple[Clause, ...]


class RightLinearRule(NamedTuple):
    """A rule whose definitions pass on the free arguments unchanged, for one set of bound arguments."""

    bound: tuple[int, ...]
    free: tuple[int, ...]
    recursive: tuple[RecursiveDefinition, ...]
    bases: tuple[Branch, ...]


def evaluate(call: RecursiveCall) -> Relation | None:
    """Return the answers of a rule that is right-linear in its free arguments; None when it is not."""
    shape = right_linear(call.context.program, call.rule.name, call.bound)
    return None if shape is None else _RightLinearEvaluation(call.context, shape, call.solve).answers(call.seed())


def right_linear(program: Program, name: str, bound: Adornment) -> RightLinearRule | None:
    """Return a rule as a right-linear one when these arguments are bound; None when it is not right-linear."""
    key = "right-linear", name, bound
    if key not in program.memo:
        program.memo[key] = _right_linear(program, name, bound) if bound else None
    return program.memo[key]  # type: ignore[no-any-return]


def _right_linear(program: Program, name: str, bound: Adornment) -> RightLinearRule | None:
    rule = program.unfolded[name]
    if rule is None:
        return None
    free = tuple(position for position in range(rule.arity) if position not in bound)
    recursive, bases = [], []
    for branch in rule.branches:
        calls = [clause for clause in branch.clauses if isinstance(clause, RuleCall) and clause.name == name]
        if not calls:
            bases.append(branch)
            continue
        definition = _recursive_definition(program, branch, calls, bound, free)
        if definition is None:
            return None
        recursive.append(definition)
    for branch in bases:
        bindable, waiting = program.scopes.bindable(branch.clauses, {branch.parameters[i] for i in bound})
        if waiting or not bindable.issuperset(branch.parameters):
            return None
    return RightLinearRule(tuple(sorted(bound)), free, tuple(recursive), tuple(bases))


def _recursive_definition(
    program: Program, branch: Branch, calls: list[RuleCall], bound: Adornment, free: tuple[int, ...]
) -> RecursiveDefinition | None:
    call = calls[0]
    rest = tuple(clause for clause in branch.clauses if clause is not call)
    if len(calls) > 1 or call.source != DEFAULT_SOURCE or not _passes_on(branch, call, rest, free):
        return None
    bindable, waiting = program.scopes.bindable(rest, {branch.parameters[i] for i in bound})
    demanded = [call.args[i] for i in bound]
    if waiting or not all(isinstance(term, Constant) or _is_among(term, bindable) for term in demanded):
        return None
    return RecursiveDefinition(branch, call, rest)


def _passes_on(branch: Branch, call: RuleCall, rest: tuple[Clause, ...], free: tuple[int, ...]) -> bool:
    """Tell whether a definition passes its free arguments to a recursive call, and uses them nowhere else."""
    names = [branch.parameters[position] for position in free]
    others = [term for position, term in enumerate(call.args) if position not in free]
    return (
        all(call.args[position] == Variable(name) for position, name in zip(free, names, strict=True))
        and not shared(rest).intersection(names)
        and not any(isinstance(term, Blank) or _is_among(term, names) for term in others)
    )


def _is_among(term: object, names: Collection[str]) -> bool:
    return isinstance(term, Variable) and term.name in names


@dataclass(frozen=True, slots=True)
class _RightLinearEvaluation:
    """One evaluation of a right-linear rule. The columns of its relations are named by argument position."""

    context: Context
    shape: RightLinearRule
    solve: Solve

    def answers(self, seed: Relation) -> Relation:
        """Return the answers for a seed relation."""
        numbered = seed.plus({_SEED: Column(int, list(range(seed.size)))}, distinct=True)
        names = [_SEED, *columns_of(self.shape.bound)]
        demanded = SeenRows(names)
        delta = demanded.add(numbered)
        while delta.size:
            parts = [self._demanded_by(definition, delta) for definition in self.shape.recursive]
            delta = demanded.add(algebra.union(parts, names))
            if self.context.guard is not None:
                self.context.guard.check(demanded.size, "a rule")
        free = columns_of(self.shape.free)
        answers = algebra.union([self._base(branch, demanded.all()) for branch in self.shape.bases], [_SEED, *free])
        return algebra.join(numbered, answers).keep(frozenset((*columns_of(self.shape.bound), *free)))

    def _demanded_by(self, definition: RecursiveDefinition, delta: Relation) -> Relation:
        """Return the bindings that a recursive call demands for the newly demanded ones."""
        branch, call, clauses = definition
        terms = {position: call.args[position] for position in self.shape.bound}
        wanted = frozenset(term.name for term in terms.values() if isinstance(term, Variable))
        solved = self.solve(self.context, clauses, self._as_parameters(branch, delta), wanted | {_SEED})
        resolved, rows = with_entities(self.context, call, solved)
        columns = {_SEED: rows.column(_SEED)}
        for position in terms:
            term = resolved.args[position]
            if isinstance(term, Constant):
                columns[str(position)] = repeated(term.value, rows.size)
            else:
                columns[str(position)] = rows.column(term.name)  # type: ignore[union-attr]
        return relation_of(columns, rows.size)

    def _base(self, branch: Branch, demanded: Relation) -> Relation:
        """Return the answers of a definition without recursion for all demanded bindings."""
        names = {branch.parameters[position]: str(position) for position in self.shape.free}
        seed = self._as_parameters(branch, demanded)
        rows = self.solve(self.context, branch.clauses, seed, frozenset(names) | {_SEED})
        return rows.renamed({_SEED: _SEED, **names})

    def _as_parameters(self, branch: Branch, relation: Relation) -> Relation:
        return relation.renamed({_SEED: _SEED, **{str(i): branch.parameters[i] for i in self.shape.bound}})
