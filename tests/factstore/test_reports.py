"""Reports of commits: each comes once, in order, as soon as it is there, whoever committed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from threading import Event, Thread
from typing import Any

import pytest

import factstore
from factstore import Connection

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
        start, wait, waited_past = conn.db().basis_t, conn.wait, []
        monkeypatch.setattr(reports, "_waiting", Overtaken(reports._waiting, lambda: conn.transact([{":a/n": 1}])))
        monkeypatch.setattr(conn, "wait", lambda t, timeout: waited_past.append(t) or wait(t, timeout))
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
