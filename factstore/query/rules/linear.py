"""Questions: recursive rules that hand answers down unchanged, evaluated by following what they ask.

    (along ?k ?a ?b) = ?a ?k ?m, (along ?k ?m ?b)      asked with ?k and ?a: every ?b of the next question is one of this

Where the arguments that the caller leaves free go into the only recursive call as they are, a question has its own answers and
those of all questions that follow from it. So the questions are followed first, and then answered without recursion.
Rounds would collect the answers of every question on the way, quadratic in the length of a chain.
"""

from __future__ import annotations

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
from factstore.query.rules.idents import with_entities

_SEED: Final = "seed"  # which of the caller's questions another one follows from


class Following(NamedTuple):
    """A recursive definition: by these clauses a question leads to what is called."""

    branch: Branch
    call: RuleCall
    clauses: tuple[Clause, ...]


class Shape(NamedTuple):
    """A rule whose free arguments are handed down."""

    bound: tuple[int, ...]
    free: tuple[int, ...]
    followings: tuple[Following, ...]
    bases: tuple[Branch, ...]


def shape_of(program: Program, name: str, bound: Adornment) -> Shape | None:
    """Return the shape of a recursive rule when these of its arguments are bound; None when it hands nothing down."""
    key = "questions", name, bound
    if key not in program.memo:
        program.memo[key] = _shape(program, name, bound) if bound else None
    return program.memo[key]  # type: ignore[no-any-return]


def _shape(program: Program, name: str, bound: Adornment) -> Shape | None:
    rule = program.unfolded[name]
    if rule is None:
        return None
    free = tuple(place for place in range(rule.arity) if place not in bound)
    followings, bases = [], []
    for branch in rule.branches:
        calls = [clause for clause in branch.clauses if isinstance(clause, RuleCall) and clause.name == name]
        if not calls:
            bases.append(branch)
            continue
        call = calls[0]
        rest = tuple(clause for clause in branch.clauses if clause is not call)
        given = {branch.parameters[place] for place in bound}
        if len(calls) > 1 or call.source != DEFAULT_SOURCE or not _hands_down(branch, call, rest, free):
            return None
        known, waiting = program.scopes.bindable(rest, given)
        if waiting or not all(
            isinstance(term, Constant) or _is_in(term, known) for term in (call.args[place] for place in bound)
        ):
            return None
        followings.append(Following(branch, call, rest))
    for branch in bases:
        known, waiting = program.scopes.bindable(branch.clauses, {branch.parameters[place] for place in bound})
        if waiting or not known.issuperset(branch.parameters):
            return None
    return Shape(tuple(sorted(bound)), free, tuple(followings), tuple(bases))


def _hands_down(branch: Branch, call: RuleCall, rest: tuple[Clause, ...], free: tuple[int, ...]) -> bool:
    names = [branch.parameters[place] for place in free]
    others = [term for place, term in enumerate(call.args) if place not in free]
    return (
        all(call.args[place] == Variable(name) for place, name in zip(free, names, strict=True))
        and not shared(rest).intersection(names)
        and not any(isinstance(term, Blank) or (isinstance(term, Variable) and term.name in names) for term in others)
    )


def _is_in(term: object, known: set[str]) -> bool:
    return isinstance(term, Variable) and term.name in known


@dataclass(frozen=True, slots=True)
class Questions:
    """One evaluation of such a rule."""

    context: Context
    shape: Shape
    solve: Solve

    def answers(self, seeds: Relation) -> Relation:
        """Return the answers to some questions, columns named by place."""
        numbered = seeds.plus({_SEED: Column(int, list(range(seeds.size)))}, distinct=True)
        names = [_SEED, *map(str, self.shape.bound)]
        asked = SeenRows(names)
        fresh = asked.add(numbered)
        while fresh.size:
            fresh = asked.add(algebra.union([self._following(each, fresh) for each in self.shape.followings], names))
            if self.context.guard is not None:
                self.context.guard.check(asked.size, "a rule")
        free = [str(place) for place in self.shape.free]
        found = algebra.union([self._answered(branch, asked.all()) for branch in self.shape.bases], [_SEED, *free])
        return algebra.join(numbered, found).keep(frozenset((*map(str, self.shape.bound), *free)))

    def _following(self, following: Following, questions: Relation) -> Relation:
        branch, call, clauses = following
        terms = {place: call.args[place] for place in self.shape.bound}
        wanted = frozenset(term.name for term in terms.values() if isinstance(term, Variable))
        found = self.solve(self.context, clauses, self._renamed(branch, questions), wanted | {_SEED})
        asked, rows = with_entities(self.context, call, found)
        columns = {_SEED: rows.column(_SEED)}
        for place in terms:
            term = asked.args[place]
            if isinstance(term, Constant):
                columns[str(place)] = repeated(term.value, rows.size)
            else:
                columns[str(place)] = rows.column(term.name)  # type: ignore[union-attr]
        return relation_of(columns, rows.size)

    def _answered(self, branch: Branch, questions: Relation) -> Relation:
        names = {branch.parameters[place]: str(place) for place in self.shape.free}
        found = self.solve(self.context, branch.clauses, self._renamed(branch, questions), frozenset(names) | {_SEED})
        return found.renamed({_SEED: _SEED, **names})

    def _renamed(self, branch: Branch, questions: Relation) -> Relation:
        return questions.renamed({_SEED: _SEED, **{str(place): branch.parameters[place] for place in self.shape.bound}})
