"""Live pages are told of commits, and neither they nor running queries keep a server from ending."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

import factstore
from factstore.console import Answer, Extension, Page, PageRequest, Table, console
from factstore.console.live import LiveReader
from tests.factstore.console.shop import SAME, Client, client
from tests.forks import Forks
from tests.scarcity import no_threads


@pytest.fixture
def conn() -> Iterator[factstore.Connection]:
    with factstore.connect("memory:") as made:
        yield made


def test_a_live_page_gets_the_newest_t_and_that_of_each_commit_until_the_end(conn: factstore.Connection) -> None:
    async def follow() -> list[bytes]:
        reader = LiveReader(conn)
        events = reader.events()
        first = await anext(events)
        await asyncio.to_thread(conn.transact, [{":db/doc": "news"}])
        second = await anext(events)
        reader.end()
        return [first, second, *[event async for event in events]]

    t = conn.db().basis_t
    assert [f"data: {t}", f"data: {t + 1}"] == [event.decode().strip().splitlines()[-1] for event in asyncio.run(follow())]


def test_a_page_that_opens_after_the_end_ends_at_once(conn: factstore.Connection) -> None:
    async def open_late() -> list[bytes]:
        reader = LiveReader(conn)
        reader.end()
        return [event async for event in reader.events()]

    [event] = asyncio.run(open_late())
    assert b"data: " in event


def test_a_browser_is_told_to_open_the_next_stream_at_once(conn: factstore.Connection) -> None:
    """A stream ends by itself, so that a server that waits for it ends; the page then misses nothing."""
    shop = client(conn)
    text = shop.get("/live").text
    assert text.startswith("retry: 100\n\n") and 1 == text.count("event: commit")


def test_the_end_stops_queries_that_run(conn: factstore.Connection, tmp_path: Path) -> None:
    runs, stopped = threading.Event(), threading.Event()

    def view(request: PageRequest) -> Answer:
        runs.set()
        if request.cancel.wait(60):
            stopped.set()
        return Answer("names.html", {}, {"names": Table((), ())})

    extension = Extension("Slow", (Page("/slow", "", view),), tmp_path)
    app = console(conn, authorize=lambda _request: "ann", extensions=[extension])
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(Client(app, headers=SAME).get, "/slow")
        assert runs.wait(60)
        app.state.end()
        assert 200 == answer.result().status_code
    assert stopped.is_set()


def serves_without_threads() -> None:
    async def work(conn: factstore.Connection) -> None:
        reader = LiveReader(conn)
        app = console(conn, authorize=lambda _: "ann", hosts=("x",))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as browser:
            with no_threads():
                events = reader.events()
                await anext(events)
                await events.aclose()
                refused = await browser.get("/")
                assert refused.status_code == 503
                assert "ulimit -u" in refused.text
            assert (await browser.get("/")).status_code == 200
        events = reader.events()
        await anext(events)
        commit = asyncio.create_task(asyncio.to_thread(conn.transact, [{":db/doc": "news"}]))
        assert b"event: commit" in await anext(events)
        await commit
        await events.aclose()

    with factstore.connect("memory:") as conn:
        asyncio.run(work(conn))


def test_without_threads_a_page_says_so_and_works_later() -> None:
    with Forks() as forks:
        assert forks.run(serves_without_threads) == 0
