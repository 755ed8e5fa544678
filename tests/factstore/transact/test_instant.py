"""The transaction's instant: the clock's, or one between the last transaction's and the clock's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import factstore
from factstore.transact import prepare
from factstore.values.types import micros_to_instant
from tests.factstore.tx import ANN, people, refused

YEAR_2020 = datetime(2020, 1, 1, tzinfo=UTC)


def at(instant):
    return [":db/add", "datomic.tx", ":db/txInstant", instant]


def test_history_can_be_imported_into_a_fresh_store():
    conn = factstore.connect("memory:")
    assert YEAR_2020 == conn.transact([at(YEAR_2020)]).tx_data[0].v
    assert YEAR_2020 == conn.transact([{":db/id": "datomic.tx", ":db/txInstant": YEAR_2020}]).tx_data[0].v
    assert 1 == len(conn.transact([at(YEAR_2020 + timedelta(days=1))]).tx_data)


def test_an_instant_before_the_last_one_is_refused():
    error = refused(people(), [at(YEAR_2020)], ":db.error/past-tx-instant")
    assert "tx-data[0]" == error.path


def test_an_instant_in_the_future_is_refused():
    refused(people(), [at(datetime.now(UTC) + timedelta(hours=1))], ":db.error/future-tx-instant")


def test_a_clock_that_went_back_gives_the_last_instant_again():
    conn = people()
    db = conn.db()
    assert db.last_instant == prepare(db, [], now=db.last_instant - 3_600_000_000).instant
    assert db.last_instant + 5 == prepare(db, [], now=db.last_instant + 5).instant


def test_a_transaction_has_one_instant():
    conn = people()
    last = micros_to_instant(conn.db().last_instant)
    refused(conn, [at(last), at(last + timedelta(microseconds=1))], ":db.error/datoms-conflict")
    assert last == conn.transact([at(last), at(last)]).tx_data[0].v


def test_an_instant_belongs_to_its_transaction_alone():
    conn = people()
    last = micros_to_instant(conn.db().last_instant)
    tx = conn.transact([]).tx_data[0].tx
    for e in (ANN, tx):
        refused(conn, [[":db/add", e, ":db/txInstant", last]], ":db.error/datom-cannot-be-altered")
