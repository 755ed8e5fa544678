"""Connections of a handle: several for reading, and one for writing, which only its own thread uses.

    read, read_now from the primary
    read_near      from a replica, if the address selects one and it can be reached
    write, begin, repeat, start   to the primary, one after the other

A handle that was opened waits for some time when no server can be reached, as in a failover.
A write is never cancelled: PostgreSQL commits a transaction whose wait for the standby is cancelled, and reports
success. So a write runs in a thread that no signal interrupts, and a caller that is interrupted leaves it running.
Law: an error other than `UnknownOutcome` means that nothing was written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Event
from time import monotonic
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors as postgres

from factstore.concurrency.calls import Calls
from factstore.errors import StorageError, Unavailable, UnknownOutcome
from factstore.storage.patience import Patience
from factstore.storage.postgres.address import Address
from factstore.storage.postgres.servers import Connection, Servers

logger = logging.getLogger("factstore")

T = TypeVar("T")

_MOST_IDLE: Final = 8  # connections that are kept for reading
# The server ended the session or the statement, perhaps after its commit.
_UNKNOWN: Final = ("08", "57P01", "57P02", "57P04", "40003", "XX")
_CONCURRENT: Final = (postgres.SerializationFailure, postgres.DeadlockDetected)
_COMMITTED_HERE_ONLY: Final = "01000"  # the warning for a commit that the standby has not confirmed
_MOST_TRIES: Final = 10
_AVOIDED_SECONDS: Final = 5.0  # how long a replica that failed is not asked


class Pool:
    """Connections for reading, all to servers of one kind."""

    def __init__(self, connect: Callable[[], Connection], translated: Callable[[psycopg.Error], StorageError]) -> None:
        self._connect = connect
        self._translated = translated
        self._idle: list[Connection] = []

    def read(self, work: Callable[[Connection], T], patience: Patience) -> T:
        """Return the result of reads on one connection; a connection that was lost meanwhile is replaced."""
        while True:
            is_new = not self._idle
            connection = self._taken(patience)
            try:
                return work(connection)
            except psycopg.Error as error:
                if not connection.closed or (is_new and not patience.wait()):
                    raise self._translated(error) from error
                self.close()  # one restart of the server ends all of them
            finally:
                self._put_back(connection)

    def _taken(self, patience: Patience) -> Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return patience.reached(self._connect)

    def _put_back(self, connection: Connection) -> None:
        if connection.closed or len(self._idle) >= _MOST_IDLE or not _is_idle(connection):
            connection.close()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Close the connections that are not lent."""
        while self._idle:
            with suppress(IndexError):
                self._idle.pop().close()


class Started:
    """An append that was sent to the server."""

    __slots__ = ("_answer", "_finish")

    def __init__(self, answer: Future[Any], finish: Callable[[Future[Any]], int]) -> None:
        """Make it of the future of the answer, and of a function that returns or raises what this answer means."""
        self._answer = answer
        self._finish = finish

    @property
    def is_done(self) -> bool:
        """Whether there is an answer."""
        return self._answer.done()

    def when_done(self, call: Callable[[], object]) -> None:
        """Call a function when there is an answer."""
        self._answer.add_done_callback(lambda _: call())

    def result(self) -> int:
        """Return the new head, or raise what `append` raises."""
        return self._finish(self._answer)


class Connections:
    """The connections of one handle."""

    def __init__(self, address: Address, *, read_only: bool) -> None:
        self._address = address
        self.patience = 0.0  # seconds for which a call waits if the primary cannot be reached
        self._ended = Event()
        self.servers = Servers(address, read_only=read_only)
        self._primary = Pool(self.servers.primary, self.servers.translated)
        self._replica = Pool(self.servers.replica, self.servers.translated) if self.servers.has_replicas else None
        self._avoided_until = 0.0  # no replica is asked before this time
        self._writer: Connection | None = None
        self._warnings: list[str] = []  # SQLSTATEs of warnings of the running write
        self._thread = Calls("factstore-postgres")

    # -- reading

    def read(self, work: Callable[[Connection], T]) -> T:
        """Return the result of reads on the primary. Raises: Unavailable."""
        return self._primary.read(work, self._patience())

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """Do the same as `read`, but do not wait for a server. Raises: Unavailable."""
        return self._primary.read(work, Patience(0, self._ended))

    def read_near(self, work: Callable[[Connection], T]) -> T | None:
        """Return the result of reads on a replica, which can lack the newest writes; None if there is no replica."""
        if self._replica is None or monotonic() < self._avoided_until:
            return None
        try:
            return self._replica.read(work, Patience(0, self._ended))
        except StorageError as error:
            self._avoided_until = monotonic() + _AVOIDED_SECONDS
            logger.warning("the primary is read instead of a replica for some seconds: %s", error.message)
            return None

    # -- writing

    def write(self, work: Callable[[Connection], T]) -> T:
        """Return the result of a write, which continues to its end if this caller is interrupted.

        Raises: Unavailable; UnknownOutcome, if the connection or the session ended before the server answered.
        """
        return self.begin(work).result()

    def begin(self, work: Callable[[Connection], T]) -> Future[T]:
        """Start what `write` does. Raises: RuntimeError after `close`."""
        return self._thread.submit(self._run, work, self._patience())

    def repeat(self, work: Callable[[Connection], T]) -> T:
        """Return the result of a write that may be applied twice; it is repeated while its outcome is unknown.

        Raises: Unavailable, also if the last try may have been applied: the caller's own write has not been sent.
        """
        return self.start_repeated(work).result()

    def start_repeated(self, work: Callable[[Connection], T]) -> Future[T]:
        """Start a write that may be applied twice. Raises: RuntimeError after `close`."""
        return self._thread.submit(self._run_repeated, work, self._patience())

    def start(self, work: Callable[[Connection], T]) -> Future[T]:
        """Start a write after all earlier ones; it does not wait for a server. Raises: RuntimeError after `close`."""
        return self._thread.submit(self._run, work, Patience(0, self._ended))

    def _patience(self) -> Patience:
        return Patience(self.patience, self._ended)

    def _run_repeated(self, work: Callable[[Connection], T], patience: Patience) -> T:
        while True:
            try:
                return self._run(work, patience)
            except UnknownOutcome as error:
                if not patience.wait():
                    why = (
                        f"{self._address.description} gave no answer in time, so nothing more was sent: {error.message}"
                    )
                    raise Unavailable(":db.error/storage-unavailable", why, temporary=True) from error

    def _run(self, work: Callable[[Connection], T], patience: Patience) -> T:
        for _ in range(_MOST_TRIES - 1):
            try:
                return self._attempt(work, patience)
            except _CONCURRENT:
                continue  # certainly not applied
        return self._attempt(work, patience)

    def _attempt(self, work: Callable[[Connection], T], patience: Patience) -> T:
        connection = self._writer
        if connection is None or connection.closed:
            connection = self._writer = patience.reached(self.servers.primary)
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
            raise self.servers.translated(error) from error
        if _COMMITTED_HERE_ONLY in self._warnings:
            raise self._unknown("the server committed without the confirmation of its standby")
        return result

    def _unknown(self, why: str) -> UnknownOutcome:
        message = f"{self._address.description} may have applied the write: {' '.join(why.split())}"
        return UnknownOutcome(":db.error/storage-unknown-outcome", message, txids=())

    # -- the end

    def close(self) -> None:
        """Close all connections after the writes that have been started; no call waits for a server any more."""
        self._ended.set()

        def last(connection: Connection | None) -> None:
            if connection is not None:
                connection.close()

        with suppress(RuntimeError, Unavailable):  # it is closed already, or no thread can be started
            self._thread.submit(lambda: last(self._writer)).result()
        self._thread.close()
        for pool in (self._primary, self._replica):
            if pool is not None:
                pool.close()


def _is_idle(connection: Connection) -> bool:
    return connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def _is_unknown(error: psycopg.Error) -> bool:
    return error.sqlstate is None or error.sqlstate.startswith(_UNKNOWN)
