"""Law: every part of the job layer judges jobs by the same dependency rules.

The model states the rules once more, in the simplest way. The point look-ups, the ready set, the Datalog rules, the plan and the
obstacles must agree with it on any graph: with circles, unknown statuses, unknown rules, parents that are no jobs, and paused queues.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import product

from hypothesis import event, given, settings
from hypothesis import strategies as st

import factstore
from factstore import Keyword
from overseer import install, plan, queue, status
from overseer.jobs import lookup, txns
from overseer.jobs.dependency_rules import DOOMED, READY, WAITING
from overseer.jobs.states import ABORTED, FAILED, FINISHED, STARTED, UNSTARTED
from overseer.planning.obstacles import obstacle
from overseer.worker.ready import ReadySet

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ENDS = [FINISHED, FAILED, ABORTED]
STATUSES = [UNSTARTED, STARTED, *ENDS, Keyword(":job.status/none-such"), None]
RULES = [None, "all-success", "all-done", "none-failed", "any", "none-such"]
THING = "thing"  # an entity that is no job
IDS = ["a", "b", "c", "d", "e", "f"]


@dataclass
class Node:
    """A job of the model."""

    status: str | None
    rule: str | None
    queue: str | None
    parents: set[str]


NODES = st.builds(
    Node,
    st.sampled_from(STATUSES),
    st.sampled_from(RULES),
    st.sampled_from([None, "open", "paused"]),
    st.sets(st.sampled_from([*IDS, THING]), max_size=3),
)


@st.composite
def graphs(draw):
    """Return jobs by id; a parent is another job, the job itself, or no job."""
    count = draw(st.integers(1, len(IDS)))
    graph = {id: draw(NODES) for id in IDS[:count]}
    for node in graph.values():
        node.parents &= {*graph, THING} if draw(st.integers(0, 3)) == 0 else set(graph)
    return graph


# -- the model


def judged(graph, id):
    """Return what the rule of an unstarted job says."""
    node = graph[id]
    parents = [graph[parent].status if parent in graph else None for parent in node.parents]
    ended = [parent for parent in parents if parent in ENDS]
    if node.rule == "none-such":
        return WAITING
    if node.rule == "any":
        return READY if not parents or FINISHED in ended else DOOMED if ended == parents else WAITING
    if node.rule == "none-failed" and FAILED in ended:
        return DOOMED
    if node.rule in (None, "all-success") and (FAILED in ended or ABORTED in ended):
        return DOOMED
    return READY if ended == parents else WAITING


def unstarted(graph, state):
    return {id for id, node in graph.items() if node.status == UNSTARTED and judged(graph, id) == state}


def abort_doomed(graph):
    """Abort the jobs that can never run, until there are none, and return them."""
    aborted = set()
    while doomed := unstarted(graph, DOOMED):
        for id in doomed:
            graph[id].status = ABORTED
        aborted |= doomed
    return aborted


def copied(graph):
    return {id: Node(node.status, node.rule, node.queue, set(node.parents)) for id, node in graph.items()}


def never_run(graph, *, paused):
    """Return the live jobs that never end, though each attempt succeeds."""
    graph = copied(graph)
    runs = lambda id: not (paused and graph[id].queue == "paused")  # noqa: E731
    while free := {id for id in unstarted(graph, READY) if runs(id)} | {id for id in graph if graph[id].status == STARTED}:
        for id in free:
            graph[id].status = FINISHED
    return {id for id, node in graph.items() if node.status == UNSTARTED}


# -- the store


def inserted(conn, graph):
    """Transact the jobs as facts, and return the report and the entity of each job."""
    install(conn)
    conn.transact([queue("paused", paused=True), queue("open", limit=5)])
    forms = [{":db/id": THING, ":db/doc": "no job"}]
    for id, node in graph.items():
        about = {
            ":job/status": node.status,
            ":job/rule": node.rule and f":job.rule/{node.rule}",
            ":job/queue": node.queue and f":{node.queue}",
        }
        forms.append(
            {":db/id": id, ":job/id": id, ":job/type": ":x", **{name: value for name, value in about.items() if value is not None}}
        )
        forms += [[":db/add", id, ":job/dep", parent] for parent in node.parents]
    report = conn.transact(forms)
    return report, {id: report.tempids[id] for id in graph}


def ready_sets(db, report, jobs):
    """Return a ready set that read all jobs at once, one that read each, and one that read the log."""
    loaded, looked, absorbed = ReadySet(), ReadySet(), ReadySet()
    loaded.load(db)
    for job in jobs.values():
        looked.look(db, job)
    absorbed.absorb(db, report.tx_data)
    return loaded, looked, absorbed


def contents(ready, jobs):
    return {id for id, job in jobs.items() if job in ready}, {id for id, job in jobs.items() if job in ready.doomed}


# -- the laws


def judged_alike(graph):
    """Check that every part of the job layer judges the jobs of a graph as the model does."""
    ready, doomed = unstarted(graph, READY), unstarted(graph, DOOMED)
    with factstore.connect("memory:") as conn:
        report, jobs = inserted(conn, graph)
        db = report.db_after
        for id, node in graph.items():
            assert node.status != UNSTARTED or judged(graph, id) == lookup.readiness(db, jobs[id])
        for kept in ready_sets(db, report, jobs):
            assert (ready, doomed) == contents(kept, jobs)
        assert ready == status.jobs_ready(db)
        startable = {id for id in ready if graph[id].queue != "paused"} | {id for id in graph if graph[id].status == STARTED}
        assert startable == {planned.id for planned in plan(db, now=NOW, workers=len(graph)).steps if planned.after is None}


def test_every_part_judges_each_rule_alike_for_every_two_statuses():
    graph = {f"{side} {status}": Node(status, None, None, set()) for side in ("left", "right") for status in STATUSES}
    parents = {(left, right) for left in ("absent", *STATUSES) for right in ("absent", *STATUSES)}
    for rule, (left, right) in product(RULES, parents):
        names = {name for name in (f"left {left}", f"right {right}") if name in graph}
        graph[f"{rule} after {left}, {right}"] = Node(UNSTARTED, rule, None, names)
    judged_alike(graph)


@given(graphs())
@settings(max_examples=100, deadline=None)
def test_every_part_judges_the_jobs_of_a_graph_alike(graph):
    judged_alike(graph)


@given(graphs(), st.sampled_from(ENDS))
@settings(max_examples=150, deadline=None)
def test_the_end_of_a_job_aborts_the_same_jobs_in_every_part(graph, end):
    graph["a"].status = STARTED
    abort_doomed(graph)
    with factstore.connect("memory:") as conn:
        report, jobs = inserted(conn, graph)
        kept = ready_sets(report.db_after, report, jobs)
        graph["a"].status = end
        doomed, aborted = unstarted(graph, DOOMED), abort_doomed(graph)
        event(f"aborted: {len(aborted)}")
        assert {jobs[id] for id in aborted} == set(lookup.doomed_dependents(report.db_after, {jobs["a"]: end}))
        ended = conn.transact([[":db/cas", jobs["a"], ":job/status", STARTED, end]])
        for ready in kept:
            ready.absorb(ended.db_after, ended.tx_data)
            assert doomed == contents(ready, jobs)[1]
        after = conn.transact(txns.give_up([jobs[id] for id in aborted], cause=jobs["a"]))
        for ready in kept:
            ready.absorb(after.db_after, after.tx_data)
            assert (unstarted(graph, READY), set()) == contents(ready, jobs)
        assert unstarted(graph, READY) == status.jobs_ready(after.db_after)


@given(graphs())
@settings(max_examples=150, deadline=None)
def test_the_plan_and_the_obstacles_agree_on_the_jobs_that_never_run(graph):
    """After the doomed jobs were aborted, as every worker does."""
    abort_doomed(graph)
    with factstore.connect("memory:") as conn:
        report, jobs = inserted(conn, graph)
        db = report.db_after
        never = never_run(graph, paused=True)
        event(f"never: {len(never)}")
        assert sorted(never) == list(plan(db, now=NOW, workers=len(IDS)).never)
        stuck = {id for id, node in graph.items() if node.status == UNSTARTED and obstacle(db, jobs[id]) is not None}
        assert never_run(graph, paused=False) == stuck
