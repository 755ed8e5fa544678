"""The graph around a job as a picture: what it depends on, and what depends on it, with the states at a moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from markupsafe import Markup

from overseer.drawing.graph import Node, graph_picture
from overseer.jobs import lookup
from overseer.jobs.states import UNSTARTED

if TYPE_CHECKING:
    from factstore import Database

_MOST: Final = 200  # jobs of a picture


def around(db: Database, job: int) -> tuple[list[int], bool]:
    """Return a job with its ancestors and its descendants, the nearest first; and whether these are all."""
    found = dict.fromkeys([job])
    for step in (lookup.parents, lookup.children):
        front = [job]
        while front:
            near = [other for each in front for other in step(db, each)]
            front = list(dict.fromkeys(other for other in near if other not in found))
            if len(found) + len(front) > _MOST:
                found.update(dict.fromkeys(front[: _MOST - len(found)]))
                return list(found), False
            found.update(dict.fromkeys(front))
    return list(found), True


def graph_around(db: Database, job: int, address: Callable[[str], str]) -> tuple[Markup, bool]:
    """Return the picture of the graph around a job, "" for a job alone; and whether it has all of the graph.

    Args:
        address: the address of the page of the job with an id.
    """
    jobs, is_all = around(db, job)
    if len(jobs) == 1:
        return Markup(""), True
    ids = {each: lookup.name(db, each) for each in jobs}
    nodes = []
    for each in jobs:
        type, state = lookup.value(db, each, ":job/type"), (lookup.status(db, each) or UNSTARTED).name
        hint = f"{ids[each]}, {type}: {state}"
        nodes.append(Node(ids[each], str(type or "no type"), state, hint, 1, address(ids[each]), each == job))
    deps = {ids[each]: {ids[parent] for parent in lookup.parents(db, each) if parent in ids} for each in jobs}
    return Markup(graph_picture(nodes, deps, style="")), is_all
