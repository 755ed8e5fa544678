"""Blocks are read many at once, and a missing one hides no other."""

from __future__ import annotations

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore.errors import Corrupt
from factstore.storage import open_storage
from factstore.upkeep.checking import bodies

NAMES = st.lists(st.integers(0, 400).map(lambda n: b"%d" % n), unique=True, max_size=200)


@given(names=NAMES, missing=st.sets(st.integers(0, 400), max_size=5))
def test_each_block_is_its_bytes_or_the_error_that_it_is_missing(names: list[bytes], missing: set[int]) -> None:
    stored = {name: name * 3 for name in names if int(name) not in missing}
    with closing(open_storage("memory:")) as storage:
        storage.put_blocks(stored.items())
        found = dict(bodies(storage, names))
    assert list(found) == names
    for name, body in found.items():
        assert isinstance(body, Corrupt) if name not in stored else body == stored[name]


def test_whole_blocks_are_not_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(open_storage("memory:")) as storage:
        storage.put_blocks([(b"%d" % n, b"x") for n in range(200)])
        calls: list[int] = []
        read = storage.get_blocks
        monkeypatch.setattr(storage, "get_blocks", lambda ids: (calls.append(len(ids)), read(ids))[1])
        assert len(dict(bodies(storage, storage.block_ids()))) == 200
    assert max(calls) > 1
    assert len(calls) < 10
