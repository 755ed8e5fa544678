"""Attributes that are asserted of new entities only: `:db.attr/preds db/insert-only`."""

from __future__ import annotations

import pytest

import factstore
from factstore.index.view import View
from tests.factstore.tx import refused, value, world

SCHEMA = """
[{:db/ident :t/id :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :t/kind :db/valueType :db.type/keyword :db/cardinality :db.cardinality/one :db.attr/preds db/insert-only}
 {:db/ident :t/tags :db/valueType :db.type/string :db/cardinality :db.cardinality/many :db.attr/preds db/insert-only}
 {:db/ident :t/size :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]
"""
T = [":t/id", "one"]
ENTRANCES = {
    "map by identity": [{":t/id": "one", ":t/kind": ":a"}],
    "map with another value": [{":t/id": "one", ":t/kind": ":b", ":t/size": 2}],
    "map with a tempid": [{":db/id": "x", ":t/id": "one", ":t/kind": ":a"}],
    "map by lookup ref": [{":db/id": T, ":t/kind": ":a"}],
    "list": [[":db/add", T, ":t/kind", ":a"]],
    "compare and swap": [[":db/cas", T, ":t/kind", ":a", ":b"]],
    "EDN": '[{:t/id "one" :t/kind :a}]',
    "among many": [*({":t/id": f"new {n}", ":t/kind": ":a"} for n in range(20)), {":t/id": "one", ":t/kind": ":a"}],
    "many-valued": [[":db/add", T, ":t/tags", "another"]],
}


@pytest.fixture
def conn():
    return world('[{:t/id "one" :t/kind :a :t/tags ["x" "y"] :t/size 1}]', schema=SCHEMA)


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_an_assertion_of_a_known_entity_is_rejected_whole_by_every_entrance(conn, entrance):
    before = conn.db().basis_t
    error = refused(conn, ENTRANCES[entrance], ":db.error/already-inserted")
    assert "(:t/id 'one')" in error.message
    assert conn.db().entid(T) == error.entity
    assert before == conn.db().basis_t


def test_it_is_rejected_by_entity_id_too_where_a_plain_value_would_take_the_short_cut(conn):
    eid = conn.db().entid(T)
    refused(conn, [[":db/add", eid, ":t/kind", factstore.Keyword(":a")]], ":db.error/already-inserted")
    conn.transact([[":db/add", eid, ":t/size", 7]])
    assert 7 == value(conn.db(), T, ":t/size")


def test_other_attributes_of_a_known_entity_are_changed_as_ever(conn):
    conn.transact([{":t/id": "one", ":t/size": 5}])
    assert 5 == value(conn.db(), T, ":t/size")
    assert ":a" == value(conn.db(), T, ":t/kind")


def test_a_new_entity_is_asserted_as_often_as_one_likes_in_its_own_transaction(conn):
    conn.transact([{":t/id": "two", ":t/kind": ":b"}, {":t/id": "two", ":t/kind": ":b"}])
    assert ":b" == value(conn.db(), [":t/id", "two"], ":t/kind")


def test_an_entity_whose_value_was_retracted_is_given_one_again(conn):
    conn.transact([[":db/retract", T, ":t/kind", ":a"]])
    conn.transact([{":t/id": "one", ":t/kind": ":b"}])
    assert ":b" == value(conn.db(), T, ":t/kind")


def test_the_steps_of_an_open_transaction_see_what_it_inserted(conn):
    with pytest.raises(factstore.TransactError) as error, conn.transaction() as tx:
        tx.transact([{":t/id": "two", ":t/kind": ":a"}])
        tx.transact([{":t/id": "two", ":t/kind": ":a"}])
    assert ":db.error/already-inserted" == error.value.code
    assert conn.db().entid([":t/id", "two"]) is None


def test_the_predicate_can_be_taken_from_an_attribute(conn):
    conn.transact([[":db/retract", ":t/kind", ":db.attr/preds", factstore.Symbol("db/insert-only")]])
    conn.transact([{":t/id": "one", ":t/kind": ":b"}])
    assert ":b" == value(conn.db(), T, ":t/kind")


def test_a_loaded_row_of_a_known_entity_is_rejected_with_its_batch(conn):
    rows = {"id": ["two", "one"], "kind": [factstore.Keyword(":a")] * 2}
    with pytest.raises(factstore.TransactError, match="new entities only"):
        conn.load(rows, {"id": ":t/id", "kind": ":t/kind"})
    assert conn.db().entid([":t/id", "two"]) is None


def test_the_error_for_an_entity_of_many_values_says_the_first_time_once(conn):
    conn.transact([{":t/id": "two", ":t/tags": [f"tag {n}" for n in range(500)]}])
    first = conn.db().basis_t
    error = refused(conn, [[":db/add", [":t/id", "two"], ":t/tags", f"more {n}"] for n in range(3)], ":db.error/already-inserted")
    assert 3 == len(error.problems)
    assert all(
        1 == problem["message"].count(f"has it since t={first}") == problem["message"].count(" since t=") for problem in error.problems
    )


def test_the_values_of_an_entity_are_read_twice_at_most_however_many_are_rejected(conn, monkeypatch):
    reads, facts_of = [], View.facts_of
    monkeypatch.setattr(View, "facts_of", lambda view, e, a: reads.append(a) or facts_of(view, e, a))
    tags = conn.db().entid(":t/tags")
    refused(conn, [[":db/add", T, ":t/tags", f"more {n}"] for n in range(50)], ":db.error/already-inserted")
    assert reads.count(tags) <= 2 * 2  # it is asked twice
