"""Walks: a rule that is a closure evaluated over the graph that its steps make (`closure`), from whichever end is bound.

Law: the answers are those of evaluating the rule in rounds; None means that only rounds will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from factstore.query.analysis.program import Closure, Step
from factstore.query.planning.context import Context, Solve
from factstore.query.planning.plan import estimate_of
from factstore.query.relations import algebra
from factstore.query.relations.relation import PLAIN, UNIT, Column, Relation, relation_of
from factstore.query.rules import graph


@dataclass(frozen=True, slots=True)
class Walk:
    """One evaluation of a closure."""

    context: Context
    shape: Closure
    solve: Solve

    def answers(self, seeds: dict[int, Column]) -> Relation | None:
        """Return the answers for what is bound, as columns "0" and "1"."""
        moving, fixed = self.shape.moving, 1 - self.shape.moving
        if not self._solves_base({moving} if moving in seeds else set(seeds)):
            return None
        if moving in seeds:
            return self._forward(seeds[moving], moving)
        if fixed in seeds:
            return self._backward(seeds[fixed], moving)
        return self._everything(moving)

    def _forward(self, seed: Column, moving: int) -> Relation | None:
        if not self._solves(back=False, seeded_=True):
            return None
        origins = seed.machine()
        edges = graph.walked(
            origins,
            lambda nodes: self._pairs(seed.kind, nodes, back=False),
            self._all_pairs,
            self._size(),
            self.context.guard,
        )
        nodes = list(dict.fromkeys([*origins, *edges, *(other for others in edges.values() for other in others)]))
        if len(origins) == 1:
            nodes = graph.reached(origins[0], edges)
        base = self._base({moving: Column(seed.kind, nodes)})
        return self._finish(origins, edges, base, moving, seed.kind)

    def _backward(self, seed: Column, moving: int) -> Relation | None:
        if not self._solves(back=True, seeded_=True):
            return None
        base = self._base({1 - moving: seed})
        if not base.size:
            return base
        starts = base.column(str(moving))
        if starts.kind not in PLAIN:
            return None
        reverse = graph.walked(
            starts.machine(),
            lambda nodes: self._pairs(starts.kind, nodes, back=True),
            self._all_reversed,
            self._size(),
            self.context.guard,
        )
        if len(seed.data) == 1 and seed.kind in PLAIN:
            return self._reached_backwards(starts, reverse, seed, moving)
        edges: graph.Edges = {}
        for node, others in reverse.items():
            for other in others:
                edges.setdefault(other, []).append(node)
        return self._finish(None, edges, base, moving, starts.kind)

    def _reached_backwards(self, starts: Column, reverse: graph.Edges, seed: Column, moving: int) -> Relation:
        root = object()  # one node before all starts, so that one walk does
        nodes = graph.reached(root, {**reverse, root: starts.machine()})[1:]
        columns = {
            str(moving): Column(starts.kind, nodes),
            str(1 - moving): Column(seed.kind, [seed.machine()[0]] * len(nodes)),
        }
        return relation_of(columns, len(nodes), distinct=True)

    def _everything(self, moving: int) -> Relation | None:
        pairs = self._all_pairs()
        if pairs is None:
            return None
        base = self._base({})
        return self._finish(None, graph.grouped(pairs), base, moving, base.column(str(moving)).kind)

    def _finish(
        self, origins: list[Any] | None, edges: graph.Edges, base: Relation, moving: int, kind: type
    ) -> Relation | None:
        if not base.size:
            return base
        left, right = base.column(str(moving)), base.column(str(1 - moving))
        if left.kind is not kind or right.kind not in PLAIN:
            return None
        bases = list(zip(left.machine(), right.machine(), strict=True))
        found = graph.closed(origins, edges, bases, (kind, right.kind), self.context.guard)
        return None if found is None else found.renamed({"0": str(moving), "1": str(1 - moving)})

    def _solves(self, *, back: bool, seeded_: bool) -> bool:
        """Tell whether every step can be taken in a direction, from given nodes or from nothing."""
        scopes = self.context.scopes
        for step in self.shape.steps:
            start, end = (step.end, step.start) if back else (step.start, step.end)
            known, waiting = scopes.bindable(step.clauses, {start} if seeded_ else set())
            if waiting or not {start, end} <= known:
                return False
        return True

    def _solves_base(self, places: set[int]) -> bool:
        scopes = self.context.scopes
        for branch in self.shape.bases:
            known, waiting = scopes.bindable(branch.clauses, {branch.parameters[place] for place in places})
            if waiting or not known.issuperset(branch.parameters):
                return False
        return True

    def _size(self) -> float:
        """Return about how many edges there are."""
        return sum(
            min((estimate_of(self.context, clause, UNIT) for clause in step.clauses), default=1.0)
            for step in self.shape.steps
        )

    def _pairs(self, kind: type, nodes: list[Any], *, back: bool) -> list[tuple[Any, Any]]:
        """Return the edges that begin, or end, at some nodes, from there to the other side."""
        found = []
        for step in self.shape.steps:
            near, far = (step.end, step.start) if back else (step.start, step.end)
            seed = relation_of({near: Column(kind, nodes)}, len(nodes), distinct=True)
            found += self._solved(step, seed, near, far, kind)
        return found

    def _solved(self, step: Step, seed: Relation, near: str, far: str, kind: type | None) -> list[tuple[Any, Any]]:
        edges = self.solve(self.context, step.clauses, seed, frozenset((near, far)))
        left, right = edges.column(near), edges.column(far)
        if edges.size and (
            left.kind is not right.kind or left.kind not in PLAIN or (kind is not None and left.kind is not kind)
        ):
            raise MixedKinds
        return list(zip(left.machine(), right.machine(), strict=True))

    def _all_pairs(self) -> list[tuple[Any, Any]] | None:
        if not self._solves(back=False, seeded_=False):
            return None
        return [pair for step in self.shape.steps for pair in self._solved(step, UNIT, step.start, step.end, None)]

    def _all_reversed(self) -> list[tuple[Any, Any]] | None:
        pairs = self._all_pairs()
        return None if pairs is None else [(b, a) for a, b in pairs]

    def _base(self, seeds: dict[int, Column]) -> Relation:
        parts = []
        for branch in self.shape.bases:
            columns = {branch.parameters[place]: column for place, column in seeds.items()}
            size = len(next(iter(columns.values())).data) if columns else 1
            found = self.solve(
                self.context, branch.clauses, relation_of(columns, size, distinct=True), frozenset(branch.parameters)
            )
            parts.append(found.renamed(dict(zip(branch.parameters, ("0", "1"), strict=True))))
        return algebra.union(parts, ("0", "1"))


class MixedKinds(Exception):
    """Nodes of more than one kind: words cannot stand for them."""
