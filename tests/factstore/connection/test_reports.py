"""Reports of commits: each comes once, in order, as soon as it is there, whoever committed."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any

import pytest

import factstore
from factstore import Connection
from factstore.values.types import instant_to_micros

NUMBER = [{":db/ident": ":a/n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]


@pytest.fixture
def two() -> Iterator[tuple[Connection, Connection]]:
    """Two connections on one store."""
    with factstore.connect("memory:reports") as first, factstore.connect("memory:reports") as second:
        first.transact(NUMBER)
        yield first, second


def test_reports_of_every_way_to_commit_come_once_and_in_order(two: tuple[Connection, Connection]) -> None:
    first, second = two
    with first.tx_reports() as reports:
        start = first.db().basis_t
        first.transact([{":a/n": 1}])
        second.transact([{":a/n": 2}])
        first.load({"n": [3, 4]}, {"n": ":a/n"})
        second.load({"n": [5]}, {"n": ":a/n"})
        first.transact_async([{":a/n": 6}]).result(10)
        found = [report for _ in range(5) if (report := reports.get(10)) is not None]
        assert [start + n for n in range(1, 6)] == [report.t for report in found]
        assert [[1], [2], [3, 4], [5], [6]] == [[d.v for d in report.datoms_of(":a/n")] for report in found]
        assert reports.get(0) is None


class Overtaken:
    """A queue in which nothing is found at first, and into which something comes right then."""

    def __init__(self, queue: Any, come: Callable[[], object]) -> None:
        self.queue, self.come = queue, come

    def __getattr__(self, name: str) -> Any:
        return getattr(self.queue, name)

    def get_nowait(self) -> Any:
        come, self.come = self.come, lambda: None
        try:
            return self.queue.get_nowait()
        finally:
            come()


def test_a_report_that_comes_right_after_a_look_is_not_waited_past(two: tuple[Connection, Connection], monkeypatch: Any) -> None:
    conn = two[0]
    with conn.tx_reports() as reports:
        start, wait, waited_past = conn.db().basis_t, reports._wait, []
        monkeypatch.setattr(reports, "_waiting", Overtaken(reports._waiting, lambda: conn.transact([{":a/n": 1}])))
        monkeypatch.setattr(reports, "_wait", lambda t, timeout: waited_past.append(t) or wait(t, timeout))
        found = reports.get(0.1)
        assert found is not None
        assert [start] == waited_past


def test_what_is_committed_and_not_told_yet_is_waited_for(two: tuple[Connection, Connection]) -> None:
    conn = two[0]
    committed, go_on = Event(), Event()

    def holds_up(_: object) -> None:
        committed.set()
        go_on.wait(10)

    conn._committer.listen(holds_up)
    with conn.tx_reports() as reports:
        writer = Thread(target=conn.transact, args=([{":a/n": 1}],))
        writer.start()
        assert committed.wait(10)
        found: list[factstore.TxReport | None] = []
        reader = Thread(target=lambda: found.append(reports.get()))
        reader.start()
        reader.join(0.05)
        assert [] == found
        go_on.set()
        reader.join(10)
        writer.join(10)
        assert [conn.db().basis_t] == [report and report.t for report in found]


# -- from the past


def told(reports: list[Any]) -> list[tuple[int, list[int]]]:
    return [(report.t, [d.v for d in report.datoms_of(":a/n")]) for report in reports]


def test_a_queue_begins_where_it_is_asked_to(two: tuple[Connection, Connection]) -> None:
    first, second = two
    start = first.transact([{":a/n": 1}]).t
    second.transact([{":a/n": 2}])
    for from_t in (start, 1 << 42 | start, first.db().instant_of(start)):
        with first.tx_reports(from_t=from_t) as reports:
            now = first.transact([{":a/n": 3}]).t
            found = told(list(iter(lambda: reports.get(0), None)))
            assert [(start, [1]), (start + 1, [2])] == found[:2]
            assert (now, [3]) == found[-1]
            assert list(range(start, now + 1)) == [t for t, _ in found]


def test_reports_of_the_past_hold_the_databases_of_then(two: tuple[Connection, Connection]) -> None:
    first, _ = two
    e = first.transact([{":db/id": "e", ":a/n": 1}]).tempids["e"]
    start = first.transact([[":db/add", e, ":a/n", 2]]).t
    first.transact([[":db/add", e, ":a/n", 3]])
    with first.tx_reports(from_t=start) as reports:
        report = reports.get(0)
        assert report is not None
        assert [{":a/n": 1}, {":a/n": 2}] == [factstore.pull(db, [":a/n"], e) for db in (report.db_before, report.db_after)]
        assert [(1, False), (2, True)] == [(d.v, d.added) for d in report.datoms_of(":a/n")]


# -- listeners


def test_closing_tells_listeners_of_all_that_was_committed() -> None:
    found: list[int] = []
    entered, go_on = Event(), Event()

    def slow(report: factstore.TxReport) -> None:
        entered.set()
        go_on.wait(10)
        found.append(report.t)

    conn = factstore.connect("memory:")
    conn.listen(slow)
    for _ in range(20):
        conn.transact([])
    conn.transact_async([])
    assert entered.wait(10)
    closer = Thread(target=conn.close)
    closer.start()
    go_on.set()
    closer.join(10)
    assert list(range(1, 22)) == found


def test_a_listener_may_close_the_connection_that_calls_it() -> None:
    found: list[int] = []
    closed = Event()
    conn = factstore.connect("memory:")

    def closes(report: factstore.TxReport) -> None:
        found.append(report.t)
        conn.close()
        closed.set()

    conn.transact([])
    conn.transact([])
    conn.listen(closes, from_t=1)
    assert closed.wait(10)
    assert [1, 2] == found


def test_what_a_listener_raises_reaches_neither_the_commit_nor_other_listeners(caplog: Any) -> None:
    found: list[int] = []

    def fails(report: factstore.TxReport) -> None:
        raise RuntimeError("no")

    with factstore.connect("memory:") as conn:
        conn.listen(fails)
        conn.listen(lambda report: found.append(report.t), key="well")
        conn.transact([])
        conn.transact([])
    assert [1, 2] == found
    assert 2 == sum("a listener failed" in record.message for record in caplog.records)


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, CancelledError, KeyboardInterrupt])
def test_a_listener_is_told_of_what_comes_after_any_exception_of_its_own(caplog: Any, error: type[BaseException]) -> None:
    told: list[int] = []
    all_told = Event()

    def fails(report: factstore.TxReport) -> None:
        told.append(report.t)
        if report.t == 4:
            all_told.set()
        else:
            raise error

    with factstore.connect("memory:") as conn:
        key = conn.listen(fails)
        for _ in range(4):
            conn.transact([])
        assert all_told.wait(60)
        conn.unlisten(key)
    assert [1, 2, 3, 4] == told
    assert [f"a listener failed on t={t}" for t in (1, 2, 3)] == [record.message for record in caplog.records]


def test_one_that_is_not_listening_any_more_is_not_called() -> None:
    found: list[int] = []
    with factstore.connect("memory:") as conn:
        conn.listen(lambda report: found.append(report.t), key="mine")
        conn.listen(lambda report: found.append(-report.t), key="mine")
        conn.transact([])
        conn.unlisten("nobody")
    assert [-1] == found


# -- waiting for a point


def test_waiting_takes_any_point_and_ends_with_the_first_commit_after_it(two: tuple[Connection, Connection]) -> None:
    first, second = two
    for point_of in (lambda db: db.basis_t, lambda db: 1 << 42 | db.basis_t, lambda db: db.instant_of(db.basis_t)):
        db = first.db()
        point, answers = point_of(db), []
        assert db.basis_t == first.wait(point, 0).basis_t
        waiter = Thread(target=lambda point, into: into.append(first.wait(point, 10).basis_t), args=(point, answers))
        waiter.start()
        made = second.transact([]).t
        waiter.join(10)
        assert [made] == answers
    with pytest.raises(factstore.DatabaseError, match="naive"):
        first.wait(db.instant_of(1).replace(tzinfo=None), 0)  # type: ignore[union-attr]


def test_waiting_for_a_time_to_come_ends_in_time_however_much_is_committed(two: tuple[Connection, Connection]) -> None:
    first, second = two
    future = first.db().instant_of(1).replace(year=2100)  # type: ignore[union-attr]
    busy = Event()

    def write() -> None:
        while not busy.is_set():
            second.transact([])

    writer = Thread(target=write)
    writer.start()
    try:
        assert first.wait(future, 0.05).last_instant < instant_to_micros(future)
    finally:
        busy.set()
        writer.join(10)


def test_syncing_with_what_is_there_already_does_not_wait(two: tuple[Connection, Connection]) -> None:
    first, second = two
    t = second.transact([]).t
    assert [t, t, t, t] == [first.sync(point).basis_t for point in (None, 0, t, (1 << 42) | t)]
    assert t == first.sync(t + 1, timeout=0.01).basis_t
    with pytest.raises(factstore.DatabaseError, match="expected t"):
        first.sync("one")
