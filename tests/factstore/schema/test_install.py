"""Installing attributes: plain transactions, nothing assumed, nothing half."""

from __future__ import annotations

import ast
import difflib

import pytest

import factstore
from factstore import SchemaError
from tests.factstore.tx import ANN, people, refused, value, world

LONG = {":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}
TUPLE = {":db/valueType": ":db.type/tuple", ":db/cardinality": ":db.cardinality/one"}


def test_an_attribute_can_be_used_after_the_transaction_that_declares_it():
    conn = world(schema="[]")
    declaration = {":db/ident": ":u/extra", **LONG}
    error = refused(conn, [declaration, {":u/extra": 5}], ":db.error/not-an-entity")
    assert "from the next transaction on" in error.message
    conn.transact([declaration])
    ids = conn.transact([{":db/id": "x", ":u/extra": 5}]).tempids
    assert 5 == value(conn.db(), ids["x"], ":u/extra")


def test_an_attribute_lies_in_the_partition_of_the_schema_and_an_enum_does_not():
    conn = world(schema="[]")
    ids = conn.transact([{":db/id": "a", ":db/ident": ":u/extra", **LONG}, {":db/id": "e", ":db/ident": ":color/red"}]).tempids
    assert 0 == ids["a"] >> 42
    assert 2 == ids["e"] >> 42
    assert ids["a"] != ids["e"] & ((1 << 42) - 1)


@pytest.mark.parametrize("missing", [":db/ident", ":db/valueType", ":db/cardinality"])
def test_nothing_is_assumed_about_an_attribute(missing):
    declaration = {":db/ident": ":u/extra", **LONG, ":db/index": True}
    del declaration[missing]
    error = refused(people(), [declaration], ":db.error/invalid-install-attribute")
    assert isinstance(error, SchemaError)
    assert [missing] == error.missing
    assert "tx-data[0]" == error.path[:10]


@pytest.mark.parametrize(
    "part",
    [
        {":db/valueType": ":db.type/colour"},
        {":db/cardinality": ":db.cardinality/few"},
        {":db/unique": ":db.unique/sort-of"},
        {":db/unique": True},
        {":db/valueType": "long"},
        {":db/valueType": ":db.cardinality/one"},
        {":db/isComponent": True},
        {":db/tupleType": ":db.type/long"},
    ],
)
def test_parts_that_mean_nothing_or_do_not_fit_are_refused(part):
    refused(people(), [{":db/ident": ":u/extra", **LONG, **part}], ":db.error/invalid-install-attribute")


def test_what_is_allowed_instead_is_told():
    error = refused(
        people(), [{":db/ident": ":u/x", **LONG, ":db/cardinality": ":db.cardinality/few"}], ":db.error/invalid-install-attribute"
    )
    assert {":db.cardinality/one", ":db.cardinality/many"} == set(error.expected)
    assert "tx-data[0][':db/cardinality']" == error.path


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {":db/tupleTypes": [":db.type/long", ":db.type/nope"]},
        {":db/tupleTypes": [":db.type/long", ":db.type/tuple"]},
        {":db/tupleType": ":db.type/nope"},
        {":db/tupleType": ":db.type/long", ":db/tupleTypes": [":db.type/long", ":db.type/long"]},
    ],
)
def test_a_tuple_has_one_shape_of_known_types(shape):
    refused(people(), [{":db/ident": ":u/t", **TUPLE, **shape}], ":db.error/invalid-install-attribute")


@pytest.mark.parametrize(
    "members", [[":u/age", ":u/nick"], [":u/age", ":no/where"], [":u/age"], [":u/age", ":u/ok"] * 5, [":u/age", ":u/pair"]]
)
def test_a_composite_has_two_to_eight_members_of_cardinality_one(members):
    conn = people()
    conn.transact([{":db/ident": ":u/pair", **TUPLE, ":db/tupleAttrs": [":u/age", ":u/ok"]}])
    refused(conn, [{":db/ident": ":u/bad", **TUPLE, ":db/tupleAttrs": members}], ":db.error/invalid-tuple-attrs")


def test_a_composite_and_its_members_may_come_together():
    conn = world(
        [{":db/ident": ":z/ab", **TUPLE, ":db/tupleAttrs": [":z/a", ":z/b"]}, *({":db/ident": f":z/{n}", **LONG} for n in "ab")],
        schema="[]",
    )
    ids = conn.transact([{":db/id": "x", ":z/a": 1}]).tempids
    assert (1, None) == value(conn.db(), ids["x"], ":z/ab")


def test_saying_a_declaration_again_changes_nothing():
    conn = people()
    assert 1 == len(conn.transact([{":db/ident": ":u/age", **LONG}]).tx_data)


def test_the_old_way_of_installing_is_understood():
    conn = world(schema="[]")
    conn.transact([{":db/id": "a", ":db/ident": ":u/extra", **LONG, ":db.install/_attribute": ":db.part/db"}])
    assert conn.db().schema.find(":u/extra") is not None


def test_schema_entities_take_attributes_of_ones_own():
    conn = people()
    conn.transact(
        [{":db/id": ":u/age", ":u/name": "years", ":db/doc": "In years."}, {":db/id": ":db/doc", ":u/name": "d", ":db/doc": "Ours."}]
    )
    assert "years" == value(conn.db(), ":u/age", ":u/name")
    assert "In years." == value(conn.db(), ":u/age", ":db/doc")
    assert "d" == value(conn.db(), ":db/doc", ":u/name")
    assert "Ours." == value(conn.db(), ":db/doc", ":db/doc")


def test_what_every_store_begins_with_cannot_be_altered():
    conn = people()
    for form in (
        {":db/id": ":db/txInstant", ":db/index": True},
        {":db/id": ":db/doc", ":db/cardinality": ":db.cardinality/many"},
        {":db/id": ":db/doc", ":db/ident": ":my/doc"},
        [":db/retractEntity", ":db.type/long"],
        [":db/retract", ":db/ident", ":db/unique"],
    ):
        assert "belongs to every store" in str(refused(conn, [form], ":db.error/datom-cannot-be-altered"))


@pytest.mark.parametrize("name", [":db/mine", ":db.mine/x"])
def test_the_namespaces_of_the_system_are_reserved(name):
    refused(people(), [{":db/ident": name, **LONG}], ":db.error/reserved-ident")
    refused(people(), [{":db/ident": name}], ":db.error/reserved-ident")


def test_a_name_that_looks_reversed_is_refused():
    refused(people(), [{":db/ident": ":u/_x", **LONG}], ":db.error/invalid-install-attribute")


def test_an_unknown_attribute_is_told_with_what_is_near_and_how_to_declare_it():
    error = refused(people(), [{":u/login": "x", ":u/agee": 5}], ":db.error/not-an-entity")
    assert "attribute" == error.what
    assert ":u/agee" == error.got
    assert "tx-data[0][':u/agee']" == error.path
    assert ":u/age" in error.nearest
    assert '":db/valueType": ":db.type/long"' in error.message
    many = refused(people(), [[":db/add", "x", ":u/agee", "x"], [":db/add", "x", "u/login", "a"]], ":db.error/not-an-entity")
    assert ":db.type/string" in many.problems[0]["declaration"]
    assert many.problems[1]["declaration"] is None
    assert [":u/login"] == many.problems[1]["nearest"]
    assert "did you mean :u/login? The names of attributes begin with a colon" in many.problems[1]["message"]


@pytest.mark.parametrize(
    "value",
    [1, 1 << 70, True, 1.5, "x", ":red", ":)", b"x", {"a"}, ["a", "b"], (1, 2), [], None, {":db/doc": "part"}, {":u/login": "x"}],
    ids=repr,
)
@pytest.mark.parametrize("key", [":new/a", "new/a", ":a", ":new/_a"])
def test_the_declaration_that_is_suggested_makes_the_transaction_possible(key, value):
    conn = people()
    value = ANN if "_" in key else value  # what a reverse name has for a value is an entity
    form = {":db/id": ANN, key: value}
    error = refused(conn, [form], ":db.error/not-an-entity")
    if error.declaration is None:
        assert "To declare it" not in error.message
        return
    assert error.declaration in error.message
    conn.transact([ast.literal_eval(error.declaration)])
    conn.transact([{":db/id": ANN, key if key.startswith(":") else f":{key}": value}])


class Counted(dict):
    """A map form that counts how often it is asked for its ident."""

    asked = 0

    def get(self, key, default=None):
        Counted.asked += key == ":db/ident"
        return super().get(key, default)


@pytest.mark.parametrize(
    ("form", "code"),
    [
        (lambda n: {f":u/agee{n}": 5}, ":db.error/not-an-entity"),
        (lambda n: {":u/agee": n}, ":db.error/not-an-entity"),
        (lambda n: {":u/boss": f":u/ann{n}"}, ":db.error/not-an-entity"),
        (lambda n: [f":u/function{n}"], ":db.error/unknown-tx-function"),
    ],
)
def test_many_unknown_names_cost_a_limited_number_of_searches_for_similar_ones(form, code, monkeypatch):
    """Each takes a millisecond, in which all other transactions wait; each form was also read once for each name."""
    searches, search = [], difflib.get_close_matches
    monkeypatch.setattr(difflib, "get_close_matches", lambda *a, **k: searches.append(a) or search(*a, **k))
    monkeypatch.setattr(Counted, "asked", 0)
    forms = [Counted(form(n)) if isinstance(form(n), dict) else form(n) for n in range(300)]
    error = refused(people(), forms, code)
    assert 300 == len(error.problems)
    assert 1 <= len(searches) <= 2 * 100  # `refused` tries with_ and transact
    assert Counted.asked <= 2 * 2 * 300


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        (":db/fn", "functions are not stored"),
        (":db/valuetype", "did you mean :db/valueType"),
        ("db/valueType", "did you mean :db/valueType? The names of attributes begin with a colon"),
        ("db/id", "did you mean :db/id? The names of attributes begin with a colon"),
        (":db/nothing-like-it-at-all", "the namespaces :db and :db.* are reserved"),
        ("no name", "declare it first"),
        (":1 2", "declare it first"),
    ],
)
def test_no_declaration_is_suggested_that_could_not_be_transacted(key, hint):
    error = refused(people(), [{":u/login": "x", key: "y"}], ":db.error/not-an-entity")
    assert hint in error.message
    assert "transact this first" not in error.message


def test_an_operation_without_its_colon_is_told_so():
    error = refused(people(), [["db/add", ANN, ":u/age", 5]], ":db.error/invalid-tx-form")
    assert "expected the operation :db/add, which begins with a colon" in error.message


@pytest.mark.parametrize("key", [5, None, 1.5, ["a"], True])
def test_an_attribute_is_named_by_ident_or_id(key):
    refused(people(), [[":db/add", "x", key, 5]], ":db.error/not-an-entity")


def test_an_attribute_may_be_named_by_its_id():
    conn = people()
    age = conn.db().entid(":u/age")
    ids = conn.transact([[":db/add", "x", age, 5], {":db/id": "y", age: 6}]).tempids
    assert 5 == value(conn.db(), ids["x"], ":u/age")
    assert 6 == value(conn.db(), ids["y"], ":u/age")


def test_a_schema_can_be_tried_speculatively():
    conn = people()
    after = factstore.with_(conn.db(), [{":db/ident": ":u/extra", **LONG}]).db_after
    assert 5 in [d.v for d in factstore.with_(after, [{":u/extra": 5}]).tx_data]
    refused(conn, [{":u/extra": 5}], ":db.error/not-an-entity")


@pytest.mark.parametrize("a", [":db.attr/preds", ":db.entity/preds"])
def test_a_predicate_is_named_with_its_namespace(a):
    refused(people(), [{":db/id": ":u/name", a: "short"}], ":db.error/invalid-install-attribute")


def test_a_tuple_is_no_member_of_a_composite():
    conn = people()
    conn.transact("[{:db/ident :u/pair :db/valueType :db.type/tuple :db/cardinality :db.cardinality/one :db/tupleType :db.type/long}]")
    form = "[{:db/ident :u/all :db/valueType :db.type/tuple :db/cardinality :db.cardinality/one :db/tupleAttrs [:u/age :u/pair]}]"
    assert "no tuples" in str(refused(conn, form, ":db.error/invalid-tuple-attrs"))
