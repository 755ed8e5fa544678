"""What a pull finds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import factstore
from factstore import Keyword, pull, pull_many, q, register
from factstore.errors import PullError

SCHEMA = """
[{:db/ident :p/name :db/valueType :db.type/string  :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :p/age  :db/valueType :db.type/long    :db/cardinality :db.cardinality/one}
 {:db/ident :p/ok   :db/valueType :db.type/boolean :db/cardinality :db.cardinality/one}
 {:db/ident :p/born :db/valueType :db.type/instant :db/cardinality :db.cardinality/one}
 {:db/ident :p/nick :db/valueType :db.type/string  :db/cardinality :db.cardinality/many}
 {:db/ident :p/spot :db/valueType :db.type/tuple   :db/cardinality :db.cardinality/many
  :db/tupleTypes [:db.type/long :db.type/instant]}
 {:db/ident :p/sort :db/valueType :db.type/ref     :db/cardinality :db.cardinality/one}
 {:db/ident :p/pal  :db/valueType :db.type/ref     :db/cardinality :db.cardinality/many}
 {:db/ident :p/home :db/valueType :db.type/ref     :db/cardinality :db.cardinality/one :db/isComponent true}
 {:db/ident :h/room :db/valueType :db.type/ref     :db/cardinality :db.cardinality/many :db/isComponent true}
 {:db/ident :h/no   :db/valueType :db.type/long    :db/cardinality :db.cardinality/one}
 {:db/ident :sort/good}]
"""
PEOPLE = """
[{:db/id "bo"  :p/name "Bo"  :p/age 0 :p/ok false :p/sort :sort/good :p/born #inst "1990-01-02" :p/nick ["z" "b" "a"]}
 {:db/id "ann" :p/name "Ann" :p/pal ["bo" "cy"] :p/spot [[2 nil] [nil nil] [1 #inst "2020-01-01"]]
               :p/home {:db/id "home" :h/no 5 :h/room [{:db/id "r2" :h/no 2} {:db/id "r1" :h/no 1}]}}
 {:db/id "cy"  :p/name "Cy"  :p/pal ["cy"]}
 {:db/id "blank" :h/no 9}]
"""
ANN, BO, CY = ([":p/name", name] for name in ("Ann", "Bo", "Cy"))


class People:
    def __init__(self, conn):
        conn.transact(SCHEMA)
        report = conn.transact(PEOPLE)
        self.db, self.ids = report.db_after, report.tempids


@pytest.fixture(scope="module")
def people():
    with factstore.connect("memory:") as conn:
        yield People(conn)


@pytest.fixture(scope="module")
def db(people):
    return people.db


@pytest.fixture(scope="module")
def ids(people):
    return people.ids


def test_a_result_is_a_plain_dict_with_keywords_for_keys_in_the_order_of_the_pattern(db):
    found = pull(db, "[:p/name :p/age :p/ok]", BO)
    assert {":p/name": "Bo", ":p/age": 0, ":p/ok": False} == found
    assert [dict, Keyword] == [type(found), type(next(iter(found)))]
    assert [":p/ok", ":p/name"] == list(pull(db, "[:p/ok :p/name]", BO))


def test_false_zero_and_the_empty_string_are_values(db):
    assert {":p/ok": False, ":p/age": 0} == pull(db, "[[:p/ok :default true] [:p/age :default 1]]", BO)


def test_what_an_entity_lacks_is_left_out(db):
    assert {":p/name": "Cy"} == pull(db, "[:p/name :p/age :p/nick :p/sort {:p/home [:h/no]}]", CY)


def test_values_come_as_users_wrote_them(db):
    assert {":p/born": datetime(1990, 1, 2, tzinfo=UTC)} == pull(db, "[:p/born]", BO)


def test_many_values_are_a_list_in_order_of_value(db):
    assert {":p/nick": ["a", "b", "z"]} == pull(db, "[:p/nick]", BO)
    assert {":p/spot": [(None, None), (1, datetime(2020, 1, 1, tzinfo=UTC)), (2, None)]} == pull(db, "[:p/spot]", ANN)


def test_an_entity_is_named_by_id_ident_or_lookup_ref(db, ids):
    assert {":p/name": "Bo"} == pull(db, "[:p/name]", ids["bo"])
    assert {":db/ident": ":sort/good"} == pull(db, "[:db/ident]", ":sort/good")
    assert {":p/name": "Bo"} == pull(db, "[:p/name]", factstore.entity(db, BO))


def test_db_id_can_be_asked_for_alone_and_renamed(db, ids):
    assert {":db/id": ids["bo"]} == pull(db, "[:db/id]", BO)
    assert {"id": ids["bo"], ":p/age": 0} == pull(db, '[[:db/id :as "id"] :p/age]', BO)


def test_a_plain_reference_is_an_id_and_the_ident_of_what_has_one(db, ids):
    assert {":p/pal": [{":db/id": ids["bo"]}, {":db/id": ids["cy"]}]} == pull(db, "[:p/pal]", ANN)
    good = {":db/id": db.entid(":sort/good"), ":db/ident": ":sort/good"}
    assert {":p/sort": good} == pull(db, "[:p/sort]", BO)


def test_maps_follow_references_and_drop_those_that_have_nothing(db):
    assert {":p/pal": [{":p/name": "Bo"}, {":p/name": "Cy"}]} == pull(db, "[{:p/pal [:p/name]}]", ANN)
    assert {":p/pal": [{":p/age": 0}]} == pull(db, "[{:p/pal [:p/age]}]", ANN)
    assert pull(db, "[{:p/pal [:p/home]}]", ANN) is None


def test_reverse_references_are_lists_and_the_owner_of_a_component_is_one(db, ids):
    assert {":p/_pal": [{":db/id": ids["ann"]}, {":db/id": ids["cy"]}]} == pull(db, "[:p/_pal]", CY)
    assert {":p/_pal": [{":p/name": "Ann"}]} == pull(db, "[{:p/_pal [:p/name]}]", BO)
    assert {":p/_home": {":db/id": ids["ann"]}} == pull(db, "[:p/_home]", ids["home"])
    assert {":h/_room": {":h/no": 5, ":p/_home": {":p/name": "Ann"}}} == pull(db, "[{:h/_room [:h/no {:p/_home [:p/name]}]}]", ids["r1"])
    assert pull(db, "[:p/_pal :p/_home]", ids["blank"]) is None


def test_components_are_pulled_whole_with_theirs(db, ids):
    rooms = sorted([{":db/id": ids["r2"], ":h/no": 2}, {":db/id": ids["r1"], ":h/no": 1}], key=lambda room: room[":db/id"])
    home = {":db/id": ids["home"], ":h/no": 5, ":h/room": rooms}
    assert {":p/home": home} == pull(db, "[:p/home]", ANN)
    assert home == pull(db, "[*]", ANN)[":p/home"]
    assert {":p/home": {":h/no": 5}} == pull(db, "[{:p/home [:h/no]}]", ANN)


def test_a_wildcard_is_everything_and_a_spec_of_its_own_takes_an_attribute_out_of_it(db, ids):
    assert {":db/id": ids["cy"], ":p/name": "Cy", ":p/pal": [{":db/id": ids["cy"]}]} == pull(db, "[*]", CY)
    assert {":db/id": ids["cy"], ":p/name": "Cy", ":p/pal": [{":p/name": "Cy"}]} == pull(db, "[* {:p/pal [:p/name]}]", CY)
    assert {":db/id": ids["cy"], "n": "Cy", ":p/pal": [{":db/id": ids["cy"]}]} == pull(db, '[[:p/name :as "n"] *]', CY)
    assert {":db/id", ":p/name", ":p/pal", ":p/_pal"} == set(pull(db, "[* :p/_pal]", CY))


def test_a_wildcard_of_a_namespace_is_everything_in_that_namespace(db, ids):
    assert {":p/name": "Cy", ":p/pal": [{":db/id": ids["cy"]}]} == pull(db, "[:p/*]", CY)
    assert {":h/no": 9} == pull(db, "[:h/* :p/*]", ids["blank"])
    assert pull(db, "[:h/*]", CY) is None


def test_nothing_found_is_none(db, ids):
    assert pull(db, "[:p/name]", [":p/name", "Nobody"]) is None
    assert pull(db, "[:p/name {:p/pal [:p/name]}]", [":p/name", "Nobody"]) is None
    assert pull(db, "[:p/name]", ":no/such-ident") is None
    assert pull(db, "[:p/name]", ids["blank"]) is None
    assert pull(db, "[]", ANN) is None
    assert {":db/id": 1 << 43} == pull(db, "[* :p/name]", 1 << 43)


@pytest.mark.parametrize("nobody", [[":p/name", "Nobody"], ":no/such-ident", None])
def test_of_a_name_that_finds_nobody_there_are_no_id_and_defaults(db, nobody):
    assert {":db/id": None} == pull(db, "[*]", nobody)
    assert {":db/id": None} == pull(db, "[:p/name :db/id]", nobody)
    assert {":p/age": 7} == pull(db, "[:p/name [:p/age :default 7]]", nobody)
    assert [{":db/id": None}, {":db/id": None}] == pull_many(db, "[:db/id]", [nobody, nobody])
    assert [{":db/id": None}] * 50 == pull_many(db, "[*]", [nobody] * 50)
    if nobody is not None:
        assert [({":db/id": None},)] == q("[:find (pull ?e [*]) :in $ ?e]", db, nobody)


def test_defaults_stand_in_for_what_is_absent_as_they_are(db):
    assert {":p/age": 7, ":p/nick": ["-"], ":p/sort": False} == pull(
        db, '[[:p/age :default 7] [:p/nick :default ["-"]] [:p/sort :default false]]', CY
    )
    assert {":p/home": "none"} == pull(db, '[{[:p/home :default "none"] [:h/no]}]', CY)
    assert {":p/age": None} == pull(db, "[[:p/age :default nil]]", CY)
    assert {":p/_pal": 0} == pull(db, "[[:p/_pal :default 0]]", ANN)


def test_a_limit_cuts_after_sorting_and_counts_for_each_parent(db):
    assert {":p/nick": ["a", "b"]} == pull(db, "[[:p/nick :limit 2]]", BO)
    assert {":p/nick": ["a", "b", "z"]} == pull(db, "[[:p/nick :limit 9]]", BO)
    assert [["Bo"], ["Cy"]] == [
        [pal[":p/name"] for pal in found[":p/pal"]] for found in pull_many(db, "[{[:p/pal :limit 1] [:p/name]}]", [ANN, CY])
    ]
    assert 1 == len(pull(db, "[[:p/_pal :limit 1]]", CY)[":p/_pal"])


def test_a_thousand_values_are_the_default_limit():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        nicks = [f"{n:04}" for n in range(1100)]
        db = conn.transact([{":p/name": "Ann", ":p/nick": nicks}, {":p/name": "Bo", ":p/_pal": [{":p/name": nick} for nick in nicks]}])
        db = db.db_after
        assert nicks[:1000] == pull(db, "[:p/nick]", ANN)[":p/nick"]
        assert nicks[:1000] == pull(db, "[*]", ANN)[":p/nick"]
        assert nicks == pull(db, "[[:p/nick :limit nil]]", ANN)[":p/nick"]
        assert 1000 == len(pull(db, "[:p/_pal]", BO)[":p/_pal"])
        assert 1100 == len(pull(db, "[[:p/_pal :limit nil]]", BO)[":p/_pal"])


def test_xform_gets_what_was_found_and_none_for_what_was_not(db):
    register("test-pull/seen", lambda value: ("seen", value))
    assert {":p/name": ("seen", "Bo")} == pull(db, "[[:p/name :xform test-pull/seen]]", BO)
    assert {":p/nick": ("seen", ["a", "b", "z"])} == pull(db, "[[:p/nick :xform test-pull/seen]]", BO)
    assert {":p/pal": ("seen", [{":p/name": "Bo"}, {":p/name": "Cy"}])} == pull(db, "[{[:p/pal :xform test-pull/seen] [:p/name]}]", ANN)
    assert {":p/age": ("seen", None), ":p/home": ("seen", None)} == pull(
        db, "[[:p/age :xform test-pull/seen] {[:p/home :xform test-pull/seen] [:h/no]}]", CY
    )
    assert {":p/age": 1} == pull(db, "[[:p/age :xform test-pull/seen :default 1]]", CY)


def test_xform_may_drop_a_value_may_be_a_callable_and_is_looked_up_when_it_runs(db):
    assert {":p/age": 0} == pull(db, [":p/age", [":p/name", ":xform", lambda name: None]], BO)
    assert {":p/name": "BO"} == pull(db, [[":p/name", ":xform", str.upper]], BO)
    register("test-pull/changing", lambda value: 1)
    pattern = "[[:p/name :xform test-pull/changing]]"
    assert {":p/name": 1} == pull(db, pattern, BO)
    register("test-pull/changing", lambda value: 2)
    assert {":p/name": 2} == pull(db, pattern, BO)


def test_some_xforms_are_known_without_registration(db):
    assert {":p/nick": 3, ":p/age": 1} == pull(db, "[[:p/nick :xform count] [:p/age :xform inc]]", BO)
    assert {":db/ident": "good"} == pull(db, "[[:db/ident :xform name]]", ":sort/good")
    assert {":p/name": "BO"} == pull(db, "[[:p/name :xform clojure.string/upper-case]]", BO)
    assert {":p/nick": 0} == pull(db, "[[:p/nick :xform count]]", CY)
    assert {":p/nick": True} == pull(db, "[[:p/nick :xform empty?]]", CY)


def test_an_xform_that_fails_is_an_error_that_says_which_and_of_what(db):
    with pytest.raises(PullError, match="test-pull/boom of :p/name raised ZeroDivisionError") as caught:
        register("test-pull/boom", lambda value: 1 // 0)
        pull(db, "[[:p/name :xform test-pull/boom]]", BO)
    assert ":db.error/xform-failed" == caught.value.code
    assert "Bo" == caught.value.value
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_pull_sees_what_its_database_sees(db, ids):
    hidden = db.attribute(":p/name").id
    filtered = db.filter(lambda _, datom: datom.a != hidden)
    assert {":db/id": ids["cy"], ":p/pal": [{":db/id": ids["cy"]}]} == pull(filtered, "[*]", ids["cy"])
    assert {":db/id": None} == pull(filtered, "[*]", CY)
    ident = db.attribute(":db/ident").id
    assert {":p/sort": {":db/id": db.entid(":sort/good")}} == pull(db.filter(lambda _, datom: datom.a != ident), "[:p/sort]", BO)


# -- many


PATTERNS = [
    "[:p/name :p/age :p/ok :p/born]",
    "[:p/nick :p/spot]",
    "[:p/name {:p/pal [:p/name :p/nick]} {:p/_pal [:p/name]} :p/sort :p/_pal]",
    "[*]",
    "[:p/* {:p/home [*]}]",
    "[:p/name {:p/pal ...}]",
    '[[:p/age :default -1] [:p/nick :limit 1 :as "n"] [:p/ok :xform not] [:p/born :xform str]]',
]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("times", [1, 40])
def test_pulling_many_is_pulling_each_in_order_with_repeats_and_gaps(db, ids, pattern, times):
    eids = [BO, ids["blank"], [":p/name", "Nobody"], ANN, CY, BO, 1 << 43, ids["home"]] * times
    assert [pull(db, pattern, eid) for eid in eids] == pull_many(db, pattern, eids)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_pulling_many_in_the_past_is_pulling_each(db, ids, pattern):
    then = db.as_of(1)
    assert [pull(then, pattern, eid) for eid in list(ids.values()) * 20] == pull_many(then, pattern, list(ids.values()) * 20)


def test_results_of_a_repeated_entity_are_not_shared(db, ids):
    first, *_ = found = pull_many(db, "[:p/name {:p/pal [:p/name]}]", [ids["ann"]] * 50)
    first[":p/pal"][0][":p/name"] = "changed"
    assert "Bo" == found[1][":p/pal"][0][":p/name"]


def test_pulling_none_is_an_empty_list_and_any_iterable_will_do(db, ids):
    assert [] == pull_many(db, "[:p/name]", [])
    assert [{":p/age": 0}, None] == pull_many(db, "[:p/age]", (ids[name] for name in ("bo", "cy")))
