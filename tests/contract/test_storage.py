"""Every storage of ours keeps the contract that is shipped in `factstore.testing`."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest

from factstore.testing.storage_contract import FreshUri, StorageContract


class TestMemory(StorageContract):
    @pytest.fixture
    def fresh_uri(self) -> FreshUri:
        return lambda: f"memory:{uuid4()}"


class TestLmdb(StorageContract):
    @pytest.fixture
    def fresh_uri(self, tmp_path: Path) -> FreshUri:
        numbers = count()
        return lambda: f"lmdb:{tmp_path / f'{next(numbers)}.facts'}"
