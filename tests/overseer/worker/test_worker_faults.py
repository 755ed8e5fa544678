"""What goes wrong in a worker outside of handlers: no outcome is lost, nothing fails in silence, and what ends leaves nothing behind."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import timedelta
from multiprocessing.context import SpawnProcess

import pytest

import factstore
from overseer import Config, JobStore, OverseerError, Retry, Running, Worker, install, job_txn, status
from overseer.events import Event, Fatal, Started
from overseer.jobs.states import FAILED, FINISHED, STARTED, UNSTARTED, Outcome, Reason
from overseer.worker.pools.pools import KINDS
from overseer.worker.pools.processes import ProcessDied, ProcessExecutor
from tests.overseer import remote_handlers as remote
from tests.overseer.conftest import BUSINESS

LEASE = timedelta(seconds=30)


@pytest.fixture
def stored(tmp_path) -> Iterator[factstore.Connection]:
    """A store in a file, for handlers that run in other processes."""
    with factstore.connect(str(tmp_path / "jobs.facts"), sync="none") as conn:
        install(conn)
        conn.transact(BUSINESS)
        yield conn


class Heard(list[Event]):
    """A listener that keeps what it hears, and whether it was closed."""

    closed = False

    def __call__(self, event):
        assert not self.closed
        self.append(event)

    def close(self):
        self.closed = True


def counts(conn):
    return {key: n for key, n in status.counts(conn.db()).items() if n}


def told(conn, attribute):
    return factstore.q("[:find [?v ...] :in $ ?a :where [?j :job/id] [?j ?a ?v]]", conn.db(), conn.db().entid(attribute))


def nothing(job):
    return None


# -- no outcome is lost


def test_the_last_outcome_is_handed_on_before_a_worker_that_stops_lets_its_settler_end(conn, monkeypatch):
    """Otherwise a job that has done its work would run again, for the worker was told to stop while it ended."""
    conn.transact([job_txn(":a")])
    worker = Worker(conn, {":a": lambda job: slow.wait(0.1) or worker.stop()}, Config(concurrency=2))
    slow, of_run = threading.Event(), worker._judge.of_run
    monkeypatch.setattr(worker._judge, "of_run", lambda *args: slow.wait(1.0) or of_run(*args))
    worker.run()
    assert {FINISHED: 1} == counts(conn)


class OnTheSpot(Executor):
    """Runs calls as they are submitted."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def test_a_thousand_jobs_that_end_at_once_do_not_pile_up_on_one_stack(conn):
    conn.transact([job_txn(":a") for _ in range(1000)])
    Worker(conn, {":a": nothing}, Config(executor=OnTheSpot(), concurrency=2, batch=1000)).run(until_idle=True)
    assert {FINISHED: 1000} == counts(conn)


def test_a_handler_whose_own_task_was_cancelled_fails_its_job(conn):
    """It was not the worker that cancelled it, so the job is not somebody else's by now."""

    async def handler(job):
        task = asyncio.ensure_future(asyncio.sleep(60))
        task.cancel()
        await task

    conn.transact([job_txn(":a")])
    worker = Worker(conn, {":a": handler}, Config(executor="asyncio", concurrency=2))
    worker.run(until_idle=True)
    assert {FAILED: 1} == counts(conn)
    assert 0 == worker.lost


@pytest.mark.parametrize("kind", ["asyncio", "processes"])
def test_an_attempt_that_is_lost_while_it_is_being_submitted_is_stopped_all_the_same(stored, monkeypatch, kind):
    async def forever(job):
        await asyncio.sleep(3600)

    stored.transact([job_txn(":a", id="j")])
    worker = Worker(stored, {":a": forever if kind == "asyncio" else remote.sleep}, Config(executor=kind, concurrency=2))
    submit = worker._pool.submit

    def losing(handler, job, *more, **words):
        worker._leases.remove(job.lease)
        worker._store.abort(job.eid, "at the worst moment")
        return submit(handler, job, *more, **words)

    monkeypatch.setattr(worker._pool, "submit", losing)
    worker.run(until_idle=True)
    assert 1 == worker.lost


# -- nothing fails in silence


@pytest.mark.parametrize("pool", ["inline", "threads"])
def test_what_fails_between_a_handler_and_its_settling_ends_the_worker(conn, monkeypatch, pool):
    """A future swallows what its callbacks raise."""
    heard = Heard()
    conn.transact([job_txn(":a")])
    worker = Worker(conn, {":a": nothing}, Config(executor=pool, listeners=[heard]))
    monkeypatch.setattr(worker._settler, "put", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        worker.run(until_idle=True)
    assert isinstance(heard[-1], Fatal)


@pytest.mark.parametrize(
    "part", ["_heartbeat.beat", "_monitor.look", "_scheduler.look", "_settler.flush", "_store.claim", "_store.settle", "_ready.load"]
)
def test_the_store_failing_on_any_of_its_threads_ends_the_worker_which_says_so(conn, monkeypatch, part):
    def fail(*_, **__):
        raise factstore.StorageError(":db.error/storage-unavailable", "the disk is gone")

    heard, began = Heard(), threading.Event()
    conn.transact([job_txn(":a")])
    config = Config(heartbeat_sleep_time=20, heartbeat_tolerance=3, concurrency=2, listeners=[heard])
    worker = Worker(conn, {":a": lambda job: began.wait(0.2)}, config)
    owner, method = part.split(".")
    monkeypatch.setattr(getattr(worker, owner), method, fail)
    with pytest.raises(factstore.StorageError, match="the disk is gone"):
        worker.run()
    assert 1 == sum(isinstance(event, Fatal) for event in heard)
    assert heard.closed is True


def test_the_store_failing_on_the_very_last_outcome_is_told_too(conn, monkeypatch):
    def fail(outcomes):
        raise factstore.StorageError(":db.error/storage-unavailable", "the disk is gone")

    heard = Heard()
    conn.transact([job_txn(":a")])
    worker = Worker(conn, {":a": lambda job: worker.stop()}, Config(listeners=[heard]))
    monkeypatch.setattr(worker._store, "settle", fail)
    with pytest.raises(factstore.StorageError):
        worker.run()
    assert isinstance(heard[-1], Fatal)


@pytest.mark.parametrize("backoff", [lambda failed: 1 / 0, lambda failed: float("inf"), lambda failed: float("nan"), lambda failed: "soon"])
def test_a_backoff_that_breaks_fails_its_job_and_no_more(conn, backoff):
    def boom(job):
        raise ValueError

    conn.transact([job_txn(":a"), job_txn(":b")])
    handlers = {":a": {"process": boom, "retry": Retry(max_attempts=5, backoff=backoff)}, ":b": nothing}
    Worker(conn, handlers).run(until_idle=True)
    assert {FAILED: 1, FINISHED: 1} == counts(conn)


def _deep():
    deep = []
    for _ in range(5000):
        deep = [deep]
    return deep


class _Vicious:
    def __eq__(self, other):
        raise ValueError("not to be compared")

    def __hash__(self):
        raise ValueError("not to be hashed")

    __repr__ = __hash__


@factstore.register("test/divide")
def _divide(db):
    return 1 / 0


JUNK = [
    [object()], [None], [7], [{}, 7], [[]], [[":db/add"]], [["test/divide"]], [[":db/cas", 1]], [{":no/such": 1}], [{":org/id": "text"}],
    [{":db/id": float("nan"), ":org/id": 1}], [{":order/number": "\ud800"}], [[":db/add", 10**30, ":org/id", 3]], [_Vicious()],
    [{":org/id": _Vicious()}], [[":db/retractEntity", _Vicious()]], [{_Vicious: 1}], [_deep()],
]  # fmt: skip


@pytest.mark.parametrize("facts", JUNK, ids=range(len(JUNK)))
def test_no_facts_that_a_handler_returns_take_its_worker_down(conn, facts):
    conn.transact([job_txn(":a"), job_txn(":a"), job_txn(":b")])
    Worker(conn, {":a": lambda job: facts, ":b": nothing}, Config(batch=3)).run(until_idle=True)
    ended = counts(conn)
    assert 3 == ended[FINISHED] + ended.get(FAILED, 0)


# -- what ends leaves nothing behind


@pytest.mark.parametrize("kind", KINDS)
def test_a_worker_leaves_no_thread_behind(stored, kind):
    before = set(threading.enumerate())
    stored.transact([job_txn(":a") for _ in range(3)])
    Worker(stored, {":a": remote.tell_pid}, Config(executor=kind, concurrency=1)).run(until_idle=True)
    left = [thread for thread in set(threading.enumerate()) - before if thread.name.startswith("overseer")]
    for thread in left:  # those of a pool are told to end, and not waited for
        thread.join(10)
    assert [] == [thread for thread in left if thread.is_alive()]


@pytest.mark.parametrize("kind", ["asyncio", "processes"])
def test_a_worker_that_fails_is_not_held_up_by_a_handler_that_hangs(stored, monkeypatch, kind):
    began, release = threading.Event(), threading.Event()
    stored.transact([job_txn(":a")])
    listen = lambda event: began.set() if isinstance(event, Started) else None  # noqa: E731
    handler = (lambda job: release.wait(60)) if kind == "asyncio" else remote.sleep
    worker = Worker(stored, {":a": handler}, Config(executor=kind, heartbeat_sleep_time=50, listeners=[listen]))
    monkeypatch.setattr(worker._store, "beat", lambda *_, **__: 1 / 0 if began.is_set() else ())
    failed = threading.Event()

    def run():
        with pytest.raises(ZeroDivisionError):
            worker.run()
        failed.set()

    threading.Thread(target=run).start()
    assert failed.wait(20)
    assert [] == multiprocessing.active_children()
    release.set()


def test_handlers_that_outlive_their_worker_are_followed_by_no_others(conn, monkeypatch):
    """The executor is its owner's, and goes on; the leases of the others are nobody's by now."""
    began, release, ran = threading.Event(), threading.Event(), []
    conn.transact([job_txn(":a") for _ in range(3)])

    def handler(job):
        ran.append(job.id)
        began.set()
        release.wait(10)

    with ThreadPoolExecutor(1) as theirs:
        worker = Worker(conn, {":a": handler}, Config(executor=theirs, batch=3, heartbeat_sleep_time=20))
        monkeypatch.setattr(worker._store, "beat", lambda *_, **__: 1 / 0 if began.is_set() else ())
        with pytest.raises(ZeroDivisionError):
            worker.run()
        release.set()
    assert 1 == len(ran)


def test_a_key_pressed_while_a_handler_runs_ends_the_worker_and_gives_the_job_back(conn):
    heard = Heard()
    conn.transact([job_txn(":a")])

    def handler(job):
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Worker(conn, {":a": handler}, Config(listeners=[heard])).run()
    assert {UNSTARTED: 1} == counts(conn)
    assert [Reason.INTERRUPTED] == told(conn, ":job/reason")
    assert [] == told(conn, ":job/crashes")
    assert [] == [event for event in heard if isinstance(event, Fatal)]


def test_leaving_in_a_hurry_settles_what_has_ended_gives_the_rest_back_and_lets_listeners_send_off(conn, monkeypatch):
    heard, left = Heard(), threading.Event()
    conn.transact([job_txn(":a", id="ended"), job_txn(":a", id="under way")])
    worker = Worker(conn, {":a": nothing}, Config(listeners=[heard]))
    ended, under_way = worker._store.claim([conn.db().entid([":job/id", id]) for id in ("ended", "under way")], lease=LEASE)
    worker._leases.add(ended.lease, under_way.lease)
    worker._settler.put(worker._judge.of_error(ended, ValueError("done")))
    codes = []
    monkeypatch.setattr("os._exit", lambda code: codes.append((code, heard.closed)) or left.set())
    worker.abandon(143)
    assert left.wait(10)
    assert [(143, True)] == codes
    assert {FAILED: 1, UNSTARTED: 1} == counts(conn)


def test_the_process_of_a_worker_that_leaves_in_a_hurry_ends_before_the_worker_returns(conn, monkeypatch):
    """Otherwise, the program could end with an exit code of its own."""
    began, release, left, returned = (threading.Event() for _ in range(4))
    conn.transact([job_txn(":a")])
    worker = Worker(conn, {":a": lambda job: began.set() or release.wait(30)}, executor="threads")
    exits = []

    def run():
        worker.run()
        returned.set()

    monkeypatch.setattr(worker._listeners, "close", lambda: None)
    monkeypatch.setattr("os._exit", lambda code: exits.append((code, returned.wait(1))) or left.set())
    thread = threading.Thread(target=run)
    thread.start()
    assert began.wait(30)
    assert 1 == len(status.workers(conn.db()))
    worker.abandon(143)
    worker.abandon(130)
    assert left.wait(30)
    release.set()
    thread.join()
    assert [(143, False)] == exits
    assert [] == status.workers(conn.db())


def test_leaving_in_a_hurry_waits_for_nobody_that_hangs(conn, monkeypatch):
    hung, left = threading.Event(), threading.Event()
    conn.transact([job_txn(":a")])
    worker = Worker(conn, {":a": nothing})
    monkeypatch.setattr("overseer.worker._LEAVING", 0.05)
    monkeypatch.setattr(worker._store, "release", lambda leases: hung.wait(30))
    monkeypatch.setattr(worker._listeners, "close", lambda: hung.wait(30))
    monkeypatch.setattr("os._exit", lambda code: left.set())
    worker.abandon(1)
    assert left.wait(10)
    hung.set()


def test_a_worker_runs_once(conn):
    worker = Worker(conn, {":a": nothing})
    worker.run(until_idle=True)
    with pytest.raises(OverseerError, match="create another"):
        worker.run()


def test_a_worker_in_the_background_that_fails_closes_its_connection_all_the_same():
    conn = factstore.connect("memory:")
    worker = Worker(conn, {":a": nothing})
    worker._ran = True
    running = Running(worker, conn)
    with pytest.raises(OverseerError):
        running.stop()
    with pytest.raises(factstore.StorageError, match="closed"):
        conn.db()


# -- waiting costs nothing


def test_a_worker_whose_slots_are_taken_does_not_spin_while_a_job_is_due(conn, monkeypatch):
    rounds, release = [], threading.Event()
    conn.transact([job_txn(":a"), job_txn(":a")])
    worker = Worker(conn, {":a": lambda job: release.wait(30)}, Config(concurrency=2))

    absorb = worker._loop._absorb
    monkeypatch.setattr(worker._loop, "_absorb", lambda *args, **words: rounds.append(1) or absorb(*args, **words))
    running = threading.Thread(target=worker.run, kwargs={"until_idle": True})
    conn.transact([job_txn(":a", run_at=conn.now() + timedelta(milliseconds=200 + n)) for n in range(3)])
    running.start()
    threading.Event().wait(1.0)
    seen = len(rounds)
    release.set()
    running.join(30)
    assert seen < 40
    assert {FINISHED: 5} == counts(conn)


def test_one_lost_lease_among_many_costs_a_few_transactions_not_one_each(conn):
    conn.transact([job_txn(":a") for _ in range(64)])
    store = JobStore(conn, worker="w")
    jobs = store.claim([datom.e for datom in conn.db().datoms("avet", ":job/status", UNSTARTED)], lease=LEASE)
    store.settle([(jobs[17].lease, Outcome(UNSTARTED))])
    before = conn.db().basis_t
    assert [jobs[17].lease] == store.beat([job.lease for job in jobs], lease=LEASE)
    assert conn.db().basis_t - before <= 6
    assert {STARTED: 63, UNSTARTED: 1} == counts(conn)


# -- processes


def test_a_process_that_cannot_be_started_is_one_that_died(monkeypatch):
    executor = ProcessExecutor(1)
    try:
        monkeypatch.setattr(SpawnProcess, "start", lambda self: (_ for _ in ()).throw(OSError("no more processes")))
        with pytest.raises(ProcessDied, match="no more processes"):
            executor.submit(divmod, 1, 1).result(20)
    finally:
        executor.shutdown()


def test_a_process_that_closes_its_pipe_is_ended_with_its_call():
    executor = ProcessExecutor(1)
    try:
        with pytest.raises(ProcessDied):
            executor.submit(remote.close_everything_and_sleep).result(30)
        assert (1, 0) == executor.submit(divmod, 1, 1).result(20)
    finally:
        executor.shutdown()


def test_an_executor_that_is_shut_down_cancels_what_waits_and_ends_what_runs():
    executor = ProcessExecutor(1)
    assert (1, 0) == executor.submit(divmod, 1, 1).result(20)
    runs, waits = executor.submit(remote.sleep, None), executor.submit(divmod, 1, 1)
    while not runs.running():
        threading.Event().wait(0.01)
    executor.shutdown(cancel_futures=True)
    assert isinstance(runs.exception(0), ProcessDied)
    assert waits.cancelled()
