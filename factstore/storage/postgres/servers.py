"""The servers of an address: connecting to the right one, and errors of servers as errors of this package.

    primary   accepts writes; `read-write` for a handle that writes
    replica   the servers that `target_session_attrs` of the address selects, if they are other ones than the primary

A handle that only reads prefers the primary, but a standby is enough if no primary can be reached.
Law: no error contains the password.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any, Final

import psycopg
from psycopg import errors as postgres
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.array import ListDumper

from factstore.concurrency.limits import explained, no_file
from factstore.errors import ReadOnly, StorageError, StoreFull, Unavailable
from factstore.storage.postgres.address import Address

Connection = psycopg.Connection[Any]

_OF_PRIMARY: Final = (None, "read-write", "primary")  # values of `target_session_attrs` that select the primary
_IS_IT_RUNNING: Final = "is the server running, and are host and port right?"
_BALANCES_SINCE: Final = 16_00_00  # the version of libpq that chooses among the hosts at random

_BYTEA: Final = 17  # oids of types
_BYTEA_ARRAY: Final = 1001
_ARRAY: Final = Struct(">iiIii")  # dimensions, whether it has nulls, type of the elements, length, first index
_LENGTH: Final = Struct(">i")


class ByteArrays(Dumper):
    """Adapts a list of bytes and None as `bytea[]`, in binary, without the steps of psycopg for each element."""

    format = Format.BINARY
    oid = _BYTEA_ARRAY

    def dump(self, obj: Sequence[bytes | None]) -> bytes:
        """Return an array as PostgreSQL receives it."""
        length = _LENGTH.pack
        null = length(-1)
        elements = b"".join([null if item is None else length(len(item)) + item for item in obj])
        return _ARRAY.pack(1, 1, _BYTEA, len(obj), 1) + elements

    @classmethod
    def register(cls, connection: psycopg.BaseConnection[Any]) -> None:
        """Adapt the lists of a connection in this way where a statement has `%b`."""
        connection.adapters.register_dumper(list, cls)
        connection.adapters.register_dumper(list, ListDumper)  # the last one is that of `%s`


class Servers:
    """The servers of an address, for a handle."""

    def __init__(self, address: Address, *, read_only: bool) -> None:
        self._address = address
        self._parameters = {**address.parameters}
        selected = self._parameters.pop("target_session_attrs", None)
        self._of_replica = None if selected in _OF_PRIMARY else selected
        self._of_primary = "primary" if read_only else "read-write"
        self._is_standby_enough = read_only

    @property
    def target(self) -> frozenset[tuple[str, Any]]:
        """The servers and the user: handles with the same target can share a connection."""
        return frozenset(self._parameters.items())

    @property
    def has_replicas(self) -> bool:
        """Whether the address selects other servers than the primary for reading."""
        return self._of_replica is not None

    def primary(self) -> Connection:
        """Return a new connection to the primary. Raises: Unavailable."""
        try:
            return self._connected(target_session_attrs=self._of_primary)
        except Unavailable:
            if not self._is_standby_enough:
                raise
        return self._connected(target_session_attrs="any")

    def replica(self) -> Connection:
        """Return a new connection to a server that the address selects for reading. Raises: Unavailable."""
        balanced = {"load_balance_hosts": "random"} if psycopg.pq.version() >= _BALANCES_SINCE else {}
        return self._connected(**{**balanced, "target_session_attrs": self._of_replica})

    def _connected(self, **parameters: Any) -> Connection:
        try:
            connection: Connection = psycopg.connect(**{**self._parameters, **parameters}, autocommit=True)
        except (psycopg.Error, OSError) as error:  # psycopg waits with a descriptor of its own
            raise self._unreachable(error) from error
        ByteArrays.register(connection)
        if self._address.is_pooled:
            connection.prepare_threshold = None  # the next transaction may have another session
        return connection

    # -- errors

    def translated(self, error: psycopg.Error) -> StorageError:
        """Return the error of this package for one of the server; the statement was not applied."""
        where, text = self._address.description, " ".join(str(error).split())
        state = error.sqlstate or ""
        if state == "53100":
            return StoreFull(":db.error/storage-full", f"the disk of {where} is full: {text}", uri=where)
        if isinstance(error, postgres.InsufficientPrivilege):
            return ReadOnly(":db.error/read-only", f"this user may not write to {where}: {text}", uri=where)
        if isinstance(error, postgres.ReadOnlySqlTransaction):
            text = f"{text}; this server is a standby, so give the address of the primary"
        return Unavailable(":db.error/storage-unavailable", f"{where} rejected a request: {text}", uri=where)

    def _unreachable(self, error: psycopg.Error | OSError) -> Unavailable:
        where, text = self._address.description, " ".join(str(error).split())
        if "no error details" in text:  # libpq reports none if it cannot make a socket
            text = no_file() or text
        if (why := explained(text)) != text:
            return Unavailable(":db.error/storage-unavailable", f"{where} cannot be reached: {why}", uri=where)
        hint = (
            "check user and password"
            if any(words in text for words in ("authentication", "no password", 'role "'))
            else "create the database first"
            if "database" in text and "does not exist" in text
            else _IS_IT_RUNNING
        )
        message = f"{where} cannot be reached: {text}; {hint}"
        return Unavailable(":db.error/storage-unavailable", message, uri=where, temporary=hint == _IS_IT_RUNNING)


def is_standby(connection: Connection) -> bool:
    """Return whether the server of a connection follows another one."""
    return connection.info.parameter_status("in_hot_standby") == "on"
