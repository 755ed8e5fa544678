"""Speculation: the report that transact would give, seen by nobody else."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import DatabaseError
from tests.factstore.tx import ANN, BEN, changes, people, value


def test_with_gives_the_report_of_transact_and_stores_nothing():
    conn = people()
    before, forms = conn.db(), [{":u/login": "cy", ":u/boss": ANN, ":u/nick": ["x", "y"]}, [":db/retractEntity", BEN]]
    tried = factstore.with_(before, forms)
    assert before.basis_t == conn.db().basis_t
    done = conn.transact(forms)
    assert changes(done) == changes(tried)
    assert done.tempids == tried.tempids
    assert {d[:3] for d in done.db_after.datoms(":eavt")} == {
        d[:3] if d.e != done.tx_data[0].tx else done.tx_data[0][:3] for d in tried.db_after.datoms(":eavt")
    }


def test_with_chains():
    db = people().db()
    for age in range(1, 50):
        db = factstore.with_(db, [[":db/cas", BEN, ":u/age", 17 if age == 1 else age - 1, age]]).db_after
    assert 49 == value(db, BEN, ":u/age")


@given(st.datetimes(datetime(1970, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))
def test_with_takes_the_time_of_the_transaction(now):
    """A transaction function sees it, and the instant is the same unless a transaction before is later."""
    conn, asked = people(), []
    factstore.register("with-test/now", lambda db: asked.append((factstore.tx_clock(), factstore.tx_instant())) or [])
    db = conn.db()
    report = factstore.with_(db, [["with-test/now"]], now=now)
    latest = max(now, db.instant_of(db.basis_t))
    assert [(now, latest)] == asked
    assert latest == report.tx_data[0].v


@pytest.mark.parametrize("now", [datetime(2026, 1, 1), 5, "2026-01-01"])
def test_with_takes_only_an_aware_datetime(now):
    with pytest.raises(DatabaseError) as caught:
        factstore.with_(people().db(), [], now=now)
    assert ":db.error/invalid-clock" == caught.value.code


def test_with_on_the_past_works_on_all_facts_and_shows_the_past():
    conn = people()
    conn.transact([[":db/add", ANN, ":u/age", 31]])
    report = factstore.with_(conn.db().as_of(2), [[":db/add", ANN, ":u/age", 32], {":db/id": "new", ":u/login": "new"}])
    assert [31, 32] == [datom.v for datom in report.tx_data if conn.db().ident(datom.a) == ":u/age"]
    after = report.db_after
    assert 30 == value(after, ANN, ":u/age")
    assert after.entid([":u/login", "new"]) is None
    assert 2 == after.as_of_t
    assert conn.db().basis_t + 1 == report.t == factstore.tx_to_t(report.tx_data[0].tx)
    again = factstore.with_(after, [[":db/cas", ANN, ":u/age", 32, 33]])
    assert 30 == value(again.db_after, ANN, ":u/age")


def test_with_keeps_a_filter():
    db = people().db().filter(lambda db, datom: datom.v != "ann")
    report = factstore.with_(db, [{":u/login": "ann", ":u/age": 31}])
    assert {False, True} == {added for *_, added in changes(report)}
    assert 31 == next(d.v for d in report.db_after.datoms(":aevt", ":u/age") if d.v > 20)
    assert report.db_after.entid(ANN) is None


def test_with_on_a_history_is_refused():
    with pytest.raises(DatabaseError) as caught:
        factstore.with_(people().db().history(), [])
    assert ":db.error/history-not-supported" == caught.value.code


def test_a_branch_goes_on_from_the_past():
    conn = people()
    t = conn.db().basis_t
    conn.transact([[":db/add", ANN, ":u/age", 31], {":u/login": "cy", ":u/mail": "cy@x"}])
    branch = conn.db().branch(t)
    report = factstore.with_(branch, [[":db/cas", ANN, ":u/age", 30, 40], {":db/id": "d", ":u/login": "dan", ":u/mail": "cy@x"}])
    assert t + 1 == report.t
    assert 40 == value(report.db_after, ANN, ":u/age")
    assert report.db_after.entid([":u/login", "cy"]) is None
    assert report.tempids["d"] not in {datom.e for datom in conn.db().datoms(":eavt")}
    assert 30 == value(branch, ANN, ":u/age")
    assert 31 == value(conn.db(), ANN, ":u/age")


def test_a_branch_starts_at_an_instant_or_at_as_of_and_keeps_filters():
    conn = people()
    t = conn.db().basis_t
    conn.transact([[":db/add", ANN, ":u/age", 31]])
    db = conn.db()
    assert [t, t] == [db.branch(db.instant_of(t)).basis_t, db.as_of(t).branch(t + 1).basis_t]
    filtered = db.filter(lambda db, datom: datom.v != "ann").branch(t)
    assert filtered.entid(ANN) is None
    assert filtered.is_filtered is True


def test_a_branch_of_a_history_is_refused():
    with pytest.raises(DatabaseError) as caught:
        people().db().history().branch(1)
    assert ":db.error/history-not-supported" == caught.value.code
