"""The process of a transactor: it leads the store, or waits until it can.

    waits, follows the log ──► leads: accepts transactions, renews its lease ──► another leads now ──► waits …

Law: it accepts transactions only while the row of the store names it, and a second transactor takes over when the lease
of the first has expired.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from typing import Any, Final, NamedTuple

from factstore.commit.commit import Committer
from factstore.concurrency.limits import explained, is_limit, starting_threads
from factstore.concurrency.threads import in_thread
from factstore.errors import StorageError
from factstore.storage import Led, Storage, open_storage, shown
from factstore.storage.patience import opened_in_failover
from factstore.transactor.server import Limits, Server
from factstore.transactor.tls import new_identity

logger = logging.getLogger("factstore")

SECRET_BYTES: Final = 32
_LOOK_SECONDS: Final = 0.25  # how often a waiting transactor tries to lead
_RETRY_SECONDS: Final = 1.0  # after an error of the store
# New objects after which the garbage collector runs: more than there are facts in memory between two indexes, which it
# would visit again and again. A transaction, committed or rejected, leaves no garbage that only the collector frees.
_COLLECT_AFTER: Final = 1_000_000
_EVERYWHERE: Final = ("", "0.0.0.0", "::")


class Options(NamedTuple):
    """How a transactor runs."""

    host: str = "127.0.0.1"  # to listen on
    port: int = 0  # 0: a free one
    address: str | None = None  # for clients; None: the host that it listens on, or the name of this machine
    cache_bytes: int = 256 << 20
    busy_timeout: float | None = 60.0
    limits: Limits | None = None


def run(uri: str, options: Options, tell: Callable[[str], object]) -> None:
    """Lead a store, or wait to lead it, until SIGTERM or SIGINT.

    Args:
        tell: called with a sentence when this process begins to wait, to lead, and ends.
    Raises: StorageError, when the store cannot be opened within a minute, or cannot have a transactor.
    """
    storage = opened_in_failover(lambda: _opened(uri, busy_timeout=options.busy_timeout))
    gc.set_threshold(_COLLECT_AFTER)
    gc.freeze()  # the modules stay
    with starting_threads():  # the end of the loop starts one, which waits for the others
        asyncio.run(_run_until_signal(storage, options, tell))


async def _run_until_signal(storage: Storage, options: Options, tell: Callable[[str], object]) -> None:
    ends = asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(_log_limit)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ends.set)
    await _serve(storage, options, tell, ends)


def _log_limit(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log in one line that the loop cannot accept a client now; it tries again every second."""
    error = context.get("exception")
    if isinstance(error, OSError) and is_limit(error):
        logger.warning("the transactor can accept no connection now: %s", explained(str(error)))
    else:
        loop.default_exception_handler(context)


async def serve(uri: str, options: Options, tell: Callable[[str], object], ends: asyncio.Event) -> None:
    """Do what `run` does, until an event is set; but do not wait for a server when the store is opened."""
    await _serve(_opened(uri, busy_timeout=options.busy_timeout), options, tell, ends)


async def _serve(storage: Storage, options: Options, tell: Callable[[str], object], ends: asyncio.Event) -> None:
    try:
        committer = Committer(storage, cache_bytes=options.cache_bytes, busy_timeout=options.busy_timeout)
        await Transactor(storage, committer, options, tell, ends).run()
    finally:
        storage.close()


def _opened(uri: str, *, busy_timeout: float | None) -> Storage:
    """Open a store that can have a transactor. Raises: StorageError."""
    storage = open_storage(uri, create=False, busy_timeout=busy_timeout)
    if not isinstance(storage, Led):
        storage.close()
        text = f"{shown(uri)} belongs to one machine and needs no transactor; expected a store in PostgreSQL"
        raise StorageError(":db.error/unsupported", text, uri=shown(uri))
    return storage


def retire(uri: str) -> None:
    """End the time of transactors of a store: from now on, each process commits its own transactions again."""
    with closing(_opened(uri, busy_timeout=None)) as storage:
        assert isinstance(storage, Led)
        storage.leadership.retire()


class Transactor:
    """A process that leads a store, or waits to lead it."""

    def __init__(
        self,
        storage: Storage,
        committer: Committer,
        options: Options,
        tell: Callable[[str], object],
        ends: asyncio.Event,
    ) -> None:
        assert isinstance(storage, Led)
        self._where = storage.description
        self._leadership = storage.leadership
        self._committer = committer
        self._options = options
        self._tell = tell
        self._ends = ends

    async def run(self) -> None:
        """Wait and lead until the event is set."""
        identity, secret = new_identity(), os.urandom(SECRET_BYTES)
        server = Server(self._committer, identity, secret, self._options.limits)
        port = await server.listen(self._options.host, self._options.port)
        address = self._options.address or f"{self._name()}:{port}"
        try:
            is_waiting = False
            while not self._ends.is_set():
                if await self._safely(self._leadership.lead, address, secret, identity.fingerprint):
                    is_waiting = False
                    await self._lead(server, address)
                    continue
                if not is_waiting:
                    self._tell(f"waits: another transactor leads {self._where}")
                    is_waiting = True
                await self._safely(self._committer.caught_up)
                await self._pause(_LOOK_SECONDS)
        finally:
            await server.close()
            await self._safely(partial(self._committer.close, wait=False))
            if self._leadership.term:
                await self._safely(self._leadership.resign)
            self._tell("ended")

    def _name(self) -> str:
        host = self._options.host
        host = socket.getfqdn() if host in _EVERYWHERE else host
        return f"[{host}]" if ":" in host else host

    async def _lead(self, server: Server, address: str) -> None:
        """Accept transactions until another process leads, or the event is set."""
        await self._safely(self._committer.caught_up)
        server.open()
        self._tell(f"leads {self._where} at {address}, term {self._leadership.term}")
        renewing = asyncio.create_task(self._renew(server))
        ends = asyncio.create_task(self._ends.wait())
        lost = asyncio.create_task(server.lost.wait())
        await asyncio.wait((ends, lost), return_when=asyncio.FIRST_COMPLETED)
        if not server.lost.is_set():
            await server.drain()
        for task in (renewing, ends, lost):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        server.close_peers()
        if server.lost.is_set():
            await server.settled()
            await self._safely(self._leadership.resign)
            self._tell(f"no longer leads {self._where}: another transactor took over")

    async def _renew(self, server: Server) -> None:
        while True:
            await asyncio.sleep(self._leadership.lease_seconds / 3)
            if await self._safely(self._leadership.renew) is False:
                server.lost.set()
                return

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ends.wait(), seconds)

    async def _safely(self, call: Callable[..., object], *arguments: object) -> object:
        """Return the result of a call in another thread; None after an error of the store, which is logged."""
        try:
            return await in_thread(call, *arguments)
        except StorageError as error:
            logger.warning("the transactor continues after an error of the store: %s", error)
            await self._pause(_RETRY_SECONDS)
            return None
