"""Retractions: of a value, of an attribute, of an entity with its parts."""

from __future__ import annotations

import pytest

from tests.factstore.tx import ANN, BEN, assert_datoms, changes, people, refused, value, values


@pytest.fixture
def conn():
    conn = people()
    conn.transact([{":u/login": "ann", ":u/home": {":db/id": "h", ":u/name": "Elm", ":u/bags": [{":bag/kind": ":red"}]}, ":u/pals": BEN}])
    return conn


def test_a_fact_can_be_retracted_by_its_value(conn):
    assert_datoms(conn.transact([[":db/retract", ANN, ":u/nick", "a1"]]), '[[?ann :u/nick "a1" ?tx false]]')


def test_retracting_what_is_not_there_does_nothing(conn):
    forms = [[":db/retract", ANN, ":u/age", 31], [":db/retract", ANN, ":u/mail"], [":db/retract", ANN, ":u/nick", "z"]]
    forms += [[":db/retract", 499999999, ":u/age", 1], [":db/retract", ANN, ":u/boss", 499999999]]
    assert_datoms(conn.transact(forms), "[]")


@pytest.mark.parametrize("op", [":db/retract", ":db.fn/retractAttribute"])
def test_without_a_value_all_values_are_retracted(conn, op):
    conn.transact([[op, ANN, ":u/nick"]])
    assert set() == values(conn.db(), ANN, ":u/nick")


def test_retracting_an_unknown_attribute_is_refused(conn):
    refused(conn, [[":db/retract", ANN, ":u/nope", 1]], ":db.error/not-an-entity")
    refused(conn, [[":db/retract", ANN, ":u/age", "30"]], ":db.error/wrong-type-for-attribute")


@pytest.mark.parametrize("op", [":db/retractEntity", ":db.fn/retractEntity"])
def test_an_entity_goes_with_its_parts_and_with_what_refers_to_any_of_them(conn, op):
    conn.transact([[":db/add", BEN, ":u/pals", value(conn.db(), ANN, ":u/home")]])
    ann = conn.db().entid(ANN)
    conn.transact([[op, ANN]])
    db = conn.db()
    assert db.entid(ANN) is None
    assert [] == list(db.datoms(":eavt", ann))
    assert set() == {d for a in (":u/name", ":bag/kind", ":u/boss", ":u/pals") for d in db.datoms(":aevt", a)}
    assert 17 == value(db, BEN, ":u/age")


def test_retracting_the_reference_to_a_part_leaves_the_part(conn):
    home = value(conn.db(), ANN, ":u/home")
    conn.transact([[":db/retract", ANN, ":u/home", home]])
    assert "Elm" == value(conn.db(), home, ":u/name")


def test_retracting_a_part_removes_the_reference_to_it(conn):
    conn.transact([[":db/retractEntity", value(conn.db(), ANN, ":u/home")]])
    assert value(conn.db(), ANN, ":u/home") is None


def test_retracting_what_is_gone_or_was_never_there_does_nothing(conn):
    ben = conn.db().entid(BEN)
    conn.transact([[":db/retractEntity", BEN]])
    assert_datoms(conn.transact([[":db/retractEntity", ben], [":db/retractEntity", 499999999]]), "[]")


def test_two_retractions_may_meet_in_one_fact(conn):
    conn.transact([[":db/retractEntity", ANN], [":db/retractEntity", BEN]])
    assert [] == list(conn.db().datoms(":aevt", ":u/login"))


def test_parts_in_a_circle_or_a_long_chain_come_to_an_end(conn):
    ids = conn.transact([{":db/id": "a", ":u/home": "b"}, {":db/id": "b", ":u/home": "a"}]).tempids
    assert 2 == len(changes(conn.transact([[":db/retractEntity", ids["a"]]])))
    chain = [{":db/id": f"c{i}", ":u/home": f"c{i + 1}"} for i in range(500)]
    ids = conn.transact([*chain, {":db/id": "c500", ":u/age": 1}]).tempids
    assert 501 == len(changes(conn.transact([[":db/retractEntity", ids["c0"]]])))


def test_a_transactions_instant_cannot_be_retracted(conn):
    tx = conn.transact([]).tx_data[0].tx
    refused(conn, [[":db/retractEntity", tx]], ":db.error/datom-cannot-be-altered")
    refused(conn, [[":db/retract", tx, ":db/txInstant"]], ":db.error/datom-cannot-be-altered")


@pytest.mark.parametrize("nobody", [[":u/login", "nobody"], (":u/login", "nobody"), ":no/body", 8796093099999])
def test_to_retract_an_entity_that_is_not_there_changes_nothing(nobody):
    conn = people()
    for verb in (":db/retractEntity", ":db.fn/retractEntity"):
        assert 1 == conn.transact([[verb, nobody]]).size


@pytest.mark.parametrize(
    ("form", "code"),
    [
        ([":db/retractEntity", [":u/login", 5]], ":db.error/wrong-type-for-attribute"),
        ([":db/retractEntity", [":u/name", "Ann"]], ":db.error/lookup-ref-attr-not-unique"),
        ([":db/retractEntity", [":u/login", None]], ":db.error/invalid-lookup-ref"),
        ([":db/retract", [":u/login", "nobody"], ":u/age", 1], ":db.error/not-an-entity"),
        ([":db/retract", [":u/login", "nobody"], ":u/age"], ":db.error/not-an-entity"),
        ([":db/retract", BEN, ":u/boss", [":u/login", "nobody"]], ":db.error/not-an-entity"),
        ([":db/retract", ":no/body", ":u/age", 1], ":db.error/not-an-entity"),
    ],
)
def test_to_retract_by_a_ref_that_means_nothing_is_refused(form, code):
    refused(people(), [form], code)
