"""Attribute predicates and entity specs."""

from __future__ import annotations

import pytest

import factstore
from tests.factstore.tx import ANN, BEN, PEOPLE, changes, people, refused, value, world

SCHEMA = (
    PEOPLE.strip()[:-1]
    + """
 {:db/ident :u/code :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db.attr/preds tests/short?}
 {:db/ident :u/points :db/valueType :db.type/long :db/cardinality :db.cardinality/many :db.attr/preds [tests/positive? tests/odd?]}
 {:db/ident :u/free :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db.attr/preds tests/nowhere?}]"""
)


@pytest.fixture(autouse=True)
def _predicates():
    factstore.register("tests/short?", lambda text: len(text) <= 5)
    factstore.register("tests/positive?", lambda n: n > 0)
    factstore.register("tests/odd?", lambda n: n % 2)  # 1 is not True
    factstore.register("tests/adult?", lambda db, e: (value(db, e, ":u/age") or 0) >= 18)
    factstore.register("tests/broken?", lambda db, e: 1 // 0)


@pytest.fixture
def conn():
    return world('[{:u/login "ann" :u/name "Ann" :u/age 30}]', '[{:u/login "ben" :u/age 17}]', schema=SCHEMA)


def test_a_value_that_a_predicate_accepts_is_taken_and_another_refused(conn):
    conn.transact([[":db/add", ANN, ":u/code", "short"]])
    error = refused(conn, [[":db/add", ANN, ":u/code", "far too long"]], ":db.error/attr-pred")
    assert "tests/short?" == error.predicate
    assert "far too long" == error.got
    assert error.pred_return is False
    assert "tx-data[0]" == error.path


def test_only_true_accepts_and_every_predicate_is_asked(conn):
    error = refused(conn, [{":u/login": "x", ":u/points": [-2]}], ":db.error/attr-pred")
    assert ["tests/odd?", "tests/positive?"] == [problem["predicate"] for problem in error.problems]
    assert 1 == refused(conn, [{":u/login": "x", ":u/points": 3}], ":db.error/attr-pred").pred_return


def test_a_predicate_is_not_asked_about_retractions(conn):
    conn.transact([[":db/add", ANN, ":u/code", "short"]])
    factstore.register("tests/short?", lambda text: False)
    conn.transact([[":db/retract", ANN, ":u/code", "short"]])
    assert value(conn.db(), ANN, ":u/code") is None


def test_a_predicate_of_a_reference_gets_the_entity_of_a_tempid(conn):
    seen = []
    factstore.register("tests/seen?", lambda e: seen.append(e) or True)
    conn.transact("""[{:db/ident :u/boss :db/valueType :db.type/ref :db/cardinality :db.cardinality/one :db.attr/preds tests/seen?}]""")
    report = conn.transact([{":db/id": ANN, ":u/boss": "boss"}, {":db/id": "boss", ":u/login": "new"}])
    assert [report.tempids["boss"]] == seen


def test_a_predicate_that_is_not_registered_refuses(conn):
    assert "not registered" in str(refused(conn, [[":db/add", ANN, ":u/free", 1]], ":db.error/attr-pred"))


def test_an_entity_must_have_the_attributes_its_spec_asks_for(conn):
    conn.transact("[{:db/ident :spec/named :db.entity/attrs [:u/name :u/age]}]")
    report = conn.transact([{":u/login": "n", ":u/name": "N", ":u/age": 0, ":db/ensure": ":spec/named"}])
    assert {":u/login", ":u/name", ":u/age"} == {a for _, a, _, _ in changes(report)}
    conn.transact([{":db/id": ANN, ":db/ensure": ":spec/named"}])
    error = refused(conn, [{":u/login": "m", ":u/name": "M", ":db/ensure": ":spec/named"}], ":db.error/entity-attr")
    assert (":u/age",) == error.missing
    assert ":spec/named" == error.spec
    refused(conn, [[":db/add", ANN, ":db/ensure", ":spec/named"], [":db/retract", ANN, ":u/name"]], ":db.error/entity-attr")


def test_an_entity_predicate_sees_the_database_after(conn):
    conn.transact("[{:db/ident :spec/adult :db.entity/preds tests/adult?}]")
    refused(conn, [[":db/add", BEN, ":db/ensure", ":spec/adult"]], ":db.error/entity-pred")
    conn.transact([[":db/add", BEN, ":u/age", 18], [":db/add", BEN, ":db/ensure", ":spec/adult"]])
    conn.transact([[":db/add", BEN, ":u/age", 3]])
    assert 3 == value(conn.db(), BEN, ":u/age")


def test_all_that_a_spec_finds_wrong_is_told(conn):
    conn.transact("[{:db/ident :spec/both :db.entity/attrs :u/name :db.entity/preds [tests/adult? tests/broken?]}]")
    error = refused(conn, [{":db/id": BEN, ":db/ensure": ":spec/both"}], ":db.error/entity-attr")
    assert [":db.error/entity-attr", ":db.error/entity-pred", ":db.error/entity-pred"] == [p["code"] for p in error.problems]


def test_what_is_no_spec_is_refused(conn):
    refused(conn, [{":db/id": BEN, ":db/ensure": ":spec/nope"}], ":db.error/not-an-entity-spec")
    refused(conn, [{":db/id": BEN, ":db/ensure": ANN}], ":db.error/not-an-entity-spec")


def test_predicates_may_be_named_by_strings():
    conn = people()
    conn.transact(
        [
            {
                ":db/ident": ":u/code",
                ":db/valueType": ":db.type/string",
                ":db/cardinality": ":db.cardinality/one",
                ":db.attr/preds": "tests/short?",
            },
            {":db/ident": ":spec/adult", ":db.entity/preds": ["tests/adult?"]},
        ]
    )
    refused(conn, [[":db/add", ANN, ":u/code", "far too long"]], ":db.error/attr-pred")
