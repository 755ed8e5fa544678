"""Live pages: one thread follows the log, and every open page is notified of each new transaction.

    log ──► one reader thread ──► the event loop ──► a queue of length 1 per page ──► server-sent events

The thread runs only while a page is open. A page that is slow skips transactions: only the newest t matters.

A stream ends after some seconds, and the browser opens the next one: a server that ends waits for its requests,
and applications are not notified before.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from threading import Lock, Thread
from typing import TYPE_CHECKING, Final

from factstore.concurrency.limits import started
from factstore.errors import FactStoreError, Unavailable

if TYPE_CHECKING:
    from factstore.connection.connection import Connection

logger = logging.getLogger("factstore")

_LOOK_SECONDS: Final = 1.0  # how often the reader checks whether a page is still open
_STREAM_SECONDS: Final = 5.0
_AGAIN: Final = b"retry: 100\n\n"  # milliseconds until a browser opens the next stream


class LiveReader:
    """The reader of the log for all open pages of one console; used from one event loop."""

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._pages: set[asyncio.Queue[int | None]] = set()
        self._thread: Thread | None = None
        self._lock = Lock()  # the thread ends only while it holds this and no page is open
        self._has_ended = False

    async def events(self) -> AsyncIterator[bytes]:
        """Yield server-sent events for some seconds: the newest t at once, and then after every commit."""
        page: asyncio.Queue[int | None] = asyncio.Queue(1)
        self._pages.add(page)
        try:
            self._start()
            yield _AGAIN + _event(self._conn.db().basis_t)
            until = asyncio.get_running_loop().time() + _STREAM_SECONDS
            while not self._has_ended and (t := await _next_of(page, until)) is not None:
                yield _event(t)
        finally:
            self._pages.discard(page)

    def end(self) -> None:
        """End the events of all pages, also of those that open later, before a server waits for its requests."""
        self._has_ended = True
        self._publish(None)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                loop = asyncio.get_running_loop()
                thread = Thread(target=self._follow, args=(loop,), name="factstore-console-live", daemon=True)
                try:
                    self._thread = started(thread)
                except Unavailable as error:  # the next stream of each page tries again
                    logger.warning("pages do not follow the store now: %s", error)

    def _follow(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            t = self._conn.db().basis_t
            while self._is_wanted():
                newest = self._conn.wait(t, _LOOK_SECONDS).basis_t
                if newest > t:
                    t = newest
                    loop.call_soon_threadsafe(self._publish, t)
        except (FactStoreError, RuntimeError):  # the connection or the loop was closed
            with self._lock:
                self._thread = None

    def _is_wanted(self) -> bool:
        with self._lock:
            if not self._pages:
                self._thread = None
            return bool(self._pages)

    def _publish(self, t: int | None) -> None:
        for page in self._pages:
            if page.full():
                page.get_nowait()
            page.put_nowait(t)


async def _next_of(page: asyncio.Queue[int | None], until: float) -> int | None:
    """Return the next t for a page; None if there is none until a time of the loop's clock."""
    try:
        return await asyncio.wait_for(page.get(), until - asyncio.get_running_loop().time())
    except TimeoutError:
        return None


def _event(t: int) -> bytes:
    return f"id: {t}\nevent: commit\ndata: {t}\n\n".encode()
