"""Overseer's own test suite, in its words, where no other test of ours says the same: `docs/explanation/failures.md` names the others."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

import factstore
from overseer import (
    Config,
    GraphError,
    JobStore,
    OverseerError,
    Worker,
    fault,
    graph_txns,
    harness,
    job_graph,
    job_txn,
    simple_graph,
    status,
    transact_graph,
    validate_graph_handlers,
)
from overseer.handler import failure_info, invoke, serializable, status_of
from overseer.jobs.graph import missing_dependencies, missing_handlers
from overseer.jobs.job import Job
from overseer.jobs.states import ABORTED, FAILED, FINISHED, STARTED, UNSTARTED, Lease, Outcome
from overseer.testing import drain

LEASE = timedelta(seconds=30)
DIAMOND = {":start": [], ":left": [":start"], ":right": [":start"], ":end": [":left", ":right"]}


def eid(conn, id):
    return conn.db().entid([":job/id", id])


def attribute(conn, id, name):
    return next((datom.v for datom in conn.db().datoms("eavt", eid(conn, id), name)), None)


def claimed(conn, *ids, worker="w", lease=LEASE):
    return JobStore(conn, worker=worker).claim([eid(conn, id) for id in ids], lease=lease)


# -- api


def test_harness_on_a_function_runs_wrapper_and_handler_once_each_and_gives_a_map():
    ran = []
    wrapped = harness(lambda job: ran.append("handler") or 7, lambda f: lambda job: ran.append("wrapper") or f(job))
    assert isinstance(wrapped, dict)
    assert 7 == invoke(wrapped, None)
    assert ["wrapper", "handler"] == ran


def test_harness_on_a_function_at_pre_process_gives_exactly_those_two_stages():
    wrapped = harness(lambda job: 7, lambda f: f, "pre_process")
    assert {"pre_process", "process"} == set(wrapped)
    assert 7 == invoke(wrapped, None)


def test_a_harnessed_post_process_still_returns_its_own_value():
    handler = {"process": lambda job: 1, "post_process": lambda job, result: result + 41}
    assert 42 == invoke(harness(handler, lambda f: lambda job, result: f(job, result), "post_process"), None)


def test_harness_of_an_absent_post_process_still_invokes_the_wrapper():
    ran = []
    wrapped = harness({"process": lambda job: 7}, lambda f: lambda job, result: ran.append(result) or f(job, result), "post_process")
    assert 7 == invoke(wrapped, None)
    assert [7] == ran


def test_a_handler_that_calls_fault_did_run_and_leaves_the_job_unstarted(conn):
    ran = []
    conn.transact([job_txn(":a", id="j")])
    drain(conn, {":a": lambda job: ran.append(job.id) or fault("not now")})
    assert ["j"] == ran
    assert UNSTARTED == attribute(conn, "j", ":job/status")


def test_a_simple_graph_holds_exactly_the_given_jobs_and_no_edges():
    jobs = [{":job/id": "a", ":job/type": ":x"}, {":job/id": "b", ":job/type": ":x"}]
    graph = simple_graph(*jobs)
    assert {"a", "b"} == set(graph.jobs)
    assert [(), ()] == [tuple(deps) for deps in graph.deps.values()]


# -- core


def test_missing_dependencies_are_none_in_a_closed_graph_and_named_otherwise():
    assert [] == missing_dependencies({":foo": [], ":bar": [":foo"]})
    assert [":quux"] == missing_dependencies({":foo": [], ":bar": [":foo", ":quux"]})


def test_missing_handlers_are_none_or_exactly_the_types_that_nobody_handles():
    graph = {":foo": [], ":bar": [":foo"]}
    assert [] == missing_handlers({":foo": print, ":bar": print}, graph)
    assert [":bar"] == missing_handlers({":foo": print}, graph)


def test_the_ready_are_the_unstarted_whose_dependencies_have_all_finished(conn):
    statuses = {"new": UNSTARTED, "started": STARTED, "finished": FINISHED, "aborted": ABORTED, "done": FINISHED}
    conn.transact([job_txn(":a", {":job/status": s}, id=id) for id, s in statuses.items()])
    deps = {"after unfinished": ["new"], "after finished": ["finished", "done"], "after both": ["finished", "new"]}
    conn.transact([{**job_txn(":a", id=id), ":job/dep": [eid(conn, dep) for dep in deps]} for id, deps in deps.items()])
    assert {"new", "after finished"} == status.jobs_ready(conn.db())


def test_transitive_dependents_are_direct_and_indirect_not_siblings_and_none_of_a_leaf_or_a_loner(conn):
    graph = transact_graph(conn, job_graph({":a": [], ":b": [":a"], ":c": [":b"], ":sibling": [], ":alone": []}))
    ids = {str(job[":job/type"]): id for id, job in graph.jobs.items()}
    dependents = {type: status.dependents(conn.db(), id) for type, id in ids.items()}
    assert {":a": {ids[":b"], ids[":c"]}, ":b": {ids[":c"]}, ":c": set(), ":sibling": set(), ":alone": set()} == dependents


def test_each_edge_of_a_diamond_points_from_the_childs_tempid_to_the_parents_in_order():
    ids = iter(DIAMOND)
    edges = [(form[":db/id"], form[":job/dep"]) for form in graph_txns(DIAMOND, ids=lambda: next(ids)) if ":job/dep" in form]
    assert [(":left", ":start"), (":right", ":start"), (":end", ":left"), (":end", ":right")] == edges


def test_a_new_status_names_the_job_and_has_a_failure_only_when_there_is_one(conn):
    conn.transact([job_txn(":a", id="fine"), job_txn(":a", id="broken")])
    fine, broken = claimed(conn, "fine", "broken")
    failure = failure_info(Exception("boom"))
    JobStore(conn, worker="w").settle([(fine.lease, Outcome(FINISHED)), (broken.lease, Outcome(FAILED, failure=failure))])
    assert FINISHED == attribute(conn, "fine", ":job/status")
    assert attribute(conn, "fine", ":job/failure") is None
    assert FAILED == attribute(conn, "broken", ":job/status")
    assert factstore.edn.write(failure) == attribute(conn, "broken", ":job/failure")


def test_a_job_has_an_id_and_a_type_and_may_have_a_heartbeat_and_more():
    assert simple_graph({":job/id": "a", ":job/type": ":x"}) is not None
    assert simple_graph({":job/id": "a", ":job/type": ":x", ":job/lease-expires": None, ":org/id": 1}) is not None
    for broken in ({":job/type": ":x"}, {":job/id": "a"}, "job"):
        with pytest.raises(GraphError):
            simple_graph(broken)


def test_a_plain_adjacency_map_is_no_graph_of_jobs(conn):
    before = conn.db().basis_t
    with pytest.raises(GraphError, match="job_graph"):
        transact_graph(conn, {":a": [":b"]})
    assert before == conn.db().basis_t


def test_a_job_graph_has_uuid_ids_all_unstarted_and_the_arguments_on_every_job():
    jobs = job_graph(DIAMOND, {":org/id": 123}).jobs
    assert {36} == {len(id) for id in jobs}
    assert {(UNSTARTED, 123)} == {(job[":job/status"], job[":org/id"]) for job in jobs.values()}


# -- errors


def test_a_value_that_cannot_be_encoded_is_dropped_and_the_others_stay():
    assert {"good": 1} == serializable({"good": 1, "bad": object()})


def test_the_status_of_an_error_is_what_it_says_and_failed_otherwise():
    with pytest.raises(Exception, match="stop") as raised:
        from overseer import abort

        abort("stop")
    assert ABORTED == status_of(raised.value)
    assert FAILED == status_of(ValueError())


# -- executor


def test_reserving_returns_the_job_and_marks_it_started_and_a_second_time_gives_nothing(conn):
    conn.transact([job_txn(":a", id="j")])
    [job] = claimed(conn, "j")
    assert "j" == job.id
    assert STARTED == attribute(conn, "j", ":job/status")
    assert [] == claimed(conn, "j", worker="other")


def test_running_a_job_finishes_it_and_one_that_throws_fails_with_reason_exception_and_message(conn):
    def boom(job):
        raise Exception("boom")

    conn.transact([job_txn(":good", id="good"), job_txn(":bad", id="bad")])
    drain(conn, {":good": lambda job: None, ":bad": boom})
    assert FINISHED == attribute(conn, "good", ":job/status")
    assert FAILED == attribute(conn, "bad", ":job/status")
    failure = factstore.edn.read(attribute(conn, "bad", ":job/failure"))
    assert {":reason": ":system/exception", ":exception": "Exception", ":message": "boom"}.items() <= failure.items()


def test_a_function_and_a_map_of_three_stages_both_give_15_and_anything_else_is_refused(conn):
    job = Job(Lease(1, "j", factstore.Keyword(":a"), 1, "token", "w"), {":org/id": 5})
    stages = {
        "pre_process": lambda job: None,
        "process": lambda job: job[":org/id"] * 2,
        "post_process": lambda job, result: job[":org/id"] + result,
    }
    assert 15 == invoke(lambda job: job[":org/id"] * 3, job) == invoke(stages, job)
    with pytest.raises(OverseerError):
        Worker(conn, {":a": 15})


def test_a_worker_reserves_and_runs_a_ready_job_exactly_once(conn):
    ran, done = [], threading.Event()
    worker = Worker(conn, {":a": lambda job: ran.append(job.id) or done.set()})
    running = threading.Thread(target=worker.run)
    running.start()
    conn.transact([job_txn(":a", id="j")])
    assert done.wait(10)
    worker.stop()
    running.join(10)
    assert ["j"] == ran
    assert FINISHED == attribute(conn, "j", ":job/status")


# -- heartbeat


def test_the_dead_are_only_the_jobs_whose_last_beat_is_too_long_ago(conn, clock):
    conn.transact([job_txn(":a", id="old"), job_txn(":a", id="young")])
    claimed(conn, "old")
    clock.advance(20)
    claimed(conn, "young")
    clock.advance(15)
    assert {"old"} == status.jobs_dead(conn.db(), at=clock())


def test_the_heartbeat_loop_moves_the_beat_of_the_job_under_way_on(conn):
    beats = []

    def handler(job):
        while len(set(beats)) < 3:
            beats.append(attribute(conn, job.id, ":job/lease-expires"))
            threading.Event().wait(0.01)

    conn.transact([job_txn(":a")])
    Worker(conn, {":a": handler}, Config(heartbeat_sleep_time=20)).run(until_idle=True)
    assert sorted(beats) == beats


def test_the_monitor_puts_a_stale_job_back(conn, clock):
    conn.transact([job_txn(":a", id="j")])
    claimed(conn, "j", worker="dead", lease=timedelta(milliseconds=200))
    clock.advance(31)
    worker = Worker(conn, {":a": print}, Config(heartbeat_sleep_time=10))
    while not worker._monitor.look():
        threading.Event().wait(0.01)
    assert UNSTARTED == attribute(conn, "j", ":job/status")


# -- the contract of its store


def test_transacting_a_graph_returns_it_and_again_changes_nothing_and_other_arguments_do_not_update(conn):
    graph = simple_graph({":job/id": "j", ":job/type": ":a", ":org/id": 1})
    assert graph is transact_graph(conn, graph)
    before = conn.db().basis_t
    assert graph is transact_graph(conn, graph)
    transact_graph(conn, simple_graph({":job/id": "j", ":job/type": ":a", ":org/id": 2}))
    assert before == conn.db().basis_t
    assert 1 == attribute(conn, "j", ":org/id")


def test_of_an_unknown_job_there_is_an_error_that_names_it(conn):
    with pytest.raises(OverseerError, match="'nobody'"):
        status.explain(conn.db(), "nobody")


def test_putting_a_job_back_leaves_it_unstarted_and_a_second_time_is_refused(conn):
    conn.transact([job_txn(":a", id="j")])
    [job] = claimed(conn, "j")
    store = JobStore(conn, worker="w")
    assert [] == store.release([job.lease])
    assert UNSTARTED == attribute(conn, "j", ":job/status")
    assert [job.lease] == store.release([job.lease])


def test_aborting_marks_the_root_its_direct_and_its_transitive_dependents(conn):
    graph = transact_graph(conn, job_graph({":a": [], ":b": [":a"], ":c": [":b"], ":other": []}))
    ids = {str(job[":job/type"]): id for id, job in graph.jobs.items()}
    JobStore(conn, worker="operator").abort(ids[":a"], "no more")
    assert {ids[":a"], ids[":b"], ids[":c"]} == status.jobs_with_status(conn.db(), "aborted")


def test_the_ready_advance_along_a_chain_of_three_as_each_finishes(conn):
    graph = transact_graph(conn, job_graph({":a": [], ":b": [":a"], ":c": [":b"]}))
    ids = {str(job[":job/type"]): id for id, job in graph.jobs.items()}
    for type in (":a", ":b", ":c"):
        assert {ids[type]} == status.jobs_ready(conn.db())
        [job] = claimed(conn, ids[type])
        JobStore(conn, worker="w").settle([(job.lease, Outcome(FINISHED))])
    assert set() == status.jobs_ready(conn.db())


def test_a_graph_whose_handlers_are_incomplete_is_invalid_in_overseers_words():
    with pytest.raises(OverseerError, match="Invalid graph; missing handlers :bar, :foo"):
        validate_graph_handlers({":quux": print}, {":foo": [], ":bar": [":foo"]})
