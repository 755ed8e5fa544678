"""A connection for asyncio: nothing that it does blocks the event loop.

Transactions are committed by the connection's own thread, reports of many streams are followed by one thread, and
everything else that may wait for a disk or a lock runs in a thread of the loop's executor. A large query takes
processor time: run it with `call`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Any, ParamSpec, TypedDict, TypeVar, Unpack

from factstore.concurrency.threads import in_thread
from factstore.connection.connection import Connection, Inferring, connect
from factstore.db.database import Database, Point
from factstore.storage import Sync
from factstore.transact import Nones, TxReport
from factstore.values.moments import Duration
from factstore.values.process_bound import ProcessBound

T = TypeVar("T")
P = ParamSpec("P")


class Options(TypedDict, total=False):
    """The options of `connect`."""

    create: bool
    read_only: bool
    sync: Sync
    cache_bytes: int
    busy_timeout: Duration | None
    infer_schema: bool
    clock: Callable[[], datetime] | None


class AsyncConnection(ProcessBound):
    """A connection whose methods are coroutines; `aconnect` returns it. Tasks may share it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection  # the same store, for threads

    def _repr_html_(self) -> str:
        return self.connection._repr_html_()

    async def db(self) -> Database:
        """Return the newest database, as `Connection.db`."""
        return await in_thread(self.connection.db)

    async def transact(
        self, tx_data: Any, *, none: Nones = "reject", if_unchanged_since: Point | None = None, key: str | None = None
    ) -> TxReport:
        """Commit a transaction, as `Connection.transact`.

        If the task is cancelled, a transaction that has not begun is not committed; later it is committed anyway.
        """
        conditions: Any = {"none": none, "if_unchanged_since": if_unchanged_since, "key": key}
        if isinstance(self.connection, Inferring):
            return await in_thread(self.connection.transact, tx_data, **conditions)
        return await self.connection.transact_async(tx_data, **conditions)

    async def tx_reports(self, *, from_t: Point | None = None) -> AsyncIterator[TxReport]:
        """Yield the report of each commit, as `Connection.tx_reports`, until the connection is closed."""
        reports = await in_thread(partial(self.connection.tx_reports, from_t=from_t))
        with reports:
            async for report in reports:
                yield report

    async def call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of a function that takes long, such as `db.q`, from a thread of the loop's executor."""
        return await in_thread(function, *args, **kwargs)

    async def close(self) -> None:
        """Close the connection, as `Connection.close`."""
        await in_thread(self.connection.close)


@asynccontextmanager
async def aconnect(uri: str, **options: Unpack[Options]) -> AsyncIterator[AsyncConnection]:
    """Open a store for asyncio: `async with factstore.aconnect(uri) as conn`; the options are those of `connect`.

    >>> import asyncio
    >>> async def main() -> int:
    ...     async with aconnect("memory:") as conn:
    ...         return (await conn.transact([])).t
    >>> asyncio.run(main())
    1
    """
    conn = AsyncConnection(await in_thread(partial(connect, uri, **options)))
    try:
        yield conn
    finally:
        await conn.close()
