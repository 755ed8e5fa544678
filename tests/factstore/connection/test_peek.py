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


# -- topics


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Two connections to a file whose newest transactions are in its journal, so that topics are noted."""
    uri = str(tmp_path_factory.mktemp("peek") / "s.facts")
    with factstore.connect(uri) as conn, factstore.connect(uri) as other:
        conn.transact([*SCHEMA, *({":db/id": str(n), ":db/ident": f":e/{n}"} for n in range(4))])
        for _ in range(20):
            conn.transact([])
        assert conn._storage.noted([1], 0) is not None
        yield conn, other


WAYS = {
    "transact": lambda conn, forms: conn.transact(forms),
    "in a group": lambda conn, forms: conn.transact_async(forms).result(),
    "in a block": lambda conn, forms: in_block(conn, forms),
    "load": lambda conn, forms: (conn.transact(forms), conn.load({"n": [7]}, {"n": ":a/number"})),
}


def in_block(conn, forms):
    with conn.transaction() as tx:
        tx.transact(forms)


@settings(max_examples=100)
@given(
    st.lists(st.tuples(st.sampled_from(list(WAYS)), st.lists(st.tuples(st.integers(0, 3), FACTS, st.booleans()), max_size=4)), max_size=4),
    st.lists(st.tuples(FACTS, st.booleans()), min_size=1, max_size=3),
)
def test_a_rough_peek_misses_no_fact(shared, transactions, wanted):
    conn, other = shared
    after = other.db().basis_t
    for way, forms in transactions:
        last = {(e, fact): added for e, fact, added in forms}
        WAYS[way](other, [[":db/add" if added else ":db/retract", f":e/{e}", *fact] for (e, fact), added in last.items()])
    facts = [(*fact, added) for fact, added in wanted]
    t, counts = conn.peek(*facts, after=after)
    assert (t, [count > 0 for count in counts]) == (other.db().basis_t, [count > 0 for count in found_in(other, after, facts)])
    rough_t, rough = conn.peek(*facts, after=after, rough=True)
    assert t == rough_t
    assert all(about > 0 for about, count in zip(rough, counts, strict=True) if count)
    of_any_value = [(a, None, added) for a, v, added in facts if not isinstance(v, Keyword)]
    _, rough = conn.peek(*of_any_value, after=after, rough=True)
    assert all(about > 0 for about, each in zip(rough, of_any_value, strict=True) if each in found_without_value(other, after))


def found_in(conn, after, facts):
    db = conn.db()
    found = [(db.ident(datom.a), datom.v, datom.added) for each in conn.log().tx_range(after + 1) for datom in each.data]
    return [found.count(fact) for fact in facts]


def found_without_value(conn, after):
    db = conn.db()
    datoms = [datom for each in conn.log().tx_range(after + 1) for datom in each.data]
    return {(db.ident(datom.a), None, datom.added) for datom in datoms if not isinstance(datom.v, Keyword)}


def test_a_peek_does_not_read_the_log_if_it_has_none_of_the_facts(shared, monkeypatch):
    conn, other = shared
    after = other.transact([[":db/add", ":e/0", ":a/word", Keyword(":w/x")]]).t
    t = other.transact([[":db/add", ":e/0", ":a/word", Keyword(":w/y")]]).t
    monkeypatch.setattr(conn._storage, "read_log", lambda *_, **__: pytest.fail("it was read"))
    assert (t, [0, 0]) == conn.peek((":a/word", Keyword(":w/x"), True), (":a/word", Keyword(":w/y"), False), after=after)
    assert (t, [0, 1]) == conn.peek((":a/word", Keyword(":w/x"), True), (":a/word", Keyword(":w/y"), True), after=after, rough=True)
    after, t = t, other.transact([[":db/add", ":e/0", ":a/number", 12]]).t
    wanted = [(":a/number", None, True), (":a/number", None, False), (":a/word", None, True)]
    assert (t, [1, 0, 0]) == conn.peek(*wanted, after=after, rough=True)


def test_a_storage_that_notes_nothing_answers_that_any_value_may_have_been_committed(two):
    conn, other = two
    conn.transact(SCHEMA)
    t = other.transact([[":db/add", "e", ":a/number", 12]]).t
    assert (t, [1]) == conn.peek((":a/number", None, True), after=t - 1, rough=True)
    assert (t, [0]) == conn.peek((":a/number", None, True), after=t, rough=True)
    with pytest.raises(DatabaseError, match="without a value can only be counted roughly"):
        conn.peek((":a/number", None, True), after=t - 1)


@pytest.mark.parametrize("fact", [None, (), (":a/word", "x"), (":a/word", ":w/x", 1), (":a/word", ":w/x", []), 5, "abc"])
def test_a_peek_for_what_is_no_fact_is_rejected(two, fact):
    conn, _ = two
    conn.transact(SCHEMA)
    with pytest.raises(DatabaseError, match="a fact to look for is"):
        conn.peek(fact)
    with pytest.raises(DatabaseError, match="expected t"):
        conn.peek((":a/word", ":w/x", True), after="x")
