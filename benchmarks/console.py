"""The cost of the console's pages: milliseconds of the first page, an entity, a step of the slider, and a commit that reaches live pages.

    python -m benchmarks.console [--orders 100000] [--jobs 100000] [--pages 100]

Each page is requested over HTTP from a server in this process. Best of several rounds, after one that is not counted.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import uvicorn

import factstore
from factstore.console import console
from overseer import install, job_txn
from overseer.console import JOBS
from overseer.jobs.states import FAILED, FINISHED, Outcome
from overseer.jobs.store import JobStore

NAMES = ("ann", "bob", "cleo")
ONE, REF = ":db.cardinality/one", ":db.type/ref"
SCHEMA = [
    {":db/ident": ":order/number", ":db/valueType": ":db.type/long", ":db/cardinality": ONE, ":db/unique": ":db.unique/identity"},
    {":db/ident": ":order/customer", ":db/valueType": REF, ":db/cardinality": ONE},
    {":db/ident": ":order/status", ":db/valueType": ":db.type/string", ":db/cardinality": ONE},
    {":db/ident": ":customer/name", ":db/valueType": ":db.type/string", ":db/cardinality": ONE, ":db/unique": ":db.unique/identity"},
]  # fmt: skip


def fill(conn: factstore.Connection, orders: int) -> None:
    conn.transact(SCHEMA)
    conn.transact([{":customer/name": f"c{i}"} for i in range(1000)])
    for first in range(0, orders, 1000):
        conn.transact(
            [
                {":order/number": i, ":order/customer": [":customer/name", f"c{i % 1000}"], ":order/status": "new"}
                for i in range(first, min(orders, first + 1000))
            ]
        )
        conn.transact(
            [
                [":db/add", [":order/number", i], ":order/status", "paid"]
                for i in range(first, min(orders, first + 1000), 2)
            ]
        )


def fill_jobs(conn: factstore.Connection, jobs: int) -> None:
    """Commit the life of jobs of four types in four queues: four of five have run."""
    install(conn)
    store = JobStore(conn, worker="benchmark")
    for first in range(0, jobs, 1000):
        forms = [
            job_txn(f"type-{i % 4}", id=f"job-{i}", queue=f"queue-{i % 4}")
            for i in range(first, min(jobs, first + 1000))
        ]
        made = conn.transact(forms).tempids
        ready = [made[form[":db/id"]] for form in forms[: len(forms) * 4 // 5]]
        for start in range(0, len(ready), 250):
            claimed = store.claim(ready[start : start + 250], lease=timedelta(minutes=1))
            ends = [Outcome(FAILED if job.lease.job % 50 == 0 else FINISHED) for job in claimed]
            store.settle([(job.lease, end) for job, end in zip(claimed, ends, strict=True)])


def best(work: Callable[[], Any], rounds: int = 7) -> float:
    """Return the least milliseconds of several rounds."""
    times = []
    for _ in range(rounds + 1):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times[1:]) * 1e3


def serve(conn: factstore.Connection) -> tuple[uvicorn.Server, threading.Thread, str]:
    config = uvicorn.Config(
        console(conn, authorize=lambda _request: "benchmark", extensions=[JOBS]),
        port=0,
        log_level="error",
        lifespan="off",
        timeout_graceful_shutdown=1,
    )
    server, started = uvicorn.Server(config), threading.Event()
    startup = server.startup

    async def starting(sockets: Any = None) -> None:
        await startup(sockets)
        started.set()

    server.startup = starting  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    started.wait()
    return server, thread, f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"


def newest(base: str) -> Iterator[int]:
    """Yield the newest t as a live page of a browser gets it, which opens the next stream when one ends."""
    with httpx.Client(timeout=None) as client:
        while True:
            with client.stream("GET", f"{base}/live") as stream:
                yield from (int(line.removeprefix("data:")) for line in stream.iter_lines() if line.startswith("data:"))


def live(base: str, conn: factstore.Connection, pages: int) -> tuple[float, float]:
    """Return the share of a core that idle live pages cost, and the milliseconds until a commit has reached all of them."""
    ready, reached = threading.Barrier(pages + 1), threading.Barrier(pages + 1)

    def follow() -> None:
        ts = newest(base)
        first = next(ts)
        ready.wait()
        next(t for t in ts if t > first)
        reached.wait()

    threads = [threading.Thread(target=follow) for _ in range(pages)]
    for thread in threads:
        thread.start()
    ready.wait()
    used, began = time.process_time(), time.perf_counter()
    time.sleep(5)
    share = (time.process_time() - used) / (time.perf_counter() - began)
    began = time.perf_counter()
    conn.transact([{":db/doc": "news"}])
    reached.wait()
    took = time.perf_counter() - began
    for thread in threads:
        thread.join()
    return share, took * 1e3


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--orders", type=int, default=100_000)
    options.add_argument("--jobs", type=int, default=100_000)
    options.add_argument("--pages", type=int, default=100)
    chosen = options.parse_args()
    with TemporaryDirectory() as folder:
        for name, count, made, measured in (
            ("shop", chosen.orders, fill, measure),
            ("jobs", chosen.jobs, fill_jobs, measure_jobs),
        ):
            with factstore.connect(f"{folder}/{name}.facts") as conn:
                made(conn, count)
            with factstore.connect(f"{folder}/{name}.facts") as conn:
                server, thread, base = serve(conn)
                try:
                    measured(base, conn, chosen)
                finally:
                    server.should_exit = True
                    thread.join()


def measure(base: str, conn: factstore.Connection, chosen: argparse.Namespace) -> None:
    basis = conn.db().basis_t
    moments = iter(range(3, basis))
    with httpx.Client(base_url=base, timeout=None) as client:

        def get(path: str) -> None:
            client.get(path).raise_for_status()

        print(f"{chosen.orders:,} orders, {basis:,} transactions; milliseconds")
        print(f"{best(lambda: get('/')):8.1f}  overview, live")
        print(f"{best(lambda: get(f'/?t={next(moments)}')):8.1f}  overview at a moment never requested before")
        print(f"{best(lambda: get('/entity/[:order/number 77]')):8.1f}  entity")
        print(f"{best(lambda: get('/schema')):8.1f}  schema")
        print(f"{best(lambda: get(f'/difference?from={basis - 2}')):8.1f}  difference of the last two transactions")
        print(f"{best(lambda: get('/transactions')):8.1f}  transactions")
    share, took = live(base, conn, chosen.pages)
    print(f"{100 * share:8.2f}  per cent of a core, {chosen.pages} idle live pages (with their clients)")
    print(f"{took:8.1f}  a commit has reached all {chosen.pages} of them")


def measure_jobs(base: str, conn: factstore.Connection, chosen: argparse.Namespace) -> None:
    basis = conn.db().basis_t
    moments = iter(range(basis // 2, basis))
    with httpx.Client(base_url=base, timeout=None) as client:

        def get(path: str) -> None:
            client.get(path).raise_for_status()

        print(f"{chosen.jobs:,} jobs, {basis:,} transactions; milliseconds")
        print(f"{best(lambda: get('/queues')):8.1f}  queues, live")
        print(f"{best(lambda: get(f'/queues?t={next(moments)}')):8.1f}  queues at a moment never requested before")
        print(f"{best(lambda: get('/jobs')):8.1f}  jobs, live")
        print(f"{best(lambda: get(f'/jobs?t={next(moments)}')):8.1f}  jobs at a moment never requested before")
        print(f"{best(lambda: get('/jobs?status=failed')):8.1f}  jobs that failed")
        print(f"{best(lambda: get('/job?id=job-77')):8.1f}  one job")
        print(f"{best(lambda: get('/workers')):8.1f}  workers")
        print(f"{best(lambda: get('/charts?span=1h')):8.1f}  charts of all of these jobs", flush=True)
        print(f"{best(lambda: get('/what-if?workers=8'), 2):8.1f}  what if, {chosen.jobs // 5:,} live jobs")


if __name__ == "__main__":
    main()
