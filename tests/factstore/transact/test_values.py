"""Values: every type takes its own and nothing else."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

from factstore import Keyword, Symbol, Uri
from tests.factstore.tx import refused, value, world

GOOD = {
    "long": [0, -(1 << 63), (1 << 63) - 1],
    "bigint": [0, 10**40, -(10**40)],
    "double": [1.5, -0.0, math.inf],
    "float": [1.5],
    "bigdec": [Decimal("12345678901234567890.123")],
    "boolean": [True, False],
    "instant": [datetime(2020, 1, 1, 12, tzinfo=UTC), datetime(2020, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))],
    "string": ["", "naïve λ → 𝄞", "a\tb\n"],
    "keyword": [Keyword(":a/b")],
    "symbol": [Symbol("my.ns/thing")],
    "uri": [Uri("https://isle.example/")],
    "uuid": [UUID(int=5)],
    "bytes": [b"\x00\xff", b""],
}
BAD = {
    "long": [1.0, True, "1", 1 << 63, Decimal(1)],
    "bigint": [1.0, True],
    "double": [1, True, "1.0", math.nan],
    "float": [1, 1e300, math.nan],
    "bigdec": [1.5, 1, Decimal("NaN")],
    "boolean": [0, 1, "true"],
    "instant": [datetime(2020, 1, 1), "2020-01-01", 1577836800000],
    "string": [5, Keyword(":a"), Symbol("a"), b"a", "\ud800"],
    "keyword": ["plain", 5, ":\ud800"],
    "symbol": ["thing", Keyword(":thing"), Symbol("\ud800")],
    "uri": ["https://isle.example/", Uri("\ud800")],
    "uuid": ["00000000-0000-0000-0000-000000000005", 5],
    "bytes": ["AP8", 5, [1, 2]],
    "ref": [1.5, True, Symbol("x"), b"x"],
}


def kinds():
    schema = [
        {
            ":db/ident": ":k/id",
            ":db/valueType": ":db.type/long",
            ":db/cardinality": ":db.cardinality/one",
            ":db/unique": ":db.unique/identity",
        }
    ]
    schema += [
        {":db/ident": f":k/{t}", ":db/valueType": f":db.type/{t}", ":db/cardinality": ":db.cardinality/one"} for t in {**GOOD, **BAD}
    ]
    return world(schema=schema)


@pytest.mark.parametrize(("kind", "good"), [(kind, good) for kind, values in GOOD.items() for good in values])
def test_a_value_comes_back_as_it_was_and_of_its_type(kind, good):
    conn = kinds()
    conn.transact([{":k/id": 1, f":k/{kind}": good}])
    found = value(conn.db(), [":k/id", 1], f":k/{kind}")
    assert good == found
    assert type(good) is type(found)
    assert 1 == len(conn.transact([{":k/id": 1, f":k/{kind}": good}]).tx_data)


@pytest.mark.parametrize(("kind", "bad"), [(kind, bad) for kind, values in BAD.items() for bad in values])
def test_a_value_of_another_type_is_refused(kind, bad):
    conn = kinds()
    for form in ([":db/add", "x", f":k/{kind}", bad], {f":k/{kind}": bad}):
        error = refused(conn, [form], ":db.error/wrong-type-for-attribute")
        assert f":k/{kind}" == error.attribute
        assert type(bad).__name__ in error.message
        assert error.expected in error.message


def test_a_keyword_may_be_written_as_a_string_with_a_colon():
    conn = kinds()
    conn.transact([{":k/id": 1, ":k/keyword": ":red"}])
    assert value(conn.db(), [":k/id", 1], ":k/keyword") is Keyword(":red")
