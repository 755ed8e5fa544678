"""The picture of a graph of jobs: a box for each job in the colour of its state, with arrows from its dependencies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import factstore
from overseer.drawing.layout import HEIGHT, WIDTH, Layout, lay_out, layers

drawing = factstore.drawing
svg = drawing.svg

MOST: Final = 300  # nodes above which similar nodes become one
_MARGIN: Final = 14.0


class Node(NamedTuple):
    """A job of a picture."""

    id: str
    label: str  # such as its type
    state: str = "unstarted"  # unstarted, started, finished, failed or aborted
    hint: str = ""  # when a pointer is on it
    jobs: int = 1  # how many jobs it stands for
    link: str = ""  # the address of its page
    is_subject: bool = False  # whether the picture is about it


def collapsed(
    nodes: Sequence[Node], deps: Mapping[str, Iterable[str]], most: int = MOST
) -> tuple[list[Node], dict[str, set[str]]]:
    """Return a graph of at most about `most` nodes: nodes of one layer with one label and state become one.

    If these are still too many, the nodes of one layer with one state become one.
    """
    edges = {node.id: set(deps.get(node.id, ())) for node in nodes}
    layer = layers(edges)
    for label_of in (lambda node: node.label, lambda node: "jobs"):
        group = {node.id: f"{layer[node.id]:06}/{label_of(node)}/{node.state}" for node in nodes}
        if len(set(group.values())) <= most:
            break
    members: dict[str, list[Node]] = {}
    for node in sorted(nodes):
        members.setdefault(group[node.id], []).append(node)
    merged: dict[str, set[str]] = {key: set() for key in members}
    for id, parents in edges.items():
        # An edge that closes a cycle leads up or sideways, and is not drawn.
        merged[group[id]] |= {group[dep] for dep in parents if dep in group and layer[dep] < layer[id]}
    return [_merged(key, of) for key, of in members.items()], merged


def _merged(key: str, nodes: Sequence[Node]) -> Node:
    if len(nodes) == 1:
        return nodes[0]._replace(id=key)
    labels = Counter(node.label for node in nodes)
    label = next(iter(labels)) if len(labels) == 1 else f"{len(labels)} types"
    ids = ", ".join(node.id for node in nodes[:8]) + (" …" if len(nodes) > 8 else "")
    count = sum(node.jobs for node in nodes)
    return Node(key, label, nodes[0].state, f"{len(nodes):,} jobs: {ids}", count, "", any(n.is_subject for n in nodes))


def graph_picture(
    nodes: Sequence[Node],
    deps: Mapping[str, Iterable[str]],
    *,
    name: str = "graph",
    title: str = "Graph of jobs",
    most: int = MOST,
    style: str = drawing.CSS,
) -> str:
    """Return the picture of a graph.

    Args:
        nodes: the jobs.
        deps: the ids that each id depends on.
        most: the number of nodes above which similar nodes become one.
        style: rules of CSS inside the picture; "" for pages that have them.
    """
    states = Counter(node.state for node in nodes)
    counts = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items()))
    about = f"{sum(states.values()):,} jobs: {counts}." if nodes else "There are no jobs."
    shown, edges = (list(nodes), {node.id: set(deps.get(node.id, ())) for node in nodes})
    if len(nodes) > most:
        shown, edges = collapsed(nodes, deps, most)
    layout = lay_out(edges)
    marks = [_edges(edges, layout), *(_box(node, layout.places[node.id]) for node in sorted(shown))]
    width, height = layout.width + 2 * _MARGIN, layout.height + 2 * _MARGIN
    inside = svg.element("g", *marks, transform=f"translate({_MARGIN:g},{_MARGIN:g})")
    has_links = any(node.link for node in shown)
    return svg.picture(
        name, title, about, max(width, 120.0), max(height, 40.0), inside, style=style, has_links=has_links
    )


def _box(node: Node, place: tuple[float, float]) -> str:
    x, y = place
    count = f" ×{node.jobs:,}" if node.jobs > 1 else ""
    label = svg.cut(node.label.removeprefix(":"), WIDTH - 16 - svg.TEXT_WIDTH * len(count)) + count
    subject = " fs-subject" if node.is_subject else ""
    marks = (
        svg.hint(node.hint or f"{node.label} {node.id}: {node.state}"),
        svg.element("rect", x=x, y=y, width=WIDTH, height=HEIGHT, rx=6, class_=f"fs-box fs-{node.state}{subject}"),
        svg.text(label, x + WIDTH / 2, y + HEIGHT / 2 + 4, anchor="middle"),
    )
    return svg.element("a", *marks, href=node.link) if node.link else svg.element("g", *marks)


def _edges(deps: Mapping[str, Iterable[str]], layout: Layout) -> str:
    """Return the arrows, in two paths: one element for each of thousands of edges would be slow to show."""
    lines, heads = [], []
    places = layout.places
    for node in sorted(deps):
        x, y = places[node][0] + WIDTH / 2, places[node][1]
        for dep in sorted(deps[node]):
            if dep not in places or places[dep][1] >= y:  # it is not shown, or closes a cycle
                continue
            a, b = places[dep][0] + WIDTH / 2, places[dep][1] + HEIGHT
            bend = (y - b) / 2
            lines.append(f"M{a:.0f},{b:.0f}C{a:.0f},{b + bend:.0f} {x:.0f},{y - bend:.0f} {x:.0f},{y - 5:.0f}")
            heads.append(f"M{x:.0f},{y:.0f}l-4,-7h8z")
    if not lines:
        return ""
    return svg.element("path", d="".join(lines), class_="fs-edge") + svg.element(
        "path", d="".join(heads), class_="fs-arrow"
    )
