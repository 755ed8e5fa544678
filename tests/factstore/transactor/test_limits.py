"""Processes of a store in PostgreSQL without file descriptors or threads: one error that says what to do, and then they work again.

Each case is a function that runs in a process of its own, which really has no more of them.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

import factstore
from factstore.errors import Unavailable
from tests.factstore.transactor.running import transactor
from tests.forks import Forks
from tests.postgres import Server
from tests.scarcity import files_left, no_threads, refusals

SCHEMA = [{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as running:
        yield running


@pytest.fixture
def uri(server: Server) -> str:
    made = server.uri()
    with factstore.connect(made) as conn:
        conn.transact(SCHEMA)
    return made


def numbers(conn: factstore.Connection) -> set[int]:
    return {datom.v for datom in conn.db().datoms("aevt", ":n")}


def refused(call: Callable[[], object]) -> None:
    """Make a call that cannot start its thread."""
    with no_threads(), pytest.raises(Unavailable, match="ulimit -u"):
        call()


# -- without a transactor


def opens(uri: str) -> None:
    factstore.connect(uri).close()
    assert refusals(lambda: factstore.connect(uri).close())
    with factstore.connect(uri) as conn:
        conn.transact([{":n": 1}])


def writes_without_threads(uri: str) -> None:
    with factstore.connect(uri) as conn:
        refused(lambda: conn.transact([{":n": 1}]))
        conn.transact([{":n": 2}])
        assert numbers(conn) == {2}


def reads_without_threads(uri: str) -> None:
    with factstore.connect(uri) as conn, factstore.connect(uri) as other:
        with no_threads():
            assert conn.db().basis_t == 1
            assert conn.wait(0, 0).basis_t == 1
        other.transact([{":n": 1}])
        assert numbers(conn) == {1}


@pytest.mark.parametrize("case", [opens, writes_without_threads, reads_without_threads])
def test_a_store_in_postgres(forks: Forks, case: Callable[[str], None], uri: str) -> None:
    assert forks.run(case, uri) == 0


# -- clients of a transactor


class Unreached(logging.Handler):
    """Notes that the transactor was not reached."""

    def __init__(self, text: str) -> None:
        super().__init__(logging.DEBUG)
        self.seen = Event()
        self._text = text
        logger = logging.getLogger("factstore")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if self._text in record.getMessage():
            self.seen.set()


def sends_without_threads(uri: str) -> None:
    with factstore.connect(uri) as conn:
        refused(lambda: conn.transact([{":n": 1}]))
        refused(lambda: conn.transact_async([{":n": 2}]))
        conn.transact([{":n": 3}])
        assert numbers(conn) == {3}
    with factstore.connect(uri) as conn:
        refused(lambda: conn.transact([{":n": 1}]))  # and closes


def sends_without_descriptors(uri: str) -> None:
    with factstore.connect(uri) as conn, ThreadPoolExecutor(1) as pool:
        pool.submit(int).result()
        with files_left(0), pytest.raises(Unavailable, match="ulimit -n"):
            conn.transact([{":n": 1}])
        unreached = Unreached("ulimit -n")
        with files_left(3):  # for the loop of the client, but for no connection
            sent = pool.submit(conn.transact, [{":n": 2}])
            unreached.seen.wait()
            assert not sent.done()
        sent.result()
        assert numbers(conn) == {2}


def calls_back_without_threads(uri: str) -> None:
    called: Future[int] = Future()
    with factstore.connect(uri) as conn:
        conn.transact([{":n": 1}])
        with no_threads():
            pending = conn.transact_async([{":n": 2}])
            pending.add_done_callback(lambda done: called.set_result(done.result().t))
            assert pending.result().t == 3
            conn.transact([{":n": 3}])  # the answers of other transactions arrive
            assert not called.done()
        assert called.result() == 3


def calls_back_at_the_end_without_threads(uri: str) -> None:
    called: Future[int] = Future()
    conn = factstore.connect(uri)
    conn.transact([{":n": 1}])
    with no_threads():
        conn.transact_async([{":n": 2}]).add_done_callback(lambda done: called.set_result(done.result().t))
        conn.close()
        assert called.result(0) == 3


@pytest.mark.parametrize(
    "case",
    [sends_without_threads, sends_without_descriptors, calls_back_without_threads, calls_back_at_the_end_without_threads],
)
def test_a_client(forks: Forks, case: Callable[[str], None], uri: str) -> None:
    with transactor(uri):
        assert forks.run(case, uri) == 0


# -- the transactor


def descriptors(process: int) -> int:
    return sum(1 for _ in Path(f"/proc/{process}/fd").iterdir())


def test_a_transactor_without_descriptors_serves_its_clients_and_accepts_others_later(uri: str) -> None:
    with transactor(uri) as leading, factstore.connect(uri) as conn, factstore.connect(uri) as other, ThreadPoolExecutor(1) as pool:
        conn.transact([{":n": 1}])
        process = leading.process.pid
        before = resource.prlimit(process, resource.RLIMIT_NOFILE)
        resource.prlimit(process, resource.RLIMIT_NOFILE, (descriptors(process), before[1]))
        sent = pool.submit(other.transact, [{":n": 2}])
        while "raise the limit" not in leading.errors:  # it is read as it comes
            conn.transact([{":n": 1}])
        assert not sent.done()
        resource.prlimit(process, resource.RLIMIT_NOFILE, before)
        sent.result()
        assert numbers(conn) == {1, 2}
        assert "Traceback" not in leading.errors
