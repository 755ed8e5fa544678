"""Attributes whose value only `:db/cas` replaces: `:db.attr/preds db/cas-only`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import pytest

import factstore
from factstore import Attr, Keyword
from factstore.dumps import dump, replay
from tests.factstore.tx import refused, value, world

SCHEMA = """
[{:db/ident :t/id :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :t/state :db/valueType :db.type/keyword :db/cardinality :db.cardinality/one :db.attr/preds db/cas-only
  :db/doc "Moved by tickets.close."}
 {:db/ident :t/size :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
 {:db/ident :t/part :db/valueType :db.type/ref :db/cardinality :db.cardinality/many :db/isComponent true}]
"""
T = [":t/id", "one"]
OPEN, CLOSED = Keyword(":open"), Keyword(":closed")


@dataclass
class Ticket:
    id: Annotated[str, Attr(":t/id")]
    state: Annotated[Keyword, Attr(":t/state")]


REPLACING = {
    "map by identity": [{":t/id": "one", ":t/state": ":closed"}],
    "map with a tempid": [{":db/id": "x", ":t/id": "one", ":t/state": ":closed"}],
    "map by lookup ref": [{":db/id": T, ":t/state": ":closed", ":t/size": 2}],
    "nested map": [{":t/id": "new", ":t/part": [{":t/id": "one", ":t/state": ":closed"}]}],
    "list": [[":db/add", T, ":t/state", ":closed"]],
    "EDN": '[{:t/id "one" :t/state :closed}]',
    "instance of a class": [Ticket("one", CLOSED)],
    "all there is": [[":db/setExactly", T, ":t/state", [":closed"]]],
    "function": [["tests/told", [":db/add", T, ":t/state", ":closed"]]],
    "among many": [*({":t/id": f"new {n}", ":t/state": ":open"} for n in range(20)), {":t/id": "one", ":t/state": ":closed"}],
    "beside its retraction": [[":db/retract", T, ":t/state", ":open"], [":db/add", T, ":t/state", ":closed"]],
    "beside the entity's": [[":db/retractEntity", T], [":db/add", T, ":t/state", ":closed"]],
    "beside a swap of another's": [[":db/cas", "new", ":t/state", None, ":open"], {":db/id": "new", ":t/id": "new"},
                                   [":db/add", T, ":t/state", ":closed"]],
}  # fmt: skip
RETRACTING = {
    "with the value": [[":db/retract", T, ":t/state", ":open"]],
    "whatever it is": [[":db/retract", T, ":t/state"]],
    "by the old name": [[":db.fn/retractAttribute", T, ":t/state"]],
    "no value at all": [[":db/setExactly", T, ":t/state", []]],
}


@factstore.register("tests/told")
def told(db, *forms):
    return list(forms)


@pytest.fixture
def conn():
    return world('[{:t/id "one" :t/state :open :t/size 1}]', schema=SCHEMA)


@pytest.mark.parametrize("entrance", REPLACING)
def test_another_value_is_rejected_whole_by_every_entrance_but_a_swap(conn, entrance):
    before = conn.db().basis_t
    error = refused(conn, REPLACING[entrance], ":db.error/cas-only")
    assert "(:t/id 'one') is replaced only by :db/cas (db/cas-only); it is :open since t=" in error.message
    assert "about :t/state: Moved by tickets.close, at" in error.message
    assert conn.db().entid(T) == error.entity
    assert OPEN == error.known
    assert CLOSED == error.value
    assert before == conn.db().basis_t


@pytest.mark.parametrize("entrance", RETRACTING)
def test_its_retraction_alone_is_rejected(conn, entrance):
    error = refused(conn, RETRACTING[entrance], ":db.error/cas-only")
    assert "got its retraction; it goes with its entity" in error.message
    assert conn.db().entid(T) == error.entity
    assert OPEN == error.known


def test_none_that_retracts_is_rejected_too(conn):
    with pytest.raises(factstore.TransactError) as error:
        conn.transact([{":t/id": "one", ":t/state": None}], none="retract")
    assert ":db.error/cas-only" == error.value.code


@pytest.mark.parametrize("form", [lambda e: [":db/add", e, ":t/state", CLOSED], lambda e: {":db/id": e, ":t/state": CLOSED}])
def test_it_is_rejected_by_entity_id_where_a_plain_value_takes_the_short_cut(conn, form):
    eid = conn.db().entid(T)
    for forms in ([form(eid)], [[":db/add", eid, ":t/size", 7], form(eid)], [["tests/told", form(eid)]]):
        refused(conn, forms, ":db.error/cas-only")
        with pytest.raises(factstore.TransactError, match="only by :db/cas"):
            factstore.with_(conn.db(), forms)
        with pytest.raises(factstore.TransactError, match="only by :db/cas"):
            conn.transact_async(forms).result()
    assert OPEN == value(conn.db(), T, ":t/state")
    assert 1 == value(conn.db(), T, ":t/size")


@pytest.mark.parametrize("swap", [":db/cas", ":db.fn/cas"])
def test_a_swap_replaces_it_by_every_way(conn, swap):
    eid = conn.db().entid(T)
    conn.transact([[swap, eid, ":t/state", OPEN, CLOSED]])
    conn.transact([[swap, T, ":t/state", ":closed", ":open"], {":t/id": "one", ":t/size": 3}])
    conn.transact([["tests/told", [swap, eid, ":t/state", OPEN, CLOSED]]])
    assert CLOSED == value(conn.db(), T, ":t/state")
    assert 3 == value(conn.db(), T, ":t/size")
    refused(conn, [[swap, eid, ":t/state", OPEN, CLOSED]], ":db.error/cas-failed")


def test_a_new_entity_is_given_any_value_and_the_same_value_may_be_asserted_again(conn):
    conn.transact([{":t/id": "two", ":t/state": ":closed"}, {":t/id": "two", ":t/state": ":closed"}])
    conn.transact([{":t/id": "two", ":t/state": ":closed", ":t/size": 4}])
    assert CLOSED == value(conn.db(), [":t/id", "two"], ":t/state")
    assert 4 == value(conn.db(), [":t/id", "two"], ":t/size")


def test_a_known_entity_without_a_value_is_given_its_first(conn):
    conn.transact([{":t/id": "bare"}])
    conn.transact([{":t/id": "bare", ":t/state": ":open"}])
    assert OPEN == value(conn.db(), [":t/id", "bare"], ":t/state")


@pytest.mark.parametrize("forms", [[[":db/retractEntity", T]], [[":db/retract", T, ":t/state"], [":db/retract", T, ":t/id", "one"]]])
def test_it_goes_with_its_entity(conn, forms):
    eid = conn.db().entid(T)
    conn.transact(forms)
    assert conn.db().entid(T) is None
    assert value(conn.db(), eid, ":t/state") is None


def test_an_entity_that_nothing_names_keeps_it(conn):
    eid = conn.transact([{":db/id": "x", ":t/state": ":open"}]).tempids["x"]
    refused(conn, [[":db/retract", eid, ":t/state", ":open"]], ":db.error/cas-only")


def test_several_such_values_of_an_entity_go_together_or_not_at_all(conn):
    conn.transact([{":db/id": ":t/id", ":db.attr/preds": "db/cas-only"}])
    refused(conn, [[":db/retract", T, ":t/id", "one"]], ":db.error/cas-only")
    refused(conn, [[":db/add", conn.db().entid(T), ":t/id", "renamed"]], ":db.error/cas-only")
    conn.transact([{":t/id": "one", ":t/size": 9}])
    conn.transact([[":db/cas", T, ":t/id", "one", "renamed"]])
    assert 9 == value(conn.db(), [":t/id", "renamed"], ":t/size")


def test_the_steps_of_an_open_transaction_see_what_it_asserted(conn):
    with pytest.raises(factstore.TransactError) as error, conn.transaction() as tx:
        tx.transact([{":t/id": "two", ":t/state": ":open"}])
        tx.transact([{":t/id": "two", ":t/state": ":closed"}])
    assert ":db.error/cas-only" == error.value.code
    assert conn.db().entid([":t/id", "two"]) is None


def test_a_loaded_row_of_a_known_entity_is_rejected_with_its_batch_unless_it_says_the_same(conn):
    mapping = {"id": ":t/id", "state": ":t/state"}
    with pytest.raises(factstore.TransactError, match=r"\(:t/id 'one'\) is replaced only by :db/cas") as error:
        conn.load({"id": ["two", "one"], "state": [CLOSED, CLOSED]}, mapping)
    assert ":db.error/cas-only" == error.value.code
    assert conn.db().entid([":t/id", "two"]) is None
    conn.load({"id": ["two", "one"], "state": [CLOSED, OPEN]}, mapping)
    assert CLOSED == value(conn.db(), [":t/id", "two"], ":t/state")
    assert OPEN == value(conn.db(), T, ":t/state")


def test_a_replay_moves_it_as_the_store_of_the_dump_did(conn, tmp_path):
    conn.transact([[":db/cas", T, ":t/state", ":open", ":closed"]])
    conn.transact([{":t/id": "two", ":t/state": ":open"}, [":db/retractEntity", T]])
    dump(conn, tmp_path / "dump.edn.gz")
    with factstore.connect("memory:") as other:
        replay(other, tmp_path / "dump.edn.gz")
        moves = factstore.q("[:find ?v ?added :where [_ :t/state ?v _ ?added]]", other.db().history())
        assert {(OPEN, True), (OPEN, False), (CLOSED, True), (CLOSED, False)} == moves


def test_the_predicate_can_be_given_to_an_attribute_and_taken_from_it(conn):
    conn.transact([[":db/retract", ":t/state", ":db.attr/preds", factstore.Symbol("db/cas-only")]])
    conn.transact([{":t/id": "one", ":t/state": ":closed"}])
    conn.transact([{":db/id": ":t/state", ":db.attr/preds": "db/cas-only"}])
    refused(conn, [{":t/id": "one", ":t/state": ":open"}], ":db.error/cas-only")


def test_it_is_for_attributes_of_one_value(conn):
    many = {":db/ident": ":t/many", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/many"}
    refused(conn, [{**many, ":db.attr/preds": "db/cas-only"}], ":db.error/invalid-install-attribute")
    refused(conn, [{":db/id": ":t/state", ":db/cardinality": ":db.cardinality/many"}], ":db.error/invalid-install-attribute")
