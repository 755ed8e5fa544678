"""Notices of commits: `db()` asks the server only now and then, and misses no commit for longer than the bound."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore.storage import open_storage
from factstore.storage.postgres import notices as module
from factstore.storage.postgres.connections import Connections
from factstore.storage.postgres.engine import PostgresStorage
from factstore.storage.postgres.notices import Head, Notices
from factstore.testing.storage_model import LONG, records, txid
from tests.postgres import Server, until

DECLARE = [{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]
FOREVER = 1e9
ELSEWHERE = "&application_name=elsewhere"  # as another process: it shares no notices with the handles of this one


@pytest.fixture
def uri(server: Server) -> str:
    return server.uri()


@pytest.fixture
def conn(uri: str) -> Iterator[factstore.Connection]:
    with factstore.connect(uri) as opened:
        opened.transact(DECLARE)
        yield opened


def storage_of(conn: factstore.Connection) -> PostgresStorage:
    storage = conn._storage
    assert isinstance(storage, PostgresStorage)
    return storage


def reads_of(storage: PostgresStorage, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return a list that gets an element for each read of the server."""
    asked: list[object] = []
    read = storage._connections.read
    monkeypatch.setattr(storage._connections, "read", lambda work: (asked.append(work), read(work))[1])
    return asked


def test_a_database_is_got_without_asking_the_server(conn: factstore.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH_SECONDS", FOREVER)
    until(lambda: storage_of(conn)._notices.known() is not None)
    asked = reads_of(storage_of(conn), monkeypatch)
    for _ in range(100):
        conn.db()
    assert not asked
    conn.sync()
    assert len(asked) == 1


def test_a_notice_brings_the_commit_of_another_process(uri: str, conn: factstore.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FRESH_SECONDS", FOREVER)
    until(lambda: storage_of(conn)._notices.known() is not None)
    with factstore.connect(uri + ELSEWHERE) as other:
        t = other.transact([{":n": 1}]).t
    assert conn.wait(t - 1, LONG).basis_t == t
    assert conn.db().basis_t == t


def test_without_notices_a_commit_is_seen_after_a_second_and_at_once_by_sync(server: Server, uri: str, conn: factstore.Connection) -> None:
    with factstore.connect(uri + ELSEWHERE) as other:
        until(lambda: storage_of(conn)._notices.known() is not None)
        statement = "SELECT pid FROM pg_stat_activity WHERE application_name = 'factstore'"
        sessions = [int(pid) for pid in server.sql(statement).split()]
        connections = storage_of(conn)._connections
        needed = {session.info.backend_pid for session in (*connections._primary._idle, connections._writer) if session is not None}
        silent = [pid for pid in sessions if pid not in needed]
        for pid in silent:
            os.kill(pid, signal.SIGSTOP)
        try:
            t = other.transact([{":n": 1}]).t
            assert conn.sync().basis_t == t
            t = other.transact([{":n": 2}]).t
            until(lambda: conn.db().basis_t == t)
        finally:
            for pid in silent:
                os.kill(pid, signal.SIGCONT)


def test_connections_of_one_process_see_their_commits_at_once(uri: str, conn: factstore.Connection) -> None:
    until(lambda: storage_of(conn)._notices.known() is not None)
    with factstore.connect(uri) as other:
        assert storage_of(other)._notices is storage_of(conn)._notices
        for n in range(50):
            assert other.transact([{":n": n}]).t == conn.db().basis_t
            assert conn.transact([{":n": n}]).t == other.db().basis_t


def test_a_closed_handle_does_not_end_the_notices_of_others(uri: str, conn: factstore.Connection) -> None:
    notices = storage_of(conn)._notices
    with factstore.connect(uri):
        pass
    assert not notices._ended.is_set()
    until(lambda: notices.known() is not None)
    conn.close()
    assert notices._ended.is_set()
    with factstore.connect(uri) as again:
        assert storage_of(again)._notices is not notices


def test_a_lost_connection_for_notices_is_replaced(server: Server, uri: str, conn: factstore.Connection) -> None:
    notices = storage_of(conn)._notices
    until(lambda: notices.known() is not None)
    server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'factstore'")
    with factstore.connect(uri + ELSEWHERE) as other:
        t = other.transact([{":n": 1}]).t
        until(lambda: conn.db().basis_t == t)
        until(lambda: notices._is_listening and notices.known() is not None)
        t = other.transact([{":n": 2}]).t
        assert conn.wait(t - 1, LONG).basis_t == t


def test_behind_a_pooler_the_server_is_asked_each_time(server: Server) -> None:
    uri = server.uri(more="&pooled=yes")
    with factstore.connect(uri) as conn, factstore.connect(uri + ELSEWHERE) as other:
        conn.transact(DECLARE)
        for n in range(5):
            assert other.transact([{":n": n}]).t == conn.db().basis_t
        assert storage_of(conn)._notices._thread.thread is None


def test_a_notice_that_somebody_else_sent_is_no_head(server: Server, conn: factstore.Connection) -> None:
    notices = storage_of(conn)._notices
    until(lambda: notices.known() is not None)
    seen = notices.seen()
    server.sql(f"NOTIFY {notices.channel}, 'hello'")
    until(lambda: notices.seen() > seen)
    assert conn.db().basis_t == 1
    t = conn.transact([{":n": 1}]).t
    assert conn.db().basis_t == t


def test_a_closed_handle_wakes_its_waiting_threads(uri: str) -> None:
    with closing(open_storage(uri)) as storage:
        storage.append(records(1), expected_t=0)
        assert storage.wait(0, LONG) == 1
        assert storage.wait(1, 0.0) == 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.just(0)),
        st.tuples(st.just("notice"), st.integers(0, 5)),  # of a commit, that many commits ago
        st.tuples(st.just("reply"), st.integers(0, 5)),  # to a question, that many steps ago
        st.tuples(st.just("time"), st.integers(1, 12)),  # tenths of a second
    ),
    max_size=60,
)


def head_of(t: int) -> Head:
    return Head(t, txid(t))


@given(steps=STEPS)
def test_a_known_head_is_at_least_that_of_a_second_ago(steps: list[tuple[str, int]]) -> None:
    now = 1000.0
    heads = [(now, 0)]  # (moment, head) after each step
    notices = Notices(Connections.__new__(Connections), uuid4(), can_listen=False)
    notices._is_listening = True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "monotonic", lambda: now)
        for step, n in steps:
            head = heads[-1][1]
            if step == "append":
                head += 1
            elif step == "time":
                now += n / 10
            elif step == "notice":
                notices.heard(head_of(max(head - n, 0)))
            else:
                asked_at, answer = heads[max(len(heads) - 1 - n, 0)]
                notices.heard(head_of(answer), asked_at)
            heads.append((now, head))
            known = notices.known()
            then = max(then_head for moment, then_head in heads if moment < now - module.FRESH_SECONDS or then_head == 0)
            assert known is None or then <= known.t <= head
