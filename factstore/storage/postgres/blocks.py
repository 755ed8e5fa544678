"""The blocks of one store: they never change, so a copy at any place is as good as the original.

    get, near   this host's disk ──► a replica ──► the primary, each for what the one before it lacks
    get         the primary

Law: `get` returns a block that was put and not deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from factstore.storage.postgres import statements as sql
from factstore.storage.postgres.connections import Connections
from factstore.storage.postgres.host_cache import HostCache, host_cache

_BATCH_BYTES: Final = 4 << 20  # blocks that are sent in one statement
_BATCH_KEYS: Final = 10_000  # ids that are read in one statement


class Blocks:
    """The blocks of one store, for one handle."""

    def __init__(self, connections: Connections, names: Mapping[str, Any], *, host_bytes: int) -> None:
        """Read and write the blocks of a store.

        Args:
            names: the parameters that all statements have: the ids of the store and of the handle.
            host_bytes: the size of the cache on this host's disk.
        """
        self._connections = connections
        self._names = names
        self._host_bytes = host_bytes
        self._excisions = -1  # their number in the store; the cache belongs to it
        self._host: HostCache | None = None

    def excised(self, excisions: int) -> None:
        """Use a new cache if the number of excisions has changed."""
        if excisions != self._excisions:
            self._excisions = excisions
            self._host = host_cache(self._names["store"].hex, excisions, max_bytes=self._host_bytes)

    def put(self, blocks: Iterable[tuple[bytes, bytes]]) -> None:
        """Add blocks; an existing one keeps its bytes."""
        batch: list[tuple[bytes, bytes]] = []
        size = 0
        for item in blocks:
            batch.append(item)
            size += len(item[1])
            if size >= _BATCH_BYTES:
                self._put(batch)
                batch, size = [], 0
        if batch:
            self._put(batch)

    def _put(self, batch: Sequence[tuple[bytes, bytes]]) -> None:
        values = {**self._names, "ids": [name for name, _ in batch], "bodies": [body for _, body in batch]}
        # Not on the writing connection: appends continue, and a block that was written twice is one block.
        self._connections.read(lambda connection: connection.execute(sql.PUT_BLOCKS, values))

    def get(self, ids: Sequence[bytes], *, near: bool) -> dict[bytes, bytes]:
        """Return the blocks that exist."""
        host = self._host if near else None
        blocks = {} if host is None else host.get(ids)
        missing = [name for name in ids if name not in blocks]
        if missing:
            fetched = self._fetched(missing, near=near)
            if host is not None:
                host.put(fetched)
            blocks |= fetched
        return blocks

    def _fetched(self, ids: Sequence[bytes], *, near: bool) -> dict[bytes, bytes]:
        def work(connection: Any) -> dict[bytes, bytes]:
            return dict(connection.execute(sql.GET_BLOCKS, {**self._names, "ids": missing}).fetchall())

        missing = ids
        blocks = (self._connections.read_near(work) if near else None) or {}
        missing = [name for name in ids if name not in blocks]
        return blocks | self._connections.read(work) if missing else blocks

    def ids(self) -> Iterator[bytes]:
        """Yield the ids of all blocks."""
        values = {**self._names, "last": b"", "rows": _BATCH_KEYS}
        while rows := self._connections.read(lambda connection: connection.execute(sql.BLOCK_IDS, values).fetchall()):
            yield from (row[0] for row in rows)
            values["last"] = rows[-1][0]
