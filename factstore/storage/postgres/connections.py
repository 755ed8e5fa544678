"""Connections to one server: several for reading, and one for writing, which only its own thread uses.

A write is never cancelled: PostgreSQL commits a transaction whose wait for the standby is cancelled, and reports
success. So a write runs in a thread that no signal interrupts, and a caller that is interrupted leaves it running.
Law: an error other than `UnknownOutcome` means that nothing was written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors as postgres

from factstore.errors import ReadOnly, StorageError, StoreFull, Unavailable, UnknownOutcome
from factstore.storage.postgres.address import Address

T = TypeVar("T")
Connection = psycopg.Connection[Any]

_MOST_IDLE: Final = 8  # connections that are kept for reading
# The server ended the session or the statement, perhaps after its commit.
_UNKNOWN: Final = ("08", "57P01", "57P02", "57P04", "40003", "XX")
_CONCURRENT: Final = (postgres.SerializationFailure, postgres.DeadlockDetected)
_COMMITTED_HERE_ONLY: Final = "01000"  # the warning for a commit that the standby has not confirmed
_MOST_TRIES: Final = 10


class Connections:
    """The connections of one handle."""

    def __init__(self, address: Address, *, read_only: bool) -> None:
        self._address = address
        self._parameters = dict(address.parameters)
        if not read_only:
            self._parameters.setdefault("target_session_attrs", "read-write")
        self._idle: list[Connection] = []
        self._writer: Connection | None = None
        self._warnings: list[str] = []  # SQLSTATEs of warnings of the running write
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="factstore-postgres")

    @property
    def target(self) -> frozenset[tuple[str, Any]]:
        """The servers and the user: handles with the same target can share a connection."""
        return frozenset(self._parameters.items())

    def connect(self) -> Connection:
        """Return a new connection. Raises: Unavailable, with the reason and without the password."""
        try:
            connection: Connection = psycopg.connect(**self._parameters, autocommit=True)
        except psycopg.Error as error:
            raise self._unreachable(error) from error
        if self._address.is_pooled:
            connection.prepare_threshold = None  # the next transaction may have another session
        return connection

    # -- reading

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return the result of reads on one connection; a connection that was lost meanwhile is replaced once."""
        while True:
            is_new = not self._idle
            with self._borrowed() as connection:
                try:
                    return work(connection)
                except psycopg.Error as error:
                    if connection.closed and not is_new:
                        self._close_idle()  # one restart of the server ends all of them
                        continue
                    raise self.translated(error) from error

    @contextmanager
    def _borrowed(self) -> Iterator[Connection]:
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self.connect()
        try:
            yield connection
        finally:
            if connection.closed or len(self._idle) >= _MOST_IDLE or not _is_idle(connection):
                connection.close()
            else:
                self._idle.append(connection)

    def _close_idle(self) -> None:
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()

    # -- writing

    def write(self, work: Callable[[Connection], T]) -> T:
        """Return the result of a write, which continues to its end if this caller is interrupted.

        Raises: UnknownOutcome, if the connection or the session ended before the server answered.
        """
        return self.start(work).result()

    def start(self, work: Callable[[Connection], T]) -> Future[T]:
        """Start a write after all earlier ones. Raises: RuntimeError after `close`."""
        return self._thread.submit(self._run, work)

    def _run(self, work: Callable[[Connection], T]) -> T:
        for _ in range(_MOST_TRIES - 1):
            try:
                return self._attempt(work)
            except _CONCURRENT:
                continue  # certainly not applied
        return self._attempt(work)

    def _attempt(self, work: Callable[[Connection], T]) -> T:
        connection = self._writer
        if connection is None or connection.closed:
            connection = self._writer = self.connect()
            connection.add_notice_handler(lambda notice: self._warnings.append(notice.sqlstate or ""))
        self._warnings.clear()
        try:
            result = work(connection)
        except _CONCURRENT:
            raise
        except psycopg.Error as error:
            if connection.closed or _is_unknown(error):
                connection.close()
                raise self._unknown(str(error)) from error
            raise self.translated(error) from error
        if _COMMITTED_HERE_ONLY in self._warnings:
            raise self._unknown("the server committed without the confirmation of its standby")
        return result

    def _unknown(self, why: str) -> UnknownOutcome:
        message = f"{self._address.description} may have applied the write: {' '.join(why.split())}"
        return UnknownOutcome(":db.error/storage-unknown-outcome", message, txids=())

    # -- the end

    def close(self) -> None:
        """Close all connections after the writes that have been started."""

        def last(connection: Connection | None) -> None:
            if connection is not None:
                connection.close()

        with suppress(RuntimeError):
            self._thread.submit(lambda: last(self._writer)).result()
        self._thread.shutdown()
        self._close_idle()

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

    def _unreachable(self, error: psycopg.Error) -> Unavailable:
        text = " ".join(str(error).split())
        hint = (
            "; check user and password"
            if "authentication" in text or "no password" in text
            else "; create the database first"
            if "database" in text and "does not exist" in text
            else "; is the server running, and are host and port right?"
        )
        message = f"{self._address.description} cannot be reached: {text}{hint}"
        return Unavailable(":db.error/storage-unavailable", message, uri=self._address.description)


def is_standby(connection: Connection) -> bool:
    """Return whether the server of a connection follows another one."""
    return connection.info.parameter_status("in_hot_standby") == "on"


def _is_idle(connection: Connection) -> bool:
    return connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def _is_unknown(error: psycopg.Error) -> bool:
    return error.sqlstate is None or error.sqlstate.startswith(_UNKNOWN)
