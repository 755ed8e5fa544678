"""A transactor on a real PostgreSQL, beside bare appends to the same server: `python -m benchmarks.cluster`.

    speed [--standby]   transactions per second and latency of 1, 10 and 200 clients, which are threads of two processes
                        that call `conn.transact`; beside it one connection that inserts the same records, as many in
                        each durable commit as there are clients
    kills [--minutes 2] two transactors under load, the leading one killed every 5 seconds; checks that no acknowledged
                        transaction is lost and none is in the log twice, and tells how long no write was acknowledged

All servers and processes run on this machine, so they share its cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from typing import Any

import psycopg

import factstore
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
BARE = "INSERT INTO bare SELECT nextval('bare_t'), body FROM unnest(%s::bytea[]) AS body"


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


def work(uri: str, clients: int, seconds: float, start: Barrier, results: Queue[list[float]]) -> None:
    """Commit in some threads for some time, and put the seconds that each transaction took into the queue."""
    took: list[float] = []

    def client(number: int) -> None:
        n = 0
        while (began := time.perf_counter()) < ends:
            conn.transact([{":n": n, ":name": f"client {number}"}])
            took.append(time.perf_counter() - began)
            n += 1

    with factstore.connect(uri) as conn:
        conn.transact([{":n": 0}])
        start.wait()
        ends = time.perf_counter() + seconds
        threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        conn.close(wait=False)
    results.put(took)


def ours(uri: str, clients: int, seconds: float) -> tuple[float, float, float]:
    """Return the transactions per second of some clients, and the median and 99th percentile of their milliseconds."""
    spawned = multiprocessing.get_context("spawn")
    shares = [clients // PROCESSES] * PROCESSES if clients >= PROCESSES else [clients]
    start, results = spawned.Barrier(len(shares)), spawned.Queue()
    processes = [spawned.Process(target=work, args=(uri, share, seconds, start, results)) for share in shares]
    for process in processes:
        process.start()
    took = sorted(each for _ in processes for each in results.get())
    for process in processes:
        process.join()
    return len(took) / seconds, took[len(took) // 2] * 1e3, took[len(took) * 99 // 100] * 1e3


def bare(server: Server, bodies: list[bytes], seconds: float) -> float:
    """Return the records per second that one connection inserts, all bodies in each commit."""
    with psycopg.connect(
        host="127.0.0.1", port=server.port, user="postgres", dbname="postgres", autocommit=True
    ) as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS bare (t bigint PRIMARY KEY, body bytea NOT NULL)")
        conn.execute("CREATE SEQUENCE IF NOT EXISTS bare_t")
        count, ends = 0, time.perf_counter() + seconds
        while time.perf_counter() < ends:
            conn.execute(BARE, (bodies,))
            count += len(bodies)
        return count / seconds


def speed(*, standby: bool, seconds: float) -> None:
    """Print a line of JSON for each number of clients: medians of samples that alternate with bare appends."""
    with cluster(standby=standby) as (server, uri):
        with factstore.connect(uri) as conn:
            conn.transact(SCHEMA)
            conn.transact([{":n": 1, ":name": "client 1"}])
        storage = open_storage(uri)
        body = storage.read_log(1)[0].body
        storage.close()
        with transactor(uri):
            for clients in (1, 10, 200):
                samples = [
                    (*ours(uri, clients, seconds), bare(server, [body] * clients, seconds)) for _ in range(SAMPLES)
                ]
                rate, p50, p99, beside = (sorted(column)[SAMPLES // 2] for column in zip(*samples, strict=True))
                row = {"clients": clients, "standby": standby, "tx/s": round(rate), "p50 ms": round(p50, 2)}
                print(
                    json.dumps(
                        {**row, "p99 ms": round(p99, 2), "bare/s": round(beside), "share": round(rate / beside, 2)}
                    ),
                    flush=True,
                )


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
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--minutes", type=float, default=2.0)
    given = parser.parse_args()
    if given.part == "kills":
        kills(given.minutes)
    else:
        speed(standby=given.standby, seconds=given.seconds)


if __name__ == "__main__":
    main()
