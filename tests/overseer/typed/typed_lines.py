"""What mypy says of typed jobs: each line marked `# error: code` is one that it must reject, all others it accepts."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_type

from factstore import Connection
from overseer import App, Facts, Job, JobRef, Result, Retry, TypedJob, Worker, exponential

app = App()


@dataclass(frozen=True)
class Receipt:
    order: int


@app.job(queue="money", retry=Retry(max_attempts=5, backoff=exponential(1.0)), timeout="30s")
def pay(job: Job, order: int, note: str = "") -> Receipt:
    return Receipt(order)


@app.job(timeout=timedelta(minutes=1))
async def fetch(job: Job, url: str) -> list[str]:
    return [url]


@app.job()
def ship(job: Job, order: int) -> Facts:
    return [{":order/number": pay.result_in(job).order}]


@app.job()
def count(job: Job) -> Result:
    return Result(1, facts=[])


def use(conn: Connection, job: Job) -> None:
    assert_type(pay.enqueue(conn, 17), JobRef[Receipt])
    assert_type(pay.enqueue(conn, order=17, note="x").result(timeout=5), Receipt)
    assert_type(fetch.enqueue(conn, url="x").result("5s"), list[str])
    assert_type(count.enqueue(conn).result(), Any)
    assert_type(pay(job, 17), Receipt)
    coroutine: Coroutine[Any, Any, list[str]] = fetch(job, "x")
    coroutine.close()
    assert_type(pay.txn(order=17), dict[str, Any])
    assert_type(pay.options(id="x", priority=3).enqueue(conn, 17).result(), Receipt)
    assert_type(pay.result_in(job), Receipt)
    assert_type(fetch.results_in(job), list[list[str]])
    g = app.graph()
    paid = g.add(pay, order=17)
    assert_type(g.add(ship, order=17).after(paid, when="any").ref(conn).status.name, str)
    assert_type(paid.ref(conn).result(), Receipt)
    Worker(conn, app, concurrency=8).run(until_idle=True)

    pay.txn()  # error: call-arg
    pay.txn("17")  # error: arg-type
    pay.txn(order=17, notes="x")  # error: call-arg
    pay.enqueue(conn)  # error: call-arg
    pay.enqueue(conn, order="17")  # error: arg-type
    pay.enqueue(order=17)  # error: call-arg
    pay("x", 17)  # error: arg-type
    fetch.enqueue(conn, url=b"x")  # error: arg-type
    fetch.enqueue(conn, url="x").result().upper()  # error: attr-defined
    pay.enqueue(conn, 17).result().number()  # error: attr-defined
    pay.result_in(job).number()  # error: attr-defined
    g.add(pay, number=17)  # error: call-arg
    g.add(ship, order="17")  # error: arg-type
    g.add(ship, order=17).after(pay)  # error: arg-type
    paid.ref(conn).result().number()  # error: attr-defined
    pay.options(prio=3)  # error: call-arg
    Worker(conn, [pay])  # error: arg-type
    app.job(retry=3)  # error: arg-type


@app.job()
def facts_without_a_list(job: Job) -> Facts:
    return 17  # error: return-value


@app.job()  # error: arg-type
def without_a_job(order: int) -> None: ...


@app.job()  # error: arg-type
def nothing() -> None: ...


def takes(job: TypedJob[[int], str, str]) -> None: ...


takes(pay)  # error: arg-type
