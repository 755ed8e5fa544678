"""Altering attributes: anything but what present facts depend on."""

from __future__ import annotations

import pytest

from tests.factstore.tx import ANN, BEN, people, refused, value, values


def test_one_becomes_many_always():
    conn = people()
    conn.transact([{":db/id": ":u/name", ":db/cardinality": ":db.cardinality/many"}])
    conn.transact([[":db/add", ANN, ":u/name", "Anna"]])
    assert {"Ann", "Anna"} == values(conn.db(), ANN, ":u/name")


def test_many_becomes_one_where_no_entity_has_several_values():
    conn = people()
    error = refused(conn, [{":db/id": ":u/nick", ":db/cardinality": ":db.cardinality/one"}], ":db.error/invalid-alter-attribute")
    ann = conn.db().entid(ANN)
    assert ":db.error/cardinality-violation" == error.cause
    assert {(ann, ":u/nick", "a1"), (ann, ":u/nick", "a2")} == set(error.datoms)
    conn.transact([{":db/id": ":u/nick", ":db/cardinality": ":db.cardinality/one"}, [":db/retract", ANN, ":u/nick", "a2"]])
    conn.transact([{":db/id": ANN, ":u/nick": "a3"}])
    assert {"a3"} == values(conn.db(), ANN, ":u/nick")


def test_unique_can_be_added_where_no_two_entities_share_a_value():
    conn = people()
    conn.transact([[":db/add", BEN, ":u/name", "Ann"]])
    error = refused(conn, [{":db/id": ":u/name", ":db/unique": ":db.unique/value"}], ":db.error/unique-violation")
    assert {conn.db().entid(ANN), conn.db().entid(BEN)} == {datom[0] for datom in error.datoms}
    conn.transact([[":db/retract", BEN, ":u/name"]])
    conn.transact([{":db/id": ":u/name", ":db/unique": ":db.unique/value"}])
    refused(conn, [[":db/add", BEN, ":u/name", "Ann"]], ":db.error/unique-conflict")


def test_facts_of_the_same_transaction_count():
    conn = people()
    unique = {":db/id": ":u/name", ":db/unique": ":db.unique/value"}
    refused(conn, [unique, [":db/add", BEN, ":u/name", "Ann"]], ":db.error/unique-violation")
    conn.transact([[":db/add", BEN, ":u/name", "Ann"]])
    conn.transact([unique, [":db/add", BEN, ":u/name", "Ben"]])


def test_value_and_identity_can_be_exchanged():
    conn = people()
    conn.transact([{":db/id": ":u/mail", ":db/unique": ":db.unique/identity"}])
    conn.transact([{":u/mail": "ben@x", ":u/age": 9}])
    assert 9 == value(conn.db(), BEN, ":u/age")


def test_unique_and_index_can_be_retracted():
    conn = people()
    conn.transact([[":db/retract", ":u/mail", ":db/unique", ":db.unique/value"]])
    conn.transact([[":db/add", ANN, ":u/mail", "ben@x"]])
    conn.transact([{":db/id": ":u/age", ":db/index": True}])
    assert ["ben@x", "ben@x"] == [d.v for d in conn.db().datoms(":aevt", ":u/mail")]
    assert [17, 30] == [d.v for d in conn.db().datoms(":avet", ":u/age")]
    conn.transact([[":db/add", ":u/age", ":db/index", False]])


@pytest.mark.parametrize(
    "form",
    [
        {":db/id": ":u/age", ":db/valueType": ":db.type/string"},
        {":db/ident": ":u/age", ":db/valueType": ":db.type/double", ":db/cardinality": ":db.cardinality/one"},
        [":db/retract", ":u/age", ":db/valueType"],
        [":db/retract", ":u/age", ":db/ident"],
        [":db/retractEntity", ":u/age"],
        {":db/id": ":u/age", ":db/fulltext": True},
        {":db/id": ":u/age", ":db/tupleType": ":db.type/long"},
    ],
)
def test_what_facts_depend_on_cannot_be_altered(form):
    error = refused(people(), [form], ":db.error/unsupported-alter-schema")
    assert ":u/age" in error.message


def test_a_component_stays_a_reference():
    refused(people(), [{":db/id": ":u/age", ":db/isComponent": True}], ":db.error/invalid-install-attribute")
    people().transact([{":db/id": ":u/boss", ":db/isComponent": True}])


def test_a_member_of_a_composite_keeps_cardinality_one():
    conn = people()
    tuple_ = {":db/valueType": ":db.type/tuple", ":db/cardinality": ":db.cardinality/one"}
    conn.transact([{":db/ident": ":u/pair", **tuple_, ":db/tupleAttrs": [":u/age", ":u/ok"]}])
    refused(conn, [{":db/id": ":u/age", ":db/cardinality": ":db.cardinality/many"}], ":db.error/invalid-alter-attribute")
    refused(conn, [{":db/id": ":u/pair", ":db/tupleAttrs": [":u/age", ":u/name"]}], ":db.error/unsupported-alter-schema")


def test_all_that_is_wrong_with_a_change_is_told():
    forms = [{":db/id": ":u/age", ":db/valueType": ":db.type/string"}, {":db/id": ":u/nick", ":db/cardinality": ":db.cardinality/one"}]
    error = refused(people(), forms, ":db.error/unsupported-alter-schema")
    assert ["tx-data[0][':db/valueType']", "tx-data[1][':db/cardinality']"] == [problem["path"] for problem in error.problems]
