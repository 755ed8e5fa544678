"""Transactions of several connections on one store: each is judged on top of the newest database, whatever its connection knew."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from queue import SimpleQueue
from types import FrameType
from typing import Any

import pytest

import factstore
from factstore import CasFailed, Connection, Database, TransactError
from factstore.columns.kind import INTEGERS
from factstore.commit.groups import MAX_GROUP
from factstore.errors import Closed, Unavailable
from factstore.index.novelty import Strand

NUMBER = [{":db/ident": ":a/n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]
TEXT = [{":db/ident": ":a/s", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}]


@pytest.fixture
def two() -> Iterator[tuple[Connection, Connection]]:
    """Two connections, of which the second knows nothing of what the first commits from now on."""
    with factstore.connect("memory:races") as first, factstore.connect("memory:races") as second:
        first.transact(NUMBER)
        first.transact([{":db/ident": ":the/entity", ":a/n": 0}])
        second.db()
        yield first, second


@pytest.mark.parametrize("commit", ["transact", "transact_async"])
def test_what_is_wrong_only_on_top_of_an_older_database_is_accepted(two: tuple[Connection, Connection], commit: str) -> None:
    first, second = two
    first.transact(TEXT)
    first.transact([[":db/cas", ":the/entity", ":a/n", 0, 1]])
    found = getattr(second, commit)([[":db/cas", ":the/entity", ":a/n", 1, 2], {":a/s": "declared by the first"}])
    report = found if commit == "transact" else found.result(10)
    assert 2 == factstore.q("[:find ?n . :where [:the/entity :a/n ?n]]", report.db_after)


@pytest.mark.parametrize("commit", ["transact", "transact_async"])
def test_what_is_wrong_on_top_of_the_newest_database_is_rejected(two: tuple[Connection, Connection], commit: str) -> None:
    first, second = two
    first.transact([[":db/cas", ":the/entity", ":a/n", 0, 1]])
    with pytest.raises(CasFailed) as caught:
        found = getattr(second, commit)([[":db/cas", ":the/entity", ":a/n", 0, 2]])
        if commit == "transact_async":
            found.result(10)
    assert 0 == caught.value.expected
    assert 1 == caught.value.found


def test_a_rejection_does_not_hold_up_others_of_the_same_write(two: tuple[Connection, Connection]) -> None:
    first, second = two
    first.transact(TEXT)
    good, bad, late = (second.transact_async(forms) for forms in ([{":a/s": "one"}], [{":a/unknown": 1}], [{":a/s": "two"}]))
    assert good.result(10).t < late.result(10).t
    with pytest.raises(TransactError, match=":a/unknown"):
        bad.result(10)


def test_a_report_gives_the_datoms_of_some_attributes_without_the_others(two: tuple[Connection, Connection]) -> None:
    report = two[0].transact([{":a/n": 7}, [":db/add", ":the/entity", ":a/n", 5], {":db/ident": ":another/entity"}])
    expected = [datom for datom in report.tx_data if datom.a == report.db_after.entid(":a/n")]
    assert {(5, True), (0, False), (7, True)} == {(datom.v, datom.added) for datom in expected}
    assert expected == report.datoms_of(":a/n")
    assert [] == report.datoms_of()


def numbers(db: Database) -> list[int]:
    return sorted(datom.v for datom in db.datoms("aevt", ":a/n"))


def test_what_was_read_on_top_of_facts_that_lost_their_race_is_not_remembered(two: tuple[Connection, Connection]) -> None:
    first, second = two
    seen: list[list[int]] = []

    def look(db: Database) -> list[Any]:
        seen.append(numbers(db))
        return []

    factstore.register("races/look", look)
    second.transact_async([]).result(10)  # the thread that commits is there
    with second._committer._turn:
        first.transact([[":db/cas", ":the/entity", ":a/n", 0, 7]])
        lost, other = (second.transact_async(tx_data) for tx_data in ([[":db/cas", ":the/entity", ":a/n", 0, 1]], [["races/look"]]))
    assert isinstance(lost.exception(10), CasFailed)
    assert [7] == numbers(other.result(10).db_after)
    assert [[1], [7]] == seen


def test_a_transaction_that_was_cancelled_in_time_is_not_made_and_holds_up_nobody(two: tuple[Connection, Connection]) -> None:
    conn = two[0]
    conn.transact_async([]).result(10)
    with conn._committer._turn:
        one, cancelled, other = (conn.transact_async([{":a/n": n}]) for n in (1, 2, 3))
        assert cancelled.cancel()
    assert one.result(10).t + 1 == other.result(10).t
    assert [0, 1, 3, 4] == numbers(conn.transact_async([{":a/n": 4}]).result(10).db_after)
    assert not one.cancel()


def test_an_error_that_nobody_foresaw_reaches_the_caller_and_the_next_transaction_goes_on(
    two: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    conn = two[0]
    with monkeypatch.context() as patch:
        patch.setattr(type(conn._storage), "append", lambda *_, **__: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            conn.transact_async([{":a/n": 1}]).result(10)
    assert [0, 2] == numbers(conn.transact_async([{":a/n": 2}]).result(10).db_after)


@pytest.mark.parametrize("verbs", [("append",), ("append", "release_turn"), ("append", "release_turn", "read_log", "head")])
def test_a_storage_that_fails_from_now_on_ends_every_future(
    two: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch, verbs: tuple[str, ...]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise Unavailable(":db.error/storage-unavailable", "the storage is gone")

    conn = two[0]
    with monkeypatch.context() as patch:
        for verb in verbs:
            patch.setattr(type(conn._storage), verb, fail)
        for future in [conn.transact_async([{":a/n": n}]) for n in range(3)]:
            with pytest.raises(Unavailable):
                future.result(10)
    assert [0, 3] == numbers(conn.transact_async([{":a/n": 3}]).result(10).db_after)


def test_a_transaction_that_comes_while_the_connection_closes_is_told_so(two: tuple[Connection, Connection]) -> None:
    conn = two[0]
    conn.close()
    with pytest.raises(Closed):
        conn._committer.transact_async([{":a/n": 1}]).result(10)


def test_a_failure_after_a_transaction_was_prepared_leaves_nothing_of_it(
    two: tuple[Connection, Connection], monkeypatch: pytest.MonkeyPatch
) -> None:
    conn = two[0]
    with monkeypatch.context() as patch:
        patch.setattr(conn._committer, "_encode", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            conn.transact([[":db/add", "x", ":a/n", 1]])
    conn.transact([[":db/add", "x", ":a/n", 2]])
    assert [0, 2] == numbers(conn.db())


@pytest.mark.parametrize(
    "read",
    [lambda s: s.of_entity(1), lambda s: s.with_value(1), lambda s: s.newest(1), lambda s: s.newest_with(1), lambda s: s.runs(INTEGERS)],
)
def test_a_reader_that_is_overtaken_by_a_lost_race_still_sees_what_was_there(read: Callable[[Strand], Any]) -> None:
    class Overtaken(Strand):
        """Takes back what came last between a reader's look at what there is and its answer."""

        def __getattribute__(self, name: str) -> Any:
            found = super().__getattribute__(name)
            if name == "facts" and sys._getframe(1).f_code.co_name in ("of_entity", "with_value", "newest", "newest_with", "runs"):
                found = list(found)
                self.truncate(1)
            return found

    strand = Overtaken()
    for t in (1, 2):
        object.__getattribute__(strand, "facts").append((t, 100, t, t, True))
    reading = Strand.__getattribute__
    Overtaken.__getattribute__, overtaking = reading, Overtaken.__getattribute__  # type: ignore[method-assign]
    read(strand)  # everything is caught up
    Overtaken.__getattribute__ = overtaking  # type: ignore[method-assign]
    assert read(strand)


def test_who_is_called_back_by_a_future_may_transact(two: tuple[Connection, Connection]) -> None:
    conn, answers = two[0], SimpleQueue[int]()
    conn.transact_async([]).result(10)  # the thread that commits is there

    def again(_: object) -> None:
        answers.put(conn.transact([{":a/n": 2}]).t)
        answers.put(conn.transact_async([{":a/n": 3}]).result(10).t)

    with conn._committer._turn:
        done = conn.transact_async([{":a/n": 1}])
        done.add_done_callback(again)
        waiting = [conn.transact_async([{":a/n": 4}]) for _ in range(MAX_GROUP)]
    ts = [done.result(10).t, answers.get(timeout=10), answers.get(timeout=10), *(future.result(10).t for future in waiting)]
    assert len(ts) == len(set(ts))
    assert [0, 1, 2, 3, *[4] * len(waiting)] == numbers(conn.db())


def test_a_large_transaction_takes_the_writers_turn_before_it_is_prepared(tmp_path):
    """Nobody in its process can commit meanwhile; others can see that the store is busy, and that it is no fault of that process."""
    held = []
    with factstore.connect(tmp_path / "s.facts") as conn, factstore.connect(tmp_path / "s.facts") as other:
        factstore.register("races-test/held", lambda db: held.append(other._storage._file.turn.flag[0]) or [])
        conn.transact([{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}])
        for count in (10, 10_000):
            conn.transact([["races-test/held"], *({":n": n} for n in range(count))])
        assert [0, 1] == [flag and 1 for flag in dict.fromkeys(held)]
        assert 10_010 == len(list(other.db().datoms("aevt", ":n")))


def test_transactions_that_come_at_any_step_of_a_commit_in_the_background_are_committed(two: tuple[Connection, Connection]) -> None:
    conn = two[0]
    numbered, futures = count(1), dict[int, Future[factstore.TxReport]]()
    with ThreadPoolExecutor(1) as others:

        def add() -> None:
            number = next(numbered)
            futures[number] = others.submit(conn.transact_async, [{":a/n": number}]).result(10)

        def at_every_step(frame: FrameType, event: str, _: object) -> Any:
            if frame.f_code.co_name in ("_commit_waiting", "_first", "_move"):
                frame.f_trace_opcodes = True
                if event == "opcode" and len(futures) < 300:
                    add()
                return at_every_step
            return None

        threading.settrace(at_every_step)  # for threads that are yet to start, such as the one that commits
        try:
            add()
            futures[1].result(10)
        finally:
            threading.settrace(None)  # type: ignore[arg-type]
        reports = {number: futures[number].result(10) for number in range(1, 200)}
    assert [*reports] == [report.tx_data[1].v for report in reports.values()]
