"""A transaction is a set: no form wins over another."""

from __future__ import annotations

from itertools import permutations

from tests.factstore.tx import ANN, assert_datoms, people, refused, value, values


def test_two_new_values_of_cardinality_one_conflict():
    error = refused(people(), [[":db/add", ANN, ":u/ok", True], [":db/add", ANN, ":u/ok", False]], ":db.error/datoms-conflict")
    assert [True, False] == [datom[2] for datom in error.datoms]
    assert "tx-data[0]" in error.message


def test_conflicts_are_found_before_redundant_forms_drop_out():
    error = refused(people(), [[":db/add", ANN, ":u/age", 30], [":db/add", ANN, ":u/age", 31]], ":db.error/datoms-conflict")
    assert "it was 30 since t=2" in error.message


def test_adding_and_retracting_one_fact_conflict_in_any_order():
    for fact in ([ANN, ":u/nick", "a1"], [ANN, ":u/nick", "new"], [ANN, ":u/age", 30]):
        for forms in permutations([[":db/add", *fact], [":db/retract", *fact]]):
            refused(people(), list(forms), ":db.error/datoms-conflict")


def test_retracting_the_old_value_and_adding_a_new_one_is_a_replacement():
    conn = people()
    report = conn.transact([[":db/add", ANN, ":u/age", 31], [":db/retract", ANN, ":u/age", 30]])
    assert_datoms(report, "[[?ann :u/age 30 ?tx false] [?ann :u/age 31 ?tx true]]")


def test_all_conflicts_are_told():
    forms = [[":db/add", ANN, ":u/age", n] for n in (1, 2, 3)]
    assert 2 == len(refused(people(), forms, ":db.error/datoms-conflict").problems)


def test_retracting_an_entity_and_giving_it_a_new_value_replaces_it():
    conn = people()
    ann = conn.db().entid(ANN)
    conn.transact([[":db/retractEntity", ANN], [":db/add", ann, ":u/age", 41], [":db/add", ann, ":u/nick", "z"]])
    assert 41 == value(conn.db(), ann, ":u/age")
    assert {"z"} == values(conn.db(), ann, ":u/nick")
    assert value(conn.db(), ann, ":u/name") is None


def test_retracting_an_entity_and_giving_it_a_value_it_has_conflicts():
    refused(people(), [[":db/retractEntity", ANN], [":db/add", ANN, ":u/age", 30]], ":db.error/datoms-conflict")
