"""A worker inside of an application of Starlette or FastAPI, on a thread of each of its processes.

    app = FastAPI(lifespan=working(store, jobs, concurrency=8))        store: factstore.contrib.starlette.Store

Law: when the application ends, the jobs under way end first; a process that is killed loses no job, because other
workers take its jobs when the leases expire.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from overseer.handler import Handlers
from overseer.jobs.store import install
from overseer.worker import Config, Running, Worker

if TYPE_CHECKING:
    from factstore import Connection

__all__ = ["working"]

Lifespan: TypeAlias = Callable[[Any], AbstractAsyncContextManager[None]]


class Opens(Protocol):
    """A store that a lifespan opens."""

    @property
    def conn(self) -> Connection:
        """The connection, while the lifespan runs."""

    def lifespan(self, app: Any, /) -> AbstractAsyncContextManager[None]:
        """Open the store for as long as an application runs."""


def working(
    store: Opens, handlers: Handlers, config: Config | Mapping[str, Any] | None = None, **settings: Any
) -> Lifespan:
    """Return a lifespan that opens a store, and runs a worker on it until the application ends.

    Args:
        store: such as `factstore.contrib.starlette.Store`.
        handlers: by job type, or an `overseer.App`.
        config, settings: as for `overseer.Worker`.
    Raises, when the application starts: HandlerError, ConfigError.
    """

    def started() -> Running:
        install(store.conn)
        worker = Worker(store.conn, handlers, config, **settings)
        worker.prepare()
        return Running(worker, store.conn)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        async with store.lifespan(app):
            running = await asyncio.to_thread(started)
            try:
                yield
            finally:
                await asyncio.to_thread(running.stop)

    return lifespan
