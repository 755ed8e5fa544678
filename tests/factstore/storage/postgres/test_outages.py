"""What calls do while no server can be reached, as in a failover: they wait, but not for ever.

One server is stopped and started again for all tests of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from contextlib import closing, contextmanager
from time import monotonic
from typing import Any

import pytest

import factstore
from factstore import Connection
from factstore.errors import Closed, StorageError, Unavailable
from factstore.storage import open_storage
from factstore.storage.patience import Patience
from factstore.testing.storage_model import LONG
from tests.postgres import Server, running

DECLARE = [{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]
SETTINGS = ("fsync=off",)
SHORT = 0.3  # seconds

CALLS: dict[str, Callable[[Connection], Any]] = {
    "db": lambda conn: conn.db().basis_t,
    "sync": lambda conn: conn.sync().basis_t,
    "transact": lambda conn: conn.transact([{":n": 2}]).t,
    "transaction": lambda conn: in_steps(conn),
    "tx_range": lambda conn: [each.t for each in conn.log().tx_range(1)],
    "datoms": lambda conn: list(conn.db().datoms("aevt", ":db/ident")),
}


def in_steps(conn: Connection) -> int:
    with conn.transaction() as tx:
        tx.transact([{":n": 3}])
    return conn.db().basis_t


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    server.stop()
    try:
        yield
    finally:
        server.start(*SETTINGS)


@pytest.fixture(scope="module")
def alone() -> Iterator[Server]:
    with running(*SETTINGS) as server:
        yield server


@pytest.fixture
def conn(alone: Server) -> Iterator[Connection]:
    with factstore.connect(alone.uri()) as connection:
        connection.transact(DECLARE)
        yield connection


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_call_waits_until_the_server_is_back(alone: Server, conn: Connection, call: Callable[[Connection], Any]) -> None:
    with ThreadPoolExecutor(1) as pool:
        with stopped(alone):
            result = pool.submit(call, conn)
            with pytest.raises(TimeoutError):
                result.result(SHORT)
        assert result.result(LONG)


def test_a_call_waits_no_longer_than_the_busy_timeout(alone: Server) -> None:
    with factstore.connect(alone.uri(), busy_timeout=SHORT) as conn:
        conn.transact(DECLARE)
        with stopped(alone):
            for call in CALLS.values():
                began = monotonic()
                with pytest.raises(StorageError, match=r"cannot be reached|may have applied"):
                    call(conn)
                assert monotonic() - began >= SHORT
        assert CALLS["db"](conn)


def test_a_call_waits_only_once_for_the_server_also_after_a_failed_one(alone: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed excision left its turn to the next call, which then went through the queue, and waited once more there."""
    waits: set[Patience] = set()
    wait = Patience.wait

    def recorded(patience: Patience) -> bool:
        goes_on = wait(patience)
        if goes_on:
            waits.add(patience)
        return goes_on

    monkeypatch.setattr(Patience, "wait", recorded)
    with factstore.connect(alone.uri(), busy_timeout=SHORT) as conn:
        conn.transact(DECLARE)
        with stopped(alone):
            for call in (lambda: conn.excise(":n"), lambda: CALLS["transact"](conn), lambda: conn.transact_async([{":n": 2}]).result()):
                waits.clear()
                with pytest.raises(Unavailable, match="cannot be reached"):
                    call()
                assert 1 == len(waits)
        assert CALLS["transact"](conn)


LOCKING: dict[str, Callable[[Connection], Any]] = {
    "a large transaction": lambda conn: conn.transact([{":n": n} for n in range(10_000)]),
    "a block": lambda conn: in_steps(conn),
    "an excision": lambda conn: conn.excise(":n"),
}


@pytest.mark.parametrize("call", LOCKING.values(), ids=LOCKING)
def test_a_writer_lock_that_is_perhaps_held_is_no_unknown_outcome(alone: Server, call: Callable[[Connection], Any]) -> None:
    """The answer about the writer lock was lost before anything was sent, so certainly nothing was committed."""
    with factstore.connect(alone.uri(), busy_timeout=0) as conn:
        conn.transact(DECLARE)
        alone.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )
        conn.db()  # reading needs one attempt for the lost connection
        with pytest.raises(Unavailable, match="nothing more was sent") as caught:
            call(conn)
        assert caught.value.temporary
        assert conn.db().basis_t == 1
        call(conn)


def test_a_store_is_not_opened_while_the_server_cannot_be_reached(alone: Server) -> None:
    uri = alone.uri()
    factstore.connect(uri).close()
    with stopped(alone), pytest.raises(Unavailable, match="is the server running"):
        factstore.connect(uri)


@pytest.mark.parametrize(("user", "database"), [("postgres", "nowhere"), ("nobody", "postgres")])
def test_a_mistake_in_the_address_is_not_temporary(alone: Server, user: str, database: str) -> None:
    with pytest.raises(Unavailable) as caught:
        factstore.connect(f"postgresql://{user}@{alone.host}:{alone.port}/{database}")
    assert not caught.value.temporary


def test_closing_ends_the_wait_for_a_server(alone: Server) -> None:
    with closing(open_storage(alone.uri())) as storage, ThreadPoolExecutor(1) as pool, stopped(alone):
        result = pool.submit(storage.head)
        with pytest.raises(TimeoutError):
            result.result(SHORT)
        storage.close()
        with pytest.raises((Unavailable, Closed)):
            result.result(LONG)


def test_an_error_that_no_wait_cures_is_raised_at_once(alone: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Patience, "wait", lambda _self: pytest.fail("it waited"))
    with closing(open_storage(alone.uri())) as storage:
        alone.sql("ALTER TABLE factstore.hold RENAME TO elsewhere")
        try:
            with pytest.raises(Unavailable, match="rejected a request"):
                storage.hold(0)
        finally:
            alone.sql("ALTER TABLE factstore.elsewhere RENAME TO hold")
