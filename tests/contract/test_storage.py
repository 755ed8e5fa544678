"""Every storage of ours keeps the contract that is shipped in `factstore.testing`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from factstore.storage import Storage, open_storage
from factstore.storage.lmdb import journal, log
from factstore.testing.storage_contract import FreshUri, OpenStore, StorageContract


class TestMemory(StorageContract):
    @pytest.fixture
    def fresh_uri(self) -> FreshUri:
        return lambda: f"memory:{uuid4()}"


class TestLmdb(StorageContract):
    @pytest.fixture
    def fresh_uri(self, tmp_path: Path) -> FreshUri:
        numbers = count()
        return lambda: f"lmdb:{tmp_path / f'{next(numbers)}.facts'}"


class TestLmdbWithJournal(StorageContract):
    """With syncs, a journal from the first append on, and so small that it is full after a few of them."""

    @pytest.fixture
    def fresh_uri(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FreshUri:
        monkeypatch.setattr(log, "_BEFORE_A_JOURNAL", 0)
        monkeypatch.setattr(journal, "CAPACITY", 4096 + 400)
        numbers = count()
        return lambda: f"lmdb:{tmp_path / f'{next(numbers)}.facts'}"

    @pytest.fixture
    def open_store(self) -> Iterator[OpenStore]:
        with ExitStack() as handles:

            def open_handle(uri: str, **options: Any) -> Storage:
                return handles.enter_context(closing(open_storage(uri, **({"sync": "full"} | options))))

            yield open_handle
