"""Map forms: collections, nested maps, reverse attributes."""

from __future__ import annotations

import pytest

import factstore
from factstore import Keyword
from tests.factstore.tx import ANN, BEN, assert_datoms, changes, people, refused, value, values


def test_maps_without_an_id_are_entities_of_their_own():
    conn = people()
    assert 2 == len({e for e, *_ in changes(conn.transact([{":u/age": 77}, {":u/age": 77}]))})


def test_an_empty_map_says_nothing():
    assert_datoms(people().transact([{}]), "[]")


@pytest.mark.parametrize("nicks", [["p", "q"], ("p", "q"), {"p", "q"}, frozenset({"p", "q"})])
def test_a_collection_gives_an_attribute_of_many_several_values(nicks):
    conn = people()
    conn.transact([{":u/login": "ann", ":u/nick": nicks}])
    assert {"a1", "a2", "p", "q"} == values(conn.db(), ANN, ":u/nick")


def test_one_value_and_no_values_are_collections_too():
    conn = people()
    conn.transact([{":u/login": "ann", ":u/nick": "solo"}, {":u/login": "ben", ":u/nick": []}])
    assert {"a1", "a2", "solo"} == values(conn.db(), ANN, ":u/nick")
    assert set() == values(conn.db(), BEN, ":u/nick")


def test_a_collection_for_an_attribute_of_one_is_refused():
    error = refused(people(), [{":u/login": "x", ":u/age": [1, 2]}], ":db.error/wrong-type-for-attribute")
    assert "tx-data[0][':u/age']" == error.path
    assert ":u/age" == error.attribute
    assert [1, 2] == error.got


def test_a_wrong_value_in_a_collection_is_named_by_its_place():
    error = refused(people(), [{":u/login": "x"}, {":u/login": "y", ":u/nick": ["p", 5]}], ":db.error/wrong-type-for-attribute")
    assert "tx-data[1][':u/nick'][1]" == error.path


def test_a_list_of_two_is_a_lookup_ref_when_it_begins_with_a_unique_attribute():
    conn = people()
    conn.transact("[{:db/ident :color/red} {:db/ident :color/green}]")
    conn.transact([{":u/login": "cy", ":u/pals": [":u/login", "ann"]}, {":u/login": "di", ":u/pals": [":color/red", ":color/green"]}])
    db = conn.db()
    assert {db.entid(ANN)} == values(db, [":u/login", "cy"], ":u/pals")
    assert {db.entid(":color/red"), db.entid(":color/green")} == values(db, [":u/login", "di"], ":u/pals")


def test_nested_maps_under_a_component_are_new_entities():
    conn = people()
    conn.transact([{":u/login": "ann", ":u/bags": [{":bag/kind": ":red"}, {":bag/kind": ":blue"}], ":u/home": {":u/name": "elm"}}])
    db = conn.db()
    assert {Keyword(":red"), Keyword(":blue")} == {value(db, bag, ":bag/kind") for bag in values(db, ANN, ":u/bags")}
    assert "elm" == value(db, value(db, ANN, ":u/home"), ":u/name")


def test_a_nested_map_with_an_identity_upserts():
    conn = people()
    conn.transact([{":u/login": "ann", ":u/boss": {":u/login": "ben", ":u/age": 18}}])
    db = conn.db()
    assert db.entid(BEN) == value(db, ANN, ":u/boss")
    assert 18 == value(db, BEN, ":u/age")


def test_a_nested_map_that_nothing_could_find_again_is_refused():
    error = refused(people(), [{":u/login": "ann", ":u/pals": [ANN, {":u/age": 50}]}], ":db.error/invalid-tx-form")
    assert "tx-data[0][':u/pals'][1]" == error.path
    assert "unique" in error.message


def test_a_nested_map_may_name_its_entity():
    conn = people()
    conn.transact([{":u/login": "ann", ":u/boss": {":db/id": "new", ":u/age": 50}, ":u/pals": {":db/id": BEN}}])
    db = conn.db()
    assert 50 == value(db, value(db, ANN, ":u/boss"), ":u/age")
    assert {db.entid(BEN)} == values(db, ANN, ":u/pals")


def test_what_is_wrong_deep_inside_is_named_by_its_path():
    form = {":u/login": "ann", ":u/bags": [{":bag/kind": ":red"}, {":u/home": {":u/age": "old"}}]}
    error = refused(people(), [form], ":db.error/wrong-type-for-attribute")
    assert "tx-data[0][':u/bags'][1][':u/home'][':u/age']" == error.path


def test_nesting_may_be_deep():
    form: dict = {":u/age": 0}
    for depth in range(1, 3000):
        form = {":u/age": depth, ":u/home": form}
    conn = people()
    assert 5999 == len(changes(conn.transact([form])))


def test_a_reverse_attribute_asserts_the_reference_of_the_other():
    conn = people()
    conn.transact([{":db/id": "cid", ":u/login": "cid", ":u/_boss": [ANN, BEN, {":u/login": "dan"}]}])
    db = conn.db()
    assert {db.entid([":u/login", "cid"])} == {value(db, [":u/login", n], ":u/boss") for n in ("ann", "ben", "dan")}


def test_a_reverse_attribute_takes_one_entity_or_a_tempid():
    conn = people()
    conn.transact([{":db/id": "k", ":u/login": "kay"}, {":u/login": "cid", ":u/_boss": "k", ":u/_pals": ANN}])
    db = conn.db()
    cid = db.entid([":u/login", "cid"])
    assert cid == value(db, [":u/login", "kay"], ":u/boss")
    assert {cid} == values(db, ANN, ":u/pals")


def test_a_reverse_attribute_that_is_no_reference_is_refused():
    error = refused(people(), [{":u/login": "cid", ":u/_age": ANN}], ":db.error/invalid-tx-form")
    assert "tx-data[0][':u/_age']" == error.path
    assert ":u/age is a long" in error.message


def test_none_is_refused_wherever_a_value_stands():
    conn = people()
    for form in ({":u/login": "x", ":u/age": None}, [":db/add", ANN, ":u/age", None], {":u/login": "x", ":u/nick": ["a", None]}):
        assert "leave it out" in str(refused(conn, [form], ":db.error/nil-value"))


def test_an_entity_of_a_database_stands_for_itself():
    conn = people()
    ann = factstore.entity(conn.db(), ANN)
    conn.transact([{":u/login": "cy", ":u/boss": ann, ":u/pals": [ann]}, [":db/add", ann, ":u/age", 31]])
    db = conn.db()
    assert ann.eid == value(db, [":u/login", "cy"], ":u/boss")
    assert {ann.eid} == values(db, [":u/login", "cy"], ":u/pals")
    assert 31 == value(db, ANN, ":u/age")
