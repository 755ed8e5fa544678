"""Graph algorithms: reachable nodes and transitive closure, instead of rounds of joins.

From one node, the graph is traversed once. From many nodes, every node gets the set of all values that it reaches, as
the bits of one integer. A cycle is treated as one node, and children are processed before their parents. A set needs
one machine word for each 64 values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from factstore.query.guard import Guard
from factstore.query.relations.relation import PLAIN, Array, Column, Relation, array_of, relation_of

Edges = dict[Any, list[Any]]
Expand = Callable[[list[Any]], Iterable[tuple[Any, Any]]]  # nodes → the edges that begin there
LoadAll = Callable[[], "list[tuple[Any, Any]] | None"]  # all edges; None when they cannot be loaded at once

_MAX_BITS: Final = 1 << 31  # 256 MiB of sets
_CHUNK: Final = 1 << 24  # bits unpacked at once
_EDGES_PER_ROUND: Final = 125  # loading this many edges costs about as much as one more round


def reachable_edges(
    starts: Iterable[Any], expand: Expand, load_all: LoadAll, edge_count: float, guard: Guard | None
) -> Edges:
    """Return the edges that can be reached from some nodes.

    Args:
        edge_count: an estimate of the number of edges; when the rounds so far cost more than loading all edges, all are
            loaded.
    """
    edges: Edges = {}
    frontier: list[Any] = list(dict.fromkeys(starts))
    seen = set(frontier)
    rounds = 0
    while frontier:
        rounds += 1
        if guard is not None:
            guard.check(len(seen), "a rule")
        if edge_count <= _EDGES_PER_ROUND * rounds and (every_edge := load_all()) is not None:
            return grouped(every_edge)
        for node in frontier:
            edges[node] = []
        for node, other in expand(frontier):
            edges[node].append(other)
        successors = dict.fromkeys(other for node in frontier for other in edges[node])
        frontier = [other for other in successors if other not in seen]
        seen.update(frontier)
    return edges


def grouped(pairs: Iterable[tuple[Any, Any]]) -> Edges:
    """Return edges grouped by the node at which they begin."""
    edges: Edges = {}
    for node, other in pairs:
        edges.setdefault(node, []).append(other)
    return edges


def reachable(start: Any, edges: Edges) -> list[Any]:
    """Return a node and all nodes that can be reached from it."""
    seen = {start: None}
    frontier = [start]
    while frontier:
        node = frontier.pop()
        for other in edges.get(node, ()):
            if other not in seen:
                seen[other] = None
                frontier.append(other)
    return list(seen)


def _propagated(nodes: Iterable[Any], edges: Edges, sets: dict[Any, int]) -> dict[Any, int]:
    """Return for each node the union of its own set and the sets of all nodes that it reaches."""
    unions = _propagated_acyclic(nodes, edges, sets)
    return _propagated_cyclic(nodes, edges, sets) if unions is None else unions


def _propagated_acyclic(nodes: Iterable[Any], edges: Edges, sets: dict[Any, int]) -> dict[Any, int] | None:
    """Propagate sets through a graph without cycles, children before parents; return None when there is a cycle.

    A node that waits for its children is *open* and lies below them on the stack. If it is reached again while it is
    open, there is a cycle.
    """
    unions: dict[Any, int] = {}
    opened = set()
    stack = list(nodes)  # the last node first: the end of a chain was usually created last
    while stack:
        node = stack[-1]
        if node in unions:
            stack.pop()
            continue
        union = sets.get(node, 0)
        try:
            for other in edges.get(node, ()):
                union |= unions[other]
        except KeyError:
            if node in opened:
                return None
            opened.add(node)
            stack.extend([other for other in edges[node] if other not in unions])
        else:
            unions[node] = union
            stack.pop()
    return unions


def _propagated_cyclic(nodes: Iterable[Any], edges: Edges, sets: dict[Any, int]) -> dict[Any, int]:
    """Propagate sets through any graph.

    Tarjan's algorithm finds the strongly connected components, children first. It keeps its own stack, because chains
    are longer than Python's stack.
    """
    leaves = {other for others in edges.values() for other in others} - edges.keys()
    unions = {leaf: sets.get(leaf, 0) for leaf in leaves}
    number: dict[Any, int] = {}
    lowest: dict[Any, int] = {}
    on_path: list[Any] = []
    other: Any
    for root in nodes:
        if root in number or root in unions:
            continue
        number[root] = lowest[root] = len(number)
        on_path.append(root)
        stack = [(root, iter(edges.get(root, ())))]
        while stack:
            node, rest = stack[-1]
            for other in rest:
                if other in unions:
                    continue
                if other not in number:
                    number[other] = lowest[other] = len(number)
                    on_path.append(other)
                    stack.append((other, iter(edges[other])))
                    break
                if number[other] < lowest[node]:
                    lowest[node] = number[other]
            else:
                stack.pop()
                if stack and lowest[node] < lowest[stack[-1][0]]:
                    lowest[stack[-1][0]] = lowest[node]
                if lowest[node] == number[node]:
                    _complete_component(node, on_path, edges, sets, unions)
    return unions


def _complete_component(
    node: Any, on_path: list[Any], edges: Edges, sets: dict[Any, int], unions: dict[Any, int]
) -> None:
    """Give every node of a strongly connected component the union of the sets of its nodes and of what they reach."""
    component = [on_path.pop()]
    while component[-1] != node:
        component.append(on_path.pop())
    union = 0
    for each in component:
        union |= sets.get(each, 0)
        for other in edges.get(each, ()):
            if other in unions:
                union |= unions[other]
    for each in component:
        unions[each] = union


def _pairs(sets: dict[Any, int], nodes: Iterable[Any], values: list[Any], kinds: tuple[type, type]) -> Relation:
    """Return pairs of a node and a value of its set, in columns "0" and "1"; bit i of a set stands for `values[i]`."""
    nodes = [node for node in nodes if sets.get(node)]
    if not nodes:
        return relation_of({"0": Column(kinds[0], []), "1": Column(kinds[1], [])}, 0, distinct=True)
    width = (len(values) + 7) // 8
    step = max(1, _CHUNK // (8 * width))
    node_array, value_array = array_of(nodes, kinds[0]), array_of(values, kinds[1])
    lefts, rights = [], []
    for i in range(0, len(nodes), step):
        packed = b"".join(sets[node].to_bytes(width, "little") for node in nodes[i : i + step])
        row, bit = _bits(np.frombuffer(packed, np.uint8), width)
        lefts.append(node_array[row + i])
        rights.append(value_array[bit])
    left, right = np.concatenate(lefts), np.concatenate(rights)
    return relation_of({"0": Column(kinds[0], left), "1": Column(kinds[1], right)}, len(left), distinct=True)


def _bits(packed: Array, width: int) -> tuple[Array, Array]:
    """Return the row and the number of every bit that is set in rows of `width` bytes; most bytes are usually 0."""
    nonzero = np.flatnonzero(packed)
    which, bit = np.nonzero(np.unpackbits(packed[nonzero][:, np.newaxis], axis=1, bitorder="little"))
    row, byte = np.divmod(nonzero[which], width)
    return row, byte * 8 + bit


def closure(
    origins: list[Any] | None,
    edges: Edges,
    bases: list[tuple[Any, Any]],
    kinds: tuple[type, type],
    guard: Guard | None = None,
) -> Relation | None:
    """Return all (node, value) such that the node reaches a node to which a base gives the value.

    Args:
        origins: the nodes of the result; None: all nodes.
        bases: pairs of a node and a value.
        kinds: the types of nodes and of values; both must have plain Python equality.
    Returns: a relation with columns "0" and "1"; None when the sets would be too large for memory.
    """
    assert kinds[0] in PLAIN and kinds[1] in PLAIN
    if origins is not None and len(origins) == 1:
        nodes_reached = set(reachable(origins[0], edges))
        values = list(dict.fromkeys(value for node, value in bases if node in nodes_reached))
        columns = {"0": Column(kinds[0], [origins[0]] * len(values)), "1": Column(kinds[1], values)}
        return relation_of(columns, len(values), distinct=True)
    numbers: dict[Any, int] = {}
    for _, value in bases:
        numbers.setdefault(value, len(numbers))
    if (len(edges) + len(bases)) * len(numbers) > _MAX_BITS:
        return None
    sets: dict[Any, int] = {}
    for node, value in bases:
        sets[node] = sets.get(node, 0) | (1 << numbers[value])
    nodes = origins if origins is not None else list(dict.fromkeys((*edges, *sets)))
    reach = _propagated(nodes, edges, sets)
    if guard is not None:
        guard.check(sum(reach.get(node, 0).bit_count() for node in nodes), "a rule")
    return _pairs(reach, nodes, list(numbers), kinds)
