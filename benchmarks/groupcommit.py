"""A bare group committer over TCP on PostgreSQL: the baseline of a transactor.

    clients  record ──►  process of the committer  all records that arrived ──► one durable INSERT ──► one byte to each

Records that arrive during an append are part of the next one. It has no schema, evaluation, index, leadership,
authentication or TLS.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from multiprocessing.connection import Connection
from time import perf_counter

import psycopg

from factstore.storage.postgres.servers import ByteArrays

LENGTH = struct.Struct(">I")
ANSWER = b"+"
TABLE = "CREATE TABLE IF NOT EXISTS bare (t bigint PRIMARY KEY, body bytea NOT NULL)"
SEQUENCE = "CREATE SEQUENCE IF NOT EXISTS bare_t"
APPEND = "INSERT INTO bare SELECT nextval('bare_t'), body FROM unnest(%b::bytea[]) AS body"


class Committer:
    """Appends what arrives, all of it in one statement, and then answers."""

    def __init__(self, conn: psycopg.AsyncConnection) -> None:
        self._conn = conn
        self._waiting: list[tuple[bytes, asyncio.StreamWriter]] = []
        self._arrived = asyncio.Event()

    async def receive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Queue the records of one client until it ends."""
        try:
            while True:
                (length,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                self._waiting.append((await reader.readexactly(length), writer))
                self._arrived.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def commit(self) -> None:
        """Append until the process ends."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            batch, self._waiting = self._waiting, []
            await self._conn.execute(APPEND, ([body for body, _ in batch],))
            for _, writer in batch:
                writer.write(ANSWER)


def serve(where: str, ready: Connection) -> None:
    """Run a committer on the server that a conninfo names; put its port into `ready`."""

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(where, autocommit=True) as conn:
            ByteArrays.register(conn)  # as the store does
            committer = Committer(conn)
            sockets = await asyncio.start_server(committer.receive, "127.0.0.1", 0, backlog=1000)
            ready.send(sockets.sockets[0].getsockname()[1])
            await committer.commit()

    asyncio.run(run())


@contextmanager
def group_committer(where: str) -> Iterator[int]:
    """Run a committer in its own process; give its port."""
    with psycopg.connect(where, autocommit=True) as conn:
        conn.execute(TABLE)
        conn.execute(SEQUENCE)
    spawned = multiprocessing.get_context("spawn")
    ready, theirs = spawned.Pipe()
    process = spawned.Process(target=serve, args=(where, theirs), daemon=True)
    process.start()
    theirs.close()  # so that `recv` fails if the process ends early
    try:
        yield ready.recv()
    finally:
        process.terminate()
        process.join()


@contextmanager
def submitting(port: int, body: bytes) -> Iterator[Callable[[int], Callable[[int], object]]]:
    """Give a function that connects a client, which is a function that submits the record and waits for the answer."""
    frame = LENGTH.pack(len(body)) + body
    with ExitStack() as stack:

        def client(_: int) -> Callable[[int], object]:
            peer = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def submit(_: int) -> None:
                peer.sendall(frame)
                if peer.recv(1) != ANSWER:
                    raise ConnectionError("the group committer has ended")

            return submit

        yield client


@asynccontextmanager
async def submitting_tasks(
    port: int, body: bytes
) -> AsyncIterator[Callable[[int], Awaitable[Callable[[int], Awaitable[object]]]]]:
    """Do the same for coroutines: the client is a coroutine function."""
    frame = LENGTH.pack(len(body)) + body
    writers = []

    async def client(_: int) -> Callable[[int], Awaitable[object]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)

        async def submit(_: int) -> None:
            writer.write(frame)
            if await reader.readexactly(1) != ANSWER:
                raise ConnectionError("the group committer has ended")

        return submit

    yield client
    for writer in writers:
        writer.close()


def inserted(where: str, bodies: list[bytes], seconds: float) -> float:
    """Return the records per second that one connection inserts without clients, all bodies in each commit."""
    with psycopg.connect(where, autocommit=True) as conn:
        ByteArrays.register(conn)
        count, ends = 0, perf_counter() + seconds
        while perf_counter() < ends:
            conn.execute(APPEND, (bodies,))
            count += len(bodies)
        return count / seconds
