"""`annotate`: what is said in a block is said of every transaction made in it."""

from __future__ import annotations

from threading import Thread

import pytest

import factstore

SCHEMA = [
    {":db/ident": ident, ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}
    for ident in (":tx/user", ":tx/reason", ":audit/source", ":n/name")
]


@pytest.fixture
def conn():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        yield conn


def said(report):
    db = report.db_after
    return {str(db.ident(d.a)): d.v for d in report.tx_data if d.e == d.tx and db.ident(d.a) != ":db/txInstant"}


def test_words_are_attributes_in_the_namespace_of_transactions(conn):
    with conn.annotate(user="ann", reason="a typo"):
        report = conn.transact([{":n/name": "x"}])
    assert {":tx/user": "ann", ":tx/reason": "a typo"} == said(report)


def test_attributes_of_any_name_come_as_a_mapping(conn):
    with conn.annotate({":audit/source": "import"}):
        assert {":audit/source": "import"} == said(conn.transact([{":n/name": "x"}]))


def test_outside_the_block_nothing_is_said(conn):
    with conn.annotate(user="ann"):
        pass
    assert {} == said(conn.transact([{":n/name": "x"}]))


def test_blocks_nest_and_the_inner_one_has_the_last_word(conn):
    with conn.annotate(user="ann", reason="outer"), conn.annotate(reason="inner"):
        assert {":tx/user": "ann", ":tx/reason": "inner"} == said(conn.transact([{":n/name": "x"}]))


def test_another_connection_is_not_spoken_of(conn):
    with factstore.connect("memory:") as other, conn.annotate(user="ann"):
        other.transact(SCHEMA)
        assert {} == said(other.transact([{":n/name": "x"}]))


def test_an_attribute_that_was_not_declared_is_refused_when_the_block_begins(conn):
    before = conn.db().basis_t
    with pytest.raises(factstore.TransactError, match=":tx/usr"), conn.annotate(usr="ann"):
        raise AssertionError("the block must not begin")
    assert before == conn.db().basis_t


def test_a_thread_beside_the_block_is_not_in_it(conn):
    found = []
    with conn.annotate(user="ann"):
        thread = Thread(target=lambda: found.append(said(conn.transact([{":n/name": "x"}]))))
        thread.start()
        thread.join()
    assert [{}] == found


def test_a_block_that_fails_is_over(conn):
    with pytest.raises(ZeroDivisionError), conn.annotate(user="ann"):
        _ = 1 / 0
    assert {} == said(conn.transact([{":n/name": "x"}]))


def test_what_is_transacted_in_the_background_is_in_the_block_that_sent_it(conn):
    with conn.annotate(user="ann"):
        sent = conn.transact_async([{":n/name": "x"}])
    assert {":tx/user": "ann"} == said(sent.result(30))


def test_a_value_that_the_attribute_cannot_have_is_refused_when_the_block_begins(conn):
    with pytest.raises(factstore.TransactError, match=":tx/user takes"), conn.annotate(user=7):
        raise AssertionError("the block must not begin")


def test_a_repeated_key_keeps_the_first_reason_and_the_tempids(conn):
    reports = []
    for reason in ("first", "again"):
        with conn.annotate(reason=reason):
            reports.append(conn.transact([{":db/id": "x", ":n/name": "x"}], key="k"))
    assert reports[0].tempids == reports[1].tempids
    assert {":tx/reason": "first", ":db.tx/key": "k"} == said(reports[1])


def test_a_transaction_that_says_otherwise_of_itself_contradicts(conn):
    with conn.annotate(reason="block"), pytest.raises(factstore.TransactError, match="datoms-conflict"):
        conn.transact([{":db/id": "datomic.tx", ":tx/reason": "own"}])
