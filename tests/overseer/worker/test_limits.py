"""A worker without file descriptors or threads: it ends with one error that says what to do, and another one does its jobs.

Each case is a function that runs in a process of its own, which really has no more of them.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest

import factstore
from factstore.errors import Unavailable
from overseer import ConfigError, Worker, install, job_txn, start
from overseer.events import Event as JobEvent
from overseer.events import Released
from overseer.jobs.states import FINISHED, UNSTARTED
from overseer.worker.executor import ExecutorFailed
from overseer.worker.pools.channel import Channel
from overseer.worker.pools.processes import ProcessDied, ProcessExecutor
from tests.forks import Forks
from tests.overseer.conftest import BUSINESS
from tests.overseer.remote_handlers import tell_pid
from tests.scarcity import files_left, no_threads, refusals

_NO_STACK = 1 << 48


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as running:
        yield running


def stored(folder: Path) -> factstore.Connection:
    conn = factstore.connect(str(folder / "jobs.facts"))
    install(conn)
    conn.transact(BUSINESS)
    conn.transact([job_txn(":a/job")])
    return conn


def statuses(conn: factstore.Connection) -> set[Any]:
    return {*factstore.q("[:find [?status ...] :where [_ :job/status ?status]]", conn.db())}


def succeeds(conn: factstore.Connection, handlers: dict[str, Any]) -> None:
    Worker(conn, handlers, concurrency=2).run(until_idle=True)
    assert statuses(conn) == {FINISHED}


def ends_without_threads(folder: Path, executor: str) -> None:
    with stored(folder) as conn:
        with no_threads(), pytest.raises(Unavailable, match="ulimit -u"):
            Worker(conn, {":a/job": tell_pid}, executor=executor, concurrency=1 if executor == "inline" else 2).run()
        assert threading.enumerate() == [threading.current_thread()]
        assert statuses(conn) == {UNSTARTED}
        succeeds(conn, {":a/job": tell_pid})


@pytest.mark.parametrize("executor", ["inline", "threads", "asyncio", "processes"])
def test_a_worker_without_threads_ends_and_leaves_none(forks: Forks, executor: str, tmp_path: Path) -> None:
    assert forks.run(ends_without_threads, tmp_path, executor) == 0


def starts_without_threads(folder: Path) -> None:
    stored(folder).close()
    with no_threads(), pytest.raises(Unavailable, match="ulimit -u"):
        start({"store": str(folder / "jobs.facts")}, {":a/job": tell_pid})
    with stored(folder) as conn:
        assert not conn._storage._file.is_shared()  # type: ignore[attr-defined]
        succeeds(conn, {":a/job": tell_pid})


def has_no_thread_for_another_handler(folder: Path) -> None:
    is_released = Event()

    def listen(event: JobEvent) -> None:
        if isinstance(event, Released):
            is_released.set()

    def first(_job: Any) -> None:
        if not is_released.is_set():
            threading.stack_size(_NO_STACK)
            conn.transact([job_txn(":b/job")])
            is_released.wait()

    handlers = {":a/job": first, ":b/job": tell_pid}
    with stored(folder) as conn:
        with pytest.raises(ExecutorFailed, match="ulimit -u"):
            Worker(conn, handlers, executor="threads", concurrency=2, listeners=[listen]).run(until_idle=True)
        threading.stack_size(0)
        # The first job is finished if its handler ended before the worker gave its jobs back; no job is lost.
        assert UNSTARTED in statuses(conn) <= {FINISHED, UNSTARTED}
        succeeds(conn, handlers)


def abandons_without_threads(folder: Path) -> None:
    worker = Worker(stored(folder), {":a/job": tell_pid})
    with no_threads():
        worker.abandon(7)


@pytest.mark.parametrize(
    ("case", "code"), [(starts_without_threads, 0), (has_no_thread_for_another_handler, 0), (abandons_without_threads, 7)]
)
def test_without_threads(forks: Forks, case: Callable[[Path], None], code: int, tmp_path: Path) -> None:
    assert forks.run(case, tmp_path) == code


def makes_a_loop(folder: Path) -> None:
    with stored(folder) as conn:
        handlers = {":a/job": tell_pid}
        assert refusals(lambda: Worker(conn, handlers, executor="asyncio", concurrency=2)._pool.shutdown())
        succeeds(conn, handlers)


def starts_processes(folder: Path) -> None:
    with stored(folder) as conn:
        worker = Worker(conn, {":a/job": tell_pid}, executor="processes", concurrency=2)
        with files_left(0), pytest.raises(ConfigError, match="ulimit -n"):
            worker.run()
        assert statuses(conn) == {UNSTARTED}
        succeeds(conn, {":a/job": tell_pid})


def starts_a_process_again(_folder: Path) -> None:
    executor = ProcessExecutor(1)
    refused = 0
    for left in count():
        try:
            with files_left(left):
                assert executor.submit(len, "abc").result() == 3
            break
        except ProcessDied as error:
            assert "ulimit -n" in str(error), error
            refused += 1
    executor.shutdown()
    assert refused > 2


def sends_a_large_message(_folder: Path) -> None:
    content = os.urandom(1 << 22)
    with ThreadPoolExecutor(1) as pool:
        ends = [Channel(end, os.getpid(), lambda: True) for end in socket.socketpair()]
        with closing(ends[0]), closing(ends[1]):
            pool.submit(int).result()
            with files_left(0):
                received = pool.submit(ends[1].receive)
                ends[0].send(b"C", content)
                assert received.result() == (b"C", content)


@pytest.mark.parametrize("case", [makes_a_loop, starts_processes, starts_a_process_again, sends_a_large_message])
def test_without_descriptors(forks: Forks, case: Callable[[Path], None], tmp_path: Path) -> None:
    assert forks.run(case, tmp_path) == 0
