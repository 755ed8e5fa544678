"""What happens when a server, a connection or a process fails: nothing acknowledged is lost, nothing rejected is written.

The servers are real, and so are the killed processes.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from time import sleep
from typing import Any

import psycopg
import pytest

import factstore
from factstore.errors import Closed, Conflict, Fenced, Forked, Unavailable, UnknownOutcome
from factstore.storage import Storage, open_storage
from factstore.storage.postgres.engine import PostgresStorage
from factstore.storage.protocol import MOST_RECORDS
from factstore.testing.storage_model import LONG, records, txid
from tests.postgres import Server, running, until, whole_log

DECLARE = [{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]


@pytest.fixture
def uri(server: Server) -> str:
    return server.uri()


@pytest.fixture
def store(uri: str) -> Iterator[PostgresStorage]:
    with closing(opened(uri)) as storage:
        yield storage


@pytest.fixture
def other(uri: str) -> Iterator[PostgresStorage]:
    with closing(opened(uri)) as storage:
        yield storage


def opened(uri: str, **options: Any) -> PostgresStorage:
    storage: Storage = open_storage(uri, **options)
    assert isinstance(storage, PostgresStorage)
    return storage


def row_of(server: Server, store: PostgresStorage, change: str) -> None:
    server.sql(f"UPDATE factstore.store SET {change} WHERE id = '{store._names['store']}'")


# -- unknown outcomes


def test_a_write_that_is_still_on_its_way_is_rejected_after_resolve(server: Server, store: PostgresStorage) -> None:
    store.append(records(1), expected_t=0)
    writer = store._connections._writer
    assert writer is not None
    session = writer.info.backend_pid
    os.kill(session, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(store.append, records(2), expected_t=1)
            until(lambda: store._connections._thread._calls.empty() and not sent.done())
            sleep(0.2)  # the statement is in the buffer of the stopped session now; there is no event for that
            with socket.socket(fileno=os.dup(writer.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)
            with pytest.raises(UnknownOutcome) as raised:
                sent.result(LONG)
        assert raised.value.txids == [txid(2)]
        assert store.resolve(txid(2)) is None
    finally:
        os.kill(session, signal.SIGCONT)
    until(lambda: server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {session}").strip() == "0")
    assert store.head() == 1
    assert store.append(records(3), expected_t=1) == 2


def test_an_append_that_was_applied_is_found_after_the_connection_is_lost(server: Server, uri: str) -> None:
    with factstore.connect(uri) as conn:
        conn.transact(DECLARE)
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'factstore'")
        assert conn.transact([{":n": 1}]).t == 2
        assert conn.db().basis_t == 2


def test_a_transaction_whose_request_outlives_its_connection_is_committed_once(server: Server, uri: str) -> None:
    """The request waits for a lock of the row; a look at the log alone, and a second attempt, would commit it twice."""
    with factstore.connect(uri) as conn, ThreadPoolExecutor(1) as pool:
        conn.transact(DECLARE)
        assert isinstance(conn._storage, PostgresStorage)
        writer = conn._storage._connections._writer
        assert writer is not None
        waiting = f"SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND pid = {writer.info.backend_pid}"
        with psycopg.connect(host="127.0.0.1", port=server.port, user="postgres", dbname="postgres") as blocker:
            blocker.execute("SELECT 1 FROM factstore.store WHERE id = %(store)s FOR UPDATE", conn._storage._names)
            sent = pool.submit(conn.transact, [{":n": 1}])
            until(lambda: server.sql(waiting).strip() == "1")
            with socket.socket(fileno=os.dup(writer.fileno())) as wire:
                wire.shutdown(socket.SHUT_RDWR)
            until(lambda: conn._storage._connections._writer not in (None, writer))  # type: ignore[attr-defined]
            blocker.rollback()
        assert sent.result(LONG).t == 2
        assert conn.db().basis_t == 2
        assert factstore.q("[:find (count ?e) . :where [?e :n]]", conn.db()) == 1


@pytest.mark.slow
def test_no_acknowledged_append_is_lost_when_the_server_is_killed() -> None:
    with running("synchronous_commit=on") as server:
        uri = server.uri("shop", durability="local")
        acknowledged: dict[int, bytes] = {}
        unknown: list[bytes] = []
        for round_ in range(3):
            with closing(opened(uri)) as storage:
                settle(storage, unknown, acknowledged)
                stop = threading.Timer(0.5, server.stop)
                stop.start()
                append_until_it_fails(storage, round_, unknown, acknowledged)
                stop.join()
                server.start()
                settle(storage, unknown, acknowledged)
        with closing(opened(uri)) as storage:
            log = {record.t: record.txid for record in whole_log(storage)}
            assert log == acknowledged
            assert sorted(log) == list(range(1, len(log) + 1))
            assert storage.problems() == []


def append_until_it_fails(storage: Storage, round_: int, unknown: list[bytes], acknowledged: dict[int, bytes]) -> None:
    head = storage.head()
    for n in range(round_ << 32, 1 << 60):
        try:
            head = storage.append([(txid(n), b"x")], expected_t=head)
        except UnknownOutcome as error:
            unknown += error.txids
            return
        except Unavailable:
            return
        acknowledged[head] = txid(n)


def settle(storage: Storage, unknown: list[bytes], acknowledged: dict[int, bytes]) -> None:
    while unknown:
        t = storage.resolve(unknown[-1])
        name = unknown.pop()
        if t is not None:
            acknowledged[t] = name


@pytest.mark.slow
def test_a_commit_that_no_standby_confirmed_has_an_unknown_outcome() -> None:
    with running("synchronous_commit=on") as server:
        uri = server.uri("shop", durability="replicated")
        with closing(opened(server.uri("shop", durability="local"))) as store:
            store.append(records(1), expected_t=0)
        server.sql("ALTER SYSTEM SET synchronous_standby_names = 'a_standby_that_is_away'")
        server.sql("SELECT pg_reload_conf()")
        until(lambda: "away" in server.sql("SHOW synchronous_standby_names"))
        with closing(opened(uri)) as store, ThreadPoolExecutor(1) as pool:
            sent = pool.submit(store.append, records(2), expected_t=1)
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
            until(lambda: server.sql(waiting).strip() != "0")
            assert not sent.done()
            server.sql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
            with pytest.raises(UnknownOutcome, match="without the confirmation of its standby"):
                sent.result(LONG)
            server.sql("ALTER SYSTEM SET synchronous_standby_names = ''")
            server.sql("SELECT pg_reload_conf()")
            assert store.resolve(txid(2)) == 2


def test_a_transaction_that_is_sent_twice_is_committed_once(store: PostgresStorage, other: PostgresStorage) -> None:
    store.append(records(1), expected_t=0)
    with pytest.raises(Conflict) as raised:
        other.append(records(1), expected_t=1)
    assert raised.value.committed == {txid(1).hex(): 1}
    assert store.head() == 1


# -- leases


def test_a_stopped_owner_of_the_writer_lock_writes_nothing_after_another_took_it(
    server: Server, store: PostgresStorage, other: PostgresStorage
) -> None:
    store.append(records(1), expected_t=0)
    store.put_blocks([(b"a", b"1")])
    with store.turn():
        row_of(server, store, "owner_until = now() - interval '1 second'")
        with other.turn():
            for write in (
                lambda: store.append(records(2), expected_t=1),
                lambda: store.delete_blocks([b"a"]),
                lambda: store.swap_root(b"root", expected_version=0),
                lambda: store.rewrite([], appended=[], expected_t=1, root=b"root", expected_version=0),
            ):
                with pytest.raises(Fenced) as raised:
                    write()
                assert raised.value.code == ":db.error/storage-fenced"
            assert (other.head(), other.get_blocks([b"a"]), other.read_root()) == (1, {b"a": b"1"}, None)
    assert store.append(records(2), expected_t=1) == 2


def test_an_owner_that_was_late_continues_if_nobody_took_the_writer_lock(server: Server, store: PostgresStorage) -> None:
    with store.turn():
        row_of(server, store, "owner_until = now() - interval '1 hour'")
        assert store.append(records(1), expected_t=0) == 1


def test_the_writer_lock_of_a_killed_process_is_free_after_its_lease(
    server: Server, store: PostgresStorage, other: PostgresStorage
) -> None:
    lock = store.turn()
    lock.__enter__()
    store._leases.end = lambda: None  # type: ignore[method-assign] # as a killed process: it neither renews nor releases
    store._leases._ended.set()
    row_of(server, store, "owner_until = now() + interval '1 second'")
    assert other.append(records(1), expected_t=0) == 1


def test_blocks_that_were_deleted_after_a_hold_expired_are_not_called_damage(
    server: Server, store: PostgresStorage, other: PostgresStorage
) -> None:
    store.put_blocks([(b"a", b"1")])
    store.swap_root(b"root", expected_version=0)
    with store.hold(1):
        server.sql(f"DELETE FROM factstore.hold WHERE holder = '{store._names['me']}'")
        other.delete_blocks([b"a"])
        with pytest.raises(Unavailable) as raised:
            store.get_blocks([b"a"])
    assert raised.value.code == ":db.error/hold-expired"


def test_holds_and_the_writer_lock_are_renewed(server: Server, store: PostgresStorage, other: PostgresStorage) -> None:
    with store.turn(), store.hold(0):
        soon = "now() + interval '1 second'"
        row_of(server, store, f"owner_until = {soon}")
        server.sql(f"UPDATE factstore.hold SET until = {soon} WHERE holder = '{store._names['me']}'")
        store._leases.renew()
        left = "extract(epoch FROM owner_until - now()) > 5"
        mine = f"WHERE id = '{store._names['store']}'"
        assert server.sql(f"SELECT {left} FROM factstore.store {mine}").strip() == "t"
        left = "extract(epoch FROM until - now()) > 30"
        mine = f"WHERE holder = '{store._names['me']}'"
        assert server.sql(f"SELECT {left} FROM factstore.hold {mine}").strip() == "t"


# -- a transaction that a failover lost


def lose_the_newest_transaction(server: Server, store: PostgresStorage, successor: bytes | None) -> None:
    """Change the log as a failover to an asynchronous standby does; perhaps somebody has committed another one since."""
    mine = f"store = '{store._names['store']}' AND t = 2"
    if successor is None:
        server.sql(f"DELETE FROM factstore.record WHERE {mine}")
        row_of(server, store, "t = 1, txid = previous")
    else:
        server.sql(f"UPDATE factstore.record SET txid = '\\x{successor.hex()}' WHERE {mine}")
        row_of(server, store, f"txid = '\\x{successor.hex()}'")


def test_a_handle_that_saw_a_lost_record_notices(server: Server, store: PostgresStorage, other: PostgresStorage) -> None:
    store.append(records(1, 2), expected_t=0)
    lose_the_newest_transaction(server, store, txid(9))
    other.append(records(3), expected_t=2)
    with pytest.raises(Forked):
        store.read_log(2)
    assert [record.t for record in store.read_log(2)] == [3]
    store.append(records(4), expected_t=3)
    server.sql(f"DELETE FROM factstore.record WHERE store = '{store._names['store']}' AND t = 4")
    row_of(server, store, "t = 3, txid = previous")
    with pytest.raises(Forked):
        store.head()
    assert store.head() == 3


@pytest.mark.parametrize("successor", [None, txid(9)])
def test_a_connection_that_saw_a_lost_transaction_starts_over(
    server: Server, uri: str, store: PostgresStorage, successor: bytes | None
) -> None:
    with factstore.connect(uri) as conn:
        conn.transact(DECLARE)
        conn.transact([{":n": 1}])
        lose_the_newest_transaction(server, store, successor)
        with factstore.connect(uri) as other:
            other.transact([{":n": 2}])
            expected = factstore.q("[:find [?n ...] :where [_ :n ?n]]", other.db())
        assert sorted(factstore.q("[:find [?n ...] :where [_ :n ?n]]", conn.db())) == sorted(expected)
        assert conn.transact([{":n": 3}]).t == conn.db().basis_t


# -- processes


def test_a_forked_child_has_no_store_and_leaves_the_parents_alone(store: PostgresStorage) -> None:
    store.append(records(1), expected_t=0)
    child = os.fork()
    if child == 0:
        try:
            store.head()
        except Closed:
            store.close()
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.append(records(2), expected_t=1) == 2


def test_an_interrupted_caller_leaves_its_append_running(store: PostgresStorage) -> None:
    store.append(records(1), expected_t=0)
    writer = store._connections._writer
    assert writer is not None
    os.kill(writer.info.backend_pid, signal.SIGSTOP)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background process may ignore it
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            store.append(records(2), expected_t=1)
    finally:
        os.kill(writer.info.backend_pid, signal.SIGCONT)
        signal.signal(signal.SIGINT, before)
    assert store.resolve(txid(2)) == 2


def test_problems_names_what_is_missing(server: Server, store: PostgresStorage) -> None:
    store.append(records(1, 2, 3, 4), expected_t=0)
    store.swap_root(b"root", expected_version=0)
    assert store.problems() == []
    mine = f"store = '{store._names['store']}'"
    server.sql(f"DELETE FROM factstore.record WHERE {mine} AND t = 2")
    server.sql(f"UPDATE factstore.record SET previous = '\\x00' WHERE {mine} AND t = 4")
    server.sql(f"DELETE FROM factstore.root WHERE {mine}")
    assert store.problems() == [
        "the log has no record of t=2",
        "the record of t=4 does not follow the record before it",
        "the root of version 1 is missing",
    ]


@pytest.mark.slow
def test_a_connection_that_is_far_behind_reads_all_transactions(uri: str) -> None:
    """One read of the log returns a limited number of records, although they have few bytes."""
    with factstore.connect(uri, sync="none") as conn, factstore.connect(uri) as other:
        conn.transact(DECLARE)
        assert other.db().basis_t == 1
        futures = [conn.transact_async([{":n": n}]) for n in range(MOST_RECORDS + 10)]
        assert futures[-1].result(LONG).t == MOST_RECORDS + 11
        assert other.sync().basis_t == MOST_RECORDS + 11
