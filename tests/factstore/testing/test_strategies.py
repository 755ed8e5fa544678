"""The strategies of `factstore.testing` keep their laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore.query.relations.relation import strict
from factstore.testing import strategies as fs
from factstore.testing.naive.queries import naive_rows
from factstore.values.types import VALUE_TYPES

TYPES = [str(ident) for ident in VALUE_TYPES if ident not in (":db.type/ref", ":db.type/tuple")]
EVERY_TYPE = [
    *({":db/ident": f":one/{t[9:]}", ":db/valueType": t, ":db/cardinality": ":db.cardinality/one"} for t in TYPES),
    *({":db/ident": f":many/{t[9:]}", ":db/valueType": t, ":db/cardinality": ":db.cardinality/many"} for t in TYPES),
]
PEOPLE = """
[{:db/ident :person/email :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :person/badge :db/valueType :db.type/long   :db/cardinality :db.cardinality/one :db/unique :db.unique/value}
 {:db/ident :person/name  :db/valueType :db.type/string :db/cardinality :db.cardinality/one}
 {:db/ident :person/nick  :db/valueType :db.type/string :db/cardinality :db.cardinality/many}
 {:db/ident :person/boss  :db/valueType :db.type/ref    :db/cardinality :db.cardinality/one}
 {:db/ident :person/pets  :db/valueType :db.type/ref    :db/cardinality :db.cardinality/many :db/isComponent true}
 {:db/ident :person/home  :db/valueType :db.type/tuple  :db/cardinality :db.cardinality/one :db/tupleType :db.type/long}
 {:db/ident :person/spot  :db/valueType :db.type/tuple  :db/cardinality :db.cardinality/one
  :db/tupleTypes [:db.type/string :db.type/long]}
 {:db/ident :person/both  :db/valueType :db.type/tuple  :db/cardinality :db.cardinality/one
  :db/tupleAttrs [:person/name :person/badge]}]
"""


@pytest.mark.parametrize("kind", TYPES)
@given(data=st.data())
def test_the_store_returns_each_value_of_a_type(kind, data):
    value = data.draw(fs.values(kind))
    name = f":one/{kind[9:]}"
    with factstore.connect("memory:") as conn:
        conn.transact(EVERY_TYPE)
        e = conn.transact([[":db/add", "e", name, value]]).tempids["e"]
        assert [value] == [d.v for d in conn.db().datoms("eavt", e, name)]


@pytest.mark.parametrize("schema", [PEOPLE, EVERY_TYPE], ids=["people", "every type"])
@given(data=st.data())
def test_the_store_accepts_each_transaction_of_a_history(schema, data):
    history = data.draw(fs.histories(schema))
    with factstore.connect("memory:") as conn:
        conn.transact(schema)
        for tx_data in history:
            conn.transact(tx_data)


@pytest.mark.parametrize("schema", [PEOPLE, EVERY_TYPE], ids=["people", "every type"])
@given(data=st.data())
def test_the_store_rejects_each_invalid_transaction_with_its_code(schema, data):
    db = data.draw(fs.databases(schema))
    invalid = data.draw(fs.invalid_transactions(db))
    with pytest.raises(factstore.TransactError) as raised:
        factstore.with_(db, invalid.tx_data)
    assert invalid.code == raised.value.code


@pytest.mark.parametrize("schema", [PEOPLE, EVERY_TYPE], ids=["people", "every type"])
@given(data=st.data())
def test_the_store_answers_each_query_as_nested_loops_do(schema, data):
    db = data.draw(fs.databases(schema))
    query = data.draw(fs.queries(db))
    expected = naive_rows(query, db)
    found = factstore.q(query, db)
    assert {strict(row) for row in found} <= expected
    assert len(found) == len({loose(row) for row in expected})  # a set of Python takes 1 and True for one


def loose(key):
    kind, value = key
    return tuple(loose(part) for part in value) if kind is tuple else value
