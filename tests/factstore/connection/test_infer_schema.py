"""A store that takes attributes as they come: declared by the values that come for them, before the transaction that needs them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import pytest

import factstore
from factstore import Keyword, SchemaError, Symbol, TransactError, Uri
from tests.factstore.tx import refused, value, values


@dataclass
class Line:
    sku: str


@dataclass
class Order:
    lines: list[Line]


@pytest.fixture
def conn():
    with factstore.connect("memory:", infer_schema=True) as conn:
        yield conn


def test_attributes_are_declared_in_a_transaction_before(conn):
    report = conn.transact([{":db/id": "a", ":p/name": "Ann", ":p/age": 40}])
    assert 2 == report.t
    assert "Ann" == value(conn.db(), report.tempids["a"], ":p/name")
    assert 40 == value(conn.db(), report.tempids["a"], ":p/age")
    assert 3 == conn.transact([{":p/name": "Bo", ":p/age": 3}]).t


def test_every_value_says_its_type(conn):
    said = {
        "boolean": False,
        "long": 1,
        "bigint": 1 << 70,
        "double": 1.5,
        "bigdec": Decimal("1.5"),
        "instant": datetime.now(UTC),
        "uuid": UUID(int=1),
        "bytes": b"x",
        "keyword": Keyword(":a"),
        "symbol": Symbol("a"),
        "uri": Uri("x:y"),
        "string": "x",
    }
    conn.transact([{f":v/{kind}": v for kind, v in said.items()}])
    assert {kind: kind for kind in said} == {kind: conn.db().attribute(f":v/{kind}").value_type.name for kind in said}


def test_many_values_make_many_and_maps_make_parts(conn):
    conn.transact(
        [
            {
                ":db/ident": ":order/one",
                ":order/tags": ["a", "b"],
                ":order/lines": [{":line/n": 1}, {":line/n": 2, ":line/note": {":n/x": 1}}],
            }
        ]
    )
    db = conn.db()
    assert {"a", "b"} == values(db, ":order/one", ":order/tags")
    lines = db.attribute(":order/lines")
    assert lines.many is True
    assert lines.is_ref is True
    assert lines.is_component is True
    assert db.attribute(":line/note").many is False


def test_a_reverse_name_and_an_entity_make_references(conn):
    first = conn.transact([{":db/id": "a", ":p/name": "Ann"}])
    ann = factstore.entity(conn.db(), first.tempids["a"])
    conn.transact([{":p/name": "Bo", ":p/_boss": [ann.eid]}, {":p/name": "Cy", ":p/friend": ann}])
    boss, friend = (conn.db().attribute(a) for a in (":p/boss", ":p/friend"))
    assert [(True, False), (True, False)] == [(found.is_ref, found.is_component) for found in (boss, friend)]


def test_classes_are_taken_as_they_come(conn):
    conn.transact([Order([Line("a")])])
    assert conn.db().attribute(":order/lines").is_component


def test_what_would_be_refused_anyway_declares_nothing(conn):
    refused(conn, [{":p/name": "Ann", ":p/boss": "ghost", ":db/id": "datomic.nobody"}], ":db.error/invalid-tempid")
    refused(conn, [{":p/name": "Ann"}, [":db/cas", "x", ":p/name", "a", "b"]], ":db.error/cas-failed")
    assert 0 == conn.db().basis_t


@pytest.mark.parametrize("values", [("x", 1), (1, 1.5), ([], []), (None, None)])
def test_values_that_say_different_things_or_none_are_refused(conn, values):
    with pytest.raises(SchemaError) as caught:
        conn.transact([{":p/id": value} for value in values])
    assert ":db.error/cannot-infer" == caught.value.code
    assert ":p/id" == caught.value.attribute
    assert 0 == conn.db().basis_t


def test_a_mistake_in_a_known_attribute_is_still_one(conn):
    conn.transact([{":p/age": 40}])
    refused(conn, [{":p/age": "forty"}], ":db.error/wrong-type-for-attribute")


def test_conditions_and_text_work_as_ever(conn):
    first = conn.transact('[{:p/name "Ann"}]', key="once")
    assert first.t == conn.transact('[{:p/name "Ann"}]', key="once").t
    conn.transact(form for form in [{":p/city": "Rome"}])
    assert conn.db().attribute(":p/city").value_type.name == "string"


def test_other_connections_declare_by_hand():
    with factstore.connect("memory:") as conn, pytest.raises(TransactError):
        conn.transact([{":p/name": "Ann"}])
