"""`python -m examples.shop`: a new store, a worker, orders that come in, and the console of all this."""

from __future__ import annotations

import argparse
import random
import shlex
import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

import factstore
import overseer
from overseer.cron import schedule

from .handlers import app, charge, load, refund, report, send, total

SETTINGS: Final = Path(__file__).parent / "worker.toml"
NAMES: Final = ("ann", "bob", "cleo", "dan", "eve", "finn")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demonstration until Ctrl-C, and return the exit code."""
    parser = argparse.ArgumentParser(prog="make console-demo", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("demo-out/shop.facts"), help="a new store at this path")
    given = parser.parse_args(argv)
    store = str(given.store)
    given.store.parent.mkdir(parents=True, exist_ok=True)
    for old in given.store.parent.glob(f"{given.store.name}*"):
        old.unlink()
    try:
        from factstore.console import server
    except ImportError:
        print("the console is not installed: install factstore[console,cron]", file=sys.stderr)
        return 2
    with factstore.connect(store) as conn:
        prepare(conn)
        closed = Event()
        orders = Thread(target=take_orders, args=(conn, closed))
        command = [sys.executable, "-m", "overseer", "worker", "examples.shop.handlers:app", "--store", store]
        worker = subprocess.Popen([*command, "-c", str(SETTINGS)], stderr=subprocess.DEVNULL)
        orders.start()
        print("A shop takes orders, and a worker runs their jobs. To see another worker come and go, run")
        print(f"  {shlex.join(command)}")
        print("Open this link; Ctrl-C ends all:", flush=True)
        try:
            server.run(store, server.Options(), lambda link: print(link, flush=True))
        except KeyboardInterrupt:
            pass
        finally:
            closed.set()
            orders.join()
            worker.terminate()
            worker.wait()
    return 0


def prepare(conn: factstore.Connection) -> None:
    """Declare jobs, queues and schedules, and insert jobs that wait: for a paused queue, a time, a person, and each other."""
    app.install(conn)
    mail = overseer.queue("mail", limit=3, rate=5)
    conn.transact([mail, overseer.queue("bank", limit=1), overseer.queue("reports", paused=True)])
    conn.transact([schedule("stock", "*/5 * * * *", "stock/load", {":stock.load/warehouse": "north"})])
    conn.transact([report.options(queue="reports").txn(month=month) for month in range(1, 7)])
    soon = conn.now() + timedelta(minutes=2)
    conn.transact([send.options(run_at=soon).txn(to=f"{name}@example.org", subject="Newsletter") for name in NAMES])
    conn.transact([report.txn(month=month) for month in (3, 5, 10)])
    conn.transact([refund.txn(order=order) for order in (981, 994)])


def take_orders(conn: factstore.Connection, closed: Event) -> None:
    """Insert the jobs of an order every second or so, and a graph of jobs every twenty, until the shop is closed."""
    number = 1000
    while not closed.wait(random.uniform(0.4, 1.6)):
        number += 1
        name, cents = random.choice(NAMES), random.randrange(100, 9000)
        jobs: list[Any] = [charge.txn(order=number, cents=cents), send.txn(to=f"{name}@example.org")]
        conn.transact(jobs)
        if number % 20 == 1:
            stock(conn)


def stock(conn: factstore.Connection) -> None:
    """Insert a graph: load three warehouses, add them up, build a report, and send it."""
    graph = app.graph()
    loads = [graph.add(load, warehouse=warehouse) for warehouse in ("north", "south", "harbour")]
    summed = graph.add(total).after(*loads)
    built = graph.add(report, month=random.randrange(1, 13)).after(summed)
    graph.add(send, to="owner@example.org", subject="The stock").after(built)
    conn.transact(graph.txns())


if __name__ == "__main__":
    sys.exit(main())
