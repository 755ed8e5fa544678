"""Stamps: when an entity was made and last changed, kept by the store where the schema asks for it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import factstore
from factstore import Connection, TxReport
from tests.factstore.tx import ANN, BEN, people, refused, value

INSTANT = {":db/valueType": ":db.type/instant", ":db/cardinality": ":db.cardinality/one"}
CREATED = {":db/ident": ":meta/created", **INSTANT, ":db/stamp": ":db.stamp/created"}
UPDATED = {":db/ident": ":meta/updated", **INSTANT, ":db/stamp": ":db.stamp/updated"}
CY = [":u/login", "cy"]


@pytest.fixture
def conn() -> Connection:
    conn = people()
    conn.transact([CREATED, UPDATED])
    return conn


def stamps(conn: Connection, eid: object) -> tuple[object, object]:
    return value(conn.db(), eid, ":meta/created"), value(conn.db(), eid, ":meta/updated")


def instant(report: TxReport) -> datetime:
    return report.tx_data[0].v


def test_a_new_entity_is_stamped_with_the_instant_of_its_transaction(conn):
    made = conn.transact([{":u/login": "cy"}])
    assert (instant(made), instant(made)) == stamps(conn, CY)


def test_a_change_moves_the_second_stamp_only(conn):
    made = conn.transact([{":u/login": "cy"}])
    changed = conn.transact([[":db/add", CY, ":u/age", 3]])
    assert (instant(made), instant(changed)) == stamps(conn, CY)
    changed = conn.transact([[":db/retract", CY, ":u/age", 3]])
    assert (instant(made), instant(changed)) == stamps(conn, CY)
    assert [False, False, True] == [d.added for d in changed.tx_data[1:]]


def test_what_changes_nothing_stamps_nothing(conn):
    made = conn.transact([{":u/login": "cy", ":u/age": 3}])
    assert 1 == conn.transact([{":u/login": "cy", ":u/age": 3}, [":db/retract", CY, ":u/age", 4]]).size
    assert (instant(made), instant(made)) == stamps(conn, CY)


def test_an_entity_older_than_the_stamps_gets_the_second_only(conn):
    changed = conn.transact([[":db/add", ANN, ":u/age", 31]])
    assert (None, instant(changed)) == stamps(conn, ANN)


def test_what_is_retracted_whole_is_not_stamped_and_who_referred_to_it_is(conn):
    conn.transact([{":u/login": "cy", ":u/bags": [{":bag/kind": ":red"}]}])
    for who in (CY, ANN):
        e = conn.db().entid(who)
        gone = conn.transact([[":db/retractEntity", who]])
        assert [] == list(conn.db().datoms(":eavt", e))
    assert (None, instant(gone)) == stamps(conn, BEN)


def test_what_a_transaction_says_of_a_stamp_stands(conn):
    then = datetime(2001, 1, 1, tzinfo=UTC)
    made = conn.transact([{":u/login": "cy", ":meta/created": then}])
    assert (then, instant(made)) == stamps(conn, CY)
    conn.transact([{":u/login": "cy", ":u/age": 1, ":meta/updated": then}])
    assert (then, then) == stamps(conn, CY)


def test_transactions_and_the_schema_are_not_stamped(conn):
    conn.transact([{":db/id": "datomic.tx", ":u/name": "a"}, {":db/id": ":u/age", ":db/doc": "years"}])
    assert [] == [*conn.db().datoms(":aevt", ":meta/updated")]


def test_with_and_steps_stamp_too(conn):
    report = factstore.with_(conn.db(), [{":u/login": "cy"}])
    assert instant(report) == value(report.db_after, CY, ":meta/created")
    with conn.transaction() as tx:
        tx.transact([{":u/login": "cy"}])
        tx.transact([{":u/login": "cy", ":u/age": 3}])
    assert (instant(tx.report), instant(tx.report)) == stamps(conn, CY)
    assert 4 == tx.report.size - 1


def test_what_is_loaded_is_stamped(conn):
    then = datetime(2001, 1, 1, tzinfo=UTC)
    rows = [{"login": "cy", "made": None}, {"login": "dan", "made": then}, {"login": "ann", "made": None}]
    conn.load(rows, {"login": ":u/login", "made": ":meta/created"})
    now = conn.db().instant_of(conn.db().basis_t)
    assert [(now, now), (then, now)] == [stamps(conn, [":u/login", login]) for login in ("cy", "dan")]


@pytest.mark.parametrize(
    "form", [{":db/unique": ":db.unique/value"}, {":db/cardinality": ":db.cardinality/many"}, {":db/valueType": ":db.type/long"}]
)
def test_only_an_attribute_of_one_instant_is_a_stamp(conn, form):
    refused(conn, [{**CREATED, ":db/ident": ":meta/other", **form}], ":db.error/invalid-install-attribute")
    refused(conn, [{":db/id": ":u/age", ":db/stamp": ":db.stamp/created"}], ":db.error/invalid-install-attribute")
    composite = {":db/ident": ":u/both", ":db/valueType": ":db.type/tuple", ":db/cardinality": ":db.cardinality/one"}
    refused(conn, [{**composite, ":db/tupleAttrs": [":u/age", ":meta/created"]}], ":db.error/invalid-tuple-attrs")


def test_a_stamp_can_be_given_up(conn):
    conn.transact([[":db/retract", ":meta/created", ":db/stamp"], [":db/retract", ":meta/updated", ":db/stamp"]])
    conn.transact([{":u/login": "cy"}])
    assert (None, None) == stamps(conn, CY)
