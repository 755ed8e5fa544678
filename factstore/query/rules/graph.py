"""Closures: what is reached by steps, as walks over a graph instead of rounds of joins.

From one value, the graph is walked once. From many, every node of the graph gets the set of all that it reaches as the bits
of one whole number, circles as one node, children before parents: a set costs a word for each 64 values.
Law: the answers are those of evaluating the rule in rounds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

import numpy as np

from factstore.query.guard import Guard
from factstore.query.relations.relation import PLAIN, Array, Column, Relation, array_of, relation_of

Edges = dict[Any, list[Any]]
Expand = Callable[[list[Any]], Iterable[tuple[Any, Any]]]  # nodes → edges that begin there
LoadAll = Callable[[], "list[tuple[Any, Any]] | None"]  # all edges, None when they cannot be had at once

_MOST_BITS: Final = 1 << 31  # a quarter of a gigabyte of sets
_CHUNK: Final = 1 << 24  # bits unpacked at once


def walked(starts: Iterable[Any], expand: Expand, load_all: LoadAll, edge_count: float, guard: Guard | None) -> Edges:
    """Return the edges that can be reached from some nodes.

    Args:
        edge_count: about how many edges there are; once the walk is that long, all are loaded.
    """
    edges: Edges = {}
    frontier: list[Any] = list(dict.fromkeys(starts))
    seen = set(frontier)
    rounds = 0
    while frontier:
        rounds += 1
        if guard is not None:
            guard.check(len(seen), "a rule")
        if edge_count <= 125 * rounds and (everything := load_all()) is not None:
            return grouped(everything)
        for node in frontier:
            edges[node] = []
        for node, other in expand(frontier):
            edges[node].append(other)
        found = dict.fromkeys(other for node in frontier for other in edges[node])
        frontier = [other for other in found if other not in seen]
        seen.update(frontier)
    return edges


def grouped(pairs: Iterable[tuple[Any, Any]]) -> Edges:
    """Return edges by the node where they begin."""
    edges: Edges = {}
    for node, other in pairs:
        edges.setdefault(node, []).append(other)
    return edges


def reached(start: Any, edges: Edges) -> list[Any]:
    """Return a node and all that it reaches."""
    found = {start: None}
    frontier = [start]
    while frontier:
        node = frontier.pop()
        for other in edges.get(node, ()):
            if other not in found:
                found[other] = None
                frontier.append(other)
    return list(found)


def propagated(nodes: Iterable[Any], edges: Edges, sets: dict[Any, int]) -> dict[Any, int]:
    """Return for each node the union of its own set and those of all that it reaches."""
    found = _without_circles(nodes, edges, sets)
    return _with_circles(nodes, edges, sets) if found is None else found


def _without_circles(nodes: Iterable[Any], edges: Edges, sets: dict[Any, int]) -> dict[Any, int] | None:
    """Propagate sets through a graph without circles, children before parents; None when a circle is met.

    A node that waits for its children is *open* and lies below them on the stack: to meet it again among them is a circle.
    """
    found: dict[Any, int] = {}
    opened = set()
    stack = list(nodes)  # from behind, since what is later in a chain was mostly made later
    while stack:
        node = stack[-1]
        if node in found:
            stack.pop()
            continue
        union = sets.get(node, 0)
        try:
            for other in edges.get(node, ()):
                union |= found[other]
        except KeyError:
            if node in opened:
                return None
            opened.add(node)
            stack.extend([other for other in edges[node] if other not in found])
        else:
            found[node] = union
            stack.pop()
    return found


def _with_circles(nodes: Iterable[Any], edges: Edges, sets: dict[Any, int]) -> dict[Any, int]:
    """Propagate sets through any graph.

    Tarjan's algorithm finds circles children first, on a stack of its own since chains are longer than Python's.
    """
    leaves = {other for others in edges.values() for other in others} - edges.keys()
    found = {leaf: sets.get(leaf, 0) for leaf in leaves}
    number: dict[Any, int] = {}
    lowest: dict[Any, int] = {}
    on_path: list[Any] = []
    other: Any
    for root in nodes:
        if root in number or root in found:
            continue
        number[root] = lowest[root] = len(number)
        on_path.append(root)
        stack = [(root, iter(edges.get(root, ())))]
        while stack:
            node, rest = stack[-1]
            for other in rest:
                if other in found:
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
                    _settle(node, on_path, edges, sets, found)
    return found


def _settle(node: Any, on_path: list[Any], edges: Edges, sets: dict[Any, int], found: dict[Any, int]) -> None:
    """Give every node of a circle that is complete the union of what any of them has or reaches."""
    circle = [on_path.pop()]
    while circle[-1] != node:
        circle.append(on_path.pop())
    union = 0
    for each in circle:
        union |= sets.get(each, 0)
        for other in edges.get(each, ()):
            if other in found:
                union |= found[other]
    for each in circle:
        found[each] = union


def pairs_of(sets: dict[Any, int], nodes: Iterable[Any], values: list[Any], kinds: tuple[type, type]) -> Relation:
    """Return the pairs of node and value that sets mean, bit i being `values[i]`, in columns "0" and "1"."""
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
    """Return row and number of every bit that is set in rows of `width` bytes; most bytes are empty as a rule."""
    at = np.flatnonzero(packed)
    which, bit = np.nonzero(np.unpackbits(packed[at][:, np.newaxis], axis=1, bitorder="little"))
    row, byte = np.divmod(at[which], width)
    return row, byte * 8 + bit


def closed(
    origins: list[Any] | None,
    edges: Edges,
    bases: list[tuple[Any, Any]],
    kinds: tuple[type, type],
    guard: Guard | None = None,
) -> Relation | None:
    """Return all (node, value) such that steps lead from the node to one that a base gives the value.

    Args:
        origins: the nodes asked for; None: all.
        bases: pairs of node and value.
        kinds: of nodes and of values, both with Python's own equality.
    Returns: a relation of "0" and "1"; None when the sets would not fit in memory.
    """
    assert kinds[0] in PLAIN and kinds[1] in PLAIN
    if origins is not None and len(origins) == 1:
        found = set(reached(origins[0], edges))
        values = list(dict.fromkeys(value for node, value in bases if node in found))
        columns = {"0": Column(kinds[0], [origins[0]] * len(values)), "1": Column(kinds[1], values)}
        return relation_of(columns, len(values), distinct=True)
    numbers: dict[Any, int] = {}
    for _, value in bases:
        numbers.setdefault(value, len(numbers))
    if (len(edges) + len(bases)) * len(numbers) > _MOST_BITS:
        return None
    sets: dict[Any, int] = {}
    for node, value in bases:
        sets[node] = sets.get(node, 0) | (1 << numbers[value])
    nodes = origins if origins is not None else list(dict.fromkeys((*edges, *sets)))
    reach = propagated(nodes, edges, sets)
    if guard is not None:
        guard.check(sum(reach.get(node, 0).bit_count() for node in nodes), "a rule")
    return pairs_of(reach, nodes, list(numbers), kinds)
