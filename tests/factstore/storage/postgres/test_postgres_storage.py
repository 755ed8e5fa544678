"""The PostgreSQL engine: the contract of all storages, on a real server."""

from __future__ import annotations

import pytest

from factstore.testing.storage_contract import FreshUri, StorageContract
from tests.postgres import Server


class TestPostgresStorage(StorageContract):
    @pytest.fixture
    def fresh_uri(self, server: Server) -> FreshUri:
        return lambda: server.uri()
