"""Tempids: one name is one entity, and identities tell which."""

from __future__ import annotations

from itertools import permutations

import factstore
from factstore import UniqueConflict
from tests.factstore.tx import ANN, BEN, assert_datoms, people, refused, value


def test_a_tempid_is_one_entity_in_all_forms():
    conn = people()
    tempids = conn.transact([[":db/add", "t", ":u/login", "t1"], {":db/id": "t", ":u/age": 8}, [":db/add", -1, ":u/boss", "t"]]).tempids
    assert {"t", -1} == set(tempids)
    assert tempids["t"] == value(conn.db(), tempids[-1], ":u/boss")
    assert 8 == value(conn.db(), [":u/login", "t1"], ":u/age")


def test_new_ids_follow_the_order_of_naming_and_are_never_given_twice():
    conn = people()
    next_n = conn.db().next_n
    first = conn.transact([{":db/id": name, ":u/age": 1} for name in "abc"]).tempids
    conn.transact([[":db/retractEntity", first["c"]]])
    second = conn.transact([{":db/id": "d", ":u/age": 1}]).tempids
    assert [next_n, next_n + 1, next_n + 2, next_n + 3] == [eid & ((1 << 42) - 1) for eid in (*first.values(), second["d"])]


def test_a_tempid_that_is_only_a_value_is_refused():
    error = refused(people(), [{":u/login": "q", ":u/boss": "ghost"}], ":db.error/tempid-not-an-entity")
    assert "tx-data[0][':u/boss']" == error.path
    assert ":u/boss" == error.attribute
    assert "'ghost'" in error.message


def test_a_retraction_from_a_tempid_that_is_nobody_is_refused():
    for form in ([":db/retract", "ghost", ":u/age", 30], [":db/retract", "ghost", ":u/age"], [":db/retractEntity", "ghost"]):
        refused(people(), [form], ":db.error/invalid-tx-form")


def test_a_retraction_from_a_tempid_that_upserts_is_one_from_its_entity():
    conn = people()
    conn.transact([{":db/id": "x", ":u/login": "ann"}, [":db/retract", "x", ":u/age"]])
    assert value(conn.db(), ANN, ":u/age") is None


def test_an_existing_identity_upserts():
    conn = people()
    report = conn.transact([{":db/id": "who", ":u/login": "ann", ":u/age": 31}, {":u/login": "cy", ":u/boss": "who"}])
    db = conn.db()
    assert {"who": db.entid(ANN)} == report.tempids
    assert 31 == value(db, ANN, ":u/age")
    assert db.entid(ANN) == value(db, [":u/login", "cy"], ":u/boss")


def test_two_tempids_with_one_new_identity_are_one_entity():
    conn = people()
    tempids = conn.transact([{":db/id": "p", ":u/login": "s", ":u/age": 5}, {":db/id": "q", ":u/login": "s", ":u/name": "S"}]).tempids
    assert tempids["p"] == tempids["q"]
    assert 5 == value(conn.db(), tempids["p"], ":u/age")
    assert "S" == value(conn.db(), tempids["p"], ":u/name")


def test_values_of_unified_tempids_must_agree():
    refused(people(), [{":u/login": "dup", ":u/age": 1}, {":u/login": "dup", ":u/age": 2}], ":db.error/datoms-conflict")


def test_an_identity_may_be_a_reference_to_a_tempid_in_any_order():
    conn = people()
    forms = [{":db/id": "o", ":u/login": "ann"}, {":db/id": "x", ":acct/owner": "o"}, {":db/id": "y", ":acct/owner": ANN, ":acct/sum": 5}]
    acct = conn.transact([{":db/id": "acct", ":acct/owner": ANN, ":acct/sum": 1}]).tempids["acct"]
    for order in permutations(forms):
        report = factstore.with_(conn.db(), order)
        assert acct == report.tempids["x"]
        assert acct == report.tempids["y"]
        assert 5 == value(report.db_after, acct, ":acct/sum")


def test_references_to_one_new_entity_unify_too_however_long_the_chain():
    conn = people()
    length = 300
    forms = [{":db/id": f"{side}{i}", ":acct/owner": f"{side}{i - 1}"} for side in "pq" for i in range(1, length)]
    forms += [{":db/id": "p0", ":u/login": "root"}, {":db/id": "q0", ":u/login": "root"}]
    for order in (forms, forms[::-1]):
        tempids = factstore.with_(conn.db(), order).tempids
        assert [] == [i for i in range(length) if tempids[f"p{i}"] != tempids[f"q{i}"]]
        assert length == len(set(tempids.values()))


def test_a_tempid_that_is_two_entities_is_refused_with_both():
    conn = people()
    conn.transact([{":db/id": "acct", ":acct/owner": BEN}])
    db = conn.db()
    error = refused(conn, [{":db/id": "x", ":u/login": "ann"}, {":db/id": "x", ":acct/owner": BEN}], ":db.error/upsert-conflict")
    assert isinstance(error, UniqueConflict)
    assert {db.entid(ANN), db.entid([":acct/owner", BEN])} == set(error.entities)
    assert "conflict" == error.category


def test_an_explicit_id_never_upserts():
    conn = people()
    ben = conn.db().entid(BEN)
    error = refused(conn, [{":db/id": ben, ":u/login": "ann"}], ":db.error/unique-conflict")
    assert {ben, conn.db().entid(ANN)} == set(error.entities)


def test_an_upsert_that_changes_nothing_adds_nothing():
    assert_datoms(people().transact([{":u/login": "ann", ":u/age": 30}]), "[]")


def test_an_entity_made_in_vain_costs_no_id():
    conn = people()
    next_n = conn.db().next_n
    conn.transact([{":db/id": "x", ":u/login": "ann", ":u/age": 31}])
    assert next_n == conn.db().next_n


def test_a_tempid_that_names_no_entity_is_not_among_the_tempids():
    conn = people()
    for form in ({":db/id": "only"}, {":db/id": -7}):
        assert {} == conn.transact([form]).tempids
        assert {} == factstore.with_(conn.db(), [form]).tempids
    report = conn.transact([{":db/id": "only"}, {":db/id": "new", ":u/age": 1}])
    assert {"new"} == set(report.tempids)
    assert_datoms(report, "[[?new :u/age 1 ?tx true]]")
