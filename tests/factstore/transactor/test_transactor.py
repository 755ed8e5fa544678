"""Transactions through a transactor have the outcomes, reports and errors that they have without one."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import numpy as np
import pytest

import factstore
from factstore import FactStoreError, Keyword, TransactError
from factstore.errors import Closed
from factstore.transactor import messages
from factstore.transactor.sent import Sent
from factstore.transactor.server import _NOT_IMPORTED, Reply, Server
from factstore.transactor.service import Options
from tests.factstore.transactor.running import LONG, Transactor, transactor, transactor_here
from tests.laws.interrupts import At
from tests.postgres import Server as PostgresServer

ONE = ":db.cardinality/one"
SCHEMA = [
    {":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ONE},
    {":db/ident": ":name", ":db/valueType": ":db.type/string", ":db/cardinality": ONE, ":db/unique": ":db.unique/identity"},
    {":db/ident": ":friend", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/many"},
    {":db/ident": ":at", ":db/valueType": ":db.type/instant", ":db/cardinality": ONE},
    {":db/ident": ":id", ":db/valueType": ":db.type/uuid", ":db/cardinality": ONE},
    {":db/ident": ":price", ":db/valueType": ":db.type/bigdec", ":db/cardinality": ONE},
    {":db/ident": ":kind", ":db/valueType": ":db.type/keyword", ":db/cardinality": ONE},
    {":db/ident": ":tag", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/many"},
]


@dataclass
class Person:
    name: Annotated[str, ":name"]
    n: Annotated[int | None, ":n"] = None


@factstore.register("transactor-test/count")
def count(db: factstore.Database, name: str) -> list[Any]:
    return [{":name": name, ":n": len(list(db.datoms("aevt", ":name")))}]


@factstore.register("transactor-test/reject")
def reject(_db: factstore.Database, reason: str) -> list[Any]:
    factstore.cancel("no", category="conflict", reason=reason, at=datetime(2026, 1, 1, tzinfo=UTC))
    return []


@factstore.register("transactor-test/fail")
def fail(_db: factstore.Database) -> list[Any]:
    try:
        return [1 // 0]
    except ZeroDivisionError as error:
        raise ValueError("wrong") from error


_released = threading.Event()


@factstore.register("transactor-test/hold")
def hold(_db: factstore.Database) -> list[Any]:
    assert _released.wait(LONG)
    return []


@pytest.fixture(scope="module")
def uri(server: PostgresServer) -> str:
    made = server.uri()
    with factstore.connect(made) as conn:
        conn.transact(SCHEMA)
    return made


@pytest.fixture(scope="module")
def leader(uri: str) -> Iterator[None]:
    with transactor_here(uri):
        yield


@pytest.fixture
def conn(uri: str, leader: None) -> Iterator[factstore.Connection]:
    with factstore.connect(uri) as opened:
        yield opened


@pytest.fixture
def here() -> Iterator[factstore.Connection]:
    """A connection that commits itself."""
    with factstore.connect("memory:") as opened:
        opened.transact(SCHEMA)
        yield opened


def test_a_report_has_databases_datoms_and_tempids(conn: factstore.Connection) -> None:
    first = conn.db().basis_t
    report = conn.transact([{":db/id": "a", ":name": "ann", ":n": 1}])
    later = conn.transact([[":db/add", report.tempids["a"], ":n", 2]])
    assert (report.t, later.t) == (first + 1, first + 2)
    assert (report.db_before.basis_t, report.db_after.basis_t, later.db_after.basis_t) == (first, first + 1, first + 2)
    assert report.db_before.entid([":name", "ann"]) is None
    assert factstore.pull(report.db_after, "[:n]", [":name", "ann"]) == {":n": 1}
    assert factstore.pull(later.db_after, "[:n]", [":name", "ann"]) == {":n": 2}
    assert later.db_before.entid([":name", "ann"]) == report.tempids["a"]
    assert sorted((datom.v, datom.added) for datom in later.tx_data[1:]) == [(1, False), (2, True)]
    assert later.tx_data[0].a == later.db_after.attribute(":db/txInstant").id
    assert conn.db().basis_t == later.t


def test_all_types_of_values_arrive(conn: factstore.Connection) -> None:
    values = {
        ":n": np.int64(-5),
        ":at": datetime(2026, 5, 1, 12, 30, 0, 7, tzinfo=UTC),
        ":id": UUID(int=77),
        ":price": Decimal("3.50"),
        ":kind": Keyword(":a/b"),
        ":tag": {"x", "y"},
    }
    report = conn.transact([{":db/id": "v", ":name": "values", **values}])
    pulled = factstore.pull(report.db_after, "[:n :at :id :price :kind :tag]", [":name", "values"])
    assert {**pulled, ":tag": set(pulled[":tag"])} == {**values, ":n": -5}


def test_text_classes_and_functions_are_accepted(conn: factstore.Connection) -> None:
    ann = Person("class ann", 3)
    assert conn.transact('[{:name "text" :n 4}]').db_after.entid([":name", "text"])
    assert conn.transact([ann, Person("class ben")]).db_after.entid([":name", "class ben"])
    assert factstore.pull(conn.db(), "[:n]", [":name", "class ann"]) == {":n": 3}
    report = conn.transact([["transactor-test/count", "counted"]])
    assert factstore.pull(report.db_after, "[:n]", [":name", "counted"])[":n"] > 0


def test_an_instance_that_occurs_twice_is_one_entity(conn: factstore.Connection) -> None:
    ann = Person("shared", 1)
    report = conn.transact([ann, {":name": "its friend", ":friend": [ann]}, {":name": "another friend", ":friend": [ann]}])
    shared = report.db_after.entid([":name", "shared"])
    assert {datom.v for datom in report.datoms_of(":friend")} == {shared}
    assert report.tempids == {}


OPTIONS: dict[str, Any] = {
    "unknown attribute": ([{":nothing": 1}], {}),
    "wrong type": ([{":n": "text"}], {}),
    "several problems": ([{":n": "text"}, {":nothing": (1, 2)}], {}),
    "wrong object": ([{":n": object()}], {}),
    "no forms": (7, {}),
    "text that is not EDN": ("[{:n", {}),
    "None": ([{":n": None}], {}),
    "lone surrogate": ([{":name": "\ud800"}], {}),
    "unknown function": ([["transactor-test/cuont", 1]], {}),
    "cancelled": ([["transactor-test/reject", "because"]], {}),
    "cas": ([[":db/cas", ":db/ident", ":n", 3, 4]], {}),
    "cas failed": ([[":db/cas", [":db/ident", ":n"], ":n", 3, 4]], {}),
    "unique": ([{":db/id": "a", ":name": "x"}, {":db/id": "b", ":name": "x"}, [":db/add", "a", ":n", 1], [":db/add", "b", ":n", 2]], {}),
    "bad option": ([], {"none": "perhaps"}),
    "bad key": ([], {"key": ""}),
    "bad point": ([], {"if_unchanged_since": "yesterday"}),
    "changed since": ([[":db/add", [":db/ident", ":n"], ":db/doc", "x"]], {"if_unchanged_since": 0}),
    "naive instant": ([{":at": datetime(2026, 1, 1)}], {}),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_errors_are_the_same(conn: factstore.Connection, here: factstore.Connection, name: str) -> None:
    tx_data, options = OPTIONS[name]
    t = conn.db().basis_t
    with pytest.raises(FactStoreError) as local:
        here.transact(tx_data, **options)
    with pytest.raises(FactStoreError) as remote:
        conn.transact(tx_data, **options)
    for error in (local.value, remote.value):
        error.data = {key: value for key, value in error.data.items() if key != "got" or type(value) is not object}
    assert type(remote.value) is type(local.value)
    assert remote.value.code == local.value.code
    if name not in ("changed since", "wrong object", "unique"):  # they name a t, an address, the number of an entity
        assert remote.value.message.removesuffix(_NOT_IMPORTED) == local.value.message
        assert remote.value.data == local.value.data
    assert remote.value.category == local.value.category
    assert conn.db().basis_t == t


def test_a_function_object_is_rejected_because_only_data_is_sent(conn: factstore.Connection) -> None:
    with pytest.raises(TransactError) as raised:
        conn.transact([{":name": "required"}, [":db/require", lambda db: True]])
    assert raised.value.code == ":db.error/not-data"
    assert conn.db().entid([":name", "required"]) is None


def test_a_key_commits_once_and_gives_the_first_report(conn: factstore.Connection) -> None:
    first = conn.transact([{":db/id": "a", ":name": "keyed"}], key="k1")
    again = conn.transact([{":db/id": "a", ":name": "keyed"}], key="k1")
    assert (again.t, again.tempids) == (first.t, first.tempids)
    assert [datom.v for datom in again.datoms_of(":name")] == ["keyed"]
    assert again.db_after.basis_t == conn.db().basis_t and again.db_before.entid([":name", "keyed"]) is None
    with pytest.raises(TransactError) as raised:
        conn.transact([{":name": "other"}], key="k1")
    assert raised.value.code == ":db.error/key-reused"


def test_conditions_and_annotations_hold(conn: factstore.Connection) -> None:
    t = conn.transact([{":db/id": "a", ":name": "watched"}]).t
    conn.transact([{":name": "watched", ":n": 1}], if_unchanged_since=t)
    with pytest.raises(TransactError) as raised:
        conn.transact([{":name": "watched", ":n": 2}], if_unchanged_since=t)
    assert raised.value.code == ":db.error/changed-since"
    conn.transact([{":name": "watched", ":n": None}], none="retract")
    assert factstore.pull(conn.db(), "[:n]", [":name", "watched"]) in (None, {})
    with conn.annotate({":db/doc": "a reason"}):
        assert [datom.v for datom in conn.transact([]).datoms_of(":db/doc")] == ["a reason"]


def test_transactions_of_one_thread_are_committed_in_order(conn: factstore.Connection) -> None:
    futures = [conn.transact_async([{":name": "ordered", ":n": n}]) for n in range(300)]
    ts = [future.result(LONG).t for future in futures]
    assert ts == list(range(ts[0], ts[0] + 300))
    assert conn.transact([]).t == ts[-1] + 1


def test_many_threads_share_the_connection(conn: factstore.Connection) -> None:
    ts: list[int] = []
    threads = [threading.Thread(target=lambda: ts.extend(conn.transact([{":n": n}]).t for n in range(20))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len(set(ts)) == 400


def test_the_answers_of_a_group_arrive_in_one_message(conn: factstore.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    count, sizes, waiting = 100, list[int](), threading.Event()
    accept, in_loop, read_answers = Server.accept, Server._in_loop, messages.read_answers

    def accepted(self: Server, peer: Any, bodies: Any) -> None:
        accept(self, peer, bodies)
        if len(self._waiting) > count:
            waiting.set()

    def run_in_loop(self: Server, call: Any) -> None:
        """Let the loop take over the interpreter whenever the commit thread wakes it."""
        has_run = threading.Event()
        in_loop(self, lambda: (call(), has_run.set()))
        assert threading.current_thread().name != "factstore-commit" or has_run.wait(LONG)

    def read(body: bytes) -> list[Any]:
        answers = list(read_answers(body))
        sizes.append(len(answers))
        return answers

    monkeypatch.setattr(Server, "accept", accepted)
    monkeypatch.setattr(Server, "_in_loop", run_in_loop)
    monkeypatch.setattr(messages, "read_answers", read)
    _released.clear()
    futures = [conn.transact_async([["transactor-test/hold"]]), *(conn.transact_async([{":n": n}]) for n in range(count))]
    assert waiting.wait(LONG)
    _released.set()
    assert count + 1 == len({future.result(LONG).t for future in futures})
    # One group was held, with or without others; the rest is the next one.
    assert len(sizes) <= 2 and sum(sizes) == count + 1


def test_blocks_loads_and_excisions_are_committed_beside_the_transactor(conn: factstore.Connection) -> None:
    with conn.transaction() as tx:
        tx.transact([{":name": "stepwise"}])
        with pytest.raises(TransactError) as raised:
            conn.transact([])
        assert raised.value.code == ":db.error/transaction-open"
    assert tx.report is not None
    conn.load([{"name": f"row {n}"} for n in range(10)], {"name": ":name"})
    assert conn.transact([{":name": "row 3", ":n": 3}]).t == tx.report.t + 2
    conn.excise([":name", "row 3"])
    assert conn.transact([{":name": "row 3"}]).db_before.entid([":name", "row 3"]) is None


def test_another_connection_reads_what_was_committed(conn: factstore.Connection, uri: str) -> None:
    with factstore.connect(uri) as other:
        with other.tx_reports() as reports:
            t = conn.transact([{":name": "seen"}]).t
            assert other.sync(t, timeout=LONG).entid([":name", "seen"]) is not None
            seen = reports.get(LONG)
        assert seen is not None and seen.t == t


def test_a_connection_with_inferred_schema_declares_attributes(uri: str, leader: None) -> None:
    with factstore.connect(uri, infer_schema=True) as conn:
        conn.transact([{":name": "inferred", ":inferred/size": 3}])
        assert factstore.pull(conn.db(), "[:inferred/size]", [":name", "inferred"]) == {":inferred/size": 3}


def test_a_transaction_that_is_too_large_is_rejected_before_it_is_sent(conn: factstore.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factstore.transactor.routing.MOST_BYTES", 5000)
    t = conn.db().basis_t
    with pytest.raises(TransactError) as raised:
        conn.transact([{":name": "x" * 10_000}])
    assert raised.value.code == ":db.error/frame-too-large" and raised.value.limit == 5000
    assert conn.db().basis_t == t


def test_a_large_transaction_that_is_rejected_gets_its_error(conn: factstore.Connection) -> None:
    """The data of the error repeats the value, and would not fit into a message."""
    futures = [conn.transact_async([{":name": "beside a large one"}]) for _ in range(10)]
    with pytest.raises(TransactError) as raised:
        conn.transact([{":n": "x" * (17 << 20)}])
    assert raised.value.code == ":db.error/wrong-type-for-attribute" and raised.value.attribute == Keyword(":n")
    assert "the data of this error is shortened" in raised.value.message and len(raised.value.got) == 1000
    assert all(future.result(LONG).t for future in futures)


def test_a_child_process_gets_an_error_and_the_parent_continues(conn: factstore.Connection) -> None:
    conn.transact([])
    child = os.fork()
    if child == 0:
        code = 1
        try:
            conn.transact([])
        except Closed:
            code = 7
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert conn.transact([]).t


def test_a_process_imports_the_functions_that_it_is_told_to(server: PostgresServer) -> None:
    uri = server.uri()
    with factstore.connect(uri) as conn:
        conn.transact(SCHEMA)
    with transactor(uri, "--require", "tests.factstore.transactor.required"), factstore.connect(uri) as conn:
        assert conn.transact([["transactor-required/add", "by name"]]).db_after.entid([":name", "by name"])
        with pytest.raises(TransactError) as raised:
            conn.transact([["transactor-test/count", "only here"]])
        assert "transactor-test/count" in raised.value.message
        assert "--require" in raised.value.message


def test_a_store_of_one_machine_needs_no_transactor(tmp_path: Any) -> None:
    factstore.connect(str(tmp_path / "s.facts")).close()
    process = Transactor(str(tmp_path / "s.facts"))
    assert process.process.wait(LONG) == 3
    process.end()
    assert "needs no transactor" in process.errors and "Traceback" not in process.errors


def test_options_have_defaults() -> None:
    assert Options() == Options(host="127.0.0.1", port=0)


def test_a_callback_of_a_future_may_transact(conn: factstore.Connection) -> None:
    ts: list[int] = []
    ended = threading.Event()

    def again(_future: Any) -> None:
        ts.append(conn.transact([{":name": "in a callback"}]).t)
        ended.set()

    futures = [conn.transact_async([{":n": n}]) for n in range(50)]
    futures[0].add_done_callback(again)
    assert ended.wait(LONG)
    assert ts[0] > futures[0].result(LONG).t
    assert all(future.result(LONG).t for future in futures)


@pytest.mark.parametrize("is_used", [False, True])
def test_each_transaction_that_comes_too_late_is_told_that_the_connection_was_closed(uri: str, leader: None, is_used: bool) -> None:
    # As of threads that found the connection open, just before another thread closed it.
    with factstore.connect(uri) as conn:
        if is_used:
            conn.transact([{":n": 1}])
        t = conn.sync().basis_t
        conn._committer._client.close()  # type: ignore[attr-defined]
        for _ in range(3):
            with pytest.raises(Closed):
                conn.transact([{":n": 2}])
            assert isinstance(conn.transact_async([{":n": 2}]).exception(LONG), Closed)
        assert conn.sync().basis_t == t


@pytest.mark.parametrize("is_used", [False, True])
def test_a_connection_goes_on_after_a_call_that_was_interrupted_at_any_step(uri: str, leader: None, is_used: bool) -> None:
    at, n = At(0, KeyboardInterrupt), 0
    while n == 0 or at.where:
        at = At(n, KeyboardInterrupt)
        with factstore.connect(uri) as conn:
            if is_used:
                conn.transact([{":n": 1}])
            try:
                with at.here():
                    conn.transact_async([{":n": 2}])
            except KeyboardInterrupt:
                assert at.where
            assert conn.transact_async([{":n": 3}]).result(LONG).t > 0, at.where
        n += 1
    assert n > 10


@pytest.mark.parametrize(
    "forms",
    [
        "[[",
        [{":n": "text"}],
        [{":unknown": 1}],
        [{":name": "same", ":db/id": "a"}, {":name": "same", ":db/id": -1, ":n": 1}, [":db/add", -1, ":n", 2]],
        [["transactor-test/reject", "why"]],
        [["transactor-test/fail"]],
        [["not/registered"]],
    ],
)
def test_a_rejected_transaction_leaves_nothing_to_the_garbage_collector(conn: factstore.Connection, forms: Any) -> None:
    # The transactor collects rarely, so a cycle of an error and its frames would keep the data of many transactions.
    rejections = 0
    gc.collect()
    gc.disable()
    try:
        for _ in range(40):
            with suppress(FactStoreError):
                conn.transact(forms)
                rejections -= 1
            rejections += 1
        conn.transact([{":n": 1}])
        left = [type(each).__name__ for each in gc.get_objects() if isinstance(each, Reply | Sent)]
    finally:
        gc.enable()
    assert rejections == 40
    assert len(left) < 5, left  # those of the last transactions may be in a variable of a thread
