"""Transactions in steps: each reads what was said so far, and all of them are one transaction or none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier

import pytest

import factstore
from factstore import TransactError, q
from tests.factstore.tx import ANN, BEN, assert_datoms, people, refused, value, values


def test_steps_read_what_was_said_and_are_one_transaction():
    conn = people()
    before = conn.db()
    with conn.transaction() as tx:
        cy = tx.transact([{":db/id": "c", ":u/login": "cy", ":u/age": 3}]).tempids["c"]
        tx.transact([[":db/add", cy, ":u/age", value(tx.db, [":u/login", "cy"], ":u/age") + 1], [":db/add", ANN, ":u/boss", cy]])
        assert before.basis_t == conn.db().basis_t
        assert 4 == q('[:find ?a . :where [?e :u/login "cy"] [?e :u/age ?a]]', tx.db)
    assert_datoms(tx.report, '[[?cy :u/login "cy" ?tx true] [?cy :u/age 4 ?tx true] [?ann :u/boss ?cy ?tx true]]')
    assert before.next_t == tx.report.t
    assert before.next_t == conn.db().basis_t
    assert {"c": cy} == tx.tempids


def test_what_is_said_and_taken_back_leaves_nothing():
    conn = people()
    with conn.transaction() as tx:
        tx.transact([[":db/add", ANN, ":u/age", 31], [":db/add", ANN, ":u/nick", "x"]])
        tx.transact([[":db/add", ANN, ":u/age", 30], [":db/retract", ANN, ":u/nick", "x"]])
    assert_datoms(tx.report, "[]")


def test_a_block_that_raises_commits_nothing():
    conn = people()
    t = conn.db().basis_t
    with pytest.raises(ZeroDivisionError), conn.transaction() as tx:
        tx.transact([[":db/add", ANN, ":u/age", 31]])
        raise ZeroDivisionError
    assert t == conn.db().basis_t
    assert 30 == value(conn.db(), ANN, ":u/age")
    assert tx.report is None
    assert t + 1 == conn.transact([]).t


def test_a_block_can_be_rolled_back_and_an_empty_one_commits_nothing():
    conn = people()
    t = conn.db().basis_t
    with conn.transaction() as tx:
        tx.transact([[":db/add", ANN, ":u/age", 31]])
        tx.rollback()
        assert 30 == value(tx.db, ANN, ":u/age")
        with pytest.raises(TransactError):
            tx.transact([])
    with conn.transaction():
        pass
    assert t == conn.db().basis_t


def test_a_step_that_is_refused_leaves_the_others():
    conn = people()
    with conn.transaction() as tx:
        tx.transact([[":db/add", ANN, ":u/age", 31]])
        with pytest.raises(TransactError):
            tx.transact([[":db/cas", ANN, ":u/age", 30, 32]])
        tx.transact([[":db/cas", ANN, ":u/age", 31, 33]])
    assert 33 == value(conn.db(), ANN, ":u/age")


def test_steps_say_something_of_the_transaction_itself():
    conn = people()
    then = datetime.now(UTC)
    with conn.annotate({":u/login": "the block"}), conn.transaction() as tx:
        tx.transact([{":db/id": "datomic.tx", ":db/txInstant": then, ":u/name": "one", ":u/nick": ["a"]}])
        tx.transact([{":db/id": "datomic.tx", ":u/name": "two", ":u/nick": ["b"]}, [":db/add", ANN, ":u/boss", "datomic.tx"]])
    e = value(conn.db(), ANN, ":u/boss")
    assert tx.report.tx_data[0][:3] == (e, tx.report.tx_data[0].a, then)
    assert "two" == value(conn.db(), e, ":u/name")
    assert {"a", "b"} == values(conn.db(), e, ":u/nick")
    assert "the block" == value(conn.db(), e, ":u/login")


def test_what_a_step_declares_can_be_used_from_the_next_transaction_on():
    conn = people()
    form = [{":db/ident": ":u/new", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]
    with pytest.raises(TransactError) as caught, conn.transaction() as tx:
        tx.transact(form)
        tx.transact([{":u/login": "cy", ":u/new": 1}])
    assert "next one" in str(caught.value)
    with conn.transaction() as tx:
        tx.transact(form)
    conn.transact([{":u/login": "cy", ":u/new": 1}])


def test_a_thread_cannot_commit_beside_its_own_open_transaction():
    conn = people()
    with conn.transaction() as tx:
        refused(conn, [[":db/add", ANN, ":u/age", 31]], ":db.error/transaction-open")
        refused(conn, [{":u/login": ["x"]}], ":db.error/transaction-open")
        with pytest.raises(TransactError), conn.transaction():
            pass
        later = conn.transact_async([[":db/cas", ANN, ":u/age", 31, 32]])
        tx.transact([[":db/add", ANN, ":u/age", 31]])
    assert later.result(10).t == tx.report.t + 1
    assert 32 == value(conn.db(), ANN, ":u/age")


@pytest.mark.parametrize("where", ["memory:counting", "file"])
def test_blocks_of_many_threads_and_connections_come_one_after_another(where, tmp_path):
    uri = where if where != "file" else str(tmp_path / "store")
    with factstore.connect(uri, sync="none") as one, factstore.connect(uri, sync="none") as other:
        one.transact("[{:db/ident :c/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]")
        e = one.transact([{":db/id": "c", ":c/n": 0}]).tempids["c"]
        start = Barrier(4)

        def count(conn):
            start.wait()
            for _ in range(25):
                with conn.transaction() as tx:
                    tx.transact([[":db/add", e, ":c/n", value(tx.db, e, ":c/n") + 1]])

        with ThreadPoolExecutor(4) as pool:
            for done in [pool.submit(count, conn) for conn in (one, other, one, other)]:
                done.result()
        assert 100 == value(one.db(), e, ":c/n")
        assert 102 == other.db().basis_t


def test_an_over_transaction_says_nothing_more():
    conn = people()
    with conn.transaction() as tx:
        tx.transact([[":db/add", BEN, ":u/age", 18]])
    with pytest.raises(TransactError) as caught:
        tx.transact([])
    assert ":db.error/transaction-over" == caught.value.code
