"""`if_unchanged_since`: a transaction that was thought out on an older database is refused if what it is about has changed."""

from __future__ import annotations

import pytest

import factstore

SCHEMA = [
    {
        ":db/ident": ":p/name",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
        ":db/unique": ":db.unique/identity",
    },
    {":db/ident": ":p/age", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":p/boss", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/one"},
]
ANN, BO = [":p/name", "ann"], [":p/name", "bo"]


@pytest.fixture
def conn():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        conn.transact([{":p/name": "ann", ":p/age": 40}, {":p/name": "bo", ":p/age": 30}])
        yield conn


def changed_since(conn, forms, t):
    before = conn.db().basis_t
    with pytest.raises(factstore.TransactError) as caught:
        conn.transact(forms, if_unchanged_since=t)
    assert ":db.error/changed-since" == caught.value.code
    assert "conflict" == caught.value.category
    assert before == conn.db().basis_t
    return caught.value


def test_what_nobody_touched_is_committed(conn):
    seen = conn.db().basis_t
    conn.transact([[":db/add", BO, ":p/age", 31]])
    conn.transact([[":db/add", ANN, ":p/age", 41]], if_unchanged_since=seen)
    assert 41 == factstore.pull(conn.db(), [":p/age"], ANN)[":p/age"]


def test_a_change_in_between_refuses_and_writes_nothing(conn):
    seen = conn.db().basis_t
    t = conn.transact([[":db/add", ANN, ":p/age", 50]]).t
    with pytest.raises(factstore.TransactError) as caught:
        conn.transact([[":db/add", ANN, ":p/age", 41]], if_unchanged_since=seen)
    assert ":db.error/changed-since" == caught.value.code
    assert t == conn.db().basis_t
    assert 50 == factstore.pull(conn.db(), [":p/age"], ANN)[":p/age"]


def test_a_retraction_in_between_counts_as_a_change(conn):
    seen = conn.db().basis_t
    conn.transact([[":db/retract", ANN, ":p/age"]])
    with pytest.raises(factstore.TransactError, match="changed-since"):
        conn.transact([[":db/add", ANN, ":p/age", 41]], if_unchanged_since=seen)


def test_an_entity_that_is_only_referred_to_may_have_changed(conn):
    seen = conn.db().basis_t
    conn.transact([[":db/add", BO, ":p/age", 31]])
    conn.transact([[":db/add", ANN, ":p/boss", BO]], if_unchanged_since=seen)
    assert 31 == factstore.pull(conn.db(), [{":p/boss": [":p/age"]}], ANN)[":p/boss"][":p/age"]


def test_all_that_changed_is_told_at_once(conn):
    seen = conn.db().basis_t
    conn.transact([[":db/add", ANN, ":p/age", 1], [":db/add", BO, ":p/age", 1]])
    with pytest.raises(factstore.TransactError) as caught:
        conn.transact([[":db/add", ANN, ":p/age", 2], [":db/add", BO, ":p/age", 2]], if_unchanged_since=seen)
    assert 2 == len(caught.value.problems)


def test_the_refusal_names_the_newer_datom_its_transaction_and_the_place(conn):
    t, ann = conn.db().basis_t, conn.db().entid(ANN)
    newer = conn.transact([[":db/add", ANN, ":p/age", 50]])
    error = changed_since(conn, [{":p/name": "dan"}, [":db/add", ANN, ":p/age", 41]], t)
    assert ann == error.entity
    assert t == error.since
    assert (ann, ":p/age", 50, newer.tx_data[0].e, True) == error.datom
    assert "tx-data[1]" == error.path


@pytest.mark.parametrize(
    "form",
    [
        [":db/add", ANN, ":p/age", 50],  # known already
        {":p/name": "ann", ":p/age": 41},  # found by its identity
        [":db/retract", ANN, ":p/boss", 100],  # never there
        [":db/retractEntity", ANN],
    ],
    ids=str,
)
def test_whatever_is_said_of_a_changed_entity_is_refused(conn, form):
    seen = conn.db().basis_t
    conn.transact([[":db/add", ANN, ":p/age", 50]])
    changed_since(conn, [form], seen)


def test_an_entity_that_loses_a_reference_is_one_that_the_transaction_is_about(conn):
    conn.transact([[":db/add", BO, ":p/boss", ANN]])
    seen = conn.db().basis_t
    conn.transact([[":db/add", BO, ":p/age", 18]])
    changed_since(conn, [[":db/retractEntity", ANN]], seen)
