"""Notices of commits: one connection of a handle listens, and wakes the threads that wait for a newer head.

A notice is a hint. Behind a pooler, or when the connection is lost, waiting threads ask for the head instead, at
intervals that grow. Law: no waiting thread is later than the longest interval.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Event, Thread
from typing import Final
from weakref import ref

import psycopg
from psycopg import sql

from factstore.concurrency.locks import Bells
from factstore.errors import StorageError
from factstore.storage.postgres.connections import Connections

LONGEST_SECONDS: Final = 0.25  # a waiting thread asks at least this often
_SHORTEST_SECONDS: Final = 0.005  # without a listener the first question is asked after this time
_LISTEN_SECONDS: Final = 1.0  # how often a listening thread checks whether its handle still exists
_RETRY_SECONDS: Final = 1.0


class Notices:
    """The notices of one store for one handle; it begins to listen when a thread first waits."""

    def __init__(self, connections: Connections, channel: str, *, can_listen: bool) -> None:
        self._connections = connections
        self.channel = channel
        self._can_listen = can_listen
        self._bells = Bells()
        self._count = 0  # of notices
        self._is_listening = False
        self._ended = Event()
        self._thread: Thread | None = None

    def seen(self) -> int:
        """Return the number of notices so far; `wait` returns at once when there are more."""
        if self._thread is None and self._can_listen:
            self._thread = Thread(target=_listen, args=(ref(self), self._ended), daemon=True, name="factstore-notices")
            self._thread.start()
        return self._count

    def wait(self, seen: int, timeout: float, attempt: int = 0) -> None:
        """Wait for a notice after the `seen` ones, or until it is time to ask for the head."""
        interval = LONGEST_SECONDS if self._is_listening else min(LONGEST_SECONDS, _SHORTEST_SECONDS * 2**attempt)
        self._bells.wait(lambda: self._count > seen or self._ended.is_set(), min(timeout, interval))

    def ring(self) -> None:
        """Wake all threads that wait."""
        self._count += 1
        self._bells.ring()

    def listen(self, connection: psycopg.Connection) -> None:
        """Listen on a new connection for some time. Raises: psycopg.Error when it is lost."""
        if not self._is_listening:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self.channel)))
            self._is_listening = True
            self.ring()  # what was committed before is noticed too
        for _ in connection.notifies(timeout=_LISTEN_SECONDS, stop_after=1):
            self.ring()

    def connect(self) -> psycopg.Connection:
        """Return a connection for listening. Raises: Unavailable."""
        self._is_listening = False
        return self._connections.connect()

    def pause(self) -> None:
        """Wait before the next connection is tried; meanwhile the threads that wait ask for the head."""
        self._is_listening = False
        self._ended.wait(_RETRY_SECONDS)

    def close(self) -> None:
        """End the listening, and wake all threads that wait."""
        self._ended.set()
        self._bells.ring()


def _listen(notices: ref[Notices], ended: Event) -> None:
    connection: psycopg.Connection | None = None
    while not ended.is_set() and (these := notices()) is not None:
        try:
            if connection is None:
                connection = these.connect()
            these.listen(connection)
        except (psycopg.Error, StorageError):
            if connection is not None:
                connection.close()
                connection = None
            these.pause()
        del these
    if connection is not None:
        with suppress(psycopg.Error):
            connection.close()
