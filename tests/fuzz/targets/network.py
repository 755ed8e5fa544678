"""Targets: frames and messages of a transactor, the proofs before them, and requests to the console."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from random import Random
from typing import Any, Final
from urllib.parse import quote, urlencode

import factstore
from factstore.commit.conditions import Conditional
from factstore.mcp.answers import answer_text
from factstore.mcp.server import tools as mcp_tools
from factstore.mcp.session import Limits, Session
from factstore.mcp.tools import Tool
from factstore.transactor import handshake, messages
from factstore.transactor.frames import Frames, framed
from tests.factstore.console.shop import Client, client
from tests.fuzz import inputs
from tests.fuzz.targets.store import FORMS, PEOPLE, QUERIES, SCHEMA, store

REQUESTS: Final = (
    Conditional([{":p/name": "dee", ":p/age": 5}, [":db/add", "x", ":p/to", (":p/name", "ann")]], "reject", None, None, {}),
    Conditional("[[:db/retractEntity 7]]", "retract", 7, "a key", {":db/doc": "why"}),
    Conditional([{":p/at": datetime(2026, 1, 1, tzinfo=UTC), ":p/big": 1 << 90, ":p/to": {1, 2}}], "reject", None, None, {}),
)


def _with_other_bytes(rng: Random, whole: bytes) -> bytes:
    body = bytearray(whole)
    for _ in range(rng.choice((0, 1, 1, 2, 5))):
        at = rng.randrange(len(body) + 1)
        body[at : at + rng.choice((0, 1, 1, 4))] = rng.randbytes(rng.choice((0, 1, 1, 4, 30)))
    return bytes(body)


def transactor(rng: Random) -> None:
    """Messages of a client, of a transactor and of a stranger, with some bytes replaced, added or left out."""
    known = handshake.Handshake(b"s" * 32, b"f" * 32)
    error = factstore.TransactError(":db.error/x", "no", got=inputs.value(rng), path=("a", 1))
    sent = (
        messages.request(b"t" * 16, 5.0, messages.packed(rng.choice(REQUESTS)), is_again=rng.random() < 0.5),
        messages.answers(messages.committed(b"t" * 16, 7, {"a": 8, -1: 9}), messages.rejected(b"u" * 16, error)),
        handshake.hello(b"c" * 32),
        handshake.response(known, b"c" * 32, b"d" * 32),
    )
    body = _with_other_bytes(rng, rng.choice(sent))
    stream, frames = framed(body), Frames(1 << 16)
    cut = rng.randrange(len(stream))
    (whole,) = frames.feed(stream[:cut]) + frames.feed(stream[cut:])
    assert whole == body
    read: Callable[[bytes], Any] = rng.choice(
        (
            lambda body: messages.read_request(body).transaction,
            messages.read_answers,
            handshake.read_hello,
            lambda body: handshake.read_response(known, b"c" * 32, body),
            lambda body: Frames(1 << 10).feed(body),
        )
    )
    read(whole)


def proofs(rng: Random) -> None:
    """The messages of a handshake, of either side or of a stranger: only the unchanged ones are accepted."""
    known, theirs, ours = handshake.Handshake(b"s" * 32, b"f" * 32), b"c" * 32, b"d" * 32
    sent = rng.choice(
        (
            handshake.hello(theirs),
            handshake.response(known, theirs, ours),
            handshake.confirmation(known, theirs, ours),
            handshake.response(handshake.Handshake(b"t" * 32, b"f" * 32), theirs, ours),
        )
    )
    given = sent if rng.random() < 0.1 else _with_other_bytes(rng, sent)
    read: Callable[[bytes], Any] = rng.choice(
        (
            handshake.read_hello,
            lambda message: handshake.read_response(known, theirs, message),
            lambda message: handshake.check_confirmation(known, theirs, ours, message),
        )
    )
    read(given)
    assert given.startswith(b"factstore transactor 1 ") or given in (
        handshake.response(known, theirs, given[: handshake.CHALLENGE_BYTES]),
        handshake.confirmation(known, theirs, ours),
    ), "a message of a stranger was accepted"


PAGES: Final = ("/", "/schema", "/transactions", "/transactions/2", "/difference", "/query", "/search", "/index", "/transact", "/names")
MORE_PAGES: Final = ('/entity/[:p/name "ann"]', "/entity/:p/name", "/entity/17592186044416", "/erase/17592186044416", "/static/style.css")
FIELDS: Final = (
    "t",
    "from",
    "index",
    "start",
    "skip",
    "q",
    "inputs",
    "name",
    "for",
    "text",
    "upto",
    "attribute",
    "by",
    "key",
    "do",
    "count",
)
GIVEN: Final = (
    *(
        "",
        "0",
        "3",
        "-1",
        "now",
        "-5m",
        "2026-11-20",
        "99999999999999999999",
        "eavt",
        "avet",
        "vaet",
        ":p/name",
        ":p/age 30",
        "ann",
        "try",
        "commit",
    ),
    *(*QUERIES, *FORMS, "30 [1 2]", "\0", "٣", "<b>", "%00", "9" * 5000),
)


@cache
def visitor() -> Client:
    """Return a client of a console, whose store keeps what the requests commit."""
    conn = factstore.connect("memory:")
    conn.transact(SCHEMA)
    conn.transact(PEOPLE)
    return client(conn)


def console(rng: Random) -> None:
    """Any request is answered: a wrong one with the reason, and none with an error of the server."""
    path = rng.choice((*PAGES, *MORE_PAGES))
    if rng.random() < 0.2:
        path = "/" + inputs.text(rng, (*PAGES, *MORE_PAGES)).lstrip("/")[:2000]
    path = quote(path.encode("utf-8", "replace")) + rng.choice(("", "", "", "", ".json", ".csv", ".ndjson", ".edn", ".parquet", ".exe"))
    fields = {name: _field(rng) for name in rng.sample(FIELDS, rng.choice((0, 1, 1, 2, 4)))}
    if path.startswith("/live"):
        return  # answers for as long as the client reads
    if rng.random() < 0.3:
        body = {name: _field(rng) for name in rng.sample(FIELDS, rng.choice((1, 2, 4)))}
        content = rng.randbytes(50) if rng.random() < 0.2 else urlencode(body).encode()
        answer = visitor().post(path, params=fields, content=content)
    else:
        answer = visitor().get(path, params=fields)
    assert answer.status_code < 500, f"{path} {fields} was answered with {answer.status_code}: {answer.text[:500]}"


def _field(rng: Random) -> str:
    made = rng.choice(GIVEN) if rng.random() < 0.6 else inputs.text(rng, GIVEN)[:3000]
    return made.encode("utf-8", "replace").decode()


@cache
def tools() -> list[Tool]:
    """Return the tools that a server of MCP offers for reading."""
    return [tool for tool in mcp_tools() if not tool.writes]


def mcp(rng: Random) -> None:
    """The arguments of a tool of MCP, as JSON carries them."""
    tool = rng.choice(tools())
    given = {name: _argument(rng) for name in tool.schema()["properties"] if rng.random() < 0.8}
    session = Session(store(), "fuzz", Limits(rows=100, bytes=10_000, seconds=3.0))
    answer_text(tool.function(session, **tool.checked(given)), session)


def _argument(rng: Random) -> Any:
    kind = rng.random()
    if kind < 0.7:
        return _field(rng)
    return rng.choice((None, True, 0, 5, -1, 1 << 70, 1.5, [], ["a", 1], {"a": [1]}, [[":p/name", "ann"]], {":p/name": "x"}))


TARGETS: Final[dict[str, Callable[[Random], None]]] = {
    "transactor": transactor,
    "handshake": proofs,
    "console": console,
    "mcp": mcp,
}
