"""The protection of every request, before any page sees it.

    Host in the list? ──► not from another site? ──► signed in? ──► may it write? ──► the page ──► headers

The rules are functions of the headers of a request that return the reason for a rejection, or "".
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from inspect import isawaitable
from typing import Final, TypeAlias
from urllib.parse import urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from factstore.console.sign_in import OneTimeLink

Authorize: TypeAlias = Callable[[Request], str | Awaitable[str | None] | None]

LOOPBACK: Final = ("127.0.0.1", "localhost", "[::1]")
_SAFE: Final = ("GET", "HEAD")
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


def wrong_host(headers: Headers, hosts: Collection[str]) -> str:
    """Return why the Host of a request is rejected; an entry of the list without a port allows every port."""
    hosts_given = headers.getlist("host")
    host = hosts_given[0].lower() if len(hosts_given) == 1 else ""
    name = host if host.endswith("]") else host.rpartition(":")[0] or host
    if host and (host in hosts or name in hosts):
        return ""
    return (
        "the Host of this request is not one of the console's; an application gives its own as console(conn, hosts=…)"
    )


def from_elsewhere(method: str, headers: Headers) -> str:
    """Return why an unsafe request is rejected: a page of another origin has sent it, or an unknown sender."""
    if method in _SAFE:
        return ""
    site = headers.get("sec-fetch-site")
    if site is not None:
        return "" if site in ("same-origin", "none") else "a page of another origin may not write"
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() == headers.get("host", "").lower():
        return ""
    return "a request that writes needs Sec-Fetch-Site or Origin of this console, or its bearer token"


_UNKNOWN_LINK: Final = "Sign in first. A link of `factstore console` works once; start it again."
_UNKNOWN_PERSON: Final = "Sign in to this application first; its console admits only people whom it knows."


class Protection:
    """An ASGI application around another one: rejects unwanted requests, and adds headers to all responses."""

    def __init__(self, app: ASGIApp, *, authorize: Authorize, hosts: Collection[str], read_only: bool) -> None:
        self._app = app
        self._authorize = authorize
        self._hosts = frozenset(host.lower() for host in hosts)
        self._read_only = read_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            request = Request(scope)
            response = await self._rejection(request)
            await (self._app if response is None else response)(scope, receive, _with_headers(send))

    async def _rejection(self, request: Request) -> Response | None:
        """Return the response to a rejected request, or to the link of the sign-in; None: the request is accepted."""
        link = self._authorize if isinstance(self._authorize, OneTimeLink) else None
        why = wrong_host(request.headers, self._hosts)
        if why:
            return PlainTextResponse(why, 421)
        why = from_elsewhere(request.method, request.headers)
        if why and not (link and link.is_bearer(request)):
            return PlainTextResponse(why, 403)
        if link is not None and request.method == "GET" and "token" in request.query_params:
            return _signed_in(request, link)
        name = self._authorize(request)
        who = await name if isawaitable(name) else name
        if who is None:
            return PlainTextResponse(_UNKNOWN_LINK if link is not None else _UNKNOWN_PERSON, 401)
        if self._read_only and request.method not in _SAFE:
            return PlainTextResponse("this console was opened for reading; it commits nothing", 403)
        request.scope["console.who"] = who
        return None


def _signed_in(request: Request, link: OneTimeLink) -> Response:
    """Exchange the token of the link for a cookie; a browser that has the cookie already only loses the token."""
    session = link.exchanged(request.query_params["token"])
    if session is None and link(request) is None:
        return PlainTextResponse("This link was used already, or is wrong. Start `factstore console` again.", 401)
    rest = urlencode([(name, value) for name, value in request.query_params.multi_items() if name != "token"])
    response = RedirectResponse(f"{request.url.path}{'?' if rest else ''}{rest}", 303)
    if session is not None:
        path, secure = request.scope.get("root_path") or "/", request.url.scheme == "https"
        response.set_cookie(link.cookie, session, path=path, secure=secure, httponly=True, samesite="strict")
    return response


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return sending
