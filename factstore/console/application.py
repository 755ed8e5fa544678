"""The console as an ASGI application: routes for the pages, protected."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Match, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from factstore.console.exports import SUFFIXES
from factstore.console.hidden import Hidden
from factstore.console.live import LiveReader
from factstore.console.page import Extension
from factstore.console.pages import STORE
from factstore.console.respond import Console, endpoint
from factstore.console.security import LOOPBACK, Authorize, Protection
from factstore.console.sign_in import OneTimeLink
from factstore.console.templates import environment
from factstore.drawing import CSS

if TYPE_CHECKING:
    from factstore.connection.connection import Connection

_STATIC: Final = Path(__file__).parent / "static"


def console(
    conn: Connection,
    *,
    authorize: Authorize | None = None,
    read_only: bool = False,
    hosts: Collection[str] = LOOPBACK,
    hide: Iterable[str] = (),
    extensions: Iterable[Extension] = (),
    backups: Mapping[str, Connection] | None = None,
) -> Starlette:
    """Return the console of a store as an ASGI application, to serve alone or to mount into another one.

    Args:
        conn: the connection; the caller closes it. To be certain that nothing is written, open it with
            `read_only=True`, too.
        authorize: called with each request (of Starlette); it returns the name of the person, which every transaction
            states, or None to reject the request. It may be a coroutine function. None: only the holder of a one-time
            link; its token is `app.state.authorize.token`.
        read_only: reject every request that writes, and show no form for one.
        hosts: the names, or names with a port, that the Host of a request may have.
        hide: idents of attributes whose facts are not shown.
        extensions: pages of other packages.
        backups: connections to other stores, such as backups, by the names that the page of the difference offers;
            they are only read, and the caller closes them.
    Raises: DatabaseError(:db.error/not-an-attribute) for a hidden attribute that does not exist.

    >>> import factstore
    >>> with factstore.connect("memory:") as conn:
    ...     app = console(conn, authorize=lambda request: request.headers.get("x-user"), hosts=["shop.example"])
    """
    db = conn.db()
    hidden = Hidden(db.attribute(name).ident for name in hide)
    added = tuple(extensions)
    shared = Console(conn, hidden, read_only, (STORE, *added), environment(added), dict(backups or {}))
    admitted: Authorize = OneTimeLink() if authorize is None else authorize
    protection = Middleware(Protection, authorize=admitted, hosts=tuple(hosts), read_only=read_only)
    reader = LiveReader(conn)
    app = Starlette(routes=list(_routes(shared, reader)), middleware=[protection, Middleware(Suffixes)])
    app.state.authorize, app.state.end = admitted, partial(_end, reader, shared)
    return app


def _end(reader: LiveReader, shared: Console) -> None:
    """End live pages and queries, before the server of the console waits for its requests to end."""
    reader.end()
    shared.end()


def _routes(shared: Console, reader: LiveReader) -> Iterable[BaseRoute]:
    async def live(_request: Request) -> Response:
        return StreamingResponse(reader.events(), media_type="text/event-stream")

    async def style(_request: Request) -> Response:
        return Response(rules, media_type="text/css")

    rules = "\n".join([CSS, *(extension.style for extension in shared.extensions)])
    yield Route("/live", live)
    yield Route("/style.css", style)
    yield Mount("/static", StaticFiles(directory=_STATIC))
    for extension in shared.extensions:
        for page in extension.pages:
            methods = ["GET", "POST"] if page.writes and not shared.read_only else ["GET"]
            yield PageRoute(page.path, endpoint(shared, extension, page), methods=methods)


class PageRoute(Route):
    """The route of a page. An address with a number that is too long for an int is the address of no page."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the path of a request is that of the page, and its parts."""
        try:
            return super().matches(scope)
        except ValueError:
            return Match.NONE, {}


class Suffixes:
    """An ASGI application that removes the suffix of an export, such as `.csv`, from the path of a request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path, dot, suffix = scope.get("path", "").rpartition(".")
        if dot and suffix in SUFFIXES and "/static/" not in path:
            scope = {**scope, "path": path, "console.suffix": suffix}
        await self._app(scope, receive, send)
