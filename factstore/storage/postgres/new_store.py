"""A new store that appears in the database when it is complete, and not at all if that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote
from uuid import uuid4

import psycopg
from psycopg import errors as postgres

from factstore.errors import StorageError
from factstore.storage.postgres import layout
from factstore.storage.postgres.address import LONGEST_NAME, Address
from factstore.storage.postgres.connections import Connections

_RENAME: Final = "UPDATE factstore.store SET name = %(name)s WHERE name = %(unfinished)s"
_DELETE: Final = """
WITH gone AS (DELETE FROM factstore.store WHERE name = %(unfinished)s RETURNING id),
     records AS (DELETE FROM factstore.record USING gone WHERE record.store = gone.id),
     blocks AS (DELETE FROM factstore.block USING gone WHERE block.store = gone.id RETURNING block.store, place),
     loosened AS (INSERT INTO factstore.loose (store, place, doomed)
                  SELECT store, place, true FROM blocks WHERE place IS NOT NULL),
     roots AS (DELETE FROM factstore.root USING gone WHERE root.store = gone.id)
DELETE FROM factstore.hold USING gone WHERE hold.store = gone.id
"""


@contextmanager
def making(rest: str) -> Iterator[str]:
    """Give the address of an unfinished store; it gets its name when the block ends, and is deleted if the block fails.

    Args:
        rest: the address of the new store, without "postgresql:".
    Raises: StorageError(:db.error/already-exists), also for a store of this name that was created in the meantime.
    """
    address = Address.parse(rest)
    unfinished = f"{address.name[: LONGEST_NAME - 40]} unfinished {uuid4().hex[:12]}"
    names = {"name": address.name, "unfinished": unfinished}
    connections = Connections(address, read_only=False)
    try:
        if connections.read(lambda connection: layout.exists(connection, address.name)):
            raise _exists(address)
        try:
            yield f"{_without_name(rest)}name={quote(unfinished)}"
            connections.write(lambda connection: _rename(connection, names, address))
        except BaseException:
            connections.write(lambda connection: _delete(connection, names))
            raise
    finally:
        connections.close()


def _rename(connection: psycopg.Connection, names: dict[str, str], address: Address) -> None:
    try:
        connection.execute(_RENAME, names)
    except postgres.UniqueViolation as error:
        raise _exists(address) from error


def _delete(connection: psycopg.Connection, names: dict[str, str]) -> None:
    if layout.exists(connection, names["unfinished"]):
        connection.execute(_DELETE, names)


def _exists(address: Address) -> StorageError:
    message = f"{address.description} exists already; this makes a new store"
    return StorageError(":db.error/already-exists", message, uri=address.description)


def _without_name(rest: str) -> str:
    """Return the address up to its parameters and those other than the name, so that a name can be added."""
    base, _, query = rest.partition("?")
    kept = [part for part in query.split("&") if part and not part.startswith("name=")]
    return f"{base}?{''.join(f'{part}&' for part in kept)}"
