"""Laws of excision: a store after it is the store that was never told those facts, at every time and after reading it anew."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from factstore import maintain, with_
from tests.laws.test_time_laws import CHANGES, GRAPHS, NODES, forms, story

PARTS = st.integers(0, NODES - 1)


def left_of(told: Any, gone: Any, before: int) -> list[Any]:
    """The log without the assertions that must go and the retractions that end them; the dumbest way."""
    left, open_ = [], set()
    for fact in told.log:
        e, a, v, t, added = fact
        if added and t < before and gone(e, a, v):
            open_.add((e, a, v))
        elif not added and (e, a, v) in open_:
            open_.discard((e, a, v))
        else:
            left.append(fact)
    return left


def logged(conn: Any) -> list[Any]:
    db = conn.db()
    return [(d.e, str(db.ident(d.a)), d.v, tx.t, d.added) for tx in conn.log().tx_range() for d in tx.data]


def check(told: Any, done: Any, gone: Any, before: int | None) -> None:
    expected = left_of(told, gone, done.t if before is None else before)
    conn = told.conn
    found = logged(conn)
    assert expected == [fact for fact in found if fact[3] < done.t]
    assert [":db/txInstant", ":db/excise", ":db.excise/beforeT"][: 2 if before is None else 3] == [f[1] for f in found if f[3] == done.t]
    assert len(told.log) - len(expected) == done.datoms
    assert [] == maintain.check(conn).problems
    told.log = found
    for t in range(done.t + 1):
        db = conn.db().as_of(t)
        read = {(d.e, str(db.ident(d.a)), d.v, d.tx & 0xFFFF, d.added) for d in db.datoms("aevt") if d.tx & 0xFFFF}
        assert told.facts(upto=t) == read
        for e in told.ids:  # by way of which attributes an entity has
            assert {fact for fact in read if fact[0] == e} == {
                (d.e, str(db.ident(d.a)), d.v, d.tx & 0xFFFF, d.added) for d in db.datoms("eavt", e)
            }
    events = {(d.e, str(db.ident(d.a)), d.v, d.tx & 0xFFFF, d.added) for d in conn.db().history().datoms("aevt") if d.tx & 0xFFFF}
    assert set(found) == events


def closure(told: Any, e: int) -> set[int]:
    """The entity and what ever was a part of it, but for what is now a part of something else."""
    ever = {(f[0], f[2]) for f in told.log if f[1] == ":n/part"}
    now = {(f[0], f[2]) for f in told.facts(upto=told.db.basis_t) if f[1] == ":n/part"}
    found = {e}
    while True:
        more = {v for w, v in ever if w in found and v not in found and {x for x, y in now if y == v} <= found}
        if not more:
            return found
        found |= more


@given(GRAPHS, PARTS, st.data())
def test_a_store_after_excising_an_entity_was_never_told_of_it(history: Any, node: int, data: Any) -> None:
    with story(history) as told:
        before = data.draw(st.none() | st.integers(1, told.db.basis_t + 1))
        if data.draw(st.booleans()):
            told.conn._committer.index()
        mine = closure(told, told.ids[node])
        done = told.conn.excise(told.ids[node], before=before)
        check(told, done, lambda e, a, v: e in mine or (a in (":n/next", ":n/pals", ":n/part") and v in mine), before)
        told.conn.transact(forms([(node, ":n/word", ["new"], True), (node, ":n/size", [7], True)], told.ids))
        told.conn._committer.index()
        assert [] == maintain.check(told.conn).problems
        assert {"new"} <= {d.v for d in told.conn.db().datoms("eavt", told.ids[node], ":n/word")}


@given(CHANGES, st.sampled_from([":n/word", ":n/size", ":n/next", ":n/id"]), st.data())
def test_a_store_after_excising_an_attribute_was_never_told_its_values(history: Any, attribute: str, data: Any) -> None:
    with story(history) as told:
        before = data.draw(st.none() | st.integers(1, told.db.basis_t + 1))
        if data.draw(st.booleans()):
            told.conn._committer.index()
        done = told.conn.excise(attribute, before=before)
        check(told, done, lambda e, a, v: a == attribute, before)
        assert told.conn.db().attribute(attribute)
        told.conn.transact(forms([(0, ":n/size", [7], True)], told.ids))
        told.conn._committer.index()
        assert [] == maintain.check(told.conn).problems
        assert 7 in {d.v for d in told.conn.db().datoms("eavt", told.ids[0], ":n/size")}


@given(CHANGES, PARTS)
def test_excising_again_takes_nothing(history: Any, node: int) -> None:
    with story(history) as told:
        told.conn.excise(told.ids[node])
        again = told.conn.excise(told.ids[node])
        assert (0, 0) == again[1:]
        assert with_(told.conn.db(), [{":n/id": 77}]).tempids == {}
        assert [] == maintain.check(told.conn).problems
