"""A transactor on a real PostgreSQL, beside a bare group committer: `python -m benchmarks.cluster`.

    speed [--standby] [--tasks]
                        transactions per second and latency of 1, 10 and 200 clients, and of 200 for 20 seconds, in which
                        the transactor builds indexes, as it does in pauses otherwise; beside it as many clients that send
                        a finished record of the same bytes to a bare group committer (`groupcommit.py`), and, as a limit
                        of the server alone, one connection that inserts as many records in each commit as there are
                        clients
    kills [--minutes 2] two transactors under load, the leading one killed every 5 seconds; checks that no acknowledged
                        transaction is lost and none is in the log twice, and tells how long no write was acknowledged

All servers and processes run on this machine, so they share its cores.

A client waits for the answer to its transaction before it sends the next one. The clients of both sides are of the same
kind, in two processes: threads that call `conn.transact`, or with --tasks, coroutines that await `conn.transact_async`.
Both sides commit whatever arrived during the last append, on the same server, with the same promise of durability. Ours
share one connection per process, which is encrypted; each client of the bare side has a connection of its own, which is
the cheapest way there, because no thread comes between the socket and the client. Bare threads use a blocking socket,
and bare coroutines the streams of asyncio. The bare side encodes its arrays of bytes in the same way as the store.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import shutil
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, closing, contextmanager
from functools import partial
from itertools import pairwise
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from statistics import median
from typing import Any, NamedTuple, TypeAlias

import factstore
from benchmarks.groupcommit import group_committer, inserted, submitting, submitting_tasks
from benchmarks.harness import Row, save, show
from factstore.commit.indexing import enough, newest_root
from factstore.datom import t_of
from factstore.storage import open_storage
from tests.factstore.transactor.running import Transactor, transactor
from tests.postgres import Server, running

ONE = ":db.cardinality/one"
SCHEMA = [
    {":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ONE},
    {":db/ident": ":name", ":db/valueType": ":db.type/string", ":db/cardinality": ONE},
]
PROCESSES = 2
SAMPLES = 3
FACTS = 3  # of a transaction
LONG = 20.0  # seconds without a pause: as long as it takes to build two indexes or more
AIMS = {  # by clients, and whether there is a standby
    (1, True): "p50 < 4 ms",
    (200, False): ">= 10,000",
    (200, True): ">= 6,900, ratio >= 0.6, p50 < 25 ms",
}

Commit: TypeAlias = Callable[[int], object]
Side: TypeAlias = Callable[[], AbstractContextManager[Callable[[int], Commit]]]
TaskSide: TypeAlias = Callable[
    [], AbstractAsyncContextManager[Callable[[int], Awaitable[Callable[[int], Awaitable[object]]]]]
]
Run: TypeAlias = Callable[[int, float, Barrier], list[float]]


class Figures(NamedTuple):
    """Transactions per second, and the median and 99th percentile of their milliseconds."""

    rate: float
    p50: float
    p99: float


@contextmanager
def cluster(*, standby: bool) -> Iterator[tuple[Server, str]]:
    """Run a server that syncs, with a synchronous standby if wanted; give it and the uri of a store."""
    with running("synchronous_commit=on") as primary:
        if not standby:
            yield primary, primary.uri("bench", durability="local")
            return
        other = primary.standby()
        try:
            other.start("hot_standby=on", "synchronous_standby_names=")
            primary.sql("ALTER SYSTEM SET synchronous_standby_names = 'standby'")
            primary.sql("SELECT pg_reload_conf()")
            while primary.sql("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'").strip() != "1":
                time.sleep(0.1)
            yield primary, primary.uri("bench", durability="replicated")
        finally:
            other.stop()
            shutil.rmtree(other.folder, ignore_errors=True)


@contextmanager
def transacting_connection(uri: str) -> Iterator[factstore.Connection]:
    """Give a connection that has reached the transactor."""
    with factstore.connect(uri) as conn:
        conn.transact([{":n": 0}])
        yield conn
        conn.close(wait=False)


@contextmanager
def transacting(uri: str) -> Iterator[Callable[[int], Commit]]:
    """Give a function that makes clients of one connection to the store."""
    with transacting_connection(uri) as conn:
        yield lambda number: lambda n: conn.transact([{":n": n, ":name": f"client {number}"}])


@asynccontextmanager
async def awaiting(uri: str) -> AsyncIterator[Callable[[int], Awaitable[Callable[[int], Awaitable[object]]]]]:
    """Do the same for coroutines."""
    with transacting_connection(uri) as conn:

        async def client(number: int) -> Callable[[int], Awaitable[object]]:
            return lambda n: conn.transact_async([{":n": n, ":name": f"client {number}"}])

        yield client


def threads(side: Side, clients: int, seconds: float, start: Barrier) -> list[float]:
    """Commit in some threads for some time, and return the seconds that each transaction took."""
    took: list[float] = []

    def run(commit: Commit) -> None:
        n = 0
        while (began := time.perf_counter()) < ends:
            commit(n)
            took.append(time.perf_counter() - began)
            n += 1

    with side() as client:
        all_threads = [threading.Thread(target=run, args=(client(number),)) for number in range(clients)]
        start.wait()
        ends = time.perf_counter() + seconds
        for thread in all_threads:
            thread.start()
        for thread in all_threads:
            thread.join()
    return took


def tasks(side: TaskSide, clients: int, seconds: float, start: Barrier) -> list[float]:
    """Do the same in coroutines of one thread."""
    took: list[float] = []

    async def run(commit: Callable[[int], Awaitable[object]], ends: float) -> None:
        n = 0
        while (began := time.perf_counter()) < ends:
            await commit(n)
            took.append(time.perf_counter() - began)
            n += 1

    async def run_all() -> None:
        async with side() as client:
            commits = [await client(number) for number in range(clients)]
            start.wait()
            ends = time.perf_counter() + seconds
            await asyncio.gather(*(run(commit, ends) for commit in commits))

    asyncio.run(run_all())
    return took


def work(run: Run, clients: int, seconds: float, start: Barrier, results: Queue[list[float]]) -> None:
    """Put what a run returns into the queue."""
    results.put(run(clients, seconds, start))


def measured(run: Run, clients: int, seconds: float) -> Figures:
    """Return the rate and the latency of clients in a few processes."""
    spawned = multiprocessing.get_context("spawn")
    shares = [clients // PROCESSES] * PROCESSES if clients >= PROCESSES else [clients]
    start, results = spawned.Barrier(len(shares)), spawned.Queue()
    processes = [spawned.Process(target=work, args=(run, share, seconds, start, results)) for share in shares]
    for process in processes:
        process.start()
    took = sorted(each for _ in processes for each in results.get())
    for process in processes:
        process.join()
    return Figures(len(took) / seconds, took[len(took) // 2] * 1e3, took[len(took) * 99 // 100] * 1e3)


def first_body(uri: str) -> bytes:
    """Define the schema, and return the record of a transaction as the clients commit it."""
    with factstore.connect(uri) as conn:
        conn.transact(SCHEMA)
        t = conn.transact([{":n": 1, ":name": "client 1"}]).t
    with closing(open_storage(uri)) as storage:
        return storage.read_log(t - 1)[0].body


def speed(*, standby: bool, are_tasks: bool, seconds: float, samples: int) -> None:
    """Measure each number of clients on both sides by turns, and save the medians."""
    rows = []
    with cluster(standby=standby) as (server, uri):
        body = first_body(uri)
        where = f"host=127.0.0.1 port={server.port} user=postgres dbname=postgres"
        with transactor(uri), group_committer(where) as port:
            if are_tasks:
                ours, bare = (
                    partial(tasks, partial(awaiting, uri)),
                    partial(tasks, partial(submitting_tasks, port, body)),
                )
            else:
                ours, bare = (
                    partial(threads, partial(transacting, uri)),
                    partial(threads, partial(submitting, port, body)),
                )
            for clients, lasts, count in (
                (1, seconds, samples),
                (10, seconds, samples),
                (200, seconds, samples),
                (200, LONG, 2),
            ):
                taken = []
                for _ in range(count):
                    mine = measured(ours, clients, lasts)
                    wait_for_index(uri)
                    theirs = measured(bare, clients, lasts)
                    taken.append((mine, theirs, inserted(where, [body] * clients, 1.0)))
                rows.append(compared(taken, clients, lasts, standby=standby, are_tasks=are_tasks))
    save("cluster", rows)


def wait_for_index(uri: str) -> None:
    """Wait until the transactor has indexed what it indexes in a pause, so that it does not disturb the other side."""
    with closing(open_storage(uri)) as storage:
        while (storage.head() - (root := newest_root(storage)).basis_t) * FACTS >= enough(root):
            time.sleep(0.05)


def compared(
    taken: list[tuple[Figures, Figures, float]], clients: int, seconds: float, *, standby: bool, are_tasks: bool
) -> Row:
    """Return the medians of the samples as a row, and print it."""
    ours, bare = (Figures(*map(median, zip(*side, strict=True))) for side in list(zip(*taken, strict=True))[:2])
    kind, where = "coroutines" if are_tasks else "threads", "synchronous standby" if standby else "no standby"
    row = Row(
        name=f"clients: {clients} {kind}{' for 20 s' if seconds == LONG else ''}, {where}",
        ours=ours.rate,
        baseline=bare.rate,
        baseline_name="bare group committer",
        unit="tx/s",
        aim=AIMS.get((clients, standby), ""),
        samples=[round(each[0].rate) for each in taken],
        peers={
            "ours, p50 ms": round(ours.p50, 2),
            "ours, p99 ms": round(ours.p99, 2),
            "bare, p50 ms": round(bare.p50, 2),
            "records/s inserted without clients": round(median(each[2] for each in taken)),
        },
        part=f"{where}, {kind}",
    )
    show(row)
    print(f"    {row.peers}", flush=True)
    return row


def kills(minutes: float) -> None:
    """Kill the leading transactor every 5 seconds under load, and check the log; print figures as JSON."""
    with cluster(standby=False) as (_, uri):
        with factstore.connect(uri) as conn:
            conn.transact([{**SCHEMA[0], ":db/unique": ":db.unique/value"}])
        leads, waits = Transactor(uri), None
        leads.wait_until_it_leads()
        acknowledged: dict[int, int] = {}
        failed: list[str] = []
        moments: list[float] = []
        stop = threading.Event()

        def client(first: int, conn: factstore.Connection) -> None:
            n = first
            while not stop.is_set():
                n += 20
                try:
                    acknowledged[n] = conn.transact([{":n": n}]).t
                    moments.append(time.monotonic())
                except factstore.FactStoreError as error:
                    failed.append(str(error))

        conns = [factstore.connect(uri) for _ in range(2)]
        threads = [threading.Thread(target=client, args=(n, conns[n % 2])) for n in range(20)]
        for thread in threads:
            thread.start()
        ends, killed = time.monotonic() + 60 * minutes, 0
        while time.monotonic() < ends:
            waits = Transactor(uri)
            waits.wait_until_it_waits()
            stop.wait(5)
            leads.kill()
            leads.end()
            killed += 1
            leads = waits
            leads.wait_until_it_leads()
        stop.set()
        for thread in threads:
            thread.join()
        db = conns[0].db()
        found = {datom.v: t_of(datom.tx) for datom in db.datoms("aevt", ":n")}
        for conn in conns:
            conn.close(wait=False)
        leads.end()
        lost = len(acknowledged.items() - found.items())
        gaps = [after - before for before, after in pairwise(moments)]
        figures: dict[str, Any] = {"kills": killed, "acknowledged": len(acknowledged), "lost": lost}
        more = len(found) - len(acknowledged)
        print(
            json.dumps(
                {
                    **figures,
                    "in the log but not acknowledged": more,
                    "errors": len(failed),
                    "longest gap s": round(max(gaps), 2),
                }
            )
        )
        sys.exit(1 if lost or more or failed else 0)


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("part", nargs="?", choices=("speed", "kills"), default="speed")
    parser.add_argument("--standby", action="store_true")
    parser.add_argument("--tasks", action="store_true")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=2.0)
    given = parser.parse_args()
    if given.part == "kills":
        kills(given.minutes)
    else:
        speed(standby=given.standby, are_tasks=given.tasks, seconds=given.seconds, samples=given.samples)


if __name__ == "__main__":
    main()
