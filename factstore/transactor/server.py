"""The server: it puts the transactions of all clients into the queue of the committer, and sends the answers.

    loop thread     frames ──► requests ──► queue          answers ──► frames
    commit thread                            ╰──► one append for all that wait ──► answers

Transactions that arrive during an append are part of the next one; there is no timer. When too many wait, the server
reads no more from its clients, so that they wait, too.
Law: a client gets an answer only for a transaction that was committed, or that certainly was not and will not be, with
the exception of an `UnknownOutcome`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from asyncio import AbstractEventLoop
from collections import OrderedDict, deque
from collections.abc import Iterable
from concurrent.futures import CancelledError
from functools import partial
from socket import gethostname
from time import monotonic
from typing import Any, Final, cast

from factstore.commit import background
from factstore.commit.commit import Committer
from factstore.commit.conditions import Conditional, Repeated
from factstore.db.snapshot import Snapshot
from factstore.errors import FactStoreError, Fenced, StorageError, StoreBusy, TransactError, UnknownOutcome
from factstore.storage import Leadership, Led
from factstore.transact import Preparation, Prepared, TxReport, prepare_list
from factstore.transactor import handshake, messages
from factstore.transactor.frames import MOST_BYTES, Frames, framed
from factstore.transactor.handshake import Handshake
from factstore.transactor.tls import Identity

logger = logging.getLogger("factstore")

MOST_WAITING: Final = 10_000  # transactions in the queue, after which the server reads no more
MOST_WAITING_BYTES: Final = 128 << 20
HANDSHAKE_SECONDS: Final = 10.0
_MOST_ANSWERED: Final = 20_000  # txids that are remembered
_NOT_IMPORTED: Final = "; the transactor has the functions of the modules that it imports (--require MODULE)"
_LOOK_SECONDS: Final = 0.01  # how often the end of a term looks whether the commit thread is done


class Limits:
    """How much may wait in the queue."""

    def __init__(self, count: int = MOST_WAITING, size: int = MOST_WAITING_BYTES) -> None:
        self.count = count
        self.size = size


class Server:
    """Accepts transactions of clients while this process leads."""

    def __init__(self, committer: Committer, identity: Identity, secret: bytes, limits: Limits | None = None) -> None:
        """Make a server; `listen` opens its socket."""
        assert isinstance(committer.storage, Led)
        self.committer = committer
        self.leadership = committer.storage.leadership
        self.known = Handshake(secret, identity.fingerprint)
        self.lost = asyncio.Event()  # set when the store says that another process leads
        self._identity = identity
        self._limits = limits or Limits()
        self._loop: AbstractEventLoop = asyncio.get_running_loop()
        self._sockets: asyncio.Server | None = None
        self._peers: set[Peer] = set()
        self._is_open = False
        self._is_full = False
        self._waiting: dict[bytes, Reply] = {}  # by txid; only the loop thread uses it
        self._bytes = 0  # of the requests in it
        self._answered: OrderedDict[bytes, None] = OrderedDict()  # the newest txids that were
        self._answers: deque[tuple[Reply, bytes]] = deque()
        self._will_send = False

    # -- the life of the server

    async def listen(self, host: str, port: int) -> int:
        """Open the socket, and return its port; connections are closed at once until `open`."""
        self._sockets = await self._loop.create_server(
            lambda: Peer(self), host, port, ssl=self._identity.context, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
        bound: int = self._sockets.sockets[0].getsockname()[1]
        return bound

    def open(self) -> None:
        """Accept clients from now on."""
        self._is_open = True
        self.lost.clear()

    def close_peers(self) -> None:
        """Close all connections, and accept no others until `open`; clients look for the next leader."""
        self._is_open = False
        for peer in tuple(self._peers):
            peer.abort()

    async def settled(self) -> None:
        """Wait until each transaction in the queue has its outcome, after this process has lost the lead."""
        while self.committer.waiting:
            await asyncio.sleep(_LOOK_SECONDS)
        self._waiting.clear()
        self._bytes = 0

    async def drain(self) -> None:
        """Accept no more transactions, and wait for the answers of those that wait."""
        self._is_open = False
        for peer in self._peers:
            peer.pause()
        while self._waiting and not self.lost.is_set():
            await asyncio.sleep(_LOOK_SECONDS)
        await self.flushed()

    async def flushed(self) -> None:
        """Let the loop send what it has."""
        for peer in tuple(self._peers):
            peer.close()
        await asyncio.sleep(0)

    async def close(self) -> None:
        """Close the socket and all connections."""
        self.close_peers()
        if self._sockets is not None:
            self._sockets.close()
            await self._sockets.wait_closed()

    # -- peers, in the loop thread

    def join(self, peer: Peer) -> bool:
        """Add a new connection; return False if this process does not lead."""
        if self._is_open:
            self._peers.add(peer)
        return self._is_open

    def leave(self, peer: Peer) -> None:
        """Forget a connection that was lost; its transactions are committed."""
        self._peers.discard(peer)

    def accept(self, peer: Peer, body: bytes) -> None:
        """Put a transaction into the queue, or answer at once if it cannot be read."""
        txid = messages.txid_of(body)
        earlier = self._waiting.get(txid)
        if earlier is not None:
            earlier.peer = peer  # it was sent again, on another connection
            return
        try:
            request = messages.read_request(body)
            if txid in self._answered:  # sent on a connection that was lost, and read after it was sent again
                request = request._replace(is_again=True)
            reply = Reply(self, peer, request, len(body))
            preparation = reply.preparation()
        except FactStoreError as error:
            peer.send(messages.rejected(txid, error))
            return
        self._waiting[txid] = reply
        self._bytes += reply.size
        self.committer.submit(background.Request(preparation, reply, txid))
        self._pause_or_resume()

    def _pause_or_resume(self) -> None:
        """Read from the clients unless too much waits; begin again when half of it is done."""
        part = max(len(self._waiting) / self._limits.count, self._bytes / self._limits.size)
        if not self._is_full and part >= 1:
            self._is_full = True
            for peer in self._peers:
                peer.pause()
        elif self._is_full and part <= 0.5:
            self._is_full = False
            for peer in self._peers:
                peer.resume()

    @property
    def is_full(self) -> bool:
        """Whether too much waits."""
        return self._is_full

    # -- answers

    def answer(self, reply: Reply, body: bytes) -> None:
        """Send an answer soon. Called in the commit thread."""
        self._answers.append((reply, body))
        if not self._will_send:
            self._will_send = True
            self._in_loop(self._send)

    def depose(self) -> None:
        """Stop accepting, because another process leads. Called in the commit thread."""
        self._in_loop(self.lost.set)

    def _in_loop(self, call: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(call)
        except RuntimeError:
            logger.debug("the loop has ended; clients send what was not answered to the next leader")

    def _send(self) -> None:
        self._will_send = False
        frames: dict[Peer, list[bytes]] = {}
        while self._answers:
            reply, body = self._answers.popleft()
            if self._waiting.pop(reply.txid, None) is not None:
                self._bytes -= reply.size
            self._answered[reply.txid] = None
            frames.setdefault(reply.peer, []).append(framed(body))
        while len(self._answered) > _MOST_ANSWERED:
            self._answered.popitem(last=False)
        for peer, parts in frames.items():
            peer.write(b"".join(parts))
        self._pause_or_resume()


class Reply:
    """The future of a transaction in the committer's queue: its outcome becomes the answer to the client."""

    __slots__ = ("_deadline", "_request", "_server", "_transaction", "peer", "size", "txid")

    def __init__(self, server: Server, peer: Peer, request: messages.Request, size: int) -> None:
        self._server = server
        self._request = request
        self._transaction: Conditional | None = None
        self._deadline = monotonic() + request.patience
        self.peer = peer
        self.txid = request.txid
        self.size = size

    def preparation(self) -> Preparation:
        """Return the preparation of the transaction. Raises: what an invalid option raises."""
        request = self._request
        if type(request.tx_data) is list and not (request.options or request.is_again):
            return partial(prepare_list, request.tx_data)
        self._transaction = request.transaction
        if request.is_again:
            return Resent(self._transaction, self._server.leadership, self.txid)
        return self._transaction

    def set_running_or_notify_cancel(self) -> bool:
        """Return whether the transaction has not waited for too long."""
        return monotonic() <= self._deadline

    def cancelled(self) -> bool:
        """A transaction is not cancelled: its client may have gone, and asks again later."""
        return False

    def cancel(self) -> bool:
        """Answer nothing: the client sends the transaction again."""
        return True

    def set_result(self, result: TxReport) -> None:
        """Answer with the t and the tempids."""
        self._answer(lambda: messages.committed(self.txid, result.t, result.tempids))

    def set_exception(self, exception: BaseException | None) -> None:
        """Answer with the error, or with the report of the transaction that was committed before."""
        if isinstance(exception, Fenced):
            self._server.depose()
        elif isinstance(exception, Repeated):
            repeated = exception
            self._answer(lambda: self._first(repeated.t))
        elif isinstance(exception, CancelledError):
            self._answer(lambda: messages.rejected(self.txid, self._waited()))
        elif exception is not None:
            rejection = _hinted(exception)
            self._answer(lambda: messages.rejected(self.txid, rejection))

    def _answer(self, body: Any) -> None:
        try:
            answer = body()
        except Exception as error:
            logger.exception("a transaction has no proper answer")
            answer = messages.rejected(self.txid, error)
        self._server.answer(self, answer)

    def _first(self, t: int) -> bytes:
        """Return the answer for a transaction that was committed before as t."""
        transaction = cast(Conditional, self._transaction)
        try:
            report = transaction.first_report(self._server.committer, t)
        except TransactError as error:
            if transaction.key is not None:
                return messages.rejected(self.txid, error)
            text = f"the transaction was committed as t={t}, but its tempids cannot be found again: {error.message}"
            return messages.rejected(
                self.txid, UnknownOutcome(":db.error/storage-unknown-outcome", text, t=t, txids=[self.txid])
            )
        except StorageError as error:
            return messages.rejected(self.txid, error)
        return messages.committed(self.txid, t, report.tempids, is_repeat=True)

    def _waited(self) -> StoreBusy:
        text = (
            f"the transactor has too much to do: the transaction waited for {self._request.patience} seconds in its"
            " queue; nothing was committed"
        )
        return StoreBusy(
            ":db.error/store-busy", text, pid=os.getpid(), host=gethostname(), since=None, doing="other transactions"
        )


def _hinted(error: BaseException) -> BaseException:
    """Return an error, with the remedy if it is about a function that this process has not imported."""
    if isinstance(error, TransactError) and (
        error.code == ":db.error/unknown-tx-function" or "is not registered" in error.message
    ):
        return type(error)(error.code, error.message + _NOT_IMPORTED, **error.data)
    return error


class Resent:
    """The preparation of a transaction that was sent before, perhaps to another leader."""

    __slots__ = ("_leadership", "_transaction", "_txid")

    def __init__(self, transaction: Conditional, leadership: Leadership, txid: bytes) -> None:
        self._transaction = transaction
        self._leadership = leadership
        self._txid = txid

    def __call__(self, before: Snapshot, now: int) -> Prepared:
        """Prepare the transaction. Raises: Repeated, if the log has it."""
        t = self._leadership.committed(self._txid)
        if t is not None:
            raise Repeated(t)
        return self._transaction(before, now)


class Peer(asyncio.Protocol):
    """A connection of a client."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._frames = Frames(handshake.MOST_BYTES)
        self._challenge = handshake.challenge()
        self._is_known = False
        self._is_slow = False  # whether the client does not read its answers
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the challenge."""
        self._transport = cast(asyncio.Transport, transport)
        if not self._server.join(self):
            self.abort()
            return
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_SECONDS, self._expire)
        self.write(framed(handshake.hello(self._challenge)))

    def _expire(self) -> None:
        if not self._is_known:
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Read the frames that are complete."""
        try:
            self._read(self._frames.feed(data))
        except StorageError as error:
            logger.warning("a client of the transactor is disconnected: %s", error)
            self.send(messages.rejected(messages.NO_TXID, error))
            self.close()

    def _read(self, bodies: Iterable[bytes]) -> None:
        for body in bodies:
            if self._is_known:
                self._server.accept(self, body)
                continue
            known = self._server.known
            client = handshake.read_response(known, self._challenge, body)
            self._is_known = True
            self._frames.most_bytes = MOST_BYTES
            self.write(framed(handshake.confirmation(known, self._challenge, client)))
        if self._server.is_full:
            self.pause()

    def send(self, body: bytes) -> None:
        """Send a frame."""
        self.write(framed(body))

    def write(self, data: bytes) -> None:
        """Send bytes, unless the connection was lost; the client then asks again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def pause(self) -> None:
        """Read nothing for now."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and not self._is_slow:
            self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Read nothing as long as the client does not read its answers."""
        self._is_slow = True
        self.pause()

    def resume_writing(self) -> None:
        """Read again."""
        self._is_slow = False
        if not self._server.is_full:
            self.resume()

    def close(self) -> None:
        """Close the connection after what was written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        if self._timer is not None:
            self._timer.cancel()
        self._server.leave(self)
