"""Indexing waits for a pause between commits, but not for ever."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

import factstore
from factstore.commit import indexing
from tests.factstore.transactor.running import LONG

ENOUGH = 400
SCHEMA = [{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]


@pytest.fixture(autouse=True)
def small_indexes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "LEAST_ROWS", ENOUGH)
    monkeypatch.setattr(indexing, "LEAST_ROWS_AT_CLOSE", ENOUGH)


@pytest.fixture
def conn() -> Iterator[factstore.Connection]:
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        yield conn


def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commits seem to follow each other closely, however slow the machine is."""
    monkeypatch.setattr(indexing, "PAUSE_SECONDS", 3600.0)


def commit_until(conn: factstore.Connection, rows: int) -> None:
    """Commit small transactions until the facts in memory are at least this many."""
    for n in count():
        if conn._committer.newest.novelty.weight >= rows:
            return
        conn.transact_async([{":n": n}]).result(LONG)


def thread_of(conn: factstore.Connection) -> indexing.Thread:
    thread = conn._committer._indexing._thread
    assert thread is not None
    return thread


def indexed_t(conn: factstore.Connection) -> int:
    return conn._committer.newest.index.basis_t


def test_indexing_begins_in_a_pause_between_commits(conn: factstore.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "PAUSE_SECONDS", 0.01)
    commit_until(conn, ENOUGH)
    t = conn.db().basis_t
    thread_of(conn).join(LONG)
    assert indexed_t(conn) == t


def test_indexing_does_not_begin_between_commits_that_follow_each_other_closely(
    conn: factstore.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_pause(monkeypatch)
    commit_until(conn, 2 * ENOUGH - 4)
    assert thread_of(conn).is_alive()
    assert indexed_t(conn) < 0


def test_indexing_begins_without_a_pause_when_novelty_has_doubled(conn: factstore.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    no_pause(monkeypatch)
    commit_until(conn, 2 * ENOUGH)
    thread_of(conn).join(LONG)
    assert indexed_t(conn) > ENOUGH / 4


def test_novelty_of_the_largest_size_is_indexed_at_once(conn: factstore.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    no_pause(monkeypatch)
    monkeypatch.setattr(indexing, "MOST_ROWS", ENOUGH)
    commit_until(conn, ENOUGH)
    thread_of(conn).join(LONG)
    assert indexed_t(conn) > 0


@pytest.mark.parametrize("waits", [True, False])
def test_closing_does_not_wait_for_a_pause(waits: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    no_pause(monkeypatch)
    conn = factstore.connect("memory:")
    conn.transact(SCHEMA)
    commit_until(conn, ENOUGH)
    thread, t = thread_of(conn), conn.db().basis_t
    conn.close(wait=waits)
    assert not thread.is_alive()
    assert indexed_t(conn) == (t if waits else -1)


def test_an_index_that_a_caller_waits_for_needs_no_pause(conn: factstore.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    no_pause(monkeypatch)
    commit_until(conn, ENOUGH)
    t = conn.db().basis_t
    conn._committer.index()
    thread_of(conn).join(LONG)
    assert (thread_of(conn).is_alive(), indexed_t(conn)) == (False, t)


def test_a_process_that_waits_for_a_pause_adopts_the_index_of_a_faster_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_pause(monkeypatch)
    with factstore.connect(str(tmp_path / "s.facts"), sync="none") as conn:
        conn.transact(SCHEMA)
        commit_until(conn, ENOUGH)
        t = conn.db().basis_t
        code = "import sys, factstore; conn = factstore.connect(sys.argv[1]); conn._committer.index()"
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "s.facts")], check=True)
        for n in range(ENOUGH // 8):
            conn.transact_async([{":n": n}]).result(LONG)
        thread_of(conn).join(LONG)
        assert (thread_of(conn).is_alive(), indexed_t(conn)) == (False, t)
