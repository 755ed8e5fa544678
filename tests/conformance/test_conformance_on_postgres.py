"""The corpus on a store in PostgreSQL: the layers above the storage behave the same on every engine."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest

import factstore
from factstore import maintain
from tests.conformance.case import Case, World
from tests.conformance.test_conformance import check
from tests.postgres import Server


@pytest.fixture
def conn(server: Server) -> Iterator[factstore.Connection]:
    with factstore.connect(server.uri(uuid4().hex), sync="none") as opened:
        yield opened


@pytest.mark.slow
def test_a_case_comes_out_the_same_in_postgres(conn: factstore.Connection, case: Case) -> None:
    check(case, World(conn, before_transaction=maintain.reindex))
