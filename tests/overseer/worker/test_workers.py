"""Workers on a store: what runs, what is kept of it, and how they stop."""

from __future__ import annotations

import threading
from itertools import pairwise

import pytest

import factstore
from overseer import (
    Config,
    HandlerError,
    Retry,
    Worker,
    abort,
    abort_silent,
    after,
    constant,
    fault,
    graph_txns,
    job_graph,
    job_txn,
    start,
    status,
    transact_graph,
)
from overseer.events import Failed, Retried
from overseer.jobs.states import ABORTED, FAILED, FINISHED, UNSTARTED, Reason
from overseer.testing import drain

DIAMOND = {":a": [], ":b": [":a"], ":c": [":a"], ":d": [":b", ":c"]}


def run(conn, handlers, **config):
    worker = Worker(conn, handlers, Config(seed=1, **config))
    worker.run(until_idle=True)
    return worker


def statuses(conn):
    return dict(factstore.q("[:find ?type ?s :where [?j :job/type ?type] [?j :job/status ?s]]", conn.db()))


def told(conn, attribute):
    return factstore.q("[:find [?v ...] :in $ ?a :where [?j :job/id] [?j ?a ?v]]", conn.db(), conn.db().entid(attribute))


# -- running


def test_a_graph_runs_each_job_once_and_after_its_dependencies(conn):
    ran = []
    transact_graph(conn, job_graph(DIAMOND))
    run(conn, {type: lambda job: ran.append(job.type) for type in DIAMOND})
    assert ":a" == ran[0]
    assert ":d" == ran[-1]
    assert [":a", ":b", ":c", ":d"] == sorted(ran)
    assert dict.fromkeys(DIAMOND, FINISHED) == statuses(conn)


def test_ready_jobs_are_taken_in_no_particular_order(conn):
    orders = set()
    for seed in range(8):
        ran = []
        conn.transact([job_txn(f":j{n}") for n in range(4)])
        handlers = dict.fromkeys([f":j{n}" for n in range(4)], lambda job, ran=ran: ran.append(job.type))
        Worker(conn, handlers, {"seed": seed}).run(until_idle=True)
        orders.add(tuple(ran))
    assert len(orders) > 2


def test_a_handler_finds_the_arguments_on_its_job(conn):
    seen = []
    conn.transact(graph_txns({":a": []}, {":org/id": 123}))
    run(conn, {":a": lambda job: seen.append((job[":org/id"], job.attempt, job[":job/status"]))})
    assert [(123, 1, ":job.status/started")] == seen


def test_a_throwing_handler_fails_its_job_and_the_worker_goes_on(conn):
    def boom(job):
        raise Exception("boom")

    conn.transact([job_txn(":bad"), job_txn(":good")])
    run(conn, {":bad": boom, ":good": lambda job: None})
    assert {":bad": FAILED, ":good": FINISHED} == statuses(conn)
    [failure] = map(factstore.edn.read, told(conn, ":job/failure"))
    expected = {":reason": ":system/exception", ":exception": "Exception", ":message": "boom"}
    assert expected == {key: value for key, value in failure.items() if key not in (":at", ":traceback")}


@pytest.mark.parametrize("error", [AssertionError("no"), SystemExit(3)])
def test_assertions_and_exits_fail_the_job_not_the_worker(conn, error):
    def handler(job):
        raise error

    conn.transact([job_txn(":a")])
    run(conn, {":a": handler})
    assert {":a": FAILED} == statuses(conn)


def test_what_a_handler_returns_commits_with_its_status(conn):
    conn.transact([job_txn(":a"), job_txn(":b"), job_txn(":c")])

    def asserting(job):
        job.assert_({":order/number": "asserted"})

    def failing(job):
        job.assert_({":order/number": "of a failure"})
        raise ValueError

    run(conn, {":a": lambda job: [{":order/number": "returned", ":order/of-job": job.eid}], ":b": asserting, ":c": failing})
    assert {"returned", "asserted"} == set(factstore.q("[:find [?n ...] :where [_ :order/number ?n]]", conn.db()))


def test_facts_that_the_store_refuses_fail_the_job_with_the_stores_reason(conn):
    conn.transact([job_txn(":a")])
    run(conn, {":a": lambda job: [{":no/such": 1}]})
    assert {":a": FAILED} == statuses(conn)
    [failure] = told(conn, ":job/failure")
    assert ":no/such" in failure


def test_a_running_handler_adds_jobs_in_its_own_transaction(conn):
    conn.transact([job_txn(":split")])
    children = lambda job: [{**job_txn(":part", {":org/id": n}), ":job/dep": job.eid} for n in range(3)]  # noqa: E731
    run(conn, {":split": children, ":part": lambda job: [{":order/number": f"part {job[':org/id']}"}]})
    assert {"part 0", "part 1", "part 2"} == set(factstore.q("[:find [?n ...] :where [_ :order/number ?n]]", conn.db()))


def test_jobs_of_other_types_are_left_to_others(conn):
    conn.transact([job_txn(":mine"), job_txn(":theirs")])
    run(conn, {":mine": lambda job: None})
    assert {":mine": FINISHED, ":theirs": UNSTARTED} == statuses(conn)


def test_bad_handlers_are_refused_before_anything_is_claimed(conn):
    conn.transact([job_txn(":a")])
    with pytest.raises(HandlerError, match=":a"):
        Worker(conn, {":a": {"pre_process": len}})
    assert {":a": UNSTARTED} == statuses(conn)


def test_a_batch_is_claimed_in_one_transaction_and_ends_in_one(conn):
    conn.transact([job_txn(":a") for _ in range(20)])
    before = conn.db().basis_t
    run(conn, {":a": lambda job: None}, batch=20, flush=60_000)
    assert before + 4 == conn.db().basis_t  # with the start and the end of the worker
    assert 20 == status.counts(conn.db())[FINISHED]


# -- ends that a handler chooses


def test_abort_takes_the_dependents_with_it_and_is_reported(conn):
    reported = []
    transact_graph(conn, job_graph({":a": [], ":b": [":a"]}))
    handlers = {":a": lambda job: abort("no data"), ":b": lambda job: None}
    run(conn, handlers, listeners=[reported.append])
    assert {":a": ABORTED, ":b": ABORTED} == statuses(conn)
    [failed] = [event for event in reported if isinstance(event, Failed)]
    assert "no data" == str(failed.error)
    assert ":a" == failed.lease.type
    assert 1 == failed.lease.attempt
    assert failed.suppressed is False


@pytest.mark.parametrize("end", [abort_silent, fault])
def test_what_is_expected_is_marked_so_for_error_trackers(conn, clock, end):
    told, ends = [], [end]
    conn.transact([job_txn(":a")])

    def handler(job):
        if ends:
            ends.pop()("expected")

    drain(conn, {":a": handler}, wait=True, config=Config(listeners=[told.append]))
    [ended] = [event for event in told if isinstance(event, Failed | Retried)]
    assert ended.suppressed


def test_a_fault_leaves_the_job_unstarted_and_due_later_each_time(conn, clock):
    ran = []
    conn.transact([job_txn(":a")])
    handlers = {":a": lambda job: ran.append(clock()) or fault("not yet")}
    assert 1 == drain(conn, handlers)
    assert {":a": UNSTARTED} == statuses(conn)
    assert [Reason.FAULT] == told(conn, ":job/reason")
    for _ in range(3):
        clock.now = told(conn, ":job/run-at")[0]
        drain(conn, handlers)
    assert [1.0, 2.0, 4.0] == [(later - earlier).total_seconds() for earlier, later in pairwise(ran)]


def test_jobs_below_a_failure_are_given_up_but_for_those_that_want_to_clean_up(conn):
    ran = []

    def boom(job):
        raise ValueError

    transact_graph(conn, job_graph({":a": [], ":b": [":a"], ":clean": after(":b", when="all-done")}))
    run(conn, {":a": boom, ":b": lambda job: ran.append("b"), ":clean": lambda job: ran.append("clean")})
    assert {":a": FAILED, ":b": ABORTED, ":clean": FINISHED} == statuses(conn)
    assert ["clean"] == ran


def test_a_job_added_below_one_that_has_failed_is_given_up_with_its_cause(conn):
    conn.transact([job_txn(":a", {":job/status": FAILED}, id="a")])
    conn.transact([{**job_txn(":b"), ":job/dep": [":job/id", "a"]}])
    run(conn, {":b": lambda job: None})
    assert ABORTED == statuses(conn)[":b"]
    assert [conn.db().entid([":job/id", "a"])] == told(conn, ":job/cause")


# -- retries


def test_a_policy_tries_again_until_it_works(conn):
    attempts = []

    def flaky(job):
        attempts.append(job.attempt)
        if len(attempts) < 3:
            raise OSError("network")

    conn.transact([job_txn(":a")])
    policy = Retry(max_attempts=5, backoff=constant(10), jitter=0)
    assert 3 == drain(conn, {":a": {"process": flaky, "retry": policy}}, wait=True)
    assert [1, 2, 3] == attempts
    assert [FINISHED] == told(conn, ":job/status")
    assert [2] == told(conn, ":job/failures")


def test_a_policy_gives_up_after_its_last_attempt(conn):
    def boom(job):
        raise OSError("network")

    conn.transact([job_txn(":a")])
    run(conn, {":a": boom}, retries={":a": Retry(max_attempts=3, backoff=constant(0))})
    assert [FAILED] == told(conn, ":job/status")
    assert [3] == told(conn, ":job/failures")
    assert [3] == told(conn, ":job/attempt")


# -- several, and stopping


def test_several_workers_share_the_jobs_and_none_runs_twice(conn):
    ran, lock = [], threading.Lock()

    def handler(job):
        with lock:
            ran.append(job.id)

    conn.transact([job_txn(":a") for _ in range(60)])
    workers = [Worker(conn, {":a": handler}, Config(seed=n, batch=3)) for n in range(3)]
    threads = [threading.Thread(target=worker.run, kwargs={"until_idle": True}) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 60 == len(ran) == len(set(ran))
    assert {1} == set(told(conn, ":job/attempt"))


def test_a_stopped_worker_ends_its_job_and_claims_no_more(conn):
    conn.transact([job_txn(":a") for _ in range(3)])
    worker = Worker(conn, {":a": lambda job: worker.stop()})
    worker.run()
    assert {FINISHED: 1, UNSTARTED: 2} == {s: n for s, n in status.counts(conn.db()).items() if n}


def test_jobs_of_a_batch_that_have_not_begun_are_given_back_when_it_stops(conn):
    conn.transact([job_txn(":a") for _ in range(5)])
    worker = Worker(conn, {":a": lambda job: worker.stop()}, {"batch": 5})
    worker.run()
    assert {FINISHED: 1, UNSTARTED: 4} == {s: n for s, n in status.counts(conn.db()).items() if n}
    assert {Reason.INTERRUPTED} == set(told(conn, ":job/reason"))
    assert [] == told(conn, ":job/crashes")


def test_start_works_in_the_background_until_it_is_stopped(tmp_path):
    uri, done = f"memory:{tmp_path.name}", threading.Event()
    with factstore.connect(uri) as conn:
        with start({"store": uri}, {":a": lambda job: done.set()}):
            conn.transact([job_txn(":a")])
            assert done.wait(10)
        assert {":a": FINISHED} == statuses(conn)


def test_a_worker_whose_heartbeat_fails_ends_with_its_error(conn, monkeypatch):
    """Crash-only: what is not understood ends the worker, and others take its jobs when their leases run out."""
    began = threading.Event()
    conn.transact([job_txn(":a")])

    def handler(job):
        began.set()
        while job.lease_ok() and worker._heartbeat.error is None:
            threading.Event().wait(0.01)

    worker = Worker(conn, {":a": handler}, {"heartbeat_sleep_time": 20})
    monkeypatch.setattr(worker._store, "beat", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        worker.run()


# -- losing


def test_an_attempt_that_lost_its_lease_is_told_and_what_it_did_is_dropped(conn):
    told_off = []

    def handler(job):
        rescuer.abort(job.id, "by an operator")
        while job.lease_ok():
            threading.Event().wait(0.01)
        told_off.append(job.id)
        return [{":order/number": "too late"}]

    conn.transact([job_txn(":a")])
    worker = Worker(conn, {":a": handler}, {"heartbeat_sleep_time": 30})
    rescuer = worker._store
    worker.run(until_idle=True)
    assert 1 == len(told_off) == worker.lost
    assert {":a": ABORTED} == statuses(conn)
    assert [] == factstore.q("[:find [?n ...] :where [_ :order/number ?n]]", conn.db())


def test_a_long_job_keeps_its_lease(conn):
    clock_past_lease = threading.Event()
    conn.transact([job_txn(":long")])
    other = Worker(conn, {":other": lambda job: None}, {"heartbeat_sleep_time": 50})
    rescuing = threading.Thread(target=other.run)
    rescuing.start()
    run(conn, {":long": lambda job: clock_past_lease.wait(0.6)}, heartbeat_sleep_time=50)
    other.stop()
    rescuing.join()
    assert [FINISHED] == told(conn, ":job/status")
    assert [1] == told(conn, ":job/attempt")
