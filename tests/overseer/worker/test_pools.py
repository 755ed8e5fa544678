"""Where handlers run: threads, an event loop, processes, and executors of the caller's, a Dask cluster's among them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import get_context

import distributed
import pytest

import factstore
from overseer import Config, ConfigError, Retry, Worker, constant, graph_txns, install, job_txn, status
from overseer.events import Claimed, Failed, Finished, Lost, Started
from overseer.jobs.states import ABORTED, FAILED, FINISHED, UNSTARTED, Reason
from overseer.worker.pools.processes import ProcessDied, ProcessExecutor
from tests.overseer import remote_handlers as remote
from tests.overseer.conftest import BUSINESS

POOLS = ["threads", "asyncio", "processes"]


@pytest.fixture
def stored(tmp_path) -> Iterator[factstore.Connection]:
    """A store in a file, for handlers that run in other processes."""
    with factstore.connect(str(tmp_path / "jobs.facts"), sync="none") as conn:
        install(conn)
        conn.transact(BUSINESS)
        yield conn


def run(conn, handlers, **config):
    worker = Worker(conn, handlers, Config(seed=1, **config))
    worker.run(until_idle=True)
    return worker


def orders(conn):
    return set(factstore.q("[:find [?n ...] :where [_ :order/number ?n]]", conn.db()))


def told(conn, attribute):
    return factstore.q("[:find [?v ...] :in $ ?a :where [?j :job/id] [?j ?a ?v]]", conn.db(), conn.db().entid(attribute))


def counts(conn):
    return {key: n for key, n in status.counts(conn.db()).items() if n}


# -- every pool


@pytest.mark.parametrize("pool", POOLS)
def test_as_many_handlers_run_at_once_as_there_are_slots(stored, tmp_path, pool):
    """They wait for each other: with fewer at a time none would end."""
    meeting = tmp_path / "meeting"
    meeting.mkdir()
    stored.transact([job_txn(":meet", {":order/total": 4}, id=str(n)) for n in range(4)])
    stored.transact([[":db/add", [":job/id", "0"], ":order/number", str(meeting)]])
    run(stored, {":meet": remote.meet_all}, concurrency=4, executor=pool)
    assert {FINISHED: 4} == counts(stored)


@pytest.mark.parametrize("pool", POOLS)
def test_facts_and_results_of_a_handler_come_back_from_where_it_ran(stored, pool):
    stored.transact([{":order/number": "there before"}])
    stored.transact(graph_txns({":first": [], ":second": [":first"]}))
    handlers = {":first": remote.count_orders, ":second": remote.tell_result}
    run(stored, handlers, concurrency=2, executor=pool)
    assert {FINISHED: 2} == counts(stored)
    assert "1 counted" in orders(stored)


@pytest.mark.parametrize("pool", POOLS)
def test_what_a_handler_raises_fails_its_job_wherever_it_ran(stored, pool):
    stored.transact([job_txn(":bad", {":org/id": 7}), job_txn(":odd"), job_txn(":later")])
    handlers = {":bad": remote.boom, ":odd": remote.raise_unpicklable, ":later": remote.put_back}
    run(stored, handlers, concurrency=2, executor=pool)
    assert {FINISHED: 1, FAILED: 2} == counts(stored)
    failures = " ".join(told(stored, ":job/failure"))
    assert "no luck with 7" in failures
    assert "Unpicklable" in failures


@pytest.mark.parametrize("pool", POOLS)
def test_retries_follow_the_policy_wherever_the_handler_ran(stored, pool):
    stored.transact([job_txn(":bad", {":org/id": 7})])
    run(stored, {":bad": {"process": remote.boom, "retry": Retry(max_attempts=3, backoff=constant(0))}}, concurrency=2, executor=pool)
    assert [FAILED] == told(stored, ":job/status")
    assert [3] == told(stored, ":job/failures")


@pytest.mark.parametrize("pool", ["asyncio", "processes"])
def test_a_handler_that_takes_too_long_is_stopped_and_its_slot_is_free(stored, pool):
    async def forever(job):
        await asyncio.sleep(3600)

    endless = {"process": forever if pool == "asyncio" else remote.sleep, "timeout": timedelta(milliseconds=300)}
    stored.transact([job_txn(":endless"), job_txn(":short")])
    run(stored, {":endless": endless, ":short": remote.tell_pid}, concurrency=1, executor=pool)
    assert {FAILED: 1, FINISHED: 1} == counts(stored)
    assert [Reason.TIMEOUT] == told(stored, ":job/reason")


def test_a_thread_that_takes_too_long_is_left_to_itself_and_its_result_is_dropped(conn):
    release, events = threading.Event(), []
    conn.transact([job_txn(":slow", timeout=timedelta(milliseconds=50))])

    def slow(job):
        while job.lease_ok():
            release.wait(0.01)
        return [{":order/number": "too late"}]

    run(conn, {":slow": slow}, concurrency=2, listeners=[events.append])
    assert {FAILED: 1} == counts(conn)
    assert set() == orders(conn)
    assert [Claimed, Started, Failed] == [type(event) for event in events]


def test_a_timeout_is_retried_as_any_error(conn):
    attempts = []

    def slow_at_first(job):
        attempts.append(job.attempt)
        while job.attempt == 1 and job.lease_ok():
            threading.Event().wait(0.01)

    conn.transact([job_txn(":slow")])
    policy = Retry(max_attempts=2, backoff=constant(0), on=(TimeoutError,))
    run(conn, {":slow": {"process": slow_at_first, "retry": policy, "timeout": timedelta(milliseconds=50)}})
    assert [1, 2] == attempts
    assert {FINISHED: 1} == counts(conn)


@pytest.mark.parametrize("pool", ["asyncio", "processes"])
def test_aborting_a_running_job_stops_its_handler(stored, pool):
    began = threading.Event()
    events = []

    async def forever(job):
        await asyncio.sleep(3600)

    def listen(event):
        events.append(type(event))
        if isinstance(event, Started):
            began.set()

    stored.transact([job_txn(":endless", id="j")])
    worker = Worker(
        stored,
        {":endless": forever if pool == "asyncio" else remote.sleep},
        Config(concurrency=2, executor=pool, listeners=[listen]),
    )
    running = threading.Thread(target=worker.run, kwargs={"until_idle": True})
    running.start()
    assert began.wait(20)
    worker._store.abort("j", "by an operator")
    running.join(20)
    assert not running.is_alive()
    assert {ABORTED: 1} == counts(stored)
    assert Lost in events
    assert 1 == worker.lost


def test_jobs_claimed_ahead_wait_for_a_slot_and_are_given_back_when_the_worker_stops(conn):
    release = threading.Event()
    conn.transact([job_txn(":a") for _ in range(6)])

    def handler(job):
        worker.stop()
        release.wait(0.05)

    worker = Worker(conn, {":a": handler}, Config(concurrency=2, batch=6))
    worker.run()
    ended = counts(conn)
    assert 6 == sum(ended.values())
    assert ended[FINISHED] <= 2
    assert {Reason.INTERRUPTED} == set(told(conn, ":job/reason"))
    assert ended[UNSTARTED] == 6 - ended[FINISHED]


def test_a_worker_finishes_what_runs_before_it_stops(conn):
    release, began = threading.Event(), threading.Barrier(4)
    conn.transact([job_txn(":a") for _ in range(3)])

    def handler(job):
        began.wait(10)
        release.wait(10)

    worker = Worker(conn, {":a": handler}, Config(concurrency=3))
    running = threading.Thread(target=worker.run)
    running.start()
    began.wait(10)
    worker.stop()
    release.set()
    running.join(10)
    assert {FINISHED: 3} == counts(conn)


# -- coroutines


@pytest.mark.parametrize("config", [{}, {"concurrency": 2}, {"concurrency": 2, "executor": "asyncio"}])
def test_coroutine_functions_are_handlers_in_every_pool_of_this_process(conn, config):
    async def handler(job):
        await asyncio.sleep(0)
        return [{":order/number": job.id}]

    async def stage(job):
        await asyncio.sleep(0)
        return 40

    conn.transact([job_txn(":whole", id="whole"), job_txn(":staged")])
    staged = {"pre_process": lambda job: None, "process": stage, "post_process": lambda job, n: [{":order/total": n + 2}]}
    run(conn, {":whole": handler, ":staged": staged}, **config)
    assert {"whole"} == orders(conn)
    assert [42] == factstore.q("[:find [?n ...] :where [_ :order/total ?n]]", conn.db())


@pytest.mark.parametrize("config", [{}, {"concurrency": 2, "executor": "asyncio"}])
def test_a_worker_runs_coroutines_on_a_thread_that_has_a_loop_already(conn, config):
    """As in a notebook."""

    async def handler(job):
        await asyncio.sleep(0)

    async def notebook():
        run(conn, {":a": handler}, **config)

    conn.transact([job_txn(":a")])
    asyncio.run(notebook())
    assert {FINISHED: 1} == counts(conn)


def test_plain_functions_do_not_hold_up_the_event_loop(conn):
    """One blocks until the other, a coroutine, has run."""
    reached = threading.Event()

    async def reach(job):
        reached.set()

    conn.transact([job_txn(":waits"), job_txn(":reaches")])
    run(conn, {":waits": lambda job: reached.wait(10) or 1 / 0, ":reaches": reach}, concurrency=2, executor="asyncio")
    assert {FINISHED: 2} == counts(conn)


# -- processes


def test_a_process_that_dies_takes_only_its_own_job_with_it_which_runs_again(stored):
    stored.transact([job_txn(":deadly", id="d"), *(job_txn(":fine") for _ in range(5))])
    run(stored, {":deadly": remote.die_once, ":fine": remote.tell_pid}, concurrency=2, executor="processes")
    assert {FINISHED: 6} == counts(stored)
    assert [1] == told(stored, ":job/crashes")


def test_a_job_that_kills_every_process_ends_as_failed_because_its_worker_died(stored):
    stored.transact([job_txn(":poison")])
    run(stored, {":poison": remote.die}, concurrency=1, executor="processes", max_crashes=1)
    assert [FAILED] == told(stored, ":job/status")
    assert [Reason.WORKER_DIED] == told(stored, ":job/reason")


def test_handlers_elsewhere_cannot_reach_a_store_in_memory_and_say_so(conn):
    conn.transact([job_txn(":a")])
    run(conn, {":a": remote.count_orders}, executor="processes")
    [failure] = told(conn, ":job/failure")
    assert "a store in a file" in failure


def test_a_handler_in_another_process_sees_that_its_lease_is_lost(stored):
    began = threading.Event()
    stored.transact([job_txn(":a", id="j"), job_txn(":b")])
    listen = lambda event: began.set() if isinstance(event, Started) else None  # noqa: E731
    with ThreadPoolExecutor(1) as one, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as theirs:
        worker = Worker(stored, {":a": remote.wait_until_lost}, Config(executor=theirs, listeners=[listen]))
        done = one.submit(worker.run, until_idle=True)
        assert began.wait(20)
        worker._store.abort("j", "by an operator")
        done.result(20)
    assert [ABORTED] == [v for v in told(stored, ":job/status") if v != UNSTARTED]


def test_calls_are_answered_in_the_processes_and_a_dead_one_is_replaced():
    executor = ProcessExecutor(1)
    try:
        first = executor.submit(os.getpid).result(20)
        assert first == executor.submit(os.getpid).result(20)
        with pytest.raises(ProcessDied):
            executor.submit(os._exit, 3).result(20)
        assert first != executor.submit(os.getpid).result(20)
        with pytest.raises(ZeroDivisionError):
            executor.submit(divmod, 1, 0).result(20)
    finally:
        executor.shutdown()


# -- executors of the caller's


def test_any_executor_runs_handlers_and_stays_its_owners(stored):
    stored.transact([job_txn(":a") for _ in range(4)])
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as theirs:
        run(stored, {":a": remote.tell_pid}, concurrency=2, executor=theirs)
        assert theirs.submit(os.getpid).result(20)
    assert {FINISHED: 4} == counts(stored)
    assert str(os.getpid()) not in {number.split()[0] for number in orders(stored)}


def test_a_dask_cluster_of_processes_runs_handlers(stored):
    stored.transact([{":order/number": "there before"}])
    stored.transact(graph_txns({":first": [], ":second": [":first"]}))
    stored.transact([job_txn(":pid") for _ in range(6)])
    handlers = {":first": remote.count_orders, ":second": remote.tell_result, ":pid": remote.tell_pid}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        run(stored, handlers, concurrency=2, executor=client.get_executor())
    assert {FINISHED: 8} == counts(stored)
    pids = {number.split()[0] for number in orders(stored) if number[0].isdigit() and "counted" not in number}
    assert pids
    assert str(os.getpid()) not in pids


@pytest.mark.parametrize("config", [{"executor": "fibers"}, {"executor": "inline", "concurrency": 2}])
def test_settings_that_cannot_run_anything_are_refused(conn, config):
    with pytest.raises(ConfigError, match=r"concurrency|fibers"):
        Worker(conn, {":a": print}, Config(**config))


def test_listeners_hear_of_each_step_of_an_attempt(conn):
    events = []
    conn.transact([job_txn(":a", id="j")])
    run(conn, {":a": lambda job: None}, listeners=[events.append])
    assert [Claimed, Started, Finished] == [type(event) for event in events]
    assert {"j"} == {event.lease.id for event in events}
