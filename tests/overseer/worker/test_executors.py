"""Rules that hold in every place where handlers run: a table of executors and behaviours."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from multiprocessing import get_context
from typing import Any

import distributed
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import factstore
from factstore import Keyword
from overseer import Config, ConfigError, HandlerError, Retry, Worker, exponential, install, job_txn, status
from overseer.events import Claimed, Released, Started
from overseer.jobs.states import FAILED, FINISHED, STARTED, UNSTARTED, Reason
from overseer.listeners.tracing import Tracing
from overseer.worker.executor import ExecutorFailed
from tests.overseer import remote_handlers as remote
from tests.overseer.conftest import BUSINESS


class Synchronous(Executor):
    """Somebody's own executor, which tells nothing of itself: it runs each call on a thread, one at a time."""

    def __init__(self) -> None:
        self._one = ThreadPoolExecutor(1)

    def submit(self, fn, /, *args, **kwargs):
        return self._one.submit(fn, *args, **kwargs)

    def shutdown(self, wait=True, *, cancel_futures=False):
        self._one.shutdown(wait, cancel_futures=cancel_futures)


def _own(**settings: Any) -> Callable[[], Any]:
    return lambda: nullcontext(settings)


def _callers(make: Callable[[], Executor], **settings: Any) -> Callable[[], Any]:
    @contextmanager
    def used():
        with make() as executor:
            yield {"executor": executor, **settings}

    return used


EXECUTORS = {
    "inline": _own(executor="inline"),
    "threads": _own(executor="threads", concurrency=2),
    "asyncio": _own(executor="asyncio", concurrency=2),
    "spawn": _own(executor="processes", concurrency=2),
    "fork": _own(executor="processes", concurrency=2, start_method="fork"),
    "forkserver": _own(executor="processes", concurrency=2, start_method="forkserver"),
    "their threads": _callers(lambda: ThreadPoolExecutor(2), concurrency=2),
    "their processes": _callers(lambda: ProcessPoolExecutor(2, mp_context=get_context("spawn")), concurrency=2),
    "their own": _callers(Synchronous, concurrency=2),
}
IN_THIS_PROCESS = ["inline", "threads", "asyncio", "their threads"]  # where a handler that hangs cannot be stopped
OUR_PROCESSES = ["spawn", "fork", "forkserver"]
REMOTE = [*OUR_PROCESSES, "their processes"]

SLOW = {"fork", "forkserver", "their processes", "their own"}  # to start, and like another of the table

every = pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow) if kind in SLOW else kind for kind in EXECUTORS])


@pytest.fixture
def stored(tmp_path) -> Iterator[factstore.Connection]:
    """A store in a file, for handlers that run in other processes."""
    with factstore.connect(str(tmp_path / "jobs.facts"), sync="none") as conn:
        install(conn)
        conn.transact(BUSINESS)
        yield conn


def run(conn, handlers, kind, **config):
    with EXECUTORS[kind]() as settings:
        worker = Worker(conn, handlers, Config(seed=1, **{**settings, **config}))
        worker.run(until_idle=True)
    return worker


def statuses(conn):
    return dict(factstore.q("[:find ?type ?status :where [?j :job/type ?type] [?j :job/status ?status]]", conn.db()))


def failures(conn):
    """What is kept of the errors of jobs, by the name of their type."""
    told = factstore.q("[:find ?type ?failure :where [?j :job/type ?type] [?j :job/failure ?failure]]", conn.db())
    return {Keyword(type).name: factstore.edn.read(text) for type, text in told}


def orders(conn):
    return set(factstore.q("[:find [?n ...] :where [_ :order/number ?n]]", conn.db()))


def of(conn, id, attribute):
    return factstore.q("[:find ?v . :in $ ?id ?a :where [?j :job/id ?id] [?j ?a ?v]]", conn.db(), id, conn.db().entid(attribute))


# -- what a handler raises and returns


@every
def test_whatever_a_handler_raises_fails_its_job_and_says_the_same_of_it(stored, kind):
    types = [f":raise/{name}" for name in remote.RAISED]
    stored.transact([*map(job_txn, types), job_txn(":good")])
    run(stored, {**dict.fromkeys(types, remote.raise_as_told), ":good": remote.tell_pid}, kind)
    assert {**dict.fromkeys(types, FAILED), ":good": FINISHED} == statuses(stored)
    said = failures(stored)
    names = {name: said[name][":exception"] for name in remote.RAISED}
    here = "tests.overseer.remote_handlers."
    assert {
        "assertion": "AssertionError",
        "key": "KeyError",
        "memory": "MemoryError",
        "keyboard": "KeyboardInterrupt",
        "exit": "SystemExit",
        "generator-exit": "GeneratorExit",
        "cancelled": "asyncio.exceptions.CancelledError",
        "own": f"{here}Stop",
        "group": "BaseExceptionGroup",
        "speechless": f"{here}Speechless",
        "circular": f"{here}Circular",
        "unpicklable": f"{here}Unpicklable",
        "verdict": "overseer.errors.HandlerError",
        "verdict-started": "overseer.errors.HandlerError",
    }.items() <= names.items()
    assert all("remote_handlers.py" in said[name][":at"] for name in set(remote.RAISED) - {"verdict", "verdict-started", "stop-iteration"})
    assert {"fine": 1} == said["circular"][":data"]


@every
@pytest.mark.parametrize("handler", [remote.return_as_told, remote.areturn_as_told], ids=["plain", "coroutine"])
def test_a_value_that_cannot_be_kept_fails_its_job_and_nothing_is_lost_in_silence(stored, kind, handler):
    types = [f":return/{name}" for name in remote.RETURNED]
    stored.transact([job_txn(type) for type in types])
    run(stored, dict.fromkeys(types, handler), kind)
    assert dict.fromkeys(types, FAILED) == statuses(stored)
    assert {"overseer.errors.HandlerError"} == {failure[":exception"] for failure in failures(stored).values()}
    assert set() == orders(stored)


@every
def test_an_exit_in_a_task_that_a_handler_awaits_fails_its_job_and_the_worker_goes_on(stored, kind):
    stored.transact([job_txn(":leaves", priority=9), job_txn(":good")])
    run(stored, {":leaves": remote.exit_in_a_task, ":good": remote.tell_pid}, kind)
    assert {":leaves": FAILED, ":good": FINISHED} == statuses(stored)


# -- handlers that cannot serve


def generator(job):
    yield {":order/number": "lost"}


async def agenerator(job):
    yield {":order/number": "lost"}


class Callable_:
    def __call__(self, job):
        yield


@every
@pytest.mark.parametrize(
    "handler", [generator, agenerator, Callable_(), {"process": len, "post_process": generator}], ids=["plain", "async", "object", "stage"]
)
def test_generator_functions_are_rejected_before_any_job_is_claimed(stored, kind, handler):
    stored.transact([job_txn(":a", id="j")])
    with EXECUTORS[kind]() as settings, pytest.raises(HandlerError, match="generator function") as caught:
        Worker(stored, {":a": handler}, Config(**settings))
    assert ":job.error/bad-handler" == caught.value.code
    assert UNSTARTED == of(stored, "j", ":job/status")
    assert of(stored, "j", ":job/attempt") is None


@pytest.mark.parametrize("kind", REMOTE)
def test_handlers_that_cannot_be_sent_are_named_before_any_job_is_claimed(stored, kind):
    stored.transact([job_txn(":a", id="j")])
    with pytest.raises(HandlerError, match=r"functions that can be imported there; not these: :a: .*lambda") as caught:
        run(stored, {":a": lambda job: None, ":b": remote.tell_pid}, kind)
    assert {":a"} == set(caught.value.handlers)
    assert UNSTARTED == of(stored, "j", ":job/status")
    assert of(stored, "j", ":job/attempt") is None


@pytest.mark.parametrize("kind", ["spawn", "forkserver", "their processes"])
def test_handlers_that_cannot_be_loaded_there_are_named_before_any_job_is_claimed(stored, monkeypatch, kind):
    def only_here(job):
        return None

    only_here.__qualname__ = only_here.__name__ = "only_here"
    monkeypatch.setattr(remote, "only_here", only_here, raising=False)
    only_here.__module__ = remote.__name__
    stored.transact([job_txn(":a", id="j")])
    with pytest.raises(HandlerError, match="cannot be loaded in another process: AttributeError"):
        run(stored, {":a": only_here}, kind)
    assert UNSTARTED == of(stored, "j", ":job/status")
    assert of(stored, "j", ":job/attempt") is None


@pytest.mark.parametrize("kind", REMOTE)
def test_a_handler_mapping_may_hold_what_cannot_be_sent_as_long_as_it_does_not_run_there(stored, kind):
    policy = Retry(max_attempts=2, backoff=exponential(0.0), on=(ValueError,))
    handler = {"process": remote.tell_pid, "retry": policy, "timeout": timedelta(minutes=1)}
    stored.transact([job_txn(":a")])
    run(stored, {":a": handler}, kind)
    assert {":a": FINISHED} == statuses(stored)


@pytest.mark.parametrize(
    "given", [[len], None, "handlers", ("a", len), {1: len}, {"": len}], ids=["list", "none", "text", "tuple", "number", "empty"]
)
def test_handlers_that_are_no_mapping_from_types_say_what_is_expected(conn, given):
    with pytest.raises(HandlerError, match=r"a non-empty mapping from job type to handler|a job type is a keyword or a text") as caught:
        Worker(conn, given)
    assert ":job.error/bad-handler" == caught.value.code


def test_an_executor_that_takes_no_calls_is_refused_before_any_job_is_claimed(conn):
    conn.transact([job_txn(":a", id="j")])
    for executor in (ThreadPoolExecutor(1), Synchronous()):
        executor.shutdown()
        with pytest.raises(ConfigError, match="takes no calls"):
            Worker(conn, {":a": len}, Config(executor=executor)).run()
    assert UNSTARTED == of(conn, "j", ":job/status")
    assert of(conn, "j", ":job/attempt") is None


# -- time and slots


def test_a_timeout_runs_from_the_moment_at_which_the_handler_begins(conn):
    """The only thread is somebody else's for longer than the timeout."""
    for theirs in (ThreadPoolExecutor(1), Synchronous()):
        claimed, release, told = threading.Event(), threading.Event(), []
        conn.transact([job_txn(":a", id=type(theirs).__name__, timeout=timedelta(milliseconds=200))])

        def listen(event, claimed=claimed, told=told):
            told.append(type(event))
            if isinstance(event, Claimed):
                claimed.set()

        with theirs:
            worker = Worker(conn, {":a": lambda job: None}, Config(executor=theirs, listeners=[listen]))
            worker.prepare()
            theirs.submit(release.wait, 30)
            running = threading.Thread(target=worker.run, kwargs={"until_idle": True})
            running.start()
            assert claimed.wait(30)
            release.wait(0.6)
            assert Started not in told
            release.set()
            running.join(30)
        assert FINISHED == of(conn, type(theirs).__name__, ":job/status")


def test_no_more_jobs_are_claimed_than_an_executor_has_threads(conn):
    release, began = threading.Event(), threading.Semaphore(0)
    conn.transact([job_txn(":a") for _ in range(5)])

    def wait(job):
        began.release()
        release.wait(30)

    with ThreadPoolExecutor(2) as theirs:
        worker = Worker(conn, {":a": wait}, Config(executor=theirs, concurrency=5))
        running = threading.Thread(target=worker.run, kwargs={"until_idle": True})
        running.start()
        assert began.acquire(timeout=30)
        assert began.acquire(timeout=30)
        assert 2 == status.counts(conn.db())[STARTED]
        release.set()
        running.join(30)
    assert 5 == status.counts(conn.db())[FINISHED]


@pytest.mark.parametrize("kind", IN_THIS_PROCESS)
def test_a_handler_that_outlives_its_timeout_keeps_its_slot_and_neither_other_jobs_nor_the_worker(conn, kind):
    """Jobs claimed ahead go back, others are not claimed, and the worker ends although the handler does not."""
    release, returned = threading.Event(), threading.Event()
    slots = 1 if kind == "inline" else 2
    hanging = [job_txn(":hang", id=f"hang {n}", priority=9) for n in range(slots)]
    conn.transact([*hanging, *(job_txn(":quick", id=f"quick {n}") for n in range(4))])
    ran, events = [], []
    handlers = {":hang": {"process": lambda job: release.wait(60), "timeout": timedelta(milliseconds=100)}, ":quick": ran.append}
    with EXECUTORS[kind]() as settings:
        worker = Worker(conn, handlers, Config(**{**settings, "batch": 4, "listeners": [events.append]}))

        def work():
            worker.run()
            returned.set()

        threading.Thread(target=work, daemon=True).start()
        with conn.tx_reports() as reports:
            while not (
                [FAILED] * slots == [of(conn, f"hang {n}", ":job/status") for n in range(slots)] and not status.counts(conn.db())[STARTED]
            ):
                assert reports.get(30) is not None
        other = Worker(conn, {":quick": lambda job: None})
        other.run(until_idle=True)
        assert 4 == status.counts(conn.db())[FINISHED]
        assert [] == ran
        worker.stop()
        assert returned.wait(30)
        release.set()
    assert 4 - slots == sum(isinstance(event, Released) for event in events)
    assert {None} == {of(conn, f"quick {n}", ":job/crashes") for n in range(4)}


@pytest.mark.parametrize("kind", IN_THIS_PROCESS)
def test_a_worker_whose_slots_all_hang_for_a_lease_ends_and_says_which_jobs_hang(conn, kind):
    release = threading.Event()
    slots = 1 if kind == "inline" else 2
    conn.transact([job_txn(":hang", id=f"hang {n}", timeout=timedelta(milliseconds=50)) for n in range(slots)])
    conn.transact([job_txn(":other", id="other", run_at=conn.now() + timedelta(hours=1))])
    with EXECUTORS[kind]() as settings:
        config = Config(**{**settings, "heartbeat_sleep_time": 100, "heartbeat_tolerance": 3})
        worker = Worker(conn, {":hang": lambda job: release.wait(60), ":other": len}, config)
        with pytest.raises(ExecutorFailed, match="hang 0"):
            worker.run()
        release.set()


def set_when_interrupted(event, conn, id):
    """Set an event once a job has been interrupted, unless it is set before."""
    while not event.is_set() and of(conn, id, ":job/reason") != Reason.INTERRUPTED:
        conn.wait(conn.db().basis_t, 1)
    event.set()


def test_a_coroutine_that_blocks_the_loop_beyond_its_timeout_ends_the_worker_and_frees_the_other_jobs(conn):
    release, awaits = threading.Event(), threading.Event()

    async def block(job):
        await asyncio.to_thread(awaits.wait, 30)
        release.wait(60)

    async def patient(job):
        awaits.set()
        await asyncio.sleep(3600)

    conn.transact([job_txn(":block", id="block", timeout=timedelta(milliseconds=300)), job_txn(":patient", id="patient")])
    config = Config(executor="asyncio", concurrency=2, heartbeat_sleep_time=100, heartbeat_tolerance=3)
    threading.Thread(target=set_when_interrupted, args=(release, conn, "patient"), daemon=True).start()
    with pytest.raises(ExecutorFailed, match="block"):
        Worker(conn, {":block": block, ":patient": patient}, config).run()
    release.set()
    assert FAILED == of(conn, "block", ":job/status")
    assert UNSTARTED == of(conn, "patient", ":job/status")
    assert Reason.INTERRUPTED == of(conn, "patient", ":job/reason")
    assert of(conn, "patient", ":job/crashes") is None


@pytest.mark.parametrize("kind", ["inline", "threads", "asyncio", "their threads"])
def test_jobs_claimed_ahead_go_back_when_no_slot_moves_for_a_lease(conn, kind):
    """The handler may take as long as it likes, for it has no timeout; what waits behind it need not."""
    release, began = threading.Event(), threading.Event()

    def wait(job):
        began.set()
        release.wait(60)

    slots = 1 if kind == "inline" else 2
    conn.transact([*(job_txn(":wait", priority=9) for _ in range(slots)), *(job_txn(":quick") for _ in range(3))])
    with EXECUTORS[kind]() as settings:
        config = Config(**{**settings, "batch": slots + 3, "heartbeat_sleep_time": 100, "heartbeat_tolerance": 3})
        worker = Worker(conn, {":wait": wait, ":quick": lambda job: None}, config)
        running = threading.Thread(target=worker.run, kwargs={"until_idle": True})
        running.start()
        assert began.wait(30)
        Worker(conn, {":quick": lambda job: None}).run(until_idle=True)
        assert (3, slots) == tuple(status.counts(conn.db())[of_status] for of_status in (FINISHED, STARTED))
        release.set()
        running.join(30)
    assert slots + 3 == status.counts(conn.db())[FINISHED]


@pytest.mark.parametrize("kind", OUR_PROCESSES)
@pytest.mark.parametrize("handler", [remote.leave_a_process_behind_and_die, remote.leave_a_process_behind_and_hang])
def test_a_slot_is_free_when_its_process_has_ended_whatever_that_left_behind(stored, kind, handler):
    """What is left behind holds the pipes of the process open for ten minutes."""
    stored.transact([job_txn(":leaves", priority=9, timeout=timedelta(seconds=1)), job_txn(":next")])
    run(stored, {":leaves": handler, ":next": remote.tell_pid}, kind, concurrency=1, max_crashes=1)
    assert {":leaves": FAILED, ":next": FINISHED} == statuses(stored)
    assert [] == multiprocessing.active_children()


# -- forks and processes of handlers


@every
def test_a_process_that_a_handler_forks_and_that_comes_back_from_it_ends_there(stored, kind):
    stored.transact([job_txn(":forks", id=f"j{n}") for n in range(3)])
    run(stored, {":forks": remote.fork_and_come_back}, kind, batch=1)  # no job is released behind a slow one
    assert {f"j{n} by the parent" for n in range(3)} == orders(stored)
    assert {":forks": FINISHED} == statuses(stored)
    assert 3 == status.counts(stored.db())[FINISHED]
    assert {1} == set(factstore.q("[:find [?n ...] :where [_ :job/attempt ?n]]", stored.db()))


@every
def test_a_handler_may_have_child_processes_which_end_when_they_are_told_to(stored, kind):
    stored.transact([job_txn(":a")])
    run(stored, {":a": remote.square_in_a_pool}, kind)
    assert {"3 -15"} == orders(stored)


# -- reports


@every
def test_what_a_handler_logs_and_how_it_fails_is_told_alike(stored, kind, caplog):
    if kind == "their processes":
        pytest.skip("the processes of an executor of the caller's log as the caller sets them up")
    stored.transact([job_txn(":log", id="j")])
    with caplog.at_level(logging.INFO):
        run(stored, {":log": remote.log_and_fail}, kind)
    said = [record for record in caplog.records if record.name == "shop"]
    assert [("INFO", "for your information"), ("ERROR", "with a traceback")] == [(record.levelname, record.getMessage()) for record in said]
    assert "LookupError: inside" in caplog.text
    [failed] = [record for record in caplog.records if record.name == "overseer" and record.levelno == logging.ERROR]
    assert "in log_and_fail" in logging.Formatter().formatException(failed.exc_info)
    [failure] = failures(stored).values()
    assert "KeyError" == failure[":exception"]
    assert "'b'" == failure[":message"]
    assert failure[":at"].endswith("in log_and_fail") is True
    if kind in OUR_PROCESSES:
        assert {("j", ":log", 1)} == {(record.job_id, record.job_type, record.job_attempt) for record in said}


@every
def test_an_attempt_is_a_span_and_the_handler_runs_within_it(stored, kind):
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    stored.transact([job_txn(":a", id="j")])
    run(stored, {":a": remote.trace_inside}, kind, listeners=[Tracing(provider)])
    [span] = exporter.get_finished_spans()
    provider.shutdown()
    assert "process :a" == span.name
    assert {f"{span.context.trace_id:032x} {span.context.span_id:016x}"} == orders(stored)
    assert f"{span.context.span_id:016x}" in of(stored, "j", ":job/trace")


# -- executors that break


def test_a_pool_of_processes_that_breaks_ends_the_worker_and_counts_against_the_job_that_ran(stored):
    stored.transact([job_txn(":deadly", id="deadly"), *(job_txn(":fine", id=f"fine {n}") for n in range(3))])
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as theirs:
        handlers = {":deadly": remote.die, ":fine": remote.tell_pid}
        with pytest.raises(ExecutorFailed, match="broken"):
            Worker(stored, handlers, Config(executor=theirs, batch=4, seed=1)).run(until_idle=True)
    assert UNSTARTED == of(stored, "deadly", ":job/status")
    assert 1 == of(stored, "deadly", ":job/crashes")
    assert {None} == {of(stored, f"fine {n}", ":job/crashes") for n in range(3)}
    assert 0 == status.counts(stored.db())[STARTED]


def test_an_executor_that_is_shut_down_by_its_owner_ends_the_worker_and_its_jobs_are_free(conn):
    began, release = threading.Event(), threading.Event()
    conn.transact([job_txn(":a", id=f"j{n}") for n in range(4)])
    theirs = Synchronous()

    def wait(job):
        began.set()
        release.wait(30)

    worker = Worker(conn, {":a": wait}, Config(executor=theirs, concurrency=2, batch=4))
    failed = threading.Event()

    def work():
        with pytest.raises(ExecutorFailed):
            worker.run()
        failed.set()

    threading.Thread(target=work, daemon=True).start()
    assert began.wait(30)
    theirs.shutdown(wait=False, cancel_futures=True)
    release.set()
    assert failed.wait(30)
    assert 0 == status.counts(conn.db())[STARTED]
    assert set() == set(factstore.q("[:find [?n ...] :where [_ :job/crashes ?n]]", conn.db()))


def test_an_event_loop_that_fails_ends_the_worker_and_its_jobs_are_free(conn):
    async def breaks(job):
        asyncio.get_running_loop()._run_once = lambda: 1 / 0
        await asyncio.sleep(3600)

    conn.transact([job_txn(":a", id="j")])
    with pytest.raises(ZeroDivisionError):
        Worker(conn, {":a": breaks}, Config(executor="asyncio", concurrency=2)).run()
    assert UNSTARTED == of(conn, "j", ":job/status")
    assert Reason.INTERRUPTED == of(conn, "j", ":job/reason")


@pytest.mark.slow
def test_on_a_dask_cluster_an_attempt_runs_once_whatever_becomes_of_its_processes(stored, tmp_path):
    """By itself Dask runs a task again when its process has died, or when its result went with the process."""
    stored.transact([job_txn(":deadly", id="deadly", priority=9), *(job_txn(":fine", id=f"fine {n}") for n in range(4))])
    handlers = {":deadly": remote.tell_run_and_die, ":fine": remote.tell_run}
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        config = Config(executor=client.get_executor(retries=0), concurrency=2, max_crashes=2, batch=1)
        Worker(stored, handlers, config).run(until_idle=True)
    runs = (tmp_path / "runs").read_text().splitlines()
    assert sorted(set(runs)) == sorted(runs)
    assert {":deadly": FAILED, ":fine": FINISHED} == statuses(stored)
    assert ["deadly 1", "deadly 2"] == [run for run in sorted(runs) if run.startswith("deadly")]
