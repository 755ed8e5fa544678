"""Lookup refs: wherever an entity may stand, against the database before."""

from __future__ import annotations

import pytest

from tests.factstore.tx import ANN, BEN, people, refused, value, values


def test_a_lookup_ref_stands_for_an_entity_and_for_a_reference():
    conn = people()
    conn.transact([[":db/add", [":u/mail", "ben@x"], ":u/age", 18], {":db/id": ANN, ":u/boss": BEN}])
    db = conn.db()
    assert 18 == value(db, BEN, ":u/age")
    assert db.entid(BEN) == value(db, ANN, ":u/boss")


def test_a_lookup_ref_through_a_reference_takes_an_entity_in_any_form():
    conn = people()
    acct = conn.transact([{":db/id": "a", ":acct/owner": ANN, ":acct/sum": 1}]).tempids["a"]
    conn.transact([[":db/add", [":acct/owner", ANN], ":acct/sum", 2]])
    assert 2 == value(conn.db(), acct, ":acct/sum")


def test_a_lookup_ref_to_nothing_is_refused():
    error = refused(people(), [[":db/add", [":u/login", "nobody"], ":u/age", 1]], ":db.error/not-an-entity")
    assert "lookup-ref" == error.what
    assert "tx-data[0]" == error.path
    refused(people(), [[":db/add", ANN, ":u/boss", [":u/login", "nobody"]]], ":db.error/not-an-entity")


def test_a_lookup_ref_does_not_see_its_own_transaction():
    refused(people(), [{":u/login": "new"}, [":db/add", [":u/login", "new"], ":u/age", 1]], ":db.error/not-an-entity")


def test_a_lookup_ref_needs_a_unique_attribute():
    assert ":u/age" in str(refused(people(), [[":db/add", [":u/age", 30], ":u/name", "x"]], ":db.error/lookup-ref-attr-not-unique"))


def test_a_lookup_ref_of_another_shape_is_refused():
    for ref in ([":u/login"], [":u/login", None], [":u/login", "a", "b"], [], [5.0, 1]):
        refused(people(), [{":db/id": ref, ":u/age": 1}], ":db.error/invalid-lookup-ref")
    refused(people(), [[":db/add", [":u/login", 5], ":u/age", 1]], ":db.error/wrong-type-for-attribute")


def test_a_tempid_cannot_stand_in_a_lookup_ref():
    conn = people()
    refused(conn, [{":db/id": "o", ":u/login": "o"}, [":db/add", [":acct/owner", "o"], ":acct/sum", 1]], ":db.error/invalid-lookup-ref")


def test_an_ident_that_names_nothing_is_refused():
    error = refused(people(), [[":db/add", ANN, ":u/boss", ":no/body"]], ":db.error/not-an-entity")
    assert "ident" == error.what
    assert ":no/body" == error.got


@pytest.mark.parametrize(
    "ref", [[":u/name", "Ann"], [":u/name", "Nobody"], [[":u/name", "Ann"]], [[":u/login", "ann"], [":u/name", "Ann"]]]
)
def test_a_lookup_ref_under_a_reverse_attribute_must_be_of_a_unique_attribute(ref):
    refused(people(), [{":db/id": "b", ":u/login": "bob", ":u/_boss": ref}], ":db.error/lookup-ref-attr-not-unique")


def test_lookup_refs_under_a_reverse_attribute_are_entities():
    conn = people()
    conn.transact(
        [{":db/id": "b", ":u/login": "bob", ":u/_pals": [[":u/login", "ann"], [":u/login", "ben"]], ":u/_boss": [":u/login", "ann"]}]
    )
    bob = conn.db().entid([":u/login", "bob"])
    assert {bob} == values(conn.db(), ANN, ":u/pals") == values(conn.db(), BEN, ":u/pals")
    assert bob == value(conn.db(), ANN, ":u/boss")
