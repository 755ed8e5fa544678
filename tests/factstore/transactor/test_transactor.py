"""Transactions through a transactor have the outcomes, reports and errors that they have without one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import factstore
from tests.factstore.transactor.running import Transactor, transactor
from tests.postgres import Server

ONE = ":db.cardinality/one"
SCHEMA = [
    {":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ONE},
    {":db/ident": ":name", ":db/valueType": ":db.type/string", ":db/cardinality": ONE, ":db/unique": ":db.unique/identity"},
]


@pytest.fixture
def uri(server: Server) -> str:
    made = server.uri()
    with factstore.connect(made) as conn:
        conn.transact(SCHEMA)
    return made


@pytest.fixture
def leader(uri: str) -> Iterator[Transactor]:
    with transactor(uri) as running:
        yield running


@pytest.fixture
def conn(uri: str, leader: Transactor) -> Iterator[factstore.Connection]:
    with factstore.connect(uri) as opened:
        yield opened


def test_a_report_has_databases_datoms_and_tempids(conn: factstore.Connection) -> None:
    report = conn.transact([{":db/id": "a", ":name": "ann", ":n": 1}])
    later = conn.transact([[":db/add", report.tempids["a"], ":n", 2]])
    assert (report.t, later.t) == (2, 3)
    assert report.db_before.basis_t == 1
    assert report.db_after.basis_t == 2
    assert factstore.pull(report.db_after, [":n"], [":name", "ann"]) == {":n": 1}
    assert factstore.pull(later.db_after, [":n"], [":name", "ann"]) == {":n": 2}
    assert later.db_before.entid([":name", "ann"]) == report.tempids["a"]
    assert [(datom.v, datom.added) for datom in later.tx_data[1:]] == [(1, False), (2, True)] or later.size == 3
    assert conn.db().basis_t == 3
