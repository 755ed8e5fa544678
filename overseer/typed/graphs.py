"""Graphs of typed jobs: each job with arguments of its own, and the jobs that it waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

import factstore
from overseer.jobs.graph import Graph, after
from overseer.jobs.states import Forms
from overseer.jobs.txns import graph_txns
from overseer.typed.ref import JobRef
from overseer.typed.typed_job import TypedJob

if TYPE_CHECKING:
    from factstore import Connection

P = ParamSpec("P")
R = TypeVar("R")


class Node(Generic[R]):
    """One job of a graph.

    Args:
        job: its assertion.
        decode: returns its result for the text of `:job/result`.
    """

    def __init__(self, job: dict[str, Any], decode: Callable[[str | None], R]) -> None:
        self.id: str = job.pop(":db/id")
        self.job = job
        self.parents: list[str] = []
        self._decode = decode

    def after(self, *nodes: Node[Any], when: str = "all-success") -> Node[R]:
        """Let the job wait for other jobs of its graph, in addition to those of earlier calls, and return it.

        Args:
            when: which ends of the others it accepts, as in `overseer.after`; the last call determines it.
        """
        ids = [node.id for node in nodes]
        if when != "all-success" or ":job/rule" in self.job:
            self.job[":job/rule"] = after(*ids, when=when).rule
        self.parents += [id for id in ids if id not in self.parents]
        return self

    def ref(self, conn: Connection) -> JobRef[R]:
        """Return the job in a store, where the graph was transacted."""
        return JobRef(conn, self.id, self._decode)


class JobGraph:
    """Collects typed jobs and their dependencies; made by `App.graph`.

    `add` returns a node: `node.after(*nodes, when="all-success")` adds dependencies and returns the node, `node.id` is
    the id of the job, and `node.ref(conn)` returns its `JobRef` in a store where the graph was committed.

    Args:
        install: declares the attributes of the app in a store.
    """

    def __init__(self, install: Callable[[Connection], None]) -> None:
        self._install = install
        self._nodes: list[Node[Any]] = []

    def _repr_html_(self) -> str:
        return factstore.rendering.html_record(
            "JobGraph", {node.id: str(node.job[":job/type"]) for node in self._nodes}
        )

    def add(self, job: TypedJob[P, R, Any], /, *args: P.args, **kwargs: P.kwargs) -> Node[R]:
        """Add a job with these arguments, and return it."""
        node: Node[R] = Node(job.txn(*args, **kwargs), job.returns.value_of)
        self._nodes.append(node)
        return node

    def graph(self) -> Graph:
        """Return the graph. Raises: GraphError for a cycle, and for a dependency on a job of another graph."""
        return Graph({node.id: node.job for node in self._nodes}, {node.id: node.parents for node in self._nodes})

    def txns(self) -> Forms:
        """Return the assertions of all jobs; transact them together with the facts that they belong to."""
        return graph_txns(self.graph())

    def enqueue(self, conn: Connection) -> None:
        """Commit all jobs in one transaction. The attributes are declared if necessary."""
        forms = self.txns()
        self._install(conn)
        conn.transact(forms)
