"""The graphs that rules are compared on, all seeded: trees and chains as DataScript's benchmark has them, and a large network."""

from __future__ import annotations

import random
from collections.abc import Callable

Edge = tuple[int, int]


def wide(depth: int, width: int) -> list[Edge]:
    """Return a tree of so many levels in which every node has so many children."""
    edges: list[Edge] = []

    def grow(parent: int, levels: int) -> None:
        for child in range(parent * width, (parent + 1) * width) if levels else ():
            edges.append((parent, child))
            grow(child, levels - 1)

    grow(1, depth)
    return edges


def long(depth: int, width: int) -> list[Edge]:
    """Return so many chains side by side, of so many edges each."""
    starts = [lane * (depth + 1) + 1 for lane in range(width)]
    return [(start + step, start + step + 1) for start in starts for step in range(depth)]


def chain(length: int = 1000) -> list[Edge]:
    """Return one chain."""
    return [(node, node + 1) for node in range(1, length + 1)]


def tree(depth: int = 10) -> list[Edge]:
    """Return a binary tree, numbered as a heap."""
    return [(node, child) for node in range(1, 2**depth) for child in (2 * node, 2 * node + 1)]


def network(nodes: int = 100_000, edges: int = 400_000, seed: int = 7) -> list[Edge]:
    """Return edges of which half go anywhere and half to one of the next 20 nodes, so that there are triangles."""
    r = random.Random(seed)
    found: set[Edge] = set()
    while len(found) < edges:
        a = r.randrange(1, nodes + 1)
        b = r.randrange(1, nodes + 1) if len(found) % 2 else (a + r.randrange(1, 21) - 1) % nodes + 1
        if a != b:
            found.add((a, b))
    return sorted(found)


def starts(nodes: int = 100_000, count: int = 100, seed: int = 11) -> list[int]:
    """Return the nodes that questions about the network begin at."""
    return random.Random(seed).sample(range(1, nodes + 1), 1000)[:count]


SHAPES: dict[str, Callable[[], list[Edge]]] = {
    "wide-3x3": lambda: wide(3, 3),
    "wide-5x3": lambda: wide(5, 3),
    "wide-7x3": lambda: wide(7, 3),
    "wide-4x6": lambda: wide(4, 6),
    "long-10x3": lambda: long(10, 3),
    "long-30x3": lambda: long(30, 3),
    "long-30x5": lambda: long(30, 5),
}
