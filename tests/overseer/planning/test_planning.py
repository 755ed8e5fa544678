"""What would run next and what holds up the end, by facts alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import Keyword
from overseer import OverseerError, after, graph_txns, install, job_txn, plan
from overseer.planning.timing import ready_since, runs, started_at, typical_seconds
from overseer.schema import ATTRIBUTES
from tests.overseer.by_hand import moved

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECONDS = {Keyword(":a"): 10.0, Keyword(":b"): 20.0, Keyword(":c"): 5.0, Keyword(":d"): 1.0}


def at(seconds):
    return NOW + timedelta(seconds=seconds)


def spans(made):
    return [(str(step.type), (step.start - NOW).total_seconds(), (step.end - NOW).total_seconds()) for step in made.steps]


def when(conn, *forms, at):
    """Commit at a time of our choosing, which has to be after the last."""
    return conn.transact([*forms, [":db/add", "datomic.tx", ":db/txInstant", at]]).db_after


# -- plans


def test_a_diamond_runs_in_its_order_and_its_slow_side_holds_up_the_end(conn):
    conn.transact(graph_txns({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}))
    made = plan(conn.db(), now=NOW, workers=2, seconds=SECONDS)
    assert [(":a", 0, 10), (":c", 10, 15), (":b", 10, 30), (":d", 30, 31)] == spans(made)
    assert [":a"] == [str(step.type) for step in made.next]
    assert [":a", ":b", ":d"] == [str(step.type) for step in made.critical]
    assert at(31) == made.ends
    assert at(31) == made.soonest
    assert () == made.never


def test_with_one_worker_jobs_run_one_after_the_other_and_the_critical_path_stays(conn):
    conn.transact(graph_txns({"a": [], "b": ["a"], "c": ["a"], "d": ["b", "c"]}))
    made = plan(conn.db(), now=NOW, workers=1, seconds=SECONDS)
    assert at(36) == made.ends
    assert at(31) == made.soonest
    assert 4 == len(made.steps)
    assert [":a", ":b", ":d"] == [str(step.type) for step in made.critical]


def test_jobs_wait_for_their_time(conn):
    conn.transact([job_txn("a", {":job/run-at": at(100)}, id="1"), job_txn("c", id="2")])
    assert [(":c", 0, 5), (":a", 100, 110)] == spans(plan(conn.db(), now=NOW, seconds=SECONDS))


def test_a_job_under_way_ends_when_its_type_usually_does_or_now(past):
    when(past, job_txn("a", id="1"), job_txn("d", {":job/dep": "1"}, id="2"), at=then(1))
    when(past, moved(past.db(), "1", ":job.status/started"), at=then(10))
    assert then(10) == started_at(past.db(), past.db().entid([":job/id", "1"]))
    soon, late = (plan(past.db(), now=then(now), seconds=SECONDS) for now in (14, 60))
    assert [(then(10), then(20)), (then(20), then(21))] == [(step.start, step.end) for step in soon.steps]
    assert [then(60), then(61)] == [step.end for step in late.steps]


def test_by_the_rule_any_the_first_end_is_enough(conn):
    conn.transact(graph_txns({"a": [], "b": [], "d": after("a", "b", when="any")}))
    assert [(":a", 0, 10), (":b", 0, 20), (":d", 10, 11)] == spans(plan(conn.db(), now=NOW, workers=2, seconds=SECONDS))


def test_jobs_that_wait_for_what_will_not_come_never_run(conn):
    conn.transact([{**job_txn("a", id="1"), ":job/status": ":job.status/failed"}])
    conn.transact([job_txn("b", {":job/dep": [[":job/id", "1"]]}, id="2"), job_txn("c", {":job/dep": "2"}, id="3"), job_txn("d", id="4")])
    made = plan(conn.db(), now=NOW, seconds=SECONDS)
    assert ("2", "3") == made.never
    assert ["4"] == [step.id for step in made.steps]


def test_jobs_of_a_paused_queue_do_not_run_but_for_those_that_do_already(conn):
    for name, kind, more in (
        ("job/queue", "keyword", {}),
        ("queue/name", "keyword", {":db/unique": ":db.unique/identity"}),
        ("queue/paused", "boolean", {}),
    ):
        attribute = {":db/ident": f":{name}", ":db/valueType": f":db.type/{kind}", ":db/cardinality": ":db.cardinality/one", **more}
        if conn.db().entid(f":{name}") is None:
            conn.transact([attribute])
    conn.transact([{":queue/name": ":slow", ":queue/paused": True}, job_txn("a", {":job/queue": ":slow"}, id="1"), job_txn("d", id="2")])
    conn.transact([{**job_txn("c", {":job/queue": ":slow"}, id="3"), ":job/status": ":job.status/started"}])
    made = plan(conn.db(), now=NOW, workers=2, seconds=SECONDS)
    assert ("1",) == made.never
    assert ["2", "3"] == sorted(step.id for step in made.steps)
    conn.transact([{":queue/name": ":slow", ":queue/paused": False}])
    assert () == plan(conn.db(), now=NOW, seconds=SECONDS).never


def test_what_if_is_a_plan_of_an_imagined_database(conn):
    conn.transact(graph_txns({"a": [], "b": ["a"], "d": ["b"]}))
    imagined = factstore.with_(conn.db(), graph_txns({"c": []})).db_after
    assert 4 == len(plan(imagined, now=NOW, seconds=SECONDS).steps)
    assert 3 == len(plan(conn.db(), now=NOW, seconds=SECONDS).steps)


def test_nothing_to_do_ends_now(conn):
    made = plan(conn.db(), now=NOW)
    assert ((), (), (), NOW, NOW) == (*made[:3], made.ends, made.soonest)
    assert () == made.next


def test_a_plan_without_workers_is_refused(conn):
    with pytest.raises(OverseerError, match="at least one worker, got 0"):
        plan(conn.db(), now=NOW, workers=0)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sets(st.integers(0, 7), max_size=3), st.sampled_from(["all-success", "any"])), max_size=8
    ),
    st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_no_job_starts_before_what_it_waits_for_and_no_more_run_than_there_are_workers(jobs, workers):
    with factstore.connect("memory:") as conn:
        install(conn)
        graph = []
        for n, (type, deps, rule) in enumerate(jobs):
            parents = sorted(str(dep) for dep in deps if dep < n)
            graph.append({**job_txn(type, id=str(n)), ":job/rule": f":job.rule/{rule}", **({":job/dep": parents} if parents else {})})
        conn.transact(graph)
        made = plan(conn.db(), now=NOW, workers=workers, seconds=SECONDS)
        steps = {step.id: step for step in made.steps}
        assert {str(n) for n in range(len(jobs))} == steps.keys()
        for n, (_, deps, rule) in enumerate(jobs):
            ends = [steps[str(dep)].end for dep in deps if dep < n]
            if ends:
                assert steps[str(n)].start >= (min(ends) if rule == "any" else max(ends))
        for step in made.steps:
            assert workers >= sum(other.start <= step.start < other.end for other in made.steps)
        assert made.soonest <= made.ends
        assert timedelta(0) == sum((one.end - one.start for one in made.critical), timedelta(0)) - (made.soonest - NOW)


# -- what the facts say of time


def lived(conn, id, *, type="a", unstarted, started, finished, **attributes):
    job = {**job_txn(type, id=id), **attributes}
    when(conn, job, at=unstarted)
    when(conn, moved(conn.db(), id, ":job.status/started"), at=started)
    when(conn, moved(conn.db(), id, ":job.status/finished"), at=finished)


@pytest.fixture
def past():
    """A store that began in 2020: a store's time goes forward only, and not past the clock's."""
    with factstore.connect("memory:") as conn:
        when(conn, *ATTRIBUTES, at=then(0))
        yield conn


def then(seconds):
    return datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def test_how_long_a_type_takes_is_the_median_of_what_it_took(past):
    for n, took in enumerate((10, 30, 20)):
        lived(past, str(n), unstarted=then(100 * n + 1), started=then(100 * n + 2), finished=then(100 * n + 2 + took))
    assert [10, 30, 20] == [run.seconds for run in runs(past.db())[Keyword(":a")]]
    assert [{Keyword(":a"): 20}, {Keyword(":a"): 25}] == [typical_seconds(past.db()), typical_seconds(past.db(), newest=2)]
    assert {Keyword(":a"): 10} == typical_seconds(past.db().as_of(then(50)))


def test_a_plan_takes_the_times_that_jobs_took_so_far(past):
    lived(past, "1", unstarted=then(1), started=then(2), finished=then(42))
    when(past, job_txn("a", id="2"), job_txn("new", id="3"), at=then(50))
    assert [(":a", 0, 40), (":new", 40, 47)] == spans(plan(past.db(), now=NOW, unless_known=7))


def test_of_several_attempts_only_the_one_that_finished_counts(past):
    when(past, job_txn("a", id="1"), at=then(1))
    for status, second in (("started", 2), ("unstarted", 60), ("started", 90), ("finished", 95)):
        when(past, moved(past.db(), "1", f":job.status/{status}"), at=then(second))
    assert {Keyword(":a"): 5} == typical_seconds(past.db())


def test_a_job_that_was_never_claimed_tells_nothing(past):
    when(past, {**job_txn("a", id="1"), ":job/status": ":job.status/finished"}, at=then(1))
    assert {} == typical_seconds(past.db())


def test_a_job_is_ready_since_the_last_of_its_coming_its_time_and_its_parents_ends(past):
    lived(past, "parent", unstarted=then(1), started=then(2), finished=then(30))
    when(past, job_txn("b", {":job/dep": [[":job/id", "parent"]]}, id="late"), at=then(40))
    when(past, job_txn("b", {":job/run-at": then(70)}, id="timed"), at=then(41))
    when(past, job_txn("b", id="put back"), at=then(42))
    for status, second in (("started", 43), ("unstarted", 44), ("started", 45)):
        when(past, moved(past.db(), "put back", f":job.status/{status}"), at=then(second))
    found = {id: ready_since(past.db(), past.db().entid([":job/id", id])) for id in ("late", "timed", "put back")}
    assert {"late": then(40), "timed": then(70), "put back": then(44)} == found
