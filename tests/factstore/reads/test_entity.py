"""Entities: lazy mappings that are walked in both directions."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

import factstore
from factstore import Entity, Keyword, entity
from factstore.errors import DatabaseError

SCHEMA = """
[{:db/ident :p/name :db/valueType :db.type/string  :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :p/ok   :db/valueType :db.type/boolean :db/cardinality :db.cardinality/one}
 {:db/ident :p/nick :db/valueType :db.type/string  :db/cardinality :db.cardinality/many}
 {:db/ident :p/sort :db/valueType :db.type/ref     :db/cardinality :db.cardinality/many}
 {:db/ident :p/boss :db/valueType :db.type/ref     :db/cardinality :db.cardinality/one}
 {:db/ident :p/home :db/valueType :db.type/ref     :db/cardinality :db.cardinality/many :db/isComponent true}
 {:db/ident :h/no   :db/valueType :db.type/long    :db/cardinality :db.cardinality/one}
 {:db/ident :sort/good} {:db/ident :sort/new}]
"""
PEOPLE = """
[{:db/id "bo"  :p/name "Bo"  :p/ok false :p/nick ["b" "bb"] :p/sort [:sort/good :sort/new]}
 {:db/id "ann" :p/name "Ann" :p/boss "bo" :p/home [{:db/id "h1" :h/no 1} {:db/id "h2" :h/no 2}]}
 {:db/id "cy"  :p/name "Cy"  :p/boss "bo"}]
"""
ANN, BO, CY = ([":p/name", name] for name in ("Ann", "Bo", "Cy"))


class People:
    def __init__(self, conn):
        self.conn = conn
        conn.transact(SCHEMA)
        report = conn.transact(PEOPLE)
        self.db, self.ids = report.db_after, report.tempids


def attributes_read(read: Entity) -> set[str]:
    return {read.db.schema.attribute(a).ident for a in read._row}


@pytest.fixture
def people():
    with factstore.connect("memory:") as conn:
        yield People(conn)


def test_an_entity_is_a_read_only_mapping_of_its_attributes(people):
    bo = entity(people.db, BO)
    assert isinstance(bo, Mapping)
    assert "Bo" == bo[":p/name"]
    assert bo[Keyword(":p/ok")] is False
    assert people.ids["bo"] == bo[":db/id"]
    assert {":p/name", ":p/ok", ":p/nick", ":p/sort"} == set(bo)
    assert 4 == len(bo)
    assert ":p/ok" in bo
    assert ":p/boss" not in bo
    with pytest.raises(TypeError):
        bo[":p/name"] = "Bob"


def test_what_an_entity_lacks_is_a_key_error_and_none_from_get(people):
    cy = entity(people.db, CY)
    for key in (":p/ok", ":p/nick", ":p/home", ":p/_boss", ":no/such", ":p/_name", "name", 5):
        assert cy.get(key) is None
        assert "other" == cy.get(key, "other")
        with pytest.raises(KeyError):
            cy[key]


def test_many_values_are_a_set_and_idents_stand_for_what_has_one(people):
    bo = entity(people.db, BO)
    assert frozenset({"b", "bb"}) == bo[":p/nick"]
    assert frozenset({Keyword(":sort/good"), Keyword(":sort/new")}) == bo[":p/sort"]


def test_references_lead_to_entities_both_ways(people):
    ann = entity(people.db, ANN)
    bo = ann[":p/boss"]
    assert "Bo" == bo[":p/name"]
    assert isinstance(bo, Entity) is True
    assert frozenset({ann, entity(people.db, CY)}) == bo[":p/_boss"]
    assert {"Ann", "Cy"} == {member[":p/name"] for member in bo[":p/_boss"]}


def test_a_component_leads_back_to_its_one_owner(people):
    ann = entity(people.db, ANN)
    assert {1, 2} == {home[":h/no"] for home in ann[":p/home"]}
    assert ann == entity(people.db, people.ids["h1"])[":p/_home"]


def test_an_entity_stays_in_its_database(people):
    then = entity(people.db, BO)
    people.conn.transact([[":db/add", BO, ":p/ok", True]])
    assert then[":p/ok"] is False
    assert entity(people.conn.db(), BO)[":p/ok"] is True
    assert entity(people.conn.db().as_of(people.db.basis_t), BO)[":p/ok"] is False


def test_entities_are_equal_by_id_and_database(people):
    db = people.db
    assert entity(db, BO) == entity(db, people.ids["bo"])
    assert hash(entity(db, BO)) == hash(entity(db, people.ids["bo"]))
    assert entity(db, BO) != entity(db, ANN)
    assert entity(db.as_of(2), BO) == entity(db.as_of(2), BO)
    assert entity(db.as_of(2), BO) != entity(db.as_of(1), people.ids["bo"])
    assert entity(people.conn.transact([]).db_after, BO) != entity(db, BO)
    speculations = [factstore.with_(db, [[":db/add", BO, ":p/ok", ok]]).db_after for ok in (True, False)]
    assert entity(speculations[0], BO) != entity(speculations[1], BO)


def test_an_entity_of_which_nothing_is_known_is_empty_and_true(people):
    unknown = entity(people.db, 1 << 43)
    assert unknown
    assert 0 == len(unknown)
    assert {} == dict(unknown)
    assert unknown.get(":p/name") is None


def test_a_name_that_names_nothing_is_none(people):
    assert entity(people.db, [":p/name", "Nobody"]) is None
    assert entity(people.db, ":sort/bad") is None


def test_touch_reads_all_of_it_and_of_its_components(people):
    ann = entity(people.db, ANN)
    assert ann is ann.touch()
    assert {":p/name", ":p/boss", ":p/home"} == attributes_read(ann)
    assert [{":h/no"}, {":h/no"}] == [attributes_read(home) for home in ann[":p/home"]]
    assert set() == attributes_read(ann[":p/boss"])


def test_touch_ends_where_components_go_in_a_circle(people):
    db = people.conn.transact([[":db/add", people.ids["h1"], ":p/home", people.ids["ann"]]]).db_after
    assert "Ann" == entity(db, ANN).touch()[":p/name"]


def test_what_was_read_once_is_not_read_again(people):
    ann = entity(people.db, ANN)
    assert ann[":p/boss"] is ann[":p/boss"]
    assert ann[":p/home"] is ann[":p/home"]


def test_an_entity_names_an_entity_wherever_an_id_does(people):
    bo = entity(people.db, BO)
    assert people.ids["bo"] == people.db.entid(bo)
    assert {":p/name": "Bo"} == factstore.pull(people.db, "[:p/name]", bo)


def test_an_entity_knows_its_database_and_prints_short(people):
    bo = entity(people.db, BO)
    assert people.db == bo.db
    assert people.ids["bo"] == bo.eid
    assert f"<Entity {people.ids['bo']} t=2>" == repr(bo)
    assert ":sort/good" in repr(entity(people.db, ":sort/good"))


def test_a_history_database_has_no_entities(people):
    with pytest.raises(DatabaseError) as caught:
        entity(people.db.history(), BO)
    assert ":db.error/history-not-supported" == caught.value.code


def test_an_entity_sees_what_its_database_sees(people):
    ok = people.db.attribute(":p/ok").id
    filtered = people.db.filter(lambda _, datom: datom.a != ok)
    assert entity(filtered, BO).get(":p/ok") is None
    assert ":p/ok" not in set(entity(filtered, BO))


def test_a_reference_to_an_ident_is_that_ident_in_every_view(people):
    since = people.db.since(people.db.basis_t - 1)
    people.conn.transact([{":db/id": BO, ":p/ok": True}])
    bo = people.db.entid(BO)
    assert {":sort/good", ":sort/new"} == entity(since, bo)[":p/sort"]
    later = people.conn.db().since(people.db.basis_t)
    people.conn.transact([[":db/add", bo, ":p/sort", people.ids["ann"]]])
    assert {":p/ok": True} == dict(entity(later, bo))
    people.conn.transact([{":db/id": CY, ":p/sort": ":sort/new"}])
    assert {":sort/new"} == entity(people.conn.db().since(people.conn.db().basis_t - 1), people.ids["cy"])[":p/sort"]
