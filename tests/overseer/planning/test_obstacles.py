"""Why a job never starts: circles, parents that are no jobs, types that nobody handles, paused queues; and as of which time."""

from __future__ import annotations

import logging
import threading
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import Keyword
from overseer import JobStore, Worker, graph_txns, install, job_txn, plan, queue, status
from overseer.cli import main
from overseer.jobs.dependency_rules import RULES, WAITING, readiness
from overseer.jobs.states import STARTED, UNSTARTED
from overseer.planning.obstacles import obstacle, reasons
from overseer.testing import drain

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def eid(conn, id):
    return conn.db().entid([":job/id", id])


def names(path):
    return path.split("circle: ")[1].split(";")[0].split(" → ")


# -- circles


def in_one_transaction(conn, edges):
    conn.transact([job_txn("x", {":job/dep": list(deps)} if deps else {}, id=id) for id, deps in edges.items()])


def in_several(conn, edges):
    conn.transact([job_txn("x", id=id) for id in edges])
    for id, deps in edges.items():
        for dep in deps:
            conn.transact([[":db/add", [":job/id", id], ":job/dep", [":job/id", dep]]])


@pytest.mark.parametrize("made", [in_one_transaction, in_several])
@pytest.mark.parametrize("edges", [{"a": "b", "b": "a"}, {"a": "a"}, {"a": "b", "b": "c", "c": "d", "d": "b"}])
def test_jobs_that_wait_in_a_circle_are_named_by_explain(conn, made, edges):
    made(conn, {**edges, "below": "a", "alone": ""})
    for id in (*edges, "below"):
        told = status.explain(conn.db(), id)
        path = names(told.why)
        assert path[0] == path[-1]
        assert all(later in edges[earlier] for earlier, later in pairwise(path))
        assert sorted(told.roots) == sorted(path[:-1])
    assert "ready" in status.explain(conn.db(), "alone").why
    assert set(edges) | {"below"} == set(plan(conn.db(), now=NOW).never)


def test_aborting_one_job_of_a_circle_ends_all_that_wait_for_it(conn):
    in_one_transaction(conn, {"a": "b", "b": "a", "below": "a"})
    JobStore(conn, worker="me").abort("a", "a circle")
    assert set() == status.jobs_unstarted(conn.db())


def test_a_parent_that_is_no_job_is_named(conn):
    conn.transact([{":db/id": "order", ":order/number": "A-1"}, job_txn("x", {":job/dep": "order"}, id="a"), job_txn("x", id="b")])
    conn.transact([[":db/add", [":job/id", "b"], ":job/dep", [":job/id", "a"]]])
    order = conn.db().entid([":order/number", "A-1"])
    assert f"it waits for entity {order}, which is no job that can end" == status.explain(conn.db(), "a").why
    assert f"it waits for a, which waits for entity {order}, which is no job that can end" == status.explain(conn.db(), "b").why


def test_a_rule_that_does_not_exist_is_named_near_and_far(conn):
    conn.transact([job_txn("x", {":job/rule": Keyword(":job.rule/maybe")}, id="a"), job_txn("x", {":job/dep": "a"}, id="b")])
    assert "it waits by the rule :job.rule/maybe, which does not exist" == status.explain(conn.db(), "a").why
    assert "it waits for a, which waits by the rule :job.rule/maybe, which does not exist" == status.explain(conn.db(), "b").why


@pytest.mark.parametrize(
    ("about", "why"),
    [
        (
            {":job/status": Keyword(":job.status/lost")},
            "its status :job.status/lost is unknown, so no worker takes it; retry it, or abort it",
        ),
        ({":job/status": None}, "it has no status, so no worker takes it; retry it, or abort it"),
        ({":job/status": STARTED}, "it was started without a lease, so no worker holds it; a worker will take it, or retry it"),
        ({":job/status": Keyword(":job.status/finished")}, "it was asserted as finished"),
        ({":job/type": None}, "it has no :job/type, so no worker takes it"),
    ],
)
def test_states_that_only_a_hand_makes_are_explained(conn, about, why):
    job = {**job_txn("x", id="j"), **about}
    conn.transact([{attribute: value for attribute, value in job.items() if value is not None}])
    assert why == status.explain(conn.db(), "j").why


EDGES = st.dictionaries(st.integers(0, 5), st.tuples(st.sampled_from(sorted(RULES)), st.sets(st.integers(0, 5), max_size=3)), min_size=1)


@given(EDGES)
@settings(max_examples=80, deadline=None)
def test_a_job_has_an_obstacle_exactly_when_no_ends_of_others_let_it_start(edges):
    """The model ends well whatever is ready, until nothing is."""
    edges = {job: (rule, {parent for parent in parents if parent in edges}) for job, (rule, parents) in edges.items()}
    with factstore.connect("memory:") as conn:
        install(conn)
        conn.transact([job_txn("x", {":job/rule": rule}, id=str(job)) for job, (rule, _) in edges.items()])
        dep = [[":db/add", eid(conn, str(job)), ":job/dep", eid(conn, str(p))] for job, (_, parents) in edges.items() for p in parents]
        conn.transact(dep)
        ended = set()
        while ready := {job for job in edges.keys() - ended if _says(edges[job], ended) != WAITING}:
            ended |= ready
        assert edges.keys() - ended == {job for job in edges if obstacle(conn.db(), eid(conn, str(job))) is not None}
        drain(conn, {"x": lambda job: None})
        assert {str(job) for job in edges.keys() - ended} == status.jobs_unstarted(conn.db())


def _says(about, ended):
    rule, parents = about
    return readiness(rule, [":job.status/finished" if parent in ended else UNSTARTED for parent in parents])


# -- until idle


def reported(conn, handlers, caplog, expected):
    """Run a worker until it has logged something, and return that."""
    told = threading.Event()

    class Heard(logging.Handler):
        def emit(self, record):
            if "waits" in record.getMessage():
                told.set()

    logging.getLogger("overseer").addHandler(heard := Heard())
    worker = Worker(conn, handlers)
    thread = threading.Thread(target=worker.run, kwargs={"until_idle": True})
    thread.start()
    try:
        assert told.wait(60), "nothing was reported"
    finally:
        worker.stop()
        thread.join()
        logging.getLogger("overseer").removeHandler(heard)
    return next(record.getMessage() for record in caplog.records if "waits" in record.getMessage())


@pytest.mark.parametrize(
    ("forms", "why"),
    [
        ([queue("q", paused=True), job_txn("x", id="j", queue="q")], "j: its queue :q is paused"),
        ([job_txn("other", id="o"), job_txn("x", {":job/dep": "o"}, id="j")], "o: its type :other has no handler here"),
        ([job_txn("x", {":job/dep": "b"}, id="a"), job_txn("x", {":job/dep": "a"}, id="b")], "in a circle: "),
    ],
    ids=["a paused queue", "a type of others", "a circle"],
)
def test_a_worker_that_cannot_become_idle_reports_the_reason(conn, caplog, forms, why):
    conn.transact([*forms, job_txn("x", id="done")])
    assert why in reported(conn, {"x": lambda job: None}, caplog, why)


def test_jobs_that_will_start_have_no_reason_not_to(conn):
    conn.transact(graph_txns({"x": [], "y": ["x"]}))
    db = conn.db()
    assert [] == reasons(db, [d.e for d in db.datoms("aevt", ":job/id")], [Keyword(":x"), Keyword(":y")], NOW)


# -- as of a time


def test_questions_about_an_earlier_database_are_judged_by_its_time(conn, clock):
    due = clock.now + timedelta(hours=1)
    conn.transact([job_txn("x", id="due", run_at=due), job_txn("x", id="held")])
    JobStore(conn, worker="w").claim([eid(conn, "held")], lease=timedelta(seconds=30))
    then = conn.db().as_of(conn.db().basis_t)
    assert set() == status.jobs_ready(then)
    assert set() == status.jobs_dead(then)
    assert 1 == status.backlog(then)[None].later
    assert 0 == status.backlog(then)[None].ready
    assert 1 == status.backlog(then)[None].running
    assert "it is not due before" in status.explain(then, "due").why
    assert "runs attempt 1 under a lease until" in status.explain(then, "held").why
    later = conn.db().as_of(due)
    assert {"due"} == status.jobs_ready(later)
    assert {"held"} == status.jobs_dead(later)
    assert "went silent" in status.explain(later, "held").why
    assert 1 == status.backlog(later)[None].ready
    assert 1 == status.backlog(later)[None].silent


def test_a_database_knows_the_time_that_it_is_as_of(conn, clock):
    first = conn.transact([job_txn("x")]).db_after.basis_t
    at = clock.now
    clock.advance(60)
    conn.transact([job_txn("x")])
    db = conn.db()
    assert None is db.moment
    assert at == db.as_of(first).moment
    assert at + timedelta(seconds=30) == db.as_of(at + timedelta(seconds=30)).moment
    assert at == db.as_of(first).as_of(db.basis_t).moment
    assert at == db.as_of(at + timedelta(seconds=30)).as_of(first).moment


def test_a_job_is_explained_as_of_a_time_on_the_command_line(tmp_path):
    path = str(tmp_path / "s.facts")
    with factstore.connect(path) as conn:
        install(conn)
        t = conn.transact([job_txn("x", id="j")]).db_after.basis_t
        drain(conn, {"x": lambda job: None})
    explained = lambda *more: CliRunner().invoke(main, ["explain", "j", "--store", path, *more]).output  # noqa: E731
    assert "finished" in explained()
    assert "it is ready" in explained("--as-of", str(t))
