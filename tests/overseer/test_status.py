"""Questions about jobs, of today's database and of older ones."""

from __future__ import annotations

from datetime import timedelta

import pytest

import factstore
from overseer import JobStore, OverseerError, Retry, constant, job_graph, job_txn, queue, status, transact_graph
from overseer.jobs.states import ABORTED, FAILED, FINISHED, STARTED, UNSTARTED, Outcome, Reason
from overseer.testing import drain
from tests.overseer.by_hand import moved

LEASE = timedelta(seconds=30)
GRAPH = {":a": [], ":b": [":a"], ":c": [":b"], ":sibling": [":a"], ":alone": []}


@pytest.fixture
def ids(conn):
    graph = transact_graph(conn, job_graph(GRAPH))
    return {str(job[":job/type"]): id for id, job in graph.jobs.items()}


def eid(conn, id):
    return conn.db().entid([":job/id", id])


def test_jobs_are_asked_for_by_status(conn, ids):
    conn.transact([moved(conn.db(), ids[":a"], FINISHED)])
    assert {ids[":a"]} == status.jobs_with_status(conn.db(), ":job.status/finished") == status.jobs_with_status(conn.db(), "finished")
    assert {ids[t] for t in (":b", ":c", ":sibling", ":alone")} == status.jobs_unstarted(conn.db())
    assert {ids[t] for t in (":b", ":sibling", ":alone")} == status.jobs_ready(conn.db())
    assert set() == status.jobs_with_status(conn.db(), "failed")


def test_dependents_are_direct_and_indirect_but_no_siblings(conn, ids):
    assert {ids[t] for t in (":b", ":c", ":sibling")} == status.dependents(conn.db(), ids[":a"])
    assert {ids[":c"]} == status.dependents(conn.db(), ids[":b"])


@pytest.mark.parametrize("type", [":alone", ":c"])
def test_a_job_that_stands_alone_and_a_leaf_have_no_dependents(conn, ids, type):
    assert set() == status.dependents(conn.db(), ids[type])


def test_counts_name_every_status(conn, ids):
    assert {UNSTARTED: 5, STARTED: 0, FINISHED: 0, FAILED: 0, ABORTED: 0} == status.counts(conn.db())
    assert sorted(GRAPH) == list(status.counts_by_type(conn.db()))
    assert 1 == status.counts_by_type(conn.db())[":a"][UNSTARTED]


def test_every_question_can_be_asked_of_an_older_database(conn, ids):
    before = conn.db().basis_t
    drain(conn, dict.fromkeys(GRAPH, lambda job: None))
    assert 5 == status.counts(conn.db())[FINISHED]
    then = conn.db().as_of(before)
    assert 5 == status.counts(then)[UNSTARTED]
    assert {ids[":a"], ids[":alone"]} == status.jobs_ready(then)
    assert "ready" in status.explain(then, ids[":a"]).why
    assert [UNSTARTED] == [step.status for step in status.history(then, ids[":a"])]


def test_every_question_can_be_asked_of_a_database_that_is_only_imagined(conn, ids):
    imagined = factstore.with_(conn.db(), [moved(conn.db(), ids[":a"], FINISHED)]).db_after
    assert {ids[t] for t in (":b", ":sibling", ":alone")} == status.jobs_ready(imagined)
    assert {ids[":a"], ids[":alone"]} == status.jobs_ready(conn.db())


def test_jobs_and_business_are_asked_for_in_one_query(conn):
    conn.transact([{":db/id": "order", ":order/number": "A-1"}, job_txn(":invoice", {":order/of-job": "order"})])
    query = """[:find [?n ...] :in $ % :where [?j :job/type :invoice] [?j :job/status ?s] (live ?s)
                                            [?j :order/of-job ?o] [?o :order/number ?n]]"""
    assert ["A-1"] == factstore.q(query, conn.db(), status.RULES)


def test_the_dead_are_the_started_whose_lease_ran_out(conn, ids, clock):
    store = JobStore(conn, worker="w")
    store.claim([eid(conn, ids[":a"])], lease=LEASE)
    assert set() == status.jobs_dead(conn.db(), at=clock() + LEASE)
    assert {ids[":a"]} == status.jobs_dead(conn.db(), at=clock() + LEASE + timedelta(seconds=1))


def test_the_whole_life_of_a_job_is_one_question(conn, clock):
    """Who, when, which attempt, and why, of every status it ever had."""
    conn.transact([job_txn(":a", id="j")])
    tries = []

    def flaky(job):
        tries.append(job.attempt)
        if len(tries) == 1:
            raise OSError("network")

    dying = JobStore(conn, worker="dying")
    dying.claim([eid(conn, "j")], lease=LEASE)
    clock.advance(60)
    JobStore(conn, worker="rescuer").rescue(max_crashes=3)
    drain(conn, {":a": {"process": flaky, "retry": Retry(max_attempts=2, backoff=constant(1))}}, wait=True)
    told = [(step.status, step.attempt, step.by, step.reason) for step in status.history(conn.db(), "j")]
    assert [
        (UNSTARTED, 0, None, None),
        (STARTED, 1, "dying", None),
        (UNSTARTED, 1, "rescuer", Reason.LEASE_EXPIRED),
        (STARTED, 2, "drain", None),
        (UNSTARTED, 2, "drain", Reason.RETRY),
        (STARTED, 3, "drain", None),
        (FINISHED, 3, "drain", None),
    ] == told
    steps = status.history(conn.db(), "j")
    assert sorted(step.t for step in steps) == [step.t for step in steps]
    assert "network" in steps[4].failure


def test_a_job_that_does_not_exist_is_named(conn):
    for question in (status.history, status.explain, status.dependents):
        with pytest.raises(OverseerError, match="'nobody'"):
            question(conn.db(), "nobody")


# -- why


def test_a_job_that_waits_names_what_it_waits_for(conn, ids):
    found = status.explain(conn.db(), ids[":b"])
    assert UNSTARTED == found.status
    assert (ids[":a"],) == found.jobs
    assert "waits for 1 of its 1" in found.why


def test_a_job_that_is_not_due_says_when_it_is(conn, clock):
    conn.transact([job_txn(":a", {":job/run-at": clock()}, id="j")])
    assert "2026-01-01" in status.explain(conn.db(), "j", at=clock() - LEASE).why
    assert "ready" in status.explain(conn.db(), "j", at=clock()).why


def test_a_running_job_names_its_worker_and_a_silent_one_too(conn, ids, clock):
    JobStore(conn, worker="w1").claim([eid(conn, ids[":a"])], lease=LEASE)
    assert "w1 runs attempt 1" in status.explain(conn.db(), ids[":a"], at=clock()).why
    assert "w1 went silent" in status.explain(conn.db(), ids[":a"], at=clock() + 2 * LEASE).why


def test_a_failed_job_says_why_and_those_below_it_name_it(conn, ids):
    def boom(job):
        raise ValueError("no such month")

    drain(conn, {**dict.fromkeys(GRAPH, lambda job: None), ":a": boom})
    assert "no such month" in status.explain(conn.db(), ids[":a"]).why
    assert ABORTED == status.explain(conn.db(), ids[":c"]).status
    assert (ids[":a"],) == status.explain(conn.db(), ids[":c"]).jobs
    assert "attempt 1" in status.explain(conn.db(), ids[":alone"]).why


def test_a_job_below_a_failed_one_says_that_it_will_be_aborted(conn, ids):
    conn.transact([moved(conn.db(), ids[":a"], FAILED)])
    found = status.explain(conn.db(), ids[":b"])
    assert ("will be aborted" in found.why) is True
    assert (ids[":a"],) == found.jobs


def test_a_job_far_down_names_what_holds_all_of_it_up(conn, ids):
    found = status.explain(conn.db(), ids[":c"])
    assert (ids[":b"],) == found.jobs
    assert (ids[":a"],) == found.roots
    assert {ids[":a"]} == status.blockers(conn.db(), ids[":c"])
    assert set() == status.blockers(conn.db(), ids[":a"])


def test_a_job_that_ran_twice_says_why(conn, clock):
    """Who ran it, how that ended, and who ended it: of a finished job as of one that runs or waits."""
    conn.transact([job_txn(":a", id="j")])
    JobStore(conn, worker="dying").claim([eid(conn, "j")], lease=LEASE)
    clock.advance(60)
    JobStore(conn, worker="rescuer").rescue(max_crashes=3)
    waits = status.explain(conn.db(), "j", at=clock())
    [job] = JobStore(conn, worker="second").claim([eid(conn, "j")], lease=LEASE)
    runs = status.explain(conn.db(), "j", at=clock())
    JobStore(conn, worker="second").settle([(job.lease, Outcome(FINISHED))])
    done = status.explain(conn.db(), "j", at=clock())
    assert [UNSTARTED, STARTED, FINISHED] == [found.status for found in (waits, runs, done)]
    for found in (waits, runs, done):
        assert found.why.endswith("; before that, attempt 1 by dying ended with lease-expired, by rescuer")
        [first] = found.before
        assert 1 == first.number
        assert "dying" == first.by
        assert "rescuer" == first.ended_by
        assert Reason.LEASE_EXPIRED == first.reason
        assert UNSTARTED == first.status
    assert done.why.startswith("it finished in attempt 2")
    assert ["rescuer", None] == [attempt.ended_by for attempt in status.attempts(conn.db(), "j")]


def test_a_job_that_ran_once_has_nothing_before_it(conn, clock):
    conn.transact([job_txn(":a", id="j")])
    assert () == status.explain(conn.db(), "j").before
    drain(conn, {":a": lambda job: None})
    found = status.explain(conn.db(), "j")
    assert "it finished in attempt 1" == found.why
    assert () == found.before


def test_a_job_between_two_tries_says_when_and_after_what(conn, clock):
    def flaky(job):
        raise OSError("network")

    conn.transact([job_txn(":a", id="j")])
    drain(conn, {":a": {"process": flaky, "retry": Retry(max_attempts=3, backoff=constant(10), jitter=0)}})
    found = status.explain(conn.db(), "j", at=clock())
    assert found.why.startswith(
        "it is not due before 2026-01-01T00:00:10+00:00, after retry; before that, attempt 1 by drain ended with retry"
    )


def test_a_job_that_killed_its_workers_says_so(conn, clock):
    conn.transact([job_txn(":a", id="j")])
    for _ in range(2):
        JobStore(conn, worker="dying").claim([eid(conn, "j")], lease=LEASE)
        clock.advance(60)
        JobStore(conn, worker="rescuer").rescue(max_crashes=2)
        clock.advance(60)
    found = status.explain(conn.db(), "j", at=clock())
    assert FAILED == found.status
    assert "worker-died: its worker dying went silent" == found.why.split(";")[0]


def test_the_backlog_of_each_queue_tells_what_waits_for_what_and_the_oldest_ready_job(conn, clock):
    start = clock()
    conn.transact([queue("held", paused=True)])
    conn.transact([job_txn(":a", id="first", queue="mail"), job_txn(":a", id="plain"), job_txn(":a", id="held", queue="held")])
    clock.advance(100)
    conn.transact([job_txn(":a", id="second", queue="mail"), job_txn(":a", id="later", queue="mail", run_at=start + 10 * LEASE)])
    conn.transact([{**job_txn(":a", id="child", queue="mail"), ":job/dep": eid(conn, "first")}])
    told = status.backlog(conn.db(), at=clock())
    assert [":held", ":mail", None] == list(told)
    assert status.Backlog(2, 1, 1, oldest="first", since=start) == told[":mail"]
    assert status.Backlog(1, oldest="held", since=start, paused=True) == told[":held"]
    assert status.Backlog(1, oldest="plain", since=start) == told[None]
    [job] = JobStore(conn, worker="w").claim([eid(conn, "first")], lease=LEASE)
    assert (
        status.Backlog(1, 1, 1, running=1, oldest="second", since=start + timedelta(seconds=100))
        == status.backlog(conn.db(), at=clock())[":mail"]
    )
    clock.advance(31)
    assert 1 == status.backlog(conn.db(), at=clock())[":mail"].silent
    ended = clock()
    JobStore(conn, worker="w").settle([(job.lease, Outcome(FINISHED))])
    conn.transact([[":db/retractEntity", eid(conn, "second")]])
    assert ("child", ended) == status.backlog(conn.db(), at=clock())[":mail"][5:7]
    imagined = factstore.with_(conn.db(), [moved(conn.db(), "child", FINISHED)]).db_after
    assert ("later", start + 10 * LEASE) == status.backlog(imagined, at=start + 11 * LEASE)[":mail"][5:7]


def test_a_store_without_jobs_has_no_backlog(conn):
    assert {} == status.backlog(conn.db())
