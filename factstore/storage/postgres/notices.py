"""The newest head of a store that this process knows of, and the threads that wait for a newer one.

    append of any process ──► notice with its t ──► one connection of this process listens ──► `heard`
    reply of the server ────────────────────────────────────────────────────────────────────► `heard`

Handles of one process on one store share the head and the connection. A notice is a hint: it can be late, or lost
without a sign. So the head counts only for a short time after a reply of the server; then the server is asked again.
Behind a pooler it is always asked.
Law: `known` is at least the head of `FRESH_SECONDS` ago; no waiting thread is later than that.
"""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Event, Lock
from time import monotonic
from typing import Any, Final, NamedTuple
from uuid import UUID
from weakref import WeakValueDictionary, ref

import psycopg
from psycopg import sql

from factstore.concurrency.locks import Bells, CallLock
from factstore.concurrency.threads import Single
from factstore.errors import StorageError, Unavailable
from factstore.storage.postgres import statements
from factstore.storage.postgres.connections import Connections
from factstore.storage.postgres.servers import is_standby

FRESH_SECONDS: Final = 1.0  # how long a head counts after the last notice or reply
LONGEST_SECONDS: Final = 0.25  # without a listener, a waiting thread asks at least this often
_SHORTEST_SECONDS: Final = 0.005  # without a listener the first question is asked after this time
_LISTEN_SECONDS: Final = 1.0  # how often a listening thread checks whether its store is still open
_RETRY_SECONDS: Final = 1.0
UNKNOWN: Final = b""  # the txid of a head of which only t is known
_STANDBY_SECONDS: Final = 5.0  # how often a reader that reaches only a standby tries to find a primary

_open: WeakValueDictionary[Any, Notices] = WeakValueDictionary()
_opening = Lock()


def notices(connections: Connections, store: UUID, *, can_listen: bool) -> Notices:
    """Return the notices of a store for one more handle of this process, which must call `leave` when it is closed."""
    key = (store, connections.servers.target, can_listen)
    with _opening:
        shared = _open.get(key)
        if shared is None or not shared.join():
            shared = _open[key] = Notices(connections, store, can_listen=can_listen)
        return shared


def _after_fork() -> None:
    """The threads that listen are the parent's; replace the lock, which one of them may hold."""
    global _opening
    _opening = Lock()
    _open.clear()


os.register_at_fork(after_in_child=_after_fork)


class Head(NamedTuple):
    """The newest record: its txid tells it from another one that has its t after a failover."""

    t: int
    txid: bytes

    def is_at_least(self, other: Head) -> bool:
        """Return whether the log of this head has the record of another one, as far as the two show."""
        return self.t > other.t or (self.t == other.t and self.txid in (UNKNOWN, other.txid))


class Notices:
    """The notices of one store; it begins to listen when a thread first asks for the head or waits."""

    def __init__(self, connections: Connections, store: UUID, *, can_listen: bool) -> None:
        self.channel = f"factstore_{store.hex}"
        self._connections = connections
        self._store = store
        self._can_listen = can_listen
        self._bells = Bells()
        self._lock = CallLock()
        self._handles = 1
        self.head = Head(0, b"")  # the newest known one, however old
        self._head_at = 0.0  # a moment at which no newer head existed
        self._count = 0  # of notices
        self._is_listening = False
        self._ended = Event()
        self._thread = Single("factstore-notices")

    # -- handles

    def join(self) -> bool:
        """Count one more handle; return False if the last one has left."""
        if self._ended.is_set():
            return False
        self._handles += 1
        return True

    def leave(self) -> None:
        """Wake all threads that wait, because a handle is closed; stop listening when it was the last one."""
        with _opening:
            self._handles -= 1
            if not self._handles:
                self._ended.set()
        self.ring()

    # -- the head

    def known(self) -> Head | None:
        """Return the newest known head; None if the last reply is too old, or no thread listens."""
        self._listen_from_now_on()
        is_fresh = self._is_listening and monotonic() - self._head_at <= FRESH_SECONDS
        return self.head if is_fresh else None

    def heard(self, head: Head, at: float | None = None) -> None:
        """Note a head.

        Args:
            at: a moment at which no newer head existed, for a reply. None, for a notice, which can be late.
        """
        with self._lock:
            if head.t >= self.head.t:
                self.head = self.head if head == (self.head.t, UNKNOWN) else head
                self._head_at = self._head_at if at is None else max(self._head_at, at)

    def forget(self) -> None:
        """Forget the head, because the server lost it in a failover."""
        with self._lock:
            self.head, self._head_at = Head(0, b""), 0.0

    # -- waiting

    def seen(self) -> int:
        """Return the number of notices so far; `wait` returns at once when there are more."""
        self._listen_from_now_on()
        return self._count

    def wait(self, seen: int, timeout: float, attempt: int = 0) -> None:
        """Wait for a notice after the `seen` ones, or until it is time to ask for the head."""
        if self._is_listening:
            interval = max(self._head_at + FRESH_SECONDS - monotonic(), _SHORTEST_SECONDS)
        else:
            interval = min(LONGEST_SECONDS, _SHORTEST_SECONDS * 2**attempt)
        self._bells.wait(lambda: self._count > seen, min(timeout, interval))

    def ring(self) -> None:
        """Wake all threads that wait."""
        self._count += 1
        self._bells.ring()

    # -- listening

    def _listen_from_now_on(self) -> None:
        if self._can_listen and self._thread.thread is None:
            # Without a listener, the server is asked instead, and the next call tries again.
            with suppress(Unavailable):
                self._thread.start(_listen, ref(self), self._ended)

    def connect(self) -> psycopg.Connection | None:
        """Return a connection that listens; None if only a standby is reached. Raises: psycopg.Error, Unavailable."""
        connection = self._connections.servers.primary()
        try:
            if is_standby(connection):
                connection.close()
                return None
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self.channel)))
            began = monotonic()
            row = connection.execute(statements.HEAD, {"store": self._store}).fetchone()
        except BaseException:
            connection.close()
            raise
        self.forget()  # after a failover the head can be an older one
        self.heard(Head(*row[:2]) if row else self.head, began)
        self._is_listening = True
        self.ring()  # what was committed before is noticed too
        return connection

    def listen(self, connection: psycopg.Connection) -> None:
        """Listen for some time. Raises: psycopg.Error when the connection is lost."""
        for notice in connection.notifies(timeout=_LISTEN_SECONDS, stop_after=1):
            self._notified(notice.payload)
            self.ring()

    def _notified(self, text: str) -> None:
        t, _, txid = text.partition(" ")
        try:
            self.heard(Head(int(t), bytes.fromhex(txid)))
        except ValueError:
            self.forget()  # another program has sent it

    def pause(self, seconds: float) -> None:
        """Wait before the next connection is tried; meanwhile the threads that wait ask for the head."""
        self._is_listening = False
        self.ring()
        self._ended.wait(seconds)


def _listen(notices: ref[Notices], ended: Event) -> None:
    connection: psycopg.Connection | None = None
    while not ended.is_set() and (these := notices()) is not None:
        try:
            if connection is None:
                connection = these.connect()
            if connection is None:
                these.pause(_STANDBY_SECONDS)  # a standby has no notices
            else:
                these.listen(connection)
        except (psycopg.Error, StorageError):
            if connection is not None:
                connection.close()
                connection = None
            these.pause(_RETRY_SECONDS)
        del these
    if connection is not None:
        with suppress(psycopg.Error):
            connection.close()
