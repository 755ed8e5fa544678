"""Places of the nodes of a graph in layers: each node below all nodes that it depends on.

Laws: no two nodes overlap; every edge points down; the result depends on neither the order of the nodes nor that of the
edges. A cycle has no such order: the edges that close one are ignored.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

WIDTH: Final = 148.0
HEIGHT: Final = 34.0
_GAP_X: Final = 18.0
_GAP_Y: Final = 46.0
_ROW_GAP: Final = 14.0  # between the rows of one layer
_MOST: Final = 8  # nodes side by side; a larger layer has several rows
_SWEEPS: Final = 4


class Layout(NamedTuple):
    """The upper left corner of each node, and the size of the whole."""

    places: Mapping[str, tuple[float, float]]
    width: float
    height: float


def layers(deps: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Return the layer of each node: one more than the largest of the nodes that it depends on."""
    parents = {node: sorted({dep for dep in deps[node] if dep in deps and dep != node}) for node in sorted(deps)}
    waits = {node: len(above) for node, above in parents.items()}
    children: dict[str, list[str]] = {node: [] for node in parents}
    for node, above in parents.items():
        for dep in above:
            children[dep].append(node)
    layer = dict.fromkeys(parents, 0)
    front = [node for node, count in waits.items() if count == 0]
    done: set[str] = set()
    rest = iter(parents)
    while len(done) < len(parents):
        if not front:  # only cycles are left: begin with the first node
            front = [next(node for node in rest if node not in done)]
        node = front.pop()
        if node in done:
            continue
        done.add(node)
        for child in children[node]:
            if child not in done:
                layer[child] = max(layer[child], layer[node] + 1)
                waits[child] -= 1
                if waits[child] == 0:
                    front.append(child)
    return layer


def lay_out(deps: Mapping[str, Iterable[str]]) -> Layout:
    """Return the places of all nodes.

    Args:
        deps: each node with those that it depends on; others than its keys are ignored.
    """
    layer = layers(deps)
    rows = _ordered(deps, layer)
    places: dict[str, tuple[float, float]] = {}
    widest = max((min(len(row), _MOST) for row in rows), default=0)
    total = widest * (WIDTH + _GAP_X) - _GAP_X if widest else 0.0
    y = 0.0
    for row in rows:
        for start in range(0, len(row), _MOST):
            part = row[start : start + _MOST]
            x = (total - (len(part) * (WIDTH + _GAP_X) - _GAP_X)) / 2
            for node in part:
                places[node] = (x, y)
                x += WIDTH + _GAP_X
            y += HEIGHT + _ROW_GAP
        y += _GAP_Y - _ROW_GAP
    return Layout(places, total, max(0.0, y - _GAP_Y))


def _ordered(deps: Mapping[str, Iterable[str]], layer: Mapping[str, int]) -> list[list[str]]:
    """Return the nodes of each layer in an order with few crossings: by the mean place of their neighbours."""
    rows: list[list[str]] = [[] for _ in range(max(layer.values(), default=-1) + 1)]
    for node in sorted(layer):
        rows[layer[node]].append(node)
    above, below = _neighbours(deps, layer)
    place = {node: (n + 0.5) / len(row) for row in rows for n, node in enumerate(row)}
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        neighbours = above if down else below
        for row in rows if down else reversed(rows):
            wanted = {node: _mean(sorted(place[other] for other in neighbours[node]), place[node]) for node in row}
            row.sort(key=lambda node: (wanted[node], node))
            place.update((node, (n + 0.5) / len(row)) for n, node in enumerate(row))
    return rows


def _mean(numbers: list[float], default: float) -> float:
    return sum(numbers) / len(numbers) if numbers else default


def _neighbours(
    deps: Mapping[str, Iterable[str]], layer: Mapping[str, int]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return for each node those that it depends on, and those that depend on it, without edges that close a cycle."""
    above = {node: [dep for dep in set(deps[node]) if layer.get(dep, layer[node]) < layer[node]] for node in layer}
    below: dict[str, list[str]] = {node: [] for node in layer}
    for node, parents in above.items():
        for dep in parents:
            below[dep].append(node)
    return above, below
