"""Peeking: facts of other processes are counted in the log, and the connection stays where it is."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import DatabaseError, Keyword

SCHEMA = [
    {":db/ident": f":a/{name}", ":db/valueType": f":db.type/{kind}", ":db/cardinality": ":db.cardinality/many"}
    for name, kind in (("word", "keyword"), ("text", "string"), ("number", "long"), ("time", "instant"))
]
FACTS = st.one_of(
    st.tuples(st.just(":a/word"), st.sampled_from([Keyword(":w/x"), Keyword(":w/xy")])),
    st.tuples(st.just(":a/text"), st.sampled_from(["", "x", "é" * 40])),
    st.tuples(st.just(":a/number"), st.sampled_from([0, -1, 200, 2**40, 2**63 - 1])),
    st.tuples(st.just(":a/time"), st.just(datetime(2026, 1, 1, tzinfo=UTC))),
)


@pytest.fixture(params=["memory", "file"])
def two(request, tmp_path):
    uri = f"memory:{tmp_path.name}" if request.param == "memory" else str(tmp_path / "s.facts")
    with factstore.connect(uri) as conn, factstore.connect(uri) as other:
        yield conn, other


@settings(max_examples=50)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 3), FACTS, st.booleans()), max_size=20), max_size=5),
    st.booleans(),
    st.data(),
)
def test_a_peek_counts_what_the_log_contains(transactions, loads, data):
    """No fact is missed; here no value contains the bytes of another fact, so the counts are exact."""
    with factstore.connect("memory:peeked") as conn, factstore.connect("memory:peeked") as other:
        entities = list(conn.transact([*SCHEMA, *({":db/id": str(n), ":db/doc": str(n)} for n in range(4))]).tempids.values())[-4:]
        before = conn.db().basis_t
        for forms in transactions:
            last = {(e, fact): added for e, fact, added in forms}
            other.transact([[":db/add" if added else ":db/retract", entities[e], *fact] for (e, fact), added in last.items()])
        if loads:
            other.load({"n": [200, 7, 200]}, {"n": ":a/number"})
        wanted = data.draw(st.lists(st.tuples(FACTS, st.booleans()), max_size=3))
        t, counts = conn.peek(*((*fact, added) for fact, added in wanted))
        assert conn._committer.newest.t == before
        assert t == other.db().basis_t
        db = other.db()
        found = [
            (db.ident(datom.a), datom.v, datom.added) for transaction in other.log().tx_range(before + 1) for datom in transaction.data
        ]
        assert counts == [found.count((*fact, added)) for fact, added in wanted]


def test_a_peek_waits_for_a_commit_and_leaves_it_for_later(two):
    conn, other = two
    before = conn.db().basis_t
    assert (before, [0]) == conn.peek((":db/doc", "x", True), timeout=0.01)
    commit = threading.Timer(0.05, other.transact, [[{":db/doc": "x"}]])
    commit.start()
    assert (before + 1, [1]) == conn.peek((":db/doc", "x", True), timeout=30)
    commit.join()
    assert (before + 1, [1]) == conn.peek((":db/doc", "x", True))
    with conn.tx_reports(from_t=before + 1) as reports:
        assert before + 1 == reports.get(0).t
    assert (before + 1, [0]) == conn.peek((":db/doc", "x", True))


def test_an_unknown_attribute_is_an_error(two):
    with pytest.raises(DatabaseError, match="no attribute"):
        two[0].peek((":no/such", 1, True))
