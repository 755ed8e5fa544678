"""Forms that say what shall be, not what shall change: set_exactly, and None that retracts."""

from __future__ import annotations

import pytest

from factstore import TransactError, set_exactly, with_
from tests.factstore.tx import ANN, BEN, assert_datoms, people, refused, value, values, world


def test_set_exactly_asserts_what_is_new_and_retracts_the_rest():
    conn = people()
    report = conn.transact([set_exactly(ANN, ":u/nick", {"a2", "a3"})])
    assert_datoms(report, '[[?ann :u/nick "a1" ?tx false] [?ann :u/nick "a3" ?tx true]]')


def test_set_exactly_twice_changes_nothing():
    conn = people()
    form = set_exactly(ANN, ":u/nick", ["x", "y"])
    conn.transact([form])
    assert_datoms(conn.transact([form]), "[]")


def test_set_exactly_of_nothing_retracts_all():
    db = people().transact([set_exactly(ANN, ":u/nick", []), set_exactly(BEN, ":u/age", ())]).db_after
    assert set() == values(db, ANN, ":u/nick")
    assert value(db, BEN, ":u/age") is None


def test_set_exactly_of_an_attribute_with_one_value_replaces_it():
    conn = people()
    assert_datoms(conn.transact([set_exactly(ANN, ":u/age", [31])]), "[[?ann :u/age 30 ?tx false] [?ann :u/age 31 ?tx true]]")
    refused(conn, [set_exactly(ANN, ":u/age", [1, 2])], ":db.error/datoms-conflict")


def test_set_exactly_knows_tempids_upserts_references_and_nested_maps():
    conn = people()
    conn.transact([[":db/add", ANN, ":u/pals", BEN]])
    forms = [
        {":db/id": "a", ":u/login": "ann"},
        set_exactly("a", ":u/pals", ["new", {":u/login": "cem"}]),
        {":db/id": "new", ":u/name": "New"},
        set_exactly("new", ":u/nick", ["n"]),
    ]
    report = conn.transact(forms)
    cem = report.db_after.entid([":u/login", "cem"])
    assert {report.tempids["new"], cem} == values(report.db_after, ANN, ":u/pals")
    assert {"n"} == values(report.db_after, report.tempids["new"], ":u/nick")


@pytest.mark.parametrize("other", [[":db/add", ANN, ":u/nick", "other"], set_exactly(ANN, ":u/nick", ["other"])], ids=str)
def test_a_value_that_is_not_among_the_exact_ones_contradicts_them_in_any_order(other):
    conn = people()
    exact = set_exactly(ANN, ":u/nick", ["a1"])
    for forms in ([exact, other], [other, exact]):
        error = refused(conn, forms, ":db.error/datoms-conflict")
        assert "not among the values of :db/setExactly" in str(error)


@pytest.mark.parametrize("form", [[":db/setExactly", ANN, ":u/nick", "a1"], [":db/setExactly", ANN, ":u/nick"]], ids=str)
def test_set_exactly_takes_a_collection(form):
    refused(people(), [form], ":db.error/invalid-tx-form")


def test_set_exactly_moves_composite_tuples_along():
    conn = world(
        "[{:db/ident :u/both :db/valueType :db.type/tuple :db/cardinality :db.cardinality/one :db/tupleAttrs [:u/name :u/age]}]",
        [{":u/login": "ann", ":u/name": "Ann", ":u/age": 3}],
    )
    assert (None, 3) == value(conn.transact([set_exactly(ANN, ":u/name", [])]).db_after, ANN, ":u/both")


def test_none_is_refused_unless_it_is_asked_to_retract():
    conn = people()
    refused(conn, [{":db/id": ANN, ":u/age": None}], ":db.error/nil-value")
    report = conn.transact([{":u/login": "ann", ":u/age": None, ":u/nick": None, ":u/ok": None}], none="retract")
    expected = '[[?ann :u/age 30 ?tx false] [?ann :u/nick "a1" ?tx false] [?ann :u/nick "a2" ?tx false]]'
    assert_datoms(report, expected)


def test_none_retracts_in_nested_maps_and_in_with():
    conn = people()
    forms = [{":u/login": "cem", ":u/boss": {":u/login": "ben", ":u/age": None}}]
    assert value(with_(conn.db(), forms, none="retract").db_after, BEN, ":u/age") is None
    assert value(conn.transact(forms, none="retract").db_after, BEN, ":u/age") is None


def test_none_of_a_new_entity_says_nothing():
    report = people().transact([{":db/id": "n", ":u/name": "New", ":u/age": None}], none="retract")
    assert_datoms(report, '[[?new :u/name "New" ?tx true]]')
    with pytest.raises(TransactError, match="expected an existing entity to retract from"):
        people().transact([{":db/id": "n", ":u/age": None}], none="retract")


def test_none_in_a_list_of_values_is_refused_still():
    with pytest.raises(TransactError) as caught:
        people().transact([{":db/id": ANN, ":u/nick": ["a", None]}], none="retract")
    assert ":db.error/nil-value" == caught.value.code


def test_another_meaning_of_none_is_refused():
    with pytest.raises(TransactError, match='"reject" or "retract"'):
        people().transact([], none="ignore")
