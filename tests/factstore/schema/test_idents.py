"""Idents: names of entities, which may change while old ones still resolve."""

from __future__ import annotations

from itertools import permutations

import factstore
from factstore import Keyword
from tests.factstore.tx import ANN, people, refused, value, world


def test_an_ident_stands_for_its_entity():
    conn = people()
    conn.transact([{":db/id": "r", ":db/ident": ":color/red"}])
    conn.transact(
        [[":db/add", ":color/red", ":u/name", "red"], [":db/add", ANN, ":u/boss", ":color/red"], {":db/id": ANN, ":u/pals": ":color/red"}]
    )
    red = conn.db().entid(":color/red")
    assert red == value(conn.db(), ANN, ":u/boss")
    assert "red" == value(conn.db(), red, ":u/name")


def test_a_renamed_attribute_answers_to_both_names():
    conn = people()
    conn.transact([{":db/id": ":u/name", ":db/ident": ":u/full-name"}])
    conn.transact([{":u/login": "cy", ":u/full-name": "Cy"}, {":u/login": "di", ":u/name": "Di"}])
    db = conn.db()
    assert ("Ann", "Cy", "Di") == tuple(value(db, [":u/login", n], ":u/full-name") for n in ("ann", "cy", "di"))
    assert ":u/full-name" == db.ident(":u/name")
    assert db.entid(":u/full-name") == db.entid(":u/name")


def test_an_old_name_can_be_given_to_something_else():
    conn = people()
    conn.transact([{":db/id": ":u/name", ":db/ident": ":u/full-name"}])
    conn.transact([{":db/ident": ":u/name", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}])
    conn.transact([{":u/login": "ann", ":u/name": 5}])
    assert 5 == value(conn.db(), ANN, ":u/name")
    assert "Ann" == value(conn.db(), ANN, ":u/full-name")


def test_an_entity_cannot_take_the_name_of_another():
    conn = people()
    conn.transact("[{:db/ident :color/red} {:db/ident :color/green}]")
    refused(conn, [[":db/add", ":color/green", ":db/ident", ":color/red"]], ":db.error/unique-conflict")


def test_a_name_upserts():
    conn = people()
    red = conn.transact([{":db/id": "r", ":db/ident": ":color/red"}]).tempids["r"]
    assert red == conn.transact([{":db/id": "x", ":db/ident": ":color/red", ":u/age": 1}]).tempids["x"]


def test_a_name_can_be_used_in_the_transaction_that_gives_it():
    conn = people()
    forms = [{":db/id": "r", ":db/ident": ":color/red"}, [":db/add", ANN, ":u/boss", ":color/red"], [":db/add", ":color/red", ":u/age", 1]]
    for order in permutations(forms):
        report = factstore.with_(conn.db(), order)
        assert report.tempids["r"] == value(report.db_after, ANN, ":u/boss")
        assert 1 == value(report.db_after, ":color/red", ":u/age")
    conn.transact([{":db/id": ANN, ":db/ident": ":people/ann"}, [":db/add", ":people/ann", ":u/pals", ":people/ann"]])
    assert conn.db().entid(ANN) == value(conn.db(), ANN, ":u/pals")
    refused(conn, [{":db/ident": ":color/blue"}, [":db/add", ANN, ":u/boss", ":color/blu"]], ":db.error/not-an-entity")


def test_a_lookup_ref_may_go_through_the_name():
    conn = people()
    conn.transact("[{:db/ident :color/red}]")
    conn.transact([[":db/add", [":db/ident", ":color/red"], ":u/age", 1]])
    assert 1 == value(conn.db(), ":color/red", ":u/age")
    assert Keyword(":color/red") == conn.db().ident(conn.db().entid(":color/red"))


def test_an_entity_with_a_name_can_be_retracted():
    conn = people()
    conn.transact("[{:db/ident :color/red :u/age 9}]")
    red = conn.db().entid(":color/red")
    conn.transact([[":db/retractEntity", ":color/red"]])
    assert [] == list(conn.db().datoms(":eavt", red))
    assert conn.db().ident(red) is None


def test_an_unknown_ident_in_the_place_of_a_reference_names_the_enumerations_near_it():
    conn = world([{":db/ident": ":color/red"}, {":db/ident": ":color/green"}])
    error = refused(conn, [{":u/login": "x", ":u/boss": ":color/redd"}], ":db.error/not-an-entity")
    assert [":color/red", ":color/green"] == error.nearest
    unknown = refused(conn, [{":u/login": "x", ":color/redd": 1}], ":db.error/not-an-entity")
    assert [] == unknown.nearest
