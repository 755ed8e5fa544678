"""What jobs leave to each other, what they write while they run, keys that one live job may have, and jobs that come too early."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

import factstore
from factstore import TransactError
from overseer import Config, GraphError, JobStore, LeaseLost, Result, Worker, after, graph_txns, job_txn, snooze, status, unique
from overseer.jobs.states import FAILED, FINISHED, UNSTARTED, Reason
from overseer.testing import drain

LEASE = timedelta(seconds=30)


def statuses(conn):
    return dict(factstore.q("[:find ?type ?s :where [?j :job/type ?type] [?j :job/status ?s]]", conn.db()))


def told(conn, attribute):
    return factstore.q("[:find [?v ...] :in $ ?a :where [?j :job/id] [?j ?a ?v]]", conn.db(), conn.db().entid(attribute))


# -- results


def test_a_result_is_a_fact_that_children_find_on_their_job(conn):
    seen = []
    conn.transact(graph_txns({":load": [], ":clean": [":load"], ":report": [":clean", ":load"]}))
    handlers = {
        ":load": lambda job: Result({"rows": 3, "at": datetime(2026, 1, 1, tzinfo=UTC)}),
        ":clean": lambda job: Result(job.result_of(":load")["rows"] + 1, [{":order/total": 7}]),
        ":report": lambda job: seen.append((job.result_of(":clean"), job.results_of(":load"), sorted(map(str, job.results.values())))),
    }
    drain(conn, handlers)
    [(clean, loads, results)] = seen
    assert 4 == clean
    assert [{"rows": 3, "at": datetime(2026, 1, 1, tzinfo=UTC)}] == loads
    assert 2 == len(results)
    assert {"4", '{"rows" 3, "at" #inst "2026-01-01T00:00:00.000Z"}'} == set(told(conn, ":job/result"))


def test_the_results_of_a_fan_out_come_in_order_of_their_ids(conn):
    seen = []
    parts = [job_txn(":part", {":org/id": n}, id=f"part-{n:02}") for n in range(20)]
    conn.transact([*parts, {**job_txn(":sum"), ":job/dep": [part[":job/id"] for part in parts]}])
    drain(conn, {":part": lambda job: Result(job[":org/id"]), ":sum": lambda job: seen.extend(job.results_of(":part"))})
    assert list(range(20)) == seen


def test_a_parent_without_a_result_is_missed_where_one_is_expected(conn):
    conn.transact(graph_txns({":a": [], ":b": [":a"]}))
    drain(conn, {":a": lambda job: None, ":b": lambda job: job.result_of(":a")})
    assert {":a": FINISHED, ":b": FAILED} == statuses(conn)
    assert "expected one result" in told(conn, ":job/failure")[0]


@pytest.mark.parametrize(("value", "says"), [(object(), "expected a value of EDN"), ("x" * (1 << 21), "at most 1,048,576 characters")])
def test_a_result_that_cannot_be_kept_fails_its_job_with_its_name(conn, value, says):
    conn.transact([job_txn(":a", id="j")])
    drain(conn, {":a": lambda job: Result(value)})
    assert {":a": FAILED} == statuses(conn)
    [failure] = told(conn, ":job/failure")
    assert says in failure
    assert ":a j" in failure


def test_a_number_that_a_handler_returns_is_its_result_and_a_dict_fails_its_job(conn):
    conn.transact([job_txn(":a"), job_txn(":b")])
    drain(conn, {":a": lambda job: 42, ":b": lambda job: {"rows": 1}})
    assert {":a": FINISHED, ":b": FAILED} == statuses(conn)
    assert ["42"] == told(conn, ":job/result")


def test_a_job_that_runs_after_a_failure_sees_the_results_there_are(conn):
    seen = []
    conn.transact(graph_txns({":good": [], ":bad": [], ":clean": after(":good", ":bad", when="all-done")}))
    handlers = {":good": lambda job: Result(1), ":bad": lambda job: 1 / 0, ":clean": lambda job: seen.append(list(job.results.values()))}
    drain(conn, handlers)
    assert [[1]] == seen


# -- writing under the lease


def test_what_a_handler_transacts_through_its_job_is_there_at_once_and_stays_when_the_job_fails(conn):
    def handler(job):
        job.transact([{":order/number": "progress"}])
        assert job.conn.db().entid([":order/number", "progress"]) is not None
        assert job.db.entid([":order/number", "progress"]) is None
        raise ValueError

    conn.transact([job_txn(":a")])
    drain(conn, {":a": handler})
    assert {":a": FAILED} == statuses(conn)
    assert conn.db().entid([":order/number", "progress"]) is not None


def test_an_attempt_that_lost_its_lease_transacts_nothing_any_more(conn):
    lost = []

    def handler(job):
        JobStore(conn, worker="operator").abort(job.id, "enough")
        with pytest.raises(LeaseLost) as error:
            job.transact([{":order/number": "too late"}])
        lost.append(error.value.job)

    conn.transact([job_txn(":a", id="j")])
    drain(conn, {":a": handler})
    assert ["j"] == lost
    assert conn.db().entid([":order/number", "too late"]) is None


def test_what_the_store_refuses_under_a_lease_is_the_stores_own_error(conn):
    refused = []

    def handler(job):
        with pytest.raises(TransactError) as error:
            job.transact([{":no/such": 1}])
        refused.append(error.value.code)

    conn.transact([job_txn(":a")])
    drain(conn, {":a": handler})
    assert [False] == [isinstance(code, LeaseLost) for code in refused]
    assert {":a": FINISHED} == statuses(conn)


def test_a_sub_graph_of_a_running_handler_is_inserted_with_its_success_or_not_at_all(conn):
    def grow(job):
        return [*graph_txns({":part": [], ":join": [":part"]}), *job.attributes.get("more", ())]

    conn.transact([job_txn(":grow"), job_txn(":fail")])
    ran = []

    def failing(job):
        job.assert_(*graph_txns({":never": []}))
        raise ValueError

    handlers = {":grow": grow, ":fail": failing, ":part": lambda job: ran.append("part"), ":join": lambda job: ran.append("join")}
    drain(conn, handlers)
    assert ["part", "join"] == ran
    assert ":never" not in statuses(conn)


# -- unique


def test_a_job_with_a_key_is_left_out_while_another_with_it_lives(conn):
    for n in range(2):
        conn.transact([unique("report of may", job_txn(":report", id=f"r{n}")), {":order/number": f"order {n}"}])
    assert {"r0"} == status.jobs_unstarted(conn.db())
    assert conn.db().entid([":order/number", "order 1"]) is not None
    drain(conn, {":report": lambda job: None})
    conn.transact([unique("report of may", job_txn(":report", id="r2"))])
    assert {"r2"} == status.jobs_unstarted(conn.db())


def test_a_duplicate_can_reject_the_whole_transaction(conn):
    conn.transact([unique("k", job_txn(":a", id="first"))])
    with pytest.raises(TransactError, match="the job first has the key 'k'") as error:
        conn.transact([unique("k", job_txn(":a"), refuse=True), {":order/number": "with it"}])
    assert ":job.error/duplicate" == error.value.code
    assert "first" == error.value.known
    assert conn.db().entid([":order/number", "with it"]) is None


def test_a_key_can_be_kept_for_a_period_after_its_job_has_ended(conn, clock):
    hourly = lambda id: conn.transact([unique("k", job_txn(":a", id=id), period=timedelta(hours=1))])  # noqa: E731
    hourly("1")
    drain(conn, {":a": lambda job: None})
    clock.advance(3599)
    hourly("2")
    assert set() == status.jobs_unstarted(conn.db())
    clock.advance(1)
    hourly("3")
    assert {"3"} == status.jobs_unstarted(conn.db())


def test_two_jobs_of_one_transaction_cannot_have_the_same_key(conn):
    with pytest.raises(TransactError):
        conn.transact([unique("k", job_txn(":a")), unique("k", job_txn(":a"))])
    assert set() == status.jobs_unstarted(conn.db())


@pytest.mark.parametrize("job", [{":job/id": "x"}, {}, "job", None])
def test_what_is_no_job_cannot_have_a_key(job):
    with pytest.raises(GraphError, match="as from job_txn"):
        unique("k", job)


@pytest.mark.parametrize("timeout", [timedelta(0), timedelta(seconds=-1)])
def test_a_timeout_that_is_none_is_refused(timeout):
    with pytest.raises(GraphError, match="above 0"):
        job_txn(":a", timeout=timeout)


# -- coming back later


def test_a_snoozed_job_runs_again_later_and_counts_as_neither_failure_nor_fault(conn, clock):
    ran = []

    def handler(job):
        ran.append(clock())
        if len(ran) < 3:
            snooze(60)

    conn.transact([job_txn(":a")])
    drain(conn, {":a": handler}, wait=True)
    assert [60.0, 60.0] == [(later - earlier).total_seconds() for earlier, later in pairwise(ran)]
    assert ([FINISHED], [Reason.SNOOZE], [], []) == tuple(told(conn, f":job/{name}") for name in ("status", "reason", "failures", "faults"))


def test_a_job_is_not_started_before_its_time(conn, clock):
    conn.transact([job_txn(":a", run_at=clock() + timedelta(hours=1))])
    assert 0 == drain(conn, {":a": lambda job: None})
    clock.advance(3600)
    assert 1 == drain(conn, {":a": lambda job: None})


# -- one clock


def test_the_end_of_a_lease_as_people_are_shown_it_is_set_and_judged_by_the_clock(conn, clock):
    conn.transact([job_txn(":a", id="j")])
    [job] = JobStore(conn, worker="w1").claim([conn.db().entid([":job/id", "j"])], lease=LEASE)
    assert [clock() + LEASE] == told(conn, ":job/lease-expires")
    rescuer = JobStore(conn, worker="w2")
    clock.advance(30)
    assert [] == rescuer.rescue(max_crashes=3)
    clock.advance(0.001)
    [(lease, became)] = rescuer.rescue(max_crashes=3)
    assert job.lease.token == lease.token
    assert "w1" == lease.worker
    assert UNSTARTED == became


def test_a_clock_that_is_set_back_does_not_end_a_lease(conn, clock):
    conn.transact([job_txn(":a", id="j")])
    JobStore(conn, worker="w1").claim([conn.db().entid([":job/id", "j"])], lease=LEASE)
    clock.advance(-86400)
    assert [] == JobStore(conn, worker="w2").rescue(max_crashes=3)


def test_timeouts_come_from_the_job_the_handler_or_the_settings(conn):
    seen = []
    conn.transact([job_txn(":a", timeout=timedelta(seconds=2), id="own"), job_txn(":b", id="handler"), job_txn(":c", id="settings")])
    handlers = {
        ":a": {"process": print, "timeout": timedelta(seconds=1)},
        ":b": {"process": print, "timeout": timedelta(seconds=1)},
        ":c": print,
    }
    worker = Worker(conn, handlers, Config(timeouts={":a": 500, ":b": 500, ":c": 500}))
    for job in worker._store.claim([conn.db().entid([":job/id", id]) for id in ("own", "handler", "settings")], lease=LEASE):
        seen.append((job.id, worker._executor._timeout(job)))
    assert {"own": 2.0, "handler": 1.0, "settings": 0.5} == {id: timeout.total_seconds() for id, timeout in seen}
