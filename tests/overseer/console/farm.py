"""A store with jobs of every kind: done, retried, failed, aborted, blocked, later, running, silent, rescued."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from random import Random
from typing import Any

import factstore
from overseer import Config, Result, Retry, graph_txns, install, job_graph, job_txn, questions, queue, transact_graph
from overseer.cron import schedule
from overseer.jobs.graph import Graph
from overseer.jobs.store import JobStore
from overseer.listeners.kept_logs import KeptLogs
from overseer.testing import FakeClock, drain

LEASE = timedelta(seconds=30)
SCHEMA = [
    {":db/ident": ident, ":db/valueType": f":db.type/{kind}", ":db/cardinality": ":db.cardinality/one"}
    for ident, kind in [
        (":mail/to", "string"),
        (":mail/subject", "string"),
        (":report/month", "long"),
        (":order/of-job", "ref"),
        (":order/note", "string"),
        (":order/number", "long"),
    ]
]


def handlers() -> dict[str, Any]:
    """Return handlers of which one fails once, one always fails, and the others do their work."""
    failed = set()

    def charge(job: Any) -> None:
        if job[":job/id"] not in failed:
            failed.add(job[":job/id"])
            raise ConnectionError("the bank did not answer within 2 s")

    def broken(job: Any) -> None:
        logging.getLogger("farm").warning("reading month %s", job[":report/month"])
        raise ValueError(f'no rows for month {job[":report/month"]}: <b>"&')

    def refund(job: Any) -> Result:
        return Result(job.ask(f"Refund order {job[':order/number']}?", ["yes", "no"], within="7d"))

    def name(job: Any) -> Result:
        return Result(job.ask("Whose order is it?", within="7d", name="who"))

    done = dict.fromkeys(("mail", "load", "sum"), lambda job: None)
    return {**done, "charge": charge, "report": broken, "refund": refund, "name": name}


def fill(conn: factstore.Connection, clock: FakeClock) -> None:
    """Commit the life of two hours of jobs."""
    install(conn)
    conn.transact(SCHEMA)
    conn.transact([queue("mail", limit=5, rate=10), queue("bank", partition_limit=1), queue("reports", paused=True)])
    conn.transact(
        [
            schedule("nightly", "30 2 * * *", "load", {":report/month": 3}),
            schedule("hourly", "0 * * * *", "mail", {":mail/to": "ops@x.example"}, paused=True),
        ]
    )
    conn.transact(
        [job_txn("mail", {":mail/to": f"p{n}@x.example", ":mail/subject": "Hello"}, id=f"mail-{n}", queue="mail") for n in range(8)]
    )
    conn.transact([job_txn("charge", id=f"charge-{n}", queue="bank", priority=n) for n in range(3)])
    conn.transact([job_txn("report", {":report/month": n}, id=f"report-{n}") for n in (1, 2)])
    ids = iter(["load", "sum", "report"])
    graph = job_graph({"load": [], "sum": ["load"], "report": ["sum"]}, {":report/month": 7}, ids=lambda: f"year-{next(ids)}")
    transact_graph(conn, graph)
    clock.advance(45)
    drain(conn, handlers(), wait=True, config=Config(retries={"charge": Retry(2)}, listeners=[KeptLogs()]))
    clock.advance(600)
    conn.transact([job_txn("mail", {":mail/to": "late@x.example"}, id="later-1", run_at=clock.now + timedelta(hours=3))])
    conn.transact([job_txn("report", {":report/month": 9}, id="paused-1", queue="reports")])
    conn.transact(
        graph_txns(
            job_graph(
                {"load": [], "sum": ["load"], "mail": ["sum"]},
                {":report/month": 8},
                ids=iter(["wait-load", "wait-sum", "wait-mail"]).__next__,
            )
        )
    )
    _workers(conn, clock)
    conn.transact([job_txn("refund", {":order/number": n}, id=f"refund-{n}") for n in (1, 2)])
    conn.transact([job_txn("name", id="name-1")])
    drain(conn, {type: handlers()[type] for type in ("refund", "name")})
    conn.transact(questions.answer("refund-1", "no", by="eve"))
    conn.transact([{":order/of-job": [":job/id", "mail-1"], ":order/note": "the order of the mail"}])


def _workers(conn: factstore.Connection, clock: FakeClock) -> None:
    """Let one worker run a job, and another one take the job of a silent third one."""
    conn.transact([job_txn("load", id=f"run-{n}") for n in (1, 2, 3)])
    by_name = {name: JobStore(conn, worker=name) for name in ("anna-1", "berta-2", "carla-3")}
    jobs = {id: conn.db().entid([":job/id", id]) for id in ("run-1", "run-2", "run-3")}
    for store in by_name.values():
        store.presence.begin(handlers=[factstore.Keyword(":load"), factstore.Keyword(":mail")], queues=None, slots=4)
    by_name["berta-2"].claim([jobs["run-2"]], lease=LEASE)
    clock.advance(31)
    by_name["anna-1"].rescue(max_crashes=5)
    by_name["anna-1"].claim([jobs["run-2"]], lease=LEASE)
    by_name["carla-3"].claim([jobs["run-3"]], lease=LEASE)
    clock.advance(31)
    by_name["anna-1"].claim([jobs["run-1"]], lease=timedelta(hours=1))
    [held] = [lease for lease in by_name["anna-1"].held() if lease.id == "run-1"]
    by_name["anna-1"].beat([held], lease=timedelta(hours=1))


@contextmanager
def busy() -> Iterator[factstore.Connection]:
    """A store in the middle of an hour with a few hundred jobs, some of them in a graph."""
    clock, random = FakeClock(), Random(7)
    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        conn.transact(SCHEMA)
        conn.transact([queue("mail", limit=5, rate=10), queue("reports", paused=True)])
        failed: set[str] = set()

        def load(job: Any) -> None:
            clock.advance(random.uniform(1, 9))
            if job[":job/id"] == "month-sum" and not failed:
                failed.add(job[":job/id"])
                raise ConnectionError("the warehouse closed the connection after 4 of 12 files")

        def mail(job: Any) -> None:
            clock.advance(random.uniform(0.2, 2))
            if random.random() < 0.06:
                raise ValueError("no such mailbox")

        work = {"load": load, "sum": load, "mail": mail, "report": load}
        names = iter(["month-load-a", "month-load-b", "month-load-c", "month-sum", "month-report", "month-mail"])
        deps = {
            "month-load-a": (),
            "month-load-b": (),
            "month-load-c": (),
            "month-sum": ("month-load-a", "month-load-b", "month-load-c"),
            "month-report": ("month-sum",),
            "month-mail": ("month-report",),
        }
        jobs = {
            id: {
                ":job/id": id,
                ":job/type": factstore.Keyword(f":{id.split('-')[1]}"),
                ":job/status": factstore.Keyword(":job.status/unstarted"),
                ":report/month": 11,
            }
            for id in names
        }
        for n in range(24):
            conn.transact(
                [
                    job_txn("mail", {":mail/to": f"p{n}.{m}@x.example"}, id=f"mail-{n}-{m}", queue="mail")
                    for m in range(random.randrange(2, 12))
                ]
            )
            if n == 12:
                conn.transact(graph_txns(Graph(jobs, deps)))
            clock.advance(random.uniform(5, 40))
            drain(conn, work, wait=True, config=Config(retries={"sum": Retry(2)}, listeners=[KeptLogs()]))
            clock.advance(random.uniform(20, 120))
        conn.transact([job_txn("mail", {":mail/to": f"q{m}@x.example"}, id=f"mail-last-{m}", queue="mail") for m in range(40)])
        conn.transact([job_txn("report", {":report/month": m}, id=f"report-{m}", queue="reports") for m in range(1, 7)])
        conn.transact([job_txn("load", {":report/month": m}, id=f"load-{m}") for m in range(1, 13)])
        yield conn
