"""The blocks of one store: they never change, so a copy at any place is as good as the original.

    get, near   this host's disk ──► a replica ──► the primary, each for what the one before it lacks
    get         the primary

If the address has a folder for blocks, the bytes of new ones are objects there, and the database has their places.
`statements.py` lists the states of a place.
Law: `get` returns a block that was put and not deleted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import uuid4

from factstore.storage.postgres import statements as sql
from factstore.storage.postgres.connections import Connections
from factstore.storage.postgres.host_cache import HostCache, host_cache
from factstore.storage.postgres.objects import Objects

_BATCH_BYTES: Final = 4 << 20  # blocks that are sent in one statement
_BATCH_KEYS: Final = 10_000  # ids that are read in one statement


class Blocks:
    """The blocks of one store, for one handle."""

    def __init__(self, connections: Connections, names: Mapping[str, Any], *, host_bytes: int, folder: str) -> None:
        """Read and write the blocks of a store.

        Args:
            names: the parameters that all statements have: the ids of the store and of the handle.
            host_bytes: the size of the cache on this host's disk.
            folder: where new blocks become objects; empty: they are in the database.
        """
        self._folder = f"{folder}/{names['store'].hex}" if folder else ""
        self._objects = Objects()
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
        if self._folder:
            return self._put_objects(dict(reversed(batch)))  # the first of several with the same id
        values = {**self._names, "ids": [name for name, _ in batch], "bodies": [body for _, body in batch]}
        # Not on the writing connection: appends continue, and a block that was written twice is one block.
        self._connections.read(lambda connection: connection.execute(sql.PUT_BLOCKS, values))
        return None

    def _put_objects(self, batch: Mapping[bytes, bytes]) -> None:
        while missing := [row[0] for row in self._rows(sql.MISSING_BLOCKS, ids=list(batch))]:
            places = [f"{self._folder}/{uuid4().hex}" for _ in missing]
            self._execute(sql.ANNOUNCE, places=places)
            self._objects.put({place: batch[name] for name, place in zip(missing, places, strict=True)})
            sizes = [len(batch[name]) for name in missing]
            self._execute(
                sql.REFER, ids=missing, places=places, sizes=sizes
            )  # after an hour in vain, so the loop repeats

    def delete_loose(self) -> None:
        """Delete the objects that no block refers to. Raises: Unavailable; then the next call continues."""
        places = [row[0] for row in self._rows(sql.DOOM)]
        if places:
            self._objects.delete(places)
            self._execute(sql.FORGET, places=places)

    def _rows(self, statement: str, **parameters: Any) -> list[Any]:
        values = {**self._names, **parameters}
        return self._connections.read(lambda connection: connection.execute(statement, values).fetchall())

    def _execute(self, statement: str, **parameters: Any) -> None:
        values = {**self._names, **parameters}
        self._connections.read(lambda connection: connection.execute(statement, values))

    def check_folder(self) -> None:
        """Check that new blocks can be written. Raises: Unavailable, StorageError(:db.error/missing-extra)."""
        if self._folder:
            self._objects.check(self._folder)

    def close(self) -> None:
        """End the threads that read and write objects."""
        self._objects.close()

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
        def work(connection: Any) -> list[tuple[bytes, bytes, str | None]]:
            rows: list[tuple[bytes, bytes, str | None]]
            rows = connection.execute(sql.GET_BLOCKS, {**self._names, "ids": missing}, binary=True).fetchall()
            return rows

        missing = ids
        blocks = self._with_objects((self._connections.read_near(work) if near else None) or [])
        missing = [name for name in ids if name not in blocks]
        return blocks | self._with_objects(self._connections.read(work)) if missing else blocks

    def _with_objects(self, rows: Sequence[tuple[bytes, bytes, str | None]]) -> dict[bytes, bytes]:
        """Return the blocks of rows; one whose object does not exist is left out."""
        bodies = self._objects.get([place for _, _, place in rows if place is not None]) if rows else {}
        blocks = {name: body if place is None else bodies.get(place) for name, body, place in rows}
        return {name: body for name, body in blocks.items() if body is not None}

    def ids(self) -> Iterator[bytes]:
        """Yield the ids of all blocks."""
        values = {**self._names, "last": b"", "rows": _BATCH_KEYS}
        while rows := self._connections.read(lambda connection: connection.execute(sql.BLOCK_IDS, values).fetchall()):
            yield from (row[0] for row in rows)
            values["last"] = rows[-1][0]
