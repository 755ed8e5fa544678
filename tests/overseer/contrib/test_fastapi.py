"""An application of FastAPI in several processes of uvicorn, and workers of its jobs; all are killed and started again."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import factstore
import overseer
from factstore.contrib.starlette import Store
from overseer import status
from overseer.contrib.starlette import working
from overseer.jobs.states import FINISHED

ROOT = Path(__file__).resolve().parents[3]
PROCESSES = 2
FEW = 30  # threads that the event loop, its executor, the store and the worker of one process may start
LIMITS = httpx.Limits(max_connections=None)


class Site(NamedTuple):
    """An application that is served, and its store."""

    process: subprocess.Popen[str]
    url: str
    store: str


@contextmanager
def served(store: str, *, processes: int = PROCESSES, patience: int | None = 2, **environment: str) -> Iterator[Site]:
    """Serve the shop; `patience` is how long the server waits for its requests when it ends, None: until they end."""
    command = [sys.executable, "-m", "uvicorn", "tests.overseer.contrib.fastapi_shop:app", "--port", "0", "--no-access-log"]
    command += ["--workers", str(processes)] + ([] if patience is None else ["--timeout-graceful-shutdown", str(patience)])
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "SHOP": store, **environment}, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield Site(process, _address(process, processes), store)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def _address(process: subprocess.Popen[str], processes: int) -> str:
    """Return the address of an application that has started in all its processes."""
    assert process.stderr is not None
    url, log = "", ""
    while processes or not url:
        line = process.stderr.readline()
        assert line, log
        log += line
        found = re.search(r"running on (http://\S+)", line)
        url = found[1] if found else url
        processes -= "startup complete" in line
    return url


@contextmanager
def working_on(store: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "overseer", "worker", "tests.overseer.contrib.fastapi_shop:jobs", "--store", store, "--lease", "1"]
    process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "SHOP": store}, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def until_finished(conn: factstore.Connection, jobs: int) -> factstore.Database:
    """Wait until that number of jobs are finished."""
    db = conn.db()
    while status.counts(db)[FINISHED] < jobs:
        newer = conn.wait(db.basis_t, 60)
        assert newer.basis_t > db.basis_t, status.counts(db)
        db = newer
    return db


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with served(str(tmp_path_factory.mktemp("site") / "shop.facts")) as made:
        yield made


def test_200_requests_at_a_time_are_each_committed_once(site: Site) -> None:
    async def post_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=site.url, limits=LIMITS, timeout=60) as client:
            return await asyncio.gather(*(client.post(f"/orders/{n}") for n in range(200)))

    answers = asyncio.run(post_all())
    assert {200} == {answer.status_code for answer in answers}
    assert 200 == len({answer.json() for answer in answers})
    with factstore.connect(site.store, read_only=True) as conn:
        assert 200 == conn.db().q("[:find (count ?o) . :where [?o :order/number ?n] [(>= ?n 0)]]")


def test_errors_of_the_store_are_answers(site: Site) -> None:
    with httpx.Client(base_url=site.url, timeout=60) as client:
        client.post("/orders/1000")
        again = client.post("/orders/1000")
        assert (409, ":db.error/already-inserted") == (again.status_code, again.json()["code"])
        assert 422 == client.post("/orders/many").status_code  # FastAPI's own
        unknown = client.get("/jobs/none")
        assert (404, ":job.error/no-such-job") == (unknown.status_code, unknown.json()["code"])
        unfinished = client.get("/jobs/ship-1000")  # no worker runs
        assert (503, ":job.error/not-ended", "1") == (unfinished.status_code, unfinished.json()["code"], unfinished.headers["retry-after"])


def test_all_dependencies_of_a_request_share_one_snapshot(site: Site) -> None:
    first, still, newest = httpx.get(f"{site.url}/twice", timeout=60).json()
    assert first == still == newest - 1


def test_a_server_that_waits_for_its_requests_ends_while_a_live_page_is_open(tmp_path: Path) -> None:
    with served(str(tmp_path / "shop.facts"), processes=1, patience=None) as site, httpx.Client(timeout=60) as browser:
        with browser.stream("GET", f"{site.url}/console/live") as stream:
            events = stream.iter_lines()
            assert "event: commit" in events
            site.process.terminate()
            assert [] == [line for line in events if line.startswith("event")]
        assert -signal.SIGTERM == site.process.wait()  # uvicorn has ended its requests, and repeats the signal


def test_the_console_is_mounted_in_each_process(site: Site) -> None:
    with httpx.Client(base_url=site.url, timeout=60, headers={"connection": "close"}) as client:
        assert {200} == {client.get("/console/schema").status_code for _ in range(6)}


def test_100_streams_need_no_more_threads_than_10(site: Site) -> None:
    async def threads() -> tuple[dict[str, int], dict[str, int]]:
        async with httpx.AsyncClient(base_url=site.url, limits=LIMITS, timeout=60) as client, AsyncExitStack() as stack:
            few = [await _opened(stack, client) for _ in range(10)]
            before = await _after_commit(client, few, 1001)
            streams = [*few, *[await _opened(stack, client) for _ in range(90)]]
            return before, await _after_commit(client, streams, 1002)

    before, after = asyncio.run(threads())
    # With a thread for each stream, one process would have 40 more at least: 50 of 100 instead of at most all 10.
    assert max(after.values()) - max(before.values()) < FEW


async def _opened(stack: AsyncExitStack, client: httpx.AsyncClient) -> AsyncIterator[str]:
    answer = await stack.enter_async_context(client.stream("GET", "/events"))
    lines = answer.aiter_lines()
    await anext(lines)
    return lines


async def _after_commit(client: httpx.AsyncClient, streams: list[AsyncIterator[str]], number: int) -> dict[str, int]:
    """Commit a transaction, and return the number of threads that each process then reports on these streams."""
    await client.post(f"/orders/{number}")
    reported: dict[str, int] = {}
    for stream in streams:
        process, count = (await anext(stream)).split()
        reported[process] = max(int(count), reported.get(process, 0))
    return reported


def test_after_all_processes_were_killed_no_order_is_lost_and_each_is_shipped_once(tmp_path: Path) -> None:
    store = str(tmp_path / "shop.facts")
    with served(store) as site, working_on(store) as worker, factstore.connect(store) as conn:
        accepted = asyncio.run(_orders_until_killed(site, worker, conn))
    with served(store, WORKS="1") as site, working_on(store), factstore.connect(store) as conn:
        db = conn.db()
        orders = db.q("[:find [?n ...] :where [_ :order/number ?n]]")
        assert accepted <= set(orders)
        db = until_finished(conn, len(orders))
        assert {1} == {count for _, count in db.q("[:find ?n (count ?s) :where [?o :order/number ?n] [?o :order/shipped ?s]]")}
        assert 200 == httpx.get(f"{site.url}/orders/0", timeout=60).status_code


async def _orders_until_killed(site: Site, worker: subprocess.Popen[bytes], conn: factstore.Connection) -> set[int]:
    """Order until some orders are shipped, kill all processes meanwhile, and return the orders that were accepted."""
    accepted: set[int] = set()

    async def order(client: httpx.AsyncClient, number: int) -> None:
        try:
            if (await client.post(f"/orders/{number}")).status_code == 200:
                accepted.add(number)
        except httpx.TransportError:
            pass  # the process was killed

    async with httpx.AsyncClient(base_url=site.url, limits=LIMITS, timeout=60) as client:
        tasks = [asyncio.create_task(order(client, number)) for number in range(80)]
        await asyncio.to_thread(until_finished, conn, 8)
        os.killpg(site.process.pid, signal.SIGKILL)
        worker.kill()
        await asyncio.gather(*tasks)
    return accepted


def test_the_worker_of_an_application_lets_its_jobs_end_when_the_application_ends(tmp_path: Path) -> None:
    began, leaving, uri = threading.Event(), threading.Event(), str(tmp_path / "shop.facts")

    def slow(job: overseer.Job) -> str:
        began.set()
        return "ended after the application" if leaving.wait(60) else "too early"

    store = Store(uri)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with working(store, {"slow": slow}, concurrency=2)(app):
            yield
            leaving.set()

    with TestClient(Starlette(lifespan=lifespan)):
        store.conn.transact([overseer.job_txn("slow", id="s1")])
        assert began.wait(60)
    with factstore.connect(uri, read_only=True) as conn:
        assert '"ended after the application"' == conn.db().pull("[:job/result]", [":job/id", "s1"])[":job/result"]


def test_handlers_that_cannot_run_stop_the_start_of_the_application(tmp_path: Path) -> None:
    app = Starlette(lifespan=working(Store(str(tmp_path / "shop.facts")), {"x": "no function"}))  # type: ignore[dict-item]
    with pytest.raises(overseer.HandlerError), TestClient(app):
        pass
