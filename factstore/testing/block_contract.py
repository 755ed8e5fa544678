"""The contract of a storage: blocks."""

from __future__ import annotations

import pytest

from factstore.errors import Corrupt
from factstore.storage import Storage


class BlockContract:
    """The tests of blocks; `store` and `other` are handles on one store."""

    many_blocks = 25_000  # more than an engine reads, lists or deletes at once

    def test_blocks_are_found_by_id_by_everybody(self, store: Storage, other: Storage) -> None:
        store.put_blocks((b"id %d" % n, bytes([n]) * n) for n in range(5))
        assert other.get_blocks([b"id 0", b"id 3"]) == {b"id 0": b"", b"id 3": b"\3\3\3"}
        assert other.get_blocks([]) == {}
        assert sorted(other.block_ids()) == [b"id 0", b"id 1", b"id 2", b"id 3", b"id 4"]

    def test_a_missing_block_is_an_error_that_names_it(self, store: Storage) -> None:
        store.put_blocks([(b"a", b"1")])
        with pytest.raises(Corrupt) as refused:
            store.get_blocks([b"a", b"nowhere"])
        assert refused.value.ids == [b"nowhere".hex()]
        assert b"nowhere".hex() in refused.value.message

    def test_a_block_never_changes(self, store: Storage) -> None:
        store.put_blocks([(b"a", b"first")])
        store.put_blocks([(b"a", b"second")])
        assert store.get_blocks([b"a"]) == {b"a": b"first"}

    def test_deleting_says_how_many_there_were(self, store: Storage) -> None:
        store.put_blocks([(b"a", b"1"), (b"b", b"2")])
        assert store.delete_blocks([b"a", b"unknown"]) == 1
        assert list(store.block_ids()) == [b"b"]

    def test_many_blocks_may_be_deleted_while_their_ids_are_read(self, store: Storage) -> None:
        ids = [n.to_bytes(4, "big") for n in range(self.many_blocks)]
        part = self.many_blocks // 5
        store.put_blocks((block_id, b"x") for block_id in ids)
        seen = []
        for block_id in store.block_ids():
            seen.append(block_id)
            if len(seen) % part == 0:
                store.delete_blocks(seen[-part:])
        assert sorted(seen) == ids
        assert list(store.block_ids()) == []

    def test_reading_blocks_while_putting_some_is_no_dead_lock(self, store: Storage) -> None:
        store.put_blocks([(b"a", b"1")])
        store.put_blocks((b"copy %d" % n, store.get_blocks([b"a"])[b"a"]) for n in range(3))
        assert store.get_blocks([b"copy 2"]) == {b"copy 2": b"1"}
