"""The answer to a request that was let in: the view runs on a thread, and its answer becomes HTML or an export.

When the browser goes away, the flag of the request is set, and a running query stops at its next check.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from threading import Event
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from anyio import to_thread
from jinja2 import Environment
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from factstore.concurrency.limits import starting_threads
from factstore.console.exports import exported
from factstore.console.hidden import Hidden
from factstore.console.moment import Moment, Timeline, moment_of, timeline
from factstore.console.page import Answer, Extension, Page, PageRequest, Redirect
from factstore.errors import DatabaseError, FactStoreError, Unavailable

if TYPE_CHECKING:
    from factstore.connection.connection import Connection

MAX_FORM_BYTES: Final = 1 << 20
_STATUS: Final = {"not-found": 404, "forbidden": 403, "conflict": 409, "busy": 503, "unavailable": 503, "fault": 500}


@dataclass
class Console:
    """What all pages of one console share."""

    conn: Connection
    hidden: Hidden
    read_only: bool
    extensions: tuple[Extension, ...]
    templates: Environment
    backups: Mapping[str, Connection]
    running: set[Event] = field(default_factory=set)  # the flags of the requests that run
    _timeline: tuple[int, Timeline] | None = None

    def timeline(self) -> Timeline:
        """Return the time line of the store; the one of the newest transaction is kept."""
        db, kept = self.conn.db(), self._timeline
        if kept is None or kept[0] != db.basis_t:
            kept = self._timeline = db.basis_t, timeline(db)
        return kept[1]

    def moment(self, parameters: Mapping[str, str]) -> Moment:
        """Return the moment of the parameters of a request. Raises: DatabaseError(:db.error/invalid-point)."""
        try:
            return moment_of(self.conn.db(), parameters, clock=self.conn.now)
        except DatabaseError:  # another process may have committed that transaction just now
            return moment_of(self.conn.sync(), parameters, clock=self.conn.now)

    def end(self) -> None:
        """Stop the queries that run, before the server waits for its requests to end."""
        for flag in self.running:
            flag.set()


def endpoint(console: Console, extension: Extension, page: Page) -> Callable[[Request], Awaitable[Response]]:
    """Return the function that answers requests for a page."""

    async def answered(request: Request) -> Response:
        form: Mapping[str, str] | None = None
        if request.method == "POST":
            body = await _body(request)
            if body is None:
                return PlainTextResponse(f"a form has at most {MAX_FORM_BYTES} bytes", 413)
            form = dict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True))
        asked = _page_request(console, request, form)
        gone = asyncio.create_task(_set_when_gone(request, asked))
        console.running.add(asked.cancel)
        try:
            suffix = request.scope.get("console.suffix", "")
            with starting_threads():
                return await to_thread.run_sync(_answer, console, extension, page, asked, suffix)
        except Unavailable as error:
            return PlainTextResponse(str(error), _STATUS["unavailable"])
        finally:
            console.running.discard(asked.cancel)
            gone.cancel()

    return answered


async def _body(request: Request) -> bytes | None:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:
            return None
    return body


async def _set_when_gone(request: Request, asked: PageRequest) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    asked.cancel.set()


def _page_request(console: Console, request: Request, form: Mapping[str, str] | None) -> PageRequest:
    parameters = dict(request.query_params)
    try:
        moment = console.moment(parameters)
    except FactStoreError:  # `_answer` shows it
        moment = console.moment({})
    root = request.scope.get("root_path", "")
    return PageRequest(
        conn=console.conn,
        moment=moment,
        hidden=console.hidden,
        path=request.scope["path"].removeprefix(root) or "/",
        parts=request.path_params,
        parameters=parameters,
        form=form,
        who=request.scope["console.who"],
        root=root,
        read_only=console.read_only,
        backups=console.backups,
    )


def _answer(console: Console, extension: Extension, page: Page, asked: PageRequest, suffix: str) -> Response:
    try:
        _check_pages(extension, asked)
        console.moment(asked.parameters)
        answer = page.view(asked)
        if isinstance(answer, Redirect):
            return RedirectResponse(asked.address(answer.path, **answer.parameters), 303)
        if suffix:
            export = exported(suffix, answer.tables, asked.moment)
            return Response(export.content, answer.status, media_type=export.media_type)
    except FactStoreError as error:
        status = _STATUS.get(error.category, 400)
        if suffix:
            return PlainTextResponse(str(error), status)
        page, answer = page._replace(live=False), Answer("error.html", {"error": error}, status=status)
    return HTMLResponse(_html(console, page, asked, answer), answer.status)


def _check_pages(extension: Extension, asked: PageRequest) -> None:
    if not extension.is_for(asked.conn.db()):
        message = f"this store has no such page: it lacks the attribute {extension.needs}"
        raise DatabaseError(":db.error/not-an-entity", message, attribute=extension.needs)


def _html(console: Console, page: Page, asked: PageRequest, answer: Answer) -> str:
    values = {
        "page": page,
        "ask": asked,
        "moment": asked.moment,
        "url": asked.address,
        "timeline": console.timeline(),
        "extensions": [extension for extension in console.extensions if extension.is_for(asked.conn.db())],
        "again": answer.again,
        "tables": answer.tables,
    }
    return console.templates.get_template(answer.template).render({**values, **answer.values})
