"""Graphs of jobs as values: built, and rejected if they could never run.

This module uses neither transactions nor stores. Law: in a `Graph` every dependency is a job of the graph, and there is
no cycle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import factstore
from factstore import Keyword, quoted
from overseer.errors import GraphError, HandlerError
from overseer.jobs.dependency_rules import RULES
from overseer.jobs.states import UNSTARTED, as_keyword

TypeGraph: TypeAlias = Mapping[str, Iterable[str] | None]  # type → the types it depends on
Attributes: TypeAlias = Mapping[str, Any]

_LISTS: Final = (list, tuple, set, frozenset)


def new_id() -> str:
    """Return a new job id, which sorts after older ids."""
    return str(factstore.squuid())


class After(tuple[str, ...]):
    """The dependencies of a job with the rule that it uses; made by `after`."""

    rule: Keyword


def after(*types: str, when: str = "all-success") -> After:
    """Return dependencies with a rule: "all-success", "all-done", "none-failed" or "any".

    >>> job_graph({"load": [], "clean_up": after("load", when="all-done")}) is not None
    True
    """
    rule = as_keyword(when, "job.rule")
    if rule not in RULES:
        names = ", ".join(rule.name for rule in RULES)
        raise GraphError(
            ":job.error/unknown-rule", f"a job waits by one of the rules {names}; got {quoted(when)}", rule=when
        )
    dependencies = After(types)
    dependencies.rule = rule
    return dependencies


@dataclass(frozen=True, slots=True)
class Graph:
    """Jobs and the dependencies of each, by job id."""

    jobs: Mapping[str, Attributes]  # id → attributes, with :job/id
    deps: Mapping[str, Sequence[str]]  # id → ids of its parents; every job is a key

    def __post_init__(self) -> None:
        missing = missing_dependencies(self.deps)
        if missing:
            raise _missing(missing)
        cycle = find_cycle(_with_attributes(self.jobs, self.deps))
        if cycle is not None:
            raise _cycle([f"{self.jobs[job][':job/type']} {job}" for job in cycle])

    def _repr_svg_(self) -> str:
        """Return the picture of the graph for notebooks."""
        from overseer.drawing.graph import Node, graph_picture

        nodes = [
            Node(id, str(job[":job/type"]), job.get(":job/status", UNSTARTED).name) for id, job in self.jobs.items()
        ]
        return graph_picture(nodes, _with_attributes(self.jobs, self.deps))

    @property
    def types(self) -> frozenset[Keyword]:
        """The types of all its jobs."""
        return frozenset(job[":job/type"] for job in self.jobs.values())


def job_graph(type_graph: TypeGraph, attrs: Attributes | None = None, *, ids: Callable[[], str] = new_id) -> Graph:
    """Return the graph with one job per type, each with the same arguments.

    Args:
        type_graph: each type with the types it depends on; a type without dependencies has an empty list.
        attrs: the arguments of every job, as attributes that the store's schema declares.
        ids: makes the job ids.
    Raises: GraphError for a dependency that is no key of the graph, for a cycle, and for an argument `:job/id`.
    """
    attrs = _arguments(attrs)
    types = {as_keyword(key): tuple(map(as_keyword, deps)) for key, deps in dependencies(type_graph).items()}
    rules = {as_keyword(key): {":job/rule": deps.rule} for key, deps in type_graph.items() if isinstance(deps, After)}
    check_types(types)
    id_of = {key: _made_id(ids) for key in types}
    if len(set(id_of.values())) < len(id_of):
        why = f"ids returned the same id for two jobs: {quoted(list(id_of.values()))}"
        raise GraphError(":job.error/bad-argument", why, ids=list(id_of.values()))
    jobs = {id: new_job(key, {**rules.get(key, {}), **attrs}, id=id) for key, id in id_of.items()}
    return Graph(jobs, {id_of[key]: tuple(id_of[dep] for dep in deps) for key, deps in types.items()})


def dependencies(type_graph: TypeGraph) -> dict[str, Iterable[str]]:
    """Return the dependencies of each type of a graph. Raises: GraphError for a value of another shape."""
    if not isinstance(type_graph, Mapping):
        why = f"a graph is a mapping from each type to a list of those it depends on, got {quoted(type_graph)}"
        raise GraphError(":job.error/bad-argument", why, graph=type_graph)
    for key, deps in type_graph.items():
        if isinstance(deps, str | bytes | Mapping) or not (deps is None or isinstance(deps, Iterable)):
            meant = f"; did you mean [{quoted(deps)}]?" if isinstance(deps, str) else ""
            why = f"what {as_keyword(key)} depends on is a list of types, got {quoted(deps)}{meant}"
            raise GraphError(":job.error/bad-argument", why, type=key, dependencies=deps)
    return {key: deps or () for key, deps in type_graph.items()}


def _made_id(ids: Callable[[], str]) -> str:
    """Return the id of a new job. Raises: GraphError(:job.error/bad-argument) if it is no text."""
    id = ids() if callable(ids) else ids
    if not isinstance(id, str) or not id or not callable(ids):
        why = f"ids is a function that returns a new job id, a text, each time; got {quoted(id)}"
        raise GraphError(":job.error/bad-argument", why, ids=ids, got=id)
    return id


def check_attributes(attrs: object) -> None:
    """Check the arguments of a job. Raises: GraphError(:job.error/bad-argument) unless they are a mapping or None."""
    if attrs is not None and not isinstance(attrs, Mapping):
        why = f"the arguments of a job are a mapping from attributes to values, got {quoted(attrs)}"
        raise GraphError(":job.error/bad-argument", why, got=attrs)


def _arguments(attrs: Attributes | None) -> Attributes:
    check_attributes(attrs)
    for fixed in (":job/id", ":job/type"):
        if attrs and fixed in attrs:
            why = f"{fixed} differs from job to job, so it cannot be an argument of all of them"
            raise GraphError(":job.error/bad-argument", why, attribute=fixed)
    return attrs or {}


def simple_graph(*jobs: Attributes) -> Graph:
    """Return a graph of these jobs with no dependencies between them; each must have `:job/id` and `:job/type`."""
    whole = [new_job(_required(job, ":job/type"), job, id=_required(job, ":job/id")) for job in jobs]
    return Graph({job[":job/id"]: job for job in whole}, {job[":job/id"]: () for job in whole})


def new_job(type: str, attrs: Attributes | None = None, *, id: str) -> dict[str, Any]:
    """Return the attributes of a new job; the arguments override the defaults.

    Raises: GraphError(:job.error/bad-argument) for arguments that are not a mapping.
    """
    check_attributes(attrs)
    job = {":job/id": id, ":job/type": as_keyword(type), ":job/status": UNSTARTED, **(attrs or {})}
    return {**job, ":job/type": as_keyword(job[":job/type"])}


def check_types(types: Mapping[Keyword, Sequence[Keyword]]) -> None:
    """Raise a GraphError if a graph of types lacks a dependency or has a cycle."""
    missing = missing_dependencies(types)
    if missing:
        raise _missing(missing)
    cycle = find_cycle(types)
    if cycle is not None:
        raise _cycle(cycle)


def _with_attributes(jobs: Mapping[str, Attributes], deps: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """Return the dependencies of jobs, with those in their `:job/dep` that are jobs of the same graph."""
    given = {id: [dep for dep in _named_in(job) if dep in jobs] for id, job in jobs.items() if ":job/dep" in job}
    return {id: [*parents, *given.get(id, ())] for id, parents in deps.items()} if any(given.values()) else deps


def _named_in(job: Attributes) -> list[str]:
    """Return the jobs of the same transaction that a job's `:job/dep` refers to; their tempids are their ids."""
    named = job.get(":job/dep", ())
    return (
        [named]
        if isinstance(named, str)
        else [dep for dep in named if isinstance(dep, str)]
        if isinstance(named, _LISTS)
        else []
    )


def missing_dependencies(graph: Mapping[Any, Iterable[Any] | None]) -> list[Any]:
    """Return the dependencies that are not themselves keys of the graph, in order of appearance."""
    missing = (dep for deps in graph.values() for dep in deps or () if dep not in graph)
    return list(dict.fromkeys(missing))


def find_cycle(graph: Mapping[Any, Iterable[Any] | None]) -> list[Any] | None:
    """Return a path of dependencies from a node to itself; None if there is no cycle."""
    done: set[Any] = set()
    for root in graph:
        path: dict[Any, Any] = {}  # a dict has an order and a fast membership test
        stack = [] if root in done else [(root, iter(graph[root] or ()))]
        path.update((node, None) for node, _ in stack)
        while stack:
            node, rest = stack[-1]
            step = next((dep for dep in rest if dep not in done), None)
            if step is None:
                done.add(node)
                path.pop(node)
                stack.pop()
            elif step in path:
                nodes = list(path)
                return [*nodes[nodes.index(step) :], step]
            else:
                path[step] = None
                stack.append((step, iter(graph.get(step) or ())))
    return None


def missing_handlers(handlers: Mapping[str, Any], graph: Graph | TypeGraph) -> list[Keyword]:
    """Return the types of the graph, dependencies included, that have no handler, in order of name."""
    types = (
        graph.types
        if isinstance(graph, Graph)
        else {as_keyword(t) for key, deps in dependencies(graph).items() for t in (key, *deps)}
    )
    return sorted(types - {as_keyword(key) for key in handlers})


def validate_graph_handlers(handlers: Mapping[str, Any], graph: Graph | TypeGraph) -> None:
    """Raise a HandlerError that names every type of the graph without a handler."""
    missing = missing_handlers(handlers, graph)
    if missing:
        raise HandlerError(
            ":job.error/missing-handlers", f"Invalid graph; missing handlers {', '.join(missing)}", missing=missing
        )


def _required(job: Any, attribute: str) -> Any:
    if not isinstance(job, Mapping) or attribute not in job:
        raise GraphError(
            ":job.error/invalid-job",
            f"a job has :job/id and :job/type; {attribute} is missing in {quoted(job)}",
            job=job,
        )
    return job[attribute]


def _missing(missing: Sequence[Any]) -> GraphError:
    names = ", ".join(map(str, missing))
    return GraphError(
        ":job.error/missing-dependency",
        f"the graph depends on {names}, which it does not contain",
        missing=list(missing),
    )


def _cycle(cycle: Sequence[Any]) -> GraphError:
    return GraphError(
        ":job.error/cycle",
        f"the jobs wait for each other in a circle: {' → '.join(map(str, cycle))}",
        cycle=list(cycle),
    )
