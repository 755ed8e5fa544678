"""Transitive closure: a rule `edge* base` evaluated on the graph of its edges (`graph`), from either argument.

It does not apply when an edge or a base needs more bindings than there are, when values have different types, or when
the result would be too large. Law: the answers are those of semi-naive evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from factstore.query.analysis.program import Closure, EdgeClauses
from factstore.query.planning.context import Context, Solve
from factstore.query.planning.plan import estimate_of, seeded
from factstore.query.relations import algebra
from factstore.query.relations.relation import PLAIN, UNIT, Column, Relation, relation_of
from factstore.query.rules import graph
from factstore.query.rules.arguments import RecursiveCall, columns_of


def evaluate(call: RecursiveCall) -> Relation | None:
    """Return the answers of a rule that is a transitive closure; None when this strategy does not apply."""
    shape = call.context.program.closure(call.rule.name)
    if shape is None:
        return None
    every = seeded(call.call.args, columns_of((0, 1)), call.rows)
    seeds = {i: algebra.distinct(every.keep(columns_of((i,)))).column(str(i)) for i in call.bound}
    if any(seed.kind not in PLAIN for seed in seeds.values()):
        return None
    try:
        return _ClosureEvaluation(call.context, shape, call.solve).answers(seeds)
    except _MixedKinds:
        return None


class _MixedKinds(Exception):
    """The nodes have values of more than one kind, so plain equality does not identify them."""


@dataclass(frozen=True, slots=True)
class _ClosureEvaluation:
    """One evaluation of a closure. Columns "0" and "1" are the rule's arguments."""

    context: Context
    shape: Closure
    solve: Solve

    def answers(self, seeds: dict[int, Column]) -> Relation | None:
        """Return the answers for the values of the bound arguments."""
        moving, fixed = self.shape.moving, 1 - self.shape.moving
        if not self._can_solve_bases({moving} if moving in seeds else set(seeds)):
            return None
        if moving in seeds:
            return self._forward(seeds[moving], moving)
        if fixed in seeds:
            return self._backward(seeds[fixed], moving)
        return self._all(moving)

    def _forward(self, seed: Column, moving: int) -> Relation | None:
        if not self._can_solve_edges(back=False, seeded=True):
            return None
        origins = seed.machine()
        edges = graph.reachable_edges(
            origins,
            lambda nodes: self._edges_at(seed.kind, nodes, back=False),
            self._all_edges,
            self._edge_count(),
            self.context.guard,
        )
        nodes = list(dict.fromkeys([*origins, *edges, *(other for others in edges.values() for other in others)]))
        if len(origins) == 1:
            nodes = graph.reachable(origins[0], edges)
        base = self._bases({moving: Column(seed.kind, nodes)})
        return self._closure(origins, edges, base, moving, seed.kind)

    def _backward(self, seed: Column, moving: int) -> Relation | None:
        if not self._can_solve_edges(back=True, seeded=True):
            return None
        base = self._bases({1 - moving: seed})
        if not base.size:
            return base
        starts = base.column(str(moving))
        if starts.kind not in PLAIN:
            return None
        reverse = graph.reachable_edges(
            starts.machine(),
            lambda nodes: self._edges_at(starts.kind, nodes, back=True),
            self._all_reversed,
            self._edge_count(),
            self.context.guard,
        )
        if len(seed.data) == 1 and seed.kind in PLAIN:
            return self._backward_from_one(starts, reverse, seed, moving)
        edges: graph.Edges = {}
        for node, others in reverse.items():
            for other in others:
                edges.setdefault(other, []).append(node)
        return self._closure(None, edges, base, moving, starts.kind)

    def _backward_from_one(self, starts: Column, reverse: graph.Edges, seed: Column, moving: int) -> Relation:
        root = object()  # one node before all starts, so that one traversal is sufficient
        nodes = graph.reachable(root, {**reverse, root: starts.machine()})[1:]
        columns = {
            str(moving): Column(starts.kind, nodes),
            str(1 - moving): Column(seed.kind, [seed.machine()[0]] * len(nodes)),
        }
        return relation_of(columns, len(nodes), distinct=True)

    def _all(self, moving: int) -> Relation | None:
        edges = self._all_edges()
        if edges is None:
            return None
        base = self._bases({})
        return self._closure(None, graph.grouped(edges), base, moving, base.column(str(moving)).kind)

    def _closure(
        self, origins: list[Any] | None, edges: graph.Edges, base: Relation, moving: int, kind: type
    ) -> Relation | None:
        if not base.size:
            return base
        left, right = base.column(str(moving)), base.column(str(1 - moving))
        if left.kind is not kind or right.kind not in PLAIN:
            return None
        bases = list(zip(left.machine(), right.machine(), strict=True))
        pairs = graph.closure(origins, edges, bases, (kind, right.kind), self.context.guard)
        return None if pairs is None else pairs.renamed({"0": str(moving), "1": str(1 - moving)})

    def _can_solve_edges(self, *, back: bool, seeded: bool) -> bool:
        """Tell whether the clauses of every edge can be solved in a direction, from given nodes or without any."""
        scopes = self.context.scopes
        for edge in self.shape.edges:
            near, far = (edge.end, edge.start) if back else (edge.start, edge.end)
            bindable, waiting = scopes.bindable(edge.clauses, {near} if seeded else set())
            if waiting or not {near, far} <= bindable:
                return False
        return True

    def _can_solve_bases(self, bound: set[int]) -> bool:
        scopes = self.context.scopes
        for branch in self.shape.bases:
            bindable, waiting = scopes.bindable(branch.clauses, {branch.parameters[i] for i in bound})
            if waiting or not bindable.issuperset(branch.parameters):
                return False
        return True

    def _edge_count(self) -> float:
        """Return the estimated number of edges."""
        return sum(
            min((estimate_of(self.context, clause, UNIT) for clause in edge.clauses), default=1.0)
            for edge in self.shape.edges
        )

    def _edges_at(self, kind: type, nodes: list[Any], *, back: bool) -> list[tuple[Any, Any]]:
        """Return the edges that begin (with `back`: end) at some nodes, as pairs of that node and the other one."""
        pairs = []
        for edge in self.shape.edges:
            near, far = (edge.end, edge.start) if back else (edge.start, edge.end)
            seed = relation_of({near: Column(kind, nodes)}, len(nodes), distinct=True)
            pairs += self._solved(edge, seed, near, far, kind)
        return pairs

    def _solved(
        self, edge: EdgeClauses, seed: Relation, near: str, far: str, kind: type | None
    ) -> list[tuple[Any, Any]]:
        rows = self.solve(self.context, edge.clauses, seed, frozenset((near, far)))
        left, right = rows.column(near), rows.column(far)
        if rows.size and (
            left.kind is not right.kind or left.kind not in PLAIN or (kind is not None and left.kind is not kind)
        ):
            raise _MixedKinds
        return list(zip(left.machine(), right.machine(), strict=True))

    def _all_edges(self) -> list[tuple[Any, Any]] | None:
        if not self._can_solve_edges(back=False, seeded=False):
            return None
        return [pair for edge in self.shape.edges for pair in self._solved(edge, UNIT, edge.start, edge.end, None)]

    def _all_reversed(self) -> list[tuple[Any, Any]] | None:
        edges = self._all_edges()
        return None if edges is None else [(b, a) for a, b in edges]

    def _bases(self, seeds: dict[int, Column]) -> Relation:
        parts = []
        for branch in self.shape.bases:
            columns = {branch.parameters[i]: column for i, column in seeds.items()}
            size = len(next(iter(columns.values())).data) if columns else 1
            seed = relation_of(columns, size, distinct=True)
            rows = self.solve(self.context, branch.clauses, seed, frozenset(branch.parameters))
            parts.append(rows.renamed(dict(zip(branch.parameters, ("0", "1"), strict=True))))
        return algebra.union(parts, ("0", "1"))
