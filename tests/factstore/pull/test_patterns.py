"""What a pull pattern may say, what is refused, and where the error points."""

from __future__ import annotations

import pytest

import factstore
from factstore import Keyword, Symbol, pull, pull_many
from factstore.errors import DatabaseError, PullError, ReadError
from factstore.reads.pull import compile_pattern

SCHEMA = """
[{:db/ident :p/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :p/age  :db/valueType :db.type/long   :db/cardinality :db.cardinality/one}
 {:db/ident :p/nick :db/valueType :db.type/string :db/cardinality :db.cardinality/many}
 {:db/ident :p/boss :db/valueType :db.type/ref    :db/cardinality :db.cardinality/one}
 {:db/ident :p/home :db/valueType :db.type/ref    :db/cardinality :db.cardinality/one :db/isComponent true}]
"""
ANN = [":p/name", "Ann"]


@pytest.fixture(scope="module")
def db():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        yield conn.transact('[{:p/name "Ann" :p/age 30 :p/nick ["a" "b"] :p/boss {:p/name "Bo"}}]').db_after


# One pattern, as text and as data in the ways Python has for it.
SPELLINGS = [
    ("[:p/name]", [":p/name"]),
    ("[:p/name]", (Keyword(":p/name"),)),
    ("[* :p/name]", ["*", ":p/name"]),
    ("[*]", [Symbol("*")]),
    ("[{:p/boss [:p/name]}]", [{":p/boss": [":p/name"]}]),
    ("[{:p/boss [:p/name]}]", [{Keyword(":p/boss"): (":p/name",)}]),
    ("[:p/name {:p/boss ...}]", [":p/name", {":p/boss": "..."}]),
    ("[:p/name {:p/boss 1}]", [":p/name", {":p/boss": 1}]),
    ("[(limit :p/nick 1)]", [("limit", ":p/nick", 1)]),
    ("[[:p/nick :limit 1]]", [[":p/nick", ":limit", 1]]),
    ('[(default :p/home "none")]', [["default", ":p/home", "none"]]),
    ("[[:p/age :as :years]]", [(":p/age", ":as", ":years")]),
    ("[{[:p/boss :as :chief] [:p/name]}]", [{(":p/boss", ":as", ":chief"): [":p/name"]}]),
    ("[[:p/age :xform inc]]", [[":p/age", ":xform", "inc"]]),
    ("[[(limit :p/nick 1) :as :n]]", [[("limit", ":p/nick", 1), ":as", ":n"]]),
]


@pytest.mark.parametrize(("text", "data"), SPELLINGS)
def test_a_pattern_in_text_and_one_in_data_find_the_same(db, text, data):
    found = pull(db, text, ANN)
    assert found is not None
    assert found == pull(db, data, ANN)


# A pattern, the part of it that is wrong, and where that stands.
WRONG = [
    ("12", 12, ()),
    (":p/name", Keyword(":p/name"), ()),
    ("[:p/name 12]", 12, (1,)),
    ("[name]", Symbol("name"), (0,)),
    ("[nil]", None, (0,)),
    ("[[]]", [], (0,)),
    ("[[:p/nick :limit]]", [Keyword(":p/nick"), Keyword(":limit")], (0,)),
    ("[[:p/nick :limit 0]]", 0, (0, 1)),
    ("[[:p/nick :limit -1]]", -1, (0, 1)),
    ("[[:p/nick :limit true]]", True, (0, 1)),
    ("[[:p/nick :limit 1.0]]", 1.0, (0, 1)),
    ("[[:p/age :limit 1]]", 1, (0, 1)),
    ("[(limit :p/nick)]", (Symbol("limit"), Keyword(":p/nick")), (0,)),
    ("[[:p/age :nope 1]]", Keyword(":nope"), (0, 1)),
    ("[[:p/age :xform no/such]]", Symbol("no/such"), (0, 1)),
    ("[[:p/age :xform 1]]", 1, (0, 1)),
    ("[:p/_age]", Keyword(":p/_age"), (0,)),
    ("[{:p/age [:p/name]}]", [Keyword(":p/name")], (0, ":p/age")),
    ("[{:db/id [:p/name]}]", [Keyword(":p/name")], (0, ":db/id")),
    ("[{:p/boss 0}]", 0, (0, ":p/boss")),
    ("[{:p/boss -2}]", -2, (0, ":p/boss")),
    ("[{:p/boss true}]", True, (0, ":p/boss")),
    ("[{:p/boss :p/name}]", Keyword(":p/name"), (0, ":p/boss")),
    ("[{:p/boss [:p/name {:p/boss [17]}]}]", 17, (0, ":p/boss", 1, ":p/boss", 0)),
]


@pytest.mark.parametrize(("pattern", "fragment", "at"), WRONG)
def test_a_pattern_that_means_nothing_is_refused_and_the_error_points_at_the_part(db, pattern, fragment, at):
    with pytest.raises(PullError) as caught:
        pull(db, pattern, ANN)
    assert ":db.error/invalid-pull" == caught.value.code
    assert fragment == caught.value.fragment
    assert at == caught.value.at
    assert type(fragment) is type(caught.value.fragment)


@pytest.mark.parametrize("pattern", ["[{:p/bos [:p/name]}]", "[:p/_bos]", "[{:p/_bos 1}]"])
def test_a_reference_that_was_never_declared_is_an_error_that_names_what_is_near(db, pattern):
    with pytest.raises(PullError, match=r":p/bos.* did you mean :p/boss") as caught:
        pull(db, pattern, ANN)
    assert ":db.error/not-an-attribute" == caught.value.code


def test_a_plain_attribute_that_was_never_declared_is_left_out(db):
    assert {":p/age": 30} == pull(db, "[:p/age :p/agee]", ANN)
    assert {":p/agee": 0} == pull(db, "[[:p/agee :default 0]]", ANN)


def test_text_that_is_not_edn_is_a_read_error(db):
    with pytest.raises(ReadError):
        pull(db, "[:p/name", ANN)


def test_a_pattern_nested_without_end_is_refused_and_not_a_crash(db):
    deep = []
    for _ in range(100_000):
        deep = [{":p/boss": deep}]
    with pytest.raises(PullError, match="nested"):
        pull(db, deep, ANN)
    spec = ":p/nick"
    for _ in range(100_000):
        spec = [spec]
    with pytest.raises(PullError):
        pull(db, [spec], ANN)


def test_of_two_specs_of_one_attribute_with_one_key_the_later_wins(db):
    assert {":p/boss": {":p/name": "Bo"}} == pull(db, "[:p/boss {:p/boss [:p/name]}]", ANN)
    assert [":db/id"] == list(pull(db, "[{:p/boss [:p/name]} :p/boss]", ANN)[":p/boss"])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[[:p/age :as :k] [:p/name :as :k]]", {":k": 30}),
        ("[[:p/name :as :k] [:p/age :as :k]]", {":k": "Ann"}),
        ("[[:p/home :as :k] [:p/age :as :k] [:p/name :as :k]]", {":k": 30}),
        ("[[:p/name :as :p/age] :p/age]", {":p/age": "Ann"}),
        ("[:p/age [:p/name :as :p/age]]", {":p/age": 30}),
        ("[[:p/home :as :k :default 9] [:p/age :as :k]]", {":k": 9}),
        ("[[:p/age :as :k] [:p/home :as :k :default 9]]", {":k": 30}),
        ("[[:p/age :as :k] {[:p/boss :as :k] [:p/name]}]", {":k": 30}),
        ("[{[:p/boss :as :k] [:p/name]} [:p/age :as :k]]", {":k": {":p/name": "Bo"}}),
        ("[{[:p/boss :as :k] [:p/age]} [:p/age :as :k]]", {":k": 30}),
        ("[{[:p/home :as :k] [:p/name]} [:p/nick :as :k]]", {":k": ["a", "b"]}),
        ("[[:p/home :as :p/name] :p/*]", {":p/name": "Ann", ":p/age": 30, ":p/nick": ["a", "b"]}),
        ("[[:p/age :as :p/name] :p/*]", {":p/name": 30, ":p/nick": ["a", "b"]}),
    ],
)
def test_attributes_that_share_a_key_show_the_first_that_the_entity_has(db, pattern, expected):
    e = db.entid(ANN)
    for pulled in (pull(db, pattern, ANN), *pull_many(db, pattern, [e] * 50)):
        pulled.pop(":p/boss", None)
        assert expected == pulled


@pytest.mark.parametrize("pattern", ["[[:p/age :as :db/id] :db/id]", "[:db/id [:p/age :as :db/id]]"])
def test_the_id_of_an_entity_comes_before_an_attribute_under_its_key(db, pattern):
    assert {":db/id": db.entid(ANN)} == pull(db, pattern, ANN)


def test_the_id_that_a_wildcard_gives_comes_before_an_attribute_under_its_key(db):
    assert db.entid(ANN) == pull(db, "[* [:p/age :as :db/id]]", ANN)[":db/id"]


def test_one_attribute_may_be_asked_for_under_several_keys(db):
    assert {":p/age": 30, ":years": 30, "n": 30} == pull(db, '[:p/age [:p/age :as :years] [:p/age :as "n"]]', ANN)


def test_patterns_are_parsed_once_for_a_schema_and_forms_that_only_look_equal_are_told_apart(db):
    schema = db.schema
    assert compile_pattern(schema, [":p/name"]) is compile_pattern(schema, [":p/name"])
    for one, other in [(1, True), (1, 1.0), (0.0, -0.0), ("a", Symbol("a"))]:
        patterns = [[[":p/home", ":default", value]] for value in (one, other)]
        found = [pull(db, pattern, ANN)[":p/home"] for pattern in patterns]
        assert [(type(one), repr(one)), (type(other), repr(other))] == [(type(x), repr(x)) for x in found]


def test_what_is_done_to_a_result_or_to_the_form_does_not_reach_the_next_pull(db):
    pattern = [[":p/home", ":default", ["none"]]]
    pull(db, pattern, ANN)[":p/home"].append("more")
    assert {":p/home": ["none"]} == pull(db, [[":p/home", ":default", ["none"]]], ANN)
    pattern[0][2].append("more")
    assert {":p/home": ["none"]} == pull(db, [[":p/home", ":default", ["none"]]], ANN)
    assert {":p/home": ["none", "more"]} == pull(db, pattern, ANN)


def test_a_pattern_is_read_against_the_schema_of_the_database(db):
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA.replace(":p/age", ":p/years"))
        later = conn.transact('[{:p/name "Ann" :p/years 31}]').db_after
        assert {":p/years": 31} == pull(later, "[:p/age :p/years]", ANN)
        assert {":p/age": 30} == pull(db, "[:p/age :p/years]", ANN)


def test_a_renamed_attribute_is_still_found_by_its_old_name():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        conn.transact('[{:p/name "Ann" :p/age 30}]')
        db = conn.transact("[{:db/id :p/age :db/ident :p/years}]").db_after
        assert {":p/age": 30, ":p/years": 30} == pull(db, "[:p/age :p/years]", ANN)
        assert 30 == pull(db, "[*]", ANN)[":p/years"]


def test_a_history_database_cannot_be_pulled_from(db):
    with pytest.raises(DatabaseError) as caught:
        pull(db.history(), "[:p/name]", ANN)
    assert ":db.error/history-not-supported" == caught.value.code


def test_a_lookup_ref_through_an_attribute_that_is_not_unique_is_refused(db):
    with pytest.raises(DatabaseError) as caught:
        pull(db, "[*]", [":p/age", 30])
    assert ":db.error/lookup-ref-attr-not-unique" == caught.value.code
