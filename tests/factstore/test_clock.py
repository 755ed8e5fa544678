"""The clock of a store: where the times of transactions come from, and who may know them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import factstore
from factstore import DatabaseError, TransactError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def conn(clock):
    with factstore.connect("memory:", clock=clock) as conn:
        conn.transact([{":db/ident": ":at", ":db/valueType": ":db.type/instant", ":db/cardinality": ":db.cardinality/one"}])
        yield conn


def instants(conn):
    return sorted(datom.v for datom in conn.db().datoms("aevt", ":db/txInstant"))


def test_transactions_are_stamped_by_the_clock_that_was_given(conn, clock):
    clock.now += timedelta(hours=1)
    conn.transact([{":db/doc": "later"}])
    assert [NOON, NOON + timedelta(hours=1)] == instants(conn)[-2:]


def test_now_is_the_time_that_a_transaction_would_have_and_never_goes_back(conn, clock):
    assert conn.now() == NOON
    clock.now -= timedelta(days=1)
    assert conn.now() == NOON
    conn.transact([{":db/doc": "not earlier"}])
    assert NOON == instants(conn)[-1]


def test_now_is_the_machines_where_no_clock_was_given():
    with factstore.connect("memory:") as conn:
        before = datetime.now(UTC)
        assert before <= conn.now() <= datetime.now(UTC)


def test_a_transaction_function_knows_the_time_of_its_transaction(conn, clock):
    factstore.register("clock-test/stamp", lambda db, e: [[":db/add", e, ":at", factstore.tx_instant()]])
    clock.now += timedelta(minutes=5)
    report = conn.transact([["clock-test/stamp", "new"]])
    assert {clock.now} == {datom.v for datom in report.tx_data}


def test_with_and_groups_of_transactions_know_it_too(conn, clock):
    factstore.register("clock-test/stamp", lambda db, e: [[":db/add", e, ":at", factstore.tx_instant()]])
    reports = [future.result() for future in [conn.transact_async([["clock-test/stamp", "new"]]) for _ in range(5)]]
    assert all(len({datom.v for datom in report.tx_data}) == 1 for report in reports)
    imagined = factstore.with_(conn.db(), [["clock-test/stamp", "new"]])
    assert 1 == len({datom.v for datom in imagined.tx_data})


def test_outside_of_transaction_functions_the_time_of_a_transaction_is_refused(conn):
    with pytest.raises(DatabaseError, match="no transaction is being prepared"):
        factstore.tx_instant()
    factstore.register("clock-test/boom", lambda db: 1 / 0)
    with pytest.raises(TransactError):
        conn.transact([["clock-test/boom"]])
    with pytest.raises(DatabaseError):
        factstore.tx_instant()


def test_the_uri_of_a_connection_opens_the_same_store_again(tmp_path):
    with factstore.connect(str(tmp_path / "s.facts")) as conn:
        conn.transact([{":db/ident": ":here"}])
        with factstore.connect(conn.uri, create=False) as again:
            assert again.db().entid(":here") is not None


@pytest.mark.parametrize("wrong", [lambda: datetime(2026, 1, 1), lambda: 5, 7, lambda: None])
def test_a_clock_that_tells_no_aware_time_is_refused_before_the_store_is_used(wrong):
    with pytest.raises(DatabaseError, match="aware datetimes") as refused:
        factstore.connect("memory:", clock=wrong)
    assert ":db.error/invalid-clock" == refused.value.code


def test_a_clock_that_breaks_later_writes_nothing(conn, clock):
    before = conn.db().basis_t
    clock.now = datetime(2026, 1, 2)
    with pytest.raises(DatabaseError, match="aware datetimes"):
        conn.transact([{":db/doc": "when?"}])
    with pytest.raises(DatabaseError):
        conn.transact_async([{":db/doc": "when?"}]).result(10)
    clock.now = NOON + timedelta(days=2)
    conn.transact([{":db/doc": "now"}])
    assert before + 1 == conn.db().basis_t
