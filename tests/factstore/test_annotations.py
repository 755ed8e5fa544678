"""`annotate`: what is said in a block is said of every transaction made in it."""

from __future__ import annotations

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
