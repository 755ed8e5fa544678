"""A store with the attributes of jobs and a few of somebody's business."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import factstore
from overseer import install
from overseer.testing import FakeClock

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
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def conn(request: pytest.FixtureRequest) -> Iterator[factstore.Connection]:
    """A store on the machine's clock, or for tests that ask for `clock`, on that one."""
    with factstore.connect("memory:", clock=request.getfixturevalue("clock") if "clock" in request.fixturenames else None) as conn:
        install(conn)
        conn.transact(BUSINESS)
        yield conn
