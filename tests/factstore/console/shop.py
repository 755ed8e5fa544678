"""A small shop with a history, and its console as tests open it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import anyio
import httpx
import uvicorn
from starlette.types import ASGIApp

import factstore
from factstore.console import OneTimeLink, console

HOST = "http://127.0.0.1"
SAME = {"sec-fetch-site": "same-origin"}
BEGAN = datetime(2026, 11, 20, 8, tzinfo=UTC)


def attribute(ident: str, kind: str, **rules: Any) -> dict[str, Any]:
    named = {f":db/{name}": value for name, value in rules.items()}
    return {":db/ident": ident, ":db/valueType": f":db.type/{kind}", ":db/cardinality": ":db.cardinality/one", **named}


SCHEMA = [
    attribute(":customer/email", "string", unique=":db.unique/identity"),
    attribute(":customer/name", "string", fulltext=True, doc="The full name, as on invoices."),
    attribute(":customer/phone", "string", unique=":db.unique/value"),
    attribute(":order/number", "long", unique=":db.unique/identity", doc="Counted from 1000."),
    attribute(":order/customer", "ref"),
    attribute(":order/status", "ref"),
    attribute(":order/lines", "ref", isComponent=True) | {":db/cardinality": ":db.cardinality/many"},
    attribute(":line/count", "long", index=True),
    attribute(":line/title", "string"),
    attribute(":audit/user", "string"),
    attribute(":audit/reason", "string"),
    {":db/ident": ":order.status/new"},
    {":db/ident": ":order.status/paid"},
]
NAMES = ("ann", "bob", "cleo")


def fill(conn: factstore.Connection, orders: int = 12) -> None:
    """Commit customers, orders, and payments, each in the name of a person."""
    conn.transact(SCHEMA)
    with conn.annotate({":audit/user": "ann"}):
        people = [
            {":customer/email": f"{n}@x.example", ":customer/name": f"{n.title()} Miller", ":customer/phone": f"+44 {i}55"}
            for i, n in enumerate(NAMES)
        ]
        conn.transact(people)
    for i in range(orders):
        lines = [{":line/count": i % 4 + 1, ":line/title": f"Teapot {i}"}]
        order = {
            ":order/number": 1000 + i,
            ":order/customer": [":customer/email", f"{NAMES[i % 3]}@x.example"],
            ":order/status": ":order.status/new",
            ":order/lines": lines,
        }
        with conn.annotate({":audit/user": NAMES[i % 2], ":audit/reason": f"order {1000 + i} from the web"}):
            conn.transact([order])
        if i:
            conn.transact([[":db/add", [":order/number", 999 + i], ":order/status", ":order.status/paid"]])
    conn.transact([{":customer/email": "ann@x.example", ":customer/name": "Ann Smith"}])


def ticking() -> Any:
    """Return a clock that advances irregularly."""
    now = [BEGAN]

    def clock() -> datetime:
        now[0] += timedelta(minutes=7 * len(str(now[0].minute)) + now[0].hour)
        return now[0]

    return clock


class Client:
    """Requests to an ASGI application in this process, with the cookies that it has set."""

    def __init__(self, app: ASGIApp, base_url: str = HOST, headers: dict[str, str] | None = None) -> None:
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=base_url, headers=headers)
        self.headers = self._client.headers

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return anyio.run(partial(self._client.request, method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)


def client(conn: factstore.Connection, *, signed_in: bool = True, **options: Any) -> Client:
    """Return a client of a console that has used its link."""
    app = console(conn, **{"authorize": OneTimeLink(name="ann"), **options})
    made = Client(app, headers=SAME)
    if signed_in:
        assert 303 == made.get("/", params={"token": app.state.authorize.token}).status_code
    return made


@contextmanager
def serving(conn: factstore.Connection, **options: Any) -> Iterator[str]:
    """Serve a console on a free port; yield its link."""
    link = OneTimeLink(name="ann")
    app = console(conn, authorize=link, **options)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="off", timeout_graceful_shutdown=1))
    started = threading.Event()
    startup = server.startup

    async def starting(sockets: Any = None) -> None:
        await startup(sockets)
        started.set()

    server.startup = starting  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert started.wait(30)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"{HOST}:{port}/?token={link.token}"
    finally:
        server.should_exit = True
        thread.join()
