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
from collections.abc import Sequence
from concurrent.futures import CancelledError
from functools import partial
from socket import gethostname
from time import monotonic
from typing import Any, Final, cast

from factstore.commit import background
from factstore.commit.commit import Committer
from factstore.commit.conditions import Conditional, Repeated
from factstore.db.snapshot import Snapshot
from factstore.errors import (
    FactStoreError,
    Fenced,
    StorageError,
    StoreBusy,
    TransactError,
    UnknownOutcome,
    is_unregistered,
)
from factstore.storage import Leadership, Led
from factstore.transact import Preparation, Prepared, TxReport, prepare_list
from factstore.transactor import handshake, messages
from factstore.transactor.frames import MOST_BYTES, Frames, framed
from factstore.transactor.handshake import Handshake
from factstore.transactor.messages import Answer, Answers
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
        self._answers: deque[tuple[Reply, TxReport | Answer]] = deque()
        self._will_send = False
        committer.when_delivered(self._group_answered)

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

    def accept(self, peer: Peer, bodies: Sequence[bytes]) -> None:
        """Put transactions into the queue; answer at once those that cannot be read."""
        requests = [request for body in bodies if (request := self._request(peer, body)) is not None]
        if bodies:
            self.committer.submit(requests)  # also none: a transaction that is sent again may wait without a thread
            self._pause_or_resume()

    def _request(self, peer: Peer, body: bytes) -> Reply | None:
        """Return a transaction for the queue; None if it waits there already, or has been answered."""
        txid = messages.txid_of(body)
        earlier = self._waiting.get(txid)
        if earlier is not None:
            earlier.peer = peer  # it was sent again, on another connection
            return None
        try:
            request = messages.read_request(body)
            if txid in self._answered:  # sent on a connection that was lost, and read after it was sent again
                request = request._replace(is_again=True)
            reply = Reply(self, peer, request, len(body))
        except FactStoreError as error:
            peer.send(messages.rejected(txid, error))
            return None
        self._waiting[txid] = reply
        self._bytes += reply.size
        return reply

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

    def answer(self, reply: Reply, answer: TxReport | Answer) -> None:
        """Send the report of a transaction, or another answer, with the rest of its group."""
        self._answers.append((reply, answer))

    def _group_answered(self) -> None:
        """Send the answers of a group. Called in the commit thread.

        Not after the first one: waking the loop lets it take over the interpreter, and it would send that one alone.
        """
        if self._answers and not self._will_send:
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
        waiting, answered = self._waiting, self._answered
        of_peers: dict[Peer, Answers] = {}
        while self._answers:
            reply, answer = self._answers.popleft()
            txid = reply.txid
            if waiting.pop(txid, None) is not None:
                self._bytes -= reply.size
            answered[txid] = None
            if isinstance(answer, TxReport):  # read here, while the commit thread waits for the next append
                answer = messages.committed(txid, answer.t, answer.tempids)
            answers = of_peers.get(reply.peer)
            if answers is None:
                answers = of_peers[reply.peer] = Answers()
            answers.add(answer)
        while len(answered) > _MOST_ANSWERED:
            answered.popitem(last=False)
        for peer, answers in of_peers.items():
            peer.write(answers.stream())
        self._pause_or_resume()


class Reply(background.Request):
    """A transaction of a client in the committer's queue: its outcome becomes the answer."""

    __slots__ = ("_deadline", "_request", "_server", "_transaction", "peer", "size")
    txid: bytes

    def __init__(self, server: Server, peer: Peer, request: messages.Request, size: int) -> None:
        """Make a reply. Raises: what an invalid option raises."""
        self._transaction = None if _is_plain(request) else request.transaction
        super().__init__(self._preparation(server, request), request.txid)
        self._server = server
        self._request = request
        self._deadline = monotonic() + request.patience
        self.peer = peer
        self.size = size

    def _preparation(self, server: Server, request: messages.Request) -> Preparation:
        if self._transaction is None:
            return partial(prepare_list, request.tx_data)
        if request.is_again:
            return Resent(self._transaction, server.leadership, request.txid)
        return self._transaction

    def begin(self) -> bool:
        """Return whether the transaction has not waited for too long."""
        return monotonic() <= self._deadline

    def cancel(self) -> None:
        """Answer nothing: the client sends the transaction again."""

    def end_after_fork(self, error: Exception) -> None:
        """Answer nothing: the connection belongs to the parent."""

    def deliver(self) -> None:
        """Answer with the t and the tempids, with the error, or with the report of what was committed before.

        A transaction that this process may not commit, because another one leads, has no answer: the client sends it
        to the next leader.
        """
        outcome = self.outcome
        if isinstance(outcome, TxReport):
            self._server.answer(self, outcome)
        elif isinstance(outcome, Fenced):
            self._server.depose()
        elif outcome is not None:
            self._server.answer(self, self._answer(outcome))
            _forget_frames(outcome)

    def _answer(self, outcome: BaseException) -> Answer:
        try:
            if isinstance(outcome, Repeated):
                return self._first(outcome.t)
            return messages.rejected(
                self.txid, self._waited() if isinstance(outcome, CancelledError) else _hinted(outcome)
            )
        except Exception as error:
            logger.exception("a transaction has no proper answer")
            return messages.rejected(self.txid, error)

    def _first(self, t: int) -> Answer:
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


def _forget_frames(error: BaseException) -> None:
    """Remove the tracebacks of an error that was answered.

    Their frames refer to the whole group, which refers to the error: only the garbage collector would free them.
    """
    errors = [error]
    while errors:
        each = errors.pop()
        each.__traceback__ = None
        errors += [other for other in (each.__cause__, each.__context__) if other and other.__traceback__]


def _is_plain(request: messages.Request) -> bool:
    return type(request.tx_data) is list and not (request.options or request.is_again)


def _hinted(error: BaseException) -> BaseException:
    """Return an error, with the remedy if it is about a function that this process has not imported."""
    if isinstance(error, TransactError) and is_unregistered(error):
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

    def _read(self, bodies: list[bytes]) -> None:
        if bodies and not self._is_known:
            known = self._server.known
            client = handshake.read_response(known, self._challenge, bodies.pop(0))
            self._is_known = True
            self._frames.most_bytes = MOST_BYTES
            self.write(framed(handshake.confirmation(known, self._challenge, client)))
        self._server.accept(self, bodies)
        if self._server.is_full:
            self.pause()

    def send(self, answer: Answer) -> None:
        """Send one answer."""
        self.write(framed(messages.answers(answer)))

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
