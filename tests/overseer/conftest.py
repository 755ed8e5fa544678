"""A store with the attributes of jobs and a few of somebody's business."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import factstore
from overseer import install

BUSINESS = [
    {":db/ident": ident, ":db/valueType": f":db.type/{kind}", ":db/cardinality": ":db.cardinality/one", **more}
    for ident, kind, more in [
        (":org/id", "long", {}),
        (":order/number", "string", {":db/unique": ":db.unique/identity"}),
        (":order/total", "long", {}),
        (":order/of-job", "ref", {}),
    ]
]


@pytest.fixture
def conn() -> Iterator[factstore.Connection]:
    with factstore.connect("memory:") as conn:
        install(conn)
        conn.transact(BUSINESS)
        yield conn
