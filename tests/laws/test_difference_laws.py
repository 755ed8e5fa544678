"""Laws of differences: whatever the two databases, the datoms of their difference lead from one to the other, and no more than that."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import diff, with_
from tests.laws.test_time_laws import CHANGE, CHANGES, forms, story


def facts(db: Any) -> set[Any]:
    return {(d.e, d.a, d.v) for d in db.datoms("aevt")}


def check(one: Any, other: Any) -> None:
    """The law, and that a fact is in the difference only when it has to be."""
    found, before, after = diff(one, other), facts(one), facts(other)
    assert {(d.e, d.a, d.v) for d in found if d.added} == after - before
    assert {(d.e, d.a, d.v) for d in found if not d.added} == before - after
    assert len(found) == len({(d.e, d.a, d.v) for d in found})
    known = {(d.e, d.a, d.v): d.tx for db in (one, other) for d in db.datoms("aevt") if (d.e, d.a, d.v) in before ^ after}
    assert known == {(d.e, d.a, d.v): d.tx for d in found}
    assert [(d.e, d.a, d.added) for d in found] == sorted((d.e, d.a, d.added) for d in found)


@given(CHANGES, st.data())
def test_a_difference_leads_from_one_time_to_another(history: Any, data: Any) -> None:
    with story(history) as told:
        times = st.integers(0, told.db.basis_t)
        at = data.draw(st.none() | times)
        if at is not None:
            told.conn._committer.index()
        one, other = told.conn.db().as_of(data.draw(times)), told.conn.db().as_of(data.draw(times))
        check(one, other)
        check(told.db, other)


@given(CHANGES, st.lists(CHANGE, max_size=4, unique_by=lambda change: change[:2]), st.data())
def test_a_difference_leads_from_one_speculation_to_another(history: Any, changes: Any, data: Any) -> None:
    with story(history) as told:
        past = data.draw(st.integers(2, told.db.basis_t))
        speculated = with_(told.db, forms(changes, told.ids)).db_after
        more = with_(speculated, [*forms(changes[::-1], told.ids), {":n/id": 99}]).db_after
        told.conn.transact([{":n/id": 98}])
        for one, other in ((speculated, told.db.as_of(past)), (told.conn.db(), speculated), (speculated, more), (more, told.conn.db())):
            check(one, other)


@given(CHANGES, CHANGES)
def test_a_difference_leads_from_one_store_to_another(history: Any, other_history: Any) -> None:
    with story(history) as one, story(other_history) as other:
        check(one.db, other.db)


@given(CHANGES, st.data())
def test_a_difference_leads_from_a_filtered_database_to_the_whole(history: Any, data: Any) -> None:
    with story(history) as told:
        t = data.draw(st.integers(0, told.db.basis_t))
        check(told.db.filter(lambda _, datom: datom.v != "a"), told.db)
        check(told.db, told.db.since(t))


def test_a_value_that_forgets_its_past_is_compared_as_it_is_now() -> None:
    with factstore.connect("memory:") as conn:
        conn.transact("[{:db/ident :beat :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/noHistory true}]")
        e = conn.transact([{":db/id": "e", ":beat": 1}]).tempids["e"]
        early = conn.db()
        conn.transact([[":db/add", e, ":beat", 2]])
        conn._committer.index()
        assert [(1, False), (2, True)] == [(d.v, d.added) for d in diff(early, conn.db()) if d.e == e]
        assert [] == [d for d in diff(early, early.as_of(2)) if d.e == e]
