"""A shop as an application of FastAPI, which a test serves by several processes."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.responses import StreamingResponse

import factstore
import overseer
from factstore import AsyncConnection, Connection, Database
from factstore.contrib.starlette import Store
from overseer.contrib.starlette import working

SCHEMA = """[{:db/ident :order/number :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
             {:db/ident :order/shipped :db/valueType :db.type/long :db/cardinality :db.cardinality/many}]"""

jobs = overseer.App()


@jobs.job()
def ship(job: overseer.Job, order: int) -> overseer.Facts:
    return [{":order/number": order, ":order/shipped": job.attempt}]


def setup(conn: Connection) -> None:
    conn.transact(SCHEMA)
    jobs.install(conn)


store = Store(os.environ["SHOP"], setup=setup)
app = FastAPI(lifespan=working(store, jobs, heartbeat_sleep_time=100) if os.environ.get("WORKS") else store.lifespan)
store.install(app)
app.mount("/console", store.console(lambda request: "ann"))

Db = Annotated[Database, Depends(store.db)]


@app.post("/orders/{number}")
def order(number: int, conn: Annotated[Connection, Depends(store.connection)]) -> int:
    return conn.transact([{":order/number": number}, ship.options(id=f"ship-{number}").txn(order=number)]).t


@app.get("/orders/{number}")
def shipped(number: int, db: Db) -> dict[str, Any]:
    return factstore.pull(db, "[:order/number :order/shipped]", [":order/number", number]) or {}


@app.get("/jobs/{id}")
def result(id: str, conn: Annotated[Connection, Depends(store.connection)]) -> Any:
    return overseer.JobRef(conn, id, lambda text: text).result(timeout=0.001)


def count(db: Db) -> int:
    found: int | None = db.q("[:find (count ?o) . :where [?o :order/number]]")
    return found or 0


@app.get("/twice")
async def twice(
    request: Request, first: Annotated[int, Depends(count)], conn: Annotated[AsyncConnection, Depends(store.aconnection)]
) -> list[int]:
    """Count orders before and after another transaction, in one request."""
    await conn.transact([{":order/number": -1 - first}])
    return [first, count(store.db(request)), count(await conn.db())]


@app.get("/events")
async def events(conn: Annotated[AsyncConnection, Depends(store.aconnection)]) -> StreamingResponse:
    """Stream the number of threads of this process, at once and after each transaction."""
    reports = conn.connection.tx_reports()

    async def lines() -> AsyncIterator[str]:
        with reports:
            yield f"{os.getpid()} {threading.active_count()}\n"
            async for _ in reports:
                yield f"{os.getpid()} {threading.active_count()}\n"

    return StreamingResponse(lines(), media_type="text/plain")
