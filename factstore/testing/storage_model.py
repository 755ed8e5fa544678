"""A model of a storage for the storage contract, records to append, and threads that run at the same time."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from threading import Thread
from typing import Final

import pytest
from hypothesis import strategies as st

from factstore.errors import Conflict
from factstore.storage import Record, Root, Storage

LONG: Final = 30.0  # seconds: a limit for operations that end at once, so that a defect fails instead of blocking


def txid(n: int) -> bytes:
    """Return a txid for a number."""
    return n.to_bytes(16, "big")


def records(*numbers: int) -> list[tuple[bytes, bytes]]:
    """Return records to append, one for each number."""
    return [(txid(n), b"body %d" % n) for n in numbers]


VERBS = st.one_of(
    st.tuples(st.just("append"), st.lists(st.binary(max_size=40), max_size=3), st.integers(-1, 1)),
    st.tuples(st.just("put"), st.dictionaries(st.sampled_from([b"a", b"b", b"c", b"d"]), st.binary(max_size=40))),
    st.tuples(st.just("delete"), st.lists(st.sampled_from([b"a", b"b", b"c", b"d"]), unique=True)),
    st.tuples(st.just("swap"), st.binary(max_size=40), st.integers(-1, 1)),
    st.tuples(st.just("reopen")),
)


class Model:
    """The behaviour of a storage, implemented by a list and two dicts."""

    def __init__(self) -> None:
        self.log: list[tuple[bytes, bytes]] = []
        self.blocks: dict[bytes, bytes] = {}
        self.roots: list[bytes] = []
        self.ids = count()

    def append(self, storage: Storage, bodies: list[bytes], off: int) -> None:
        new = [(txid(next(self.ids)), body) for body in bodies]
        if off:
            with pytest.raises(Conflict) as refused:
                storage.append(new, expected_t=len(self.log) + off)
            assert refused.value.head == len(self.log)
        else:
            self.log += new
            assert storage.append(new, expected_t=len(self.log) - len(new)) == len(self.log)

    def put(self, storage: Storage, blocks: dict[bytes, bytes]) -> None:
        storage.put_blocks(blocks.items())
        self.blocks = blocks | self.blocks

    def delete(self, storage: Storage, ids: list[bytes]) -> None:
        assert storage.delete_blocks(ids) == sum(self.blocks.pop(block_id, None) is not None for block_id in ids)

    def swap(self, storage: Storage, body: bytes, off: int) -> None:
        if off:
            with pytest.raises(Conflict) as refused:
                storage.swap_root(body, expected_version=len(self.roots) + off)
            assert refused.value.version == len(self.roots)
        else:
            self.roots.append(body)
            assert storage.swap_root(body, expected_version=len(self.roots) - 1) == Root(len(self.roots), body)

    def agree(self, storage: Storage) -> None:
        assert storage.head() == len(self.log)
        assert storage.read_log(0) == [Record(t, *record) for t, record in enumerate(self.log, 1)]
        assert [storage.resolve(name) for name, _ in self.log] == list(range(1, len(self.log) + 1))
        assert storage.get_blocks(sorted(storage.block_ids())) == self.blocks
        assert storage.read_root() == (Root(len(self.roots), self.roots[-1]) if self.roots else None)


def append_somehow(storage: Storage, name: bytes) -> int:
    """Append a record after those that others append meanwhile; return its t."""
    head = storage.head()
    while True:
        try:
            return storage.append([(name, b"")], expected_t=head)
        except Conflict as conflict:
            head = conflict.head


def together(*jobs: Callable[[], None]) -> None:
    """Run each job in a thread; raise the first exception."""
    errors: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=guarded, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * LONG)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads)
