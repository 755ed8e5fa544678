"""The cases of transactions through a transactor: one that another committer prepares has the same outcome and errors."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import factstore
from tests.conformance.case import Case, World
from tests.conformance.test_conformance import check
from tests.factstore.transactor.running import transactor_here
from tests.postgres import Server

AREAS = ("schema/", "tuples/", "tx-ops/", "tx/", "values/")  # the others read, which works as without one


@pytest.fixture
def conn(server: Server) -> Iterator[factstore.Connection]:
    uri = server.uri()
    factstore.connect(uri, sync="none").close()
    with transactor_here(uri), factstore.connect(uri, sync="none") as opened:
        yield opened


@pytest.mark.slow
def test_a_case_comes_out_the_same_through_a_transactor(conn: factstore.Connection, case: Case) -> None:
    check(case, World(conn))
