"""Differences of databases as their callers see them."""

from __future__ import annotations

import pytest

import factstore
from factstore import DatabaseError, diff
from tests.factstore.tx import ANN, people, world


def test_a_difference_tells_what_went_and_what_came() -> None:
    conn = people()
    before = conn.db()
    after = conn.transact([[":db/add", ANN, ":u/name", "Anna"]]).db_after
    ann, name = before.entid(ANN), before.attribute(":u/name").id
    assert [("Ann", False), ("Anna", True)] == [(d.v, d.added) for d in diff(before, after) if (d.e, d.a) == (ann, name)]
    assert [("Anna", False), ("Ann", True)] == [(d.v, d.added) for d in diff(after, before) if (d.e, d.a) == (ann, name)]


def test_a_database_and_itself_differ_in_nothing() -> None:
    db = people().db()
    assert () == diff(db, db)


def test_a_fact_taken_back_and_made_again_is_no_difference() -> None:
    conn = people()
    before = conn.db()
    conn.transact([[":db/retract", ANN, ":u/age", 30]])
    conn.transact([[":db/add", ANN, ":u/age", 30]])
    assert [] == [d for d in diff(before, conn.db()) if d.e == before.entid(ANN)]


def test_a_speculation_differs_by_what_was_speculated() -> None:
    db = people().db()
    after = factstore.with_(db, [[":db/add", ANN, ":u/age", 31]]).db_after
    assert [(30, False), (31, True)] == [(d.v, d.added) for d in diff(db, after) if d.e == db.entid(ANN)]


def test_an_attribute_that_only_one_store_has_comes_or_goes_whole() -> None:
    with_age = world([{":u/login": "ann"}]).db()
    without = factstore.connect("memory:").db()
    logins = [(d.v, d.added) for d in diff(without, with_age) if d.a == with_age.attribute(":u/login").id]
    assert [("ann", True)] == logins


def test_histories_have_no_difference() -> None:
    db = people().db()
    with pytest.raises(DatabaseError) as caught:
        diff(db, db.history())
    assert ":db.error/history-not-supported" == caught.value.code
