"""A store in an application of Starlette or FastAPI. It needs `starlette`.

    store = Store("shop.facts")                    opens nothing
    app = FastAPI(lifespan=store.lifespan)         opens the store when a process starts, and closes it when that ends
    store.install(app)                             errors of the store become answers
    app.mount("/console", store.console(person_of))

    def person(email: str, db: Annotated[Database, Depends(store.db)]) -> …

Laws: all reads of one request see the same database, even while others write. A process that is forked after the store
was opened cannot use it; servers start the lifespan in each of their processes, so each opens the store itself.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Unpack

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from factstore.concurrency.threads import in_thread
from factstore.connection.asynchronous import AsyncConnection, Options
from factstore.connection.connection import Connection, connect
from factstore.db.database import Database
from factstore.errors import Closed, FactStoreError

if TYPE_CHECKING:
    from factstore.console.security import Authorize

log = logging.getLogger("factstore")

__all__ = ["STATUSES", "Store", "problem"]

# The status of an error by its category; a code that is listed has precedence.
STATUSES: Final[Mapping[str, int]] = MappingProxyType(
    {
        "incorrect": 400,
        "forbidden": 403,
        "not-found": 404,
        "conflict": 409,
        "fault": 500,
        "unsupported": 501,
        "busy": 503,
        "interrupted": 503,
        "unavailable": 503,
        ":db.error/query-too-large": 400,
        ":db.error/storage-closed": 500,  # a fault of the application, such as a lifespan that was forgotten
        ":db.error/storage-unknown-outcome": 500,  # the request may have been applied, so it must not be repeated
    }
)
_RETRY_SECONDS: Final = 1
_SNAPSHOT: Final = "factstore_db"  # in the state of a request


class Store:
    """The store of an application. It is opened by the lifespan of the application, once in each process.

    Args:
        uri: as for `factstore.connect`.
        setup: called with the connection at each start, before the first request, for example to declare attributes.
        options: those of `factstore.connect`.
    """

    def __init__(
        self, uri: str, *, setup: Callable[[Connection], object] | None = None, **options: Unpack[Options]
    ) -> None:
        self._uri = uri
        self._setup = setup
        self._options = options
        self._conn: Connection | None = None
        self._consoles: list[_Console] = []

    @property
    def conn(self) -> Connection:
        """The connection of this process. Raises: Closed before the start of the application, and after its end."""
        if self._conn is None:
            message = "the lifespan of the application opens the store: give it lifespan=store.lifespan"
            raise Closed(":db.error/storage-closed", message, uri=self._uri)
        return self._conn

    @asynccontextmanager
    async def lifespan(self, _app: Any) -> AsyncIterator[None]:
        """Open the store for as long as an application runs: `Starlette(lifespan=store.lifespan)`."""
        self._conn = conn = await in_thread(self._open)
        try:
            yield
        finally:
            self._conn = None
            for console in self._consoles:
                console.app = None
            await in_thread(conn.close)

    def _open(self) -> Connection:
        conn = connect(self._uri, **self._options)
        try:
            if self._setup is not None:
                self._setup(conn)
        except BaseException:
            conn.close()
            raise
        return conn

    def db(self, request: HTTPConnection) -> Database:
        """Return the database of a request: the newest one at its first call, and the same one at each later call.

        For FastAPI: `Depends(store.db)`. What the request itself commits is in the `db_after` of its report.
        """
        found = getattr(request.state, _SNAPSHOT, None)
        if not isinstance(found, Database):
            found = self.conn.db()
            setattr(request.state, _SNAPSHOT, found)
        return found

    def connection(self) -> Connection:
        """Return the connection, for functions that run on a thread: `Depends(store.connection)`."""
        return self.conn

    async def aconnection(self) -> AsyncConnection:
        """Return the connection for coroutine functions: `Depends(store.aconnection)`."""
        return AsyncConnection(self.conn)

    def install(self, app: Starlette, *, statuses: Mapping[str, int] = STATUSES) -> None:
        """Let an application answer errors of the store by a status and a problem in JSON (RFC 9457).

        Args:
            statuses: the status of an error by its category or by its code.
        """
        app.add_exception_handler(FactStoreError, partial(_answered, statuses))

    def console(self, authorize: Authorize, **options: Any) -> ASGIApp:
        """Return the console of this store, to mount: `app.mount("/console", store.console(person_of))`.

        Args:
            authorize: called with each request; returns the name of the person, or None to reject the request.
            options: the further ones of `factstore.console.console`. It needs `factstore[console]`.
        """
        console = _Console(self, {"authorize": authorize, **options})
        self._consoles.append(console)
        return console


async def _answered(statuses: Mapping[str, int], _request: Request, error: Exception) -> Response:
    assert isinstance(error, FactStoreError)
    status = statuses.get(error.code, statuses.get(error.category, HTTPStatus.INTERNAL_SERVER_ERROR))
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.error("a request failed", exc_info=error)
    return problem(error, status)


def problem(error: FactStoreError, status: int) -> Response:
    """Return an error as an answer. The sentence of a fault of the server is not shown: it may name files and hosts."""
    title = HTTPStatus(status).phrase
    shown = {} if status >= HTTPStatus.INTERNAL_SERVER_ERROR else {"detail": error.message}
    body = {"type": "about:blank", "title": title, "status": status, "code": error.code, **shown}
    again = status == HTTPStatus.SERVICE_UNAVAILABLE
    headers = {"Retry-After": str(_RETRY_SECONDS)} if again else {}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


class _Console:
    """A console that is built at its first request, because the store is not open before."""

    def __init__(self, store: Store, options: Mapping[str, Any]) -> None:
        self._store = store
        self._options = options
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self.app is None:
            from factstore.console import console

            self.app = console(self._store.conn, **self._options)
        await self.app(scope, receive, send)
