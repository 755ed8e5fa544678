"""Closing a connection after a load: the index is built with progress, or left to the next process that opens the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import factstore
from factstore import maintain
from factstore.commit import indexing
from factstore.connection import progress
from factstore.errors import Closed
from factstore.index import build

LONG = {":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}
SCHEMA = [{":db/ident": a, **LONG} for a in (":n/a", ":n/b")]
NAMES = {"a": ":n/a", "b": ":n/b"}


@pytest.fixture(autouse=True)
def small_indexes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "LEAST_ROWS", 400)
    monkeypatch.setattr(indexing, "LEAST_ROWS_AT_CLOSE", 100)
    monkeypatch.setattr(indexing, "MOST_ROWS", 400)
    monkeypatch.setattr(indexing, "PATIENCE", 800)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s.facts")


def opened(path: str) -> factstore.Connection:
    conn = factstore.connect(path, sync="none")
    conn.transact(SCHEMA)
    return conn


def load(conn: factstore.Connection, rows: int, **options: Any) -> None:
    table = {"a": np.arange(rows), "b": np.arange(rows) % 7}
    conn.load(table, NAMES, **{"progress": False, **options})


def unindexed(path: str) -> int:
    with factstore.connect(path, read_only=True) as conn:
        return conn._committer.newest.novelty.count


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Event, Event]]:
    """A build that has begun, and goes on when it may."""
    begun, may_go_on = Event(), Event()
    merge = build.merge_family

    def slow(*args: Any) -> Any:
        begun.set()
        may_go_on.wait()
        return merge(*args)

    monkeypatch.setattr(build, "merge_family", slow)
    yield begun, may_go_on
    may_go_on.set()


def test_closing_indexes_what_was_loaded_and_tells_the_progress(path: str) -> None:
    conn = opened(path)
    load(conn, 1000)
    told: list[tuple[int, int]] = []
    conn.close(progress=lambda done, of_all: told.append((done, of_all)))
    assert sorted(told) == told
    assert told[-1][0] == told[-1][1] > 2000
    assert unindexed(path) == 0


def test_progress_of_the_indexing_thread_is_told_too(path: str, held_up: tuple[Event, Event]) -> None:
    conn, (begun, may_go_on) = opened(path), held_up
    load(conn, 2000)
    begun.wait()
    told: list[tuple[int, int]] = []
    conn.close(progress=lambda *numbers: (told.append(numbers), may_go_on.set()))
    assert told[0][0] == 0
    assert unindexed(path) == 0


def test_closing_without_waiting_leaves_the_rest_to_the_next_process(path: str) -> None:
    conn = opened(path)
    load(conn, 1000)
    conn.close(wait=False)
    assert unindexed(path) > 2000
    with factstore.connect(path) as conn:
        assert len(factstore.q("[:find ?e :where [?e :n/a]]", conn.db())) == 1000
    assert unindexed(path) == 0


def test_closing_without_waiting_abandons_the_index_that_is_being_built(
    path: str, held_up: tuple[Event, Event], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    conn, (begun, may_go_on) = opened(path), held_up
    load(conn, 2000)
    begun.wait()
    indexing_thread = conn._committer._indexing._thread
    monkeypatch.setattr(indexing_thread, "join", lambda *_: (may_go_on.set(), type(indexing_thread).join(indexing_thread)))
    conn.close(wait=False)
    assert unindexed(path) > 4000
    assert caplog.records == []
    with factstore.connect(path, sync="none") as conn:
        maintain.collect(conn)
        assert list(conn._storage.block_ids()) == []
        assert maintain.check(conn).problems == []


def test_an_exception_of_the_progress_ends_the_wait_and_closes_the_store(path: str) -> None:
    conn = opened(path)
    load(conn, 1000)

    def interrupt(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        conn.close(progress=interrupt)
    with pytest.raises(Closed):
        conn.db()
    assert unindexed(path) > 2000


def test_wait_is_true_or_false(path: str) -> None:
    with opened(path) as conn, pytest.raises(factstore.StorageError, match="wait"):
        conn.close(wait=3)  # type: ignore[arg-type]


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=6))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_load_is_never_far_ahead_of_its_index(batches: list[int]) -> None:
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        for rows in batches:
            most = indexing.PATIENCE + rows * 2

            def weigh(_rows: int, _seconds: float, most: int = most) -> None:
                assert conn._committer.newest.novelty.weight < most

            load(conn, rows, batch_rows=500, progress=weigh)
            assert conn._committer.newest.novelty.weight < indexing.PATIENCE + 500 * 2
        assert len(factstore.q("[:find ?e :where [?e :n/a]]", conn.db())) == sum(batches)


def test_the_line_of_progress_appears_when_indexing_takes_longer_than_a_moment(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = progress.chosen(True, progress.index_line())
    assert line is not None
    line(1, 20_000)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "_SHORT", -1.0)
    line(10_000, 20_000)
    line(20_000, 20_000)
    assert capsys.readouterr().err == ("\rindexing       10,000 of 20,000 datoms \rindexing       20,000 of 20,000 datoms \n")
    assert progress.chosen(None, line) is None  # stderr is no terminal
