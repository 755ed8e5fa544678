"""Tuples: composite ones follow their members, the others are checked slot by slot."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import factstore
from factstore import Keyword
from tests.factstore.tx import changes, refused, value, values, world

COMPOSITE = """
[{:db/ident :r/course :db/valueType :db.type/keyword :db/cardinality :db.cardinality/one}
 {:db/ident :r/student :db/valueType :db.type/string :db/cardinality :db.cardinality/one}
 {:db/ident :r/grade :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
 {:db/ident :r/key :db/valueType :db.type/tuple :db/tupleAttrs [:r/course :r/student] :db/cardinality :db.cardinality/one
  :db/unique :db.unique/identity}
 {:db/ident :r/result :db/valueType :db.type/tuple :db/tupleAttrs [:r/student :r/grade] :db/cardinality :db.cardinality/one}]
"""
OTHERS = """
[{:db/ident :t/id :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :t/nums :db/valueType :db.type/tuple :db/tupleType :db.type/long :db/cardinality :db.cardinality/one}
 {:db/ident :t/pair :db/valueType :db.type/tuple :db/tupleTypes [:db.type/long :db.type/string] :db/cardinality :db.cardinality/one}
 {:db/ident :t/pairs :db/valueType :db.type/tuple :db/tupleTypes [:db.type/keyword :db.type/long] :db/cardinality :db.cardinality/many}
 {:db/ident :t/link :db/valueType :db.type/tuple :db/tupleTypes [:db.type/ref :db.type/long] :db/cardinality :db.cardinality/one}
 {:db/ident :t/uniq :db/valueType :db.type/tuple :db/tupleType :db.type/long :db/cardinality :db.cardinality/one
  :db/unique :db.unique/identity}]
"""
ALGEBRA = Keyword(":algebra")


@pytest.fixture
def courses():
    conn = world(schema=COMPOSITE)
    ids = conn.transact(
        [{":db/id": "x", ":r/course": ":algebra", ":r/student": "Mia", ":r/grade": 5}, {":db/id": "y", ":r/student": "Leo"}]
    )
    return conn, ids.tempids


def test_a_composite_is_made_of_its_members(courses):
    conn, ids = courses
    assert (ALGEBRA, "Mia") == value(conn.db(), ids["x"], ":r/key")
    assert ("Mia", 5) == value(conn.db(), ids["x"], ":r/result")
    assert (None, "Leo") == value(conn.db(), ids["y"], ":r/key")
    assert ("Leo", None) == value(conn.db(), ids["y"], ":r/result")


def test_changing_a_member_replaces_the_composite(courses):
    conn, ids = courses
    x = ids["x"]
    assert {
        (x, ":r/grade", 5, False),
        (x, ":r/grade", 1, True),
        (x, ":r/result", ("Mia", 5), False),
        (x, ":r/result", ("Mia", 1), True),
    } == changes(conn.transact([[":db/add", x, ":r/grade", 1]]))


def test_retracting_members_leaves_none_and_then_nothing(courses):
    conn, ids = courses
    conn.transact([[":db/retract", ids["x"], ":r/grade"]])
    assert ("Mia", None) == value(conn.db(), ids["x"], ":r/result")
    conn.transact([[":db/retract", ids["x"], ":r/student", "Mia"]])
    assert value(conn.db(), ids["x"], ":r/result") is None
    assert (ALGEBRA, None) == value(conn.db(), ids["x"], ":r/key")
    conn.transact([[":db/retractEntity", ids["x"]]])
    assert [] == list(conn.db().datoms(":eavt", ids["x"]))


def test_a_composite_that_another_entity_has_is_refused(courses):
    conn, ids = courses
    error = refused(conn, [{":db/id": ids["y"], ":r/course": ":algebra", ":r/student": "Mia"}], ":db.error/unique-conflict")
    assert ":r/key" == error.attribute
    assert (ALGEBRA, "Mia") == error.value
    refused(conn, [{":r/course": ":algebra", ":r/student": "Mia"}], ":db.error/unique-conflict")


def test_slots_of_none_are_equal_to_each_other(courses):
    refused(courses[0], [{":r/student": "Leo"}], ":db.error/unique-conflict")


def test_retracting_may_make_two_composites_equal(courses):
    conn, ids = courses
    conn.transact([{":r/course": ":latin", ":r/student": "Mia"}])
    latin = conn.db().entid([":r/key", [":latin", "Mia"]])
    refused(conn, [[":db/retract", e, ":r/course"] for e in (ids["x"], latin)], ":db.error/unique-conflict")


def test_a_composite_is_written_through_its_members_only(courses):
    conn, ids = courses
    error = refused(conn, [[":db/add", ids["x"], ":r/key", [":algebra", "Zoe"]]], ":db.error/composite-tuple-write")
    assert (ALGEBRA, "Mia") == error.expected
    assert (ALGEBRA, "Zoe") == error.got
    refused(conn, [[":db/retract", ids["x"], ":r/key"]], ":db.error/composite-tuple-write")
    refused(conn, [{":r/key": [":latin", "Zoe"]}], ":db.error/composite-tuple-write")


def test_a_composite_given_as_it_is_names_its_entity(courses):
    conn, ids = courses
    report = conn.transact(
        [{":db/id": "m", ":r/key": [":algebra", "Mia"], ":r/grade": 2}, [":db/add", [":r/key", [":algebra", "Mia"]], ":r/grade", 2]]
    )
    assert ids["x"] == report.tempids["m"]
    assert 2 == value(conn.db(), ids["x"], ":r/grade")


def test_a_composite_added_later_comes_when_a_member_is_said_again(courses):
    conn, ids = courses
    conn.transact("""[{:db/ident :r/late :db/valueType :db.type/tuple :db/tupleAttrs [:r/course :r/grade]
                       :db/cardinality :db.cardinality/one}]""")
    assert value(conn.db(), ids["x"], ":r/late") is None
    conn.transact([[":db/add", ids["x"], ":r/grade", 5]])
    assert (ALGEBRA, 5) == value(conn.db(), ids["x"], ":r/late")


def test_tuples_are_checked_slot_by_slot():
    conn = world(schema=OTHERS)
    conn.transact([{":t/id": 1, ":t/pair": [7, "x"], ":t/nums": (1, None, 3)}])
    assert (7, "x") == value(conn.db(), [":t/id", 1], ":t/pair")
    assert (1, None, 3) == value(conn.db(), [":t/id", 1], ":t/nums")
    for bad in ([7, "x", 8], [7], ["x", 7], [True, "x"], [7.0, "x"]):
        assert "tx-data[0][':t/pair']" == refused(conn, [{":t/id": 1, ":t/pair": bad}], ":db.error/invalid-tuple-value").path
    for bad in ([1], [1] * 9, []):
        refused(conn, [{":t/id": 1, ":t/nums": bad}], ":db.error/invalid-tuple-value")
    for bad in (7, "ab", {":a": 1}):
        refused(conn, [{":t/id": 1, ":t/nums": bad}], ":db.error/wrong-type-for-attribute")


def test_a_list_of_lists_is_several_tuples_and_a_list_is_one():
    conn = world(schema=OTHERS)
    conn.transact([{":t/id": 1, ":t/pairs": [[":a", 1], [":b", 2]]}, {":t/id": 2, ":t/pairs": [":a", 1]}])
    a, b = (Keyword(":a"), 1), (Keyword(":b"), 2)
    assert {a, b} == values(conn.db(), [":t/id", 1], ":t/pairs")
    assert {a} == values(conn.db(), [":t/id", 2], ":t/pairs")


def test_references_in_tuples_are_resolved_or_refused():
    conn = world("[{:db/ident :color/red} {:t/id 1}]", schema=OTHERS)
    db = conn.db()
    conn.transact([{":t/id": 2, ":t/link": [":color/red", 1]}, {":t/id": 3, ":t/link": [[":t/id", 1], 1]}])
    assert (db.entid(":color/red"), 1) == value(conn.db(), [":t/id", 2], ":t/link")
    assert (db.entid([":t/id", 1]), 1) == value(conn.db(), [":t/id", 3], ":t/link")
    refused(conn, [{":t/id": 4, ":t/link": [":color/blue", 1]}], ":db.error/not-an-entity")
    refused(conn, [{":db/id": "x", ":t/id": 4, ":t/link": ["x", 1]}], ":db.error/invalid-tuple-value")


def test_a_unique_tuple_upserts_and_is_looked_up():
    conn = world([{":t/uniq": [1, 2], ":t/id": 1}], schema=OTHERS)
    conn.transact([{":t/uniq": (1, 2), ":t/nums": [9, 9]}])
    assert (9, 9) == value(conn.db(), [":t/id", 1], ":t/nums")
    assert conn.db().entid([":t/id", 1]) == conn.db().entid([":t/uniq", [1, 2]])


def test_slots_read_as_they_were_written_and_are_looked_up_so():
    noon = datetime(2020, 1, 1, 12, tzinfo=UTC)
    conn = world(
        """
        [{:db/ident :t/when :db/valueType :db.type/instant :db/cardinality :db.cardinality/one}
         {:db/ident :t/of :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
         {:db/ident :color/red}]
        """,
        """
        [{:db/ident :t/made :db/valueType :db.type/tuple :db/tupleAttrs [:t/when :t/of] :db/cardinality :db.cardinality/one
          :db/unique :db.unique/identity}
         {:db/ident :t/said :db/valueType :db.type/tuple :db/tupleTypes [:db.type/instant :db.type/ref]
          :db/cardinality :db.cardinality/one :db/unique :db.unique/value}]
        """,
    )
    conn.transact([{":t/when": noon, ":t/of": ":color/red", ":t/said": [noon, ":color/red"]}])
    db = conn.db()
    red = db.entid(":color/red")
    for name in (":t/made", ":t/said"):
        (datom,) = db.datoms("avet", name)
        assert (noon, red) == datom.v
        assert datom.e == db.entid([name, [noon, ":color/red"]]) == db.entid([name, (noon, red)])
        assert db.entid([name, [noon, ":color/blue"]]) is None
        assert {name: (noon, red)} == factstore.pull(db, [name], datom.e)
        assert [datom] == list(db.index_range(name, [noon, None], [noon, red + 1]))
