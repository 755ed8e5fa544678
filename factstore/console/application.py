"""The console as an ASGI application: routes for the pages, protected."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
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
    Raises: DatabaseError(:db.error/not-an-attribute) for a hidden attribute that does not exist.

    >>> import factstore
    >>> with factstore.connect("memory:") as conn:
    ...     app = console(conn, authorize=lambda request: request.headers.get("x-user"), hosts=["shop.example"])
    """
    db = conn.db()
    hidden = Hidden(db.attribute(name).ident for name in hide)
    added = tuple(extensions)
    shared = Console(conn, hidden, read_only, (STORE, *added), environment(added))
    admitted: Authorize = OneTimeLink() if authorize is None else authorize
    protection = Middleware(Protection, authorize=admitted, hosts=tuple(hosts), read_only=read_only)
    app = Starlette(routes=list(_routes(shared)), middleware=[protection, Middleware(Suffixes)])
    app.state.authorize = admitted
    return app


def _routes(shared: Console) -> Iterable[BaseRoute]:
    reader = LiveReader(shared.conn)

    async def live(_request: Request) -> Response:
        return StreamingResponse(reader.events(), media_type="text/event-stream")

    yield Route("/live", live)
    yield Mount("/static", StaticFiles(directory=_STATIC))
    for extension in shared.extensions:
        for page in extension.pages:
            methods = ["GET", "POST"] if page.writes and not shared.read_only else ["GET"]
            yield Route(page.path, endpoint(shared, page), methods=methods)


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
