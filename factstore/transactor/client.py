"""The client: it sends the transactions of this process to the leader, in order, and waits for the answers.

    any thread   transaction ──► outbox
    loop thread  outbox ──► unanswered ──► connection to the leader ──► outcomes (sent.py)

All wait in `unanswered` until there is an answer. If the connection is lost, the client looks for the leader again, and
sends all of them again, with the same txid: the next leader finds those that were committed.
Law: each transaction ends with its outcome, or with `UnknownOutcome` if no leader told it in time.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from threading import current_thread
from time import monotonic
from typing import Final, cast

from factstore.concurrency.limits import explained, new_loop, starting_threads
from factstore.concurrency.threads import Single, in_thread
from factstore.errors import Closed, FactStoreError, StorageError, Unavailable, UnknownOutcome
from factstore.storage import Leader, Leadership
from factstore.transact import TxReport
from factstore.transactor import handshake, messages, tls
from factstore.transactor.frames import MOST_BYTES, Frames, framed
from factstore.transactor.handshake import Handshake
from factstore.transactor.messages import Committed
from factstore.transactor.sent import Callbacks, Outcome, Pending, Sent

logger = logging.getLogger("factstore")

CONNECT_SECONDS: Final = 3.0
RETRY_SECONDS: Final = 0.1  # between two attempts to reach a leader
LOOK_SECONDS: Final = 0.5  # how often deadlines and a silent leader are checked
SILENT_SECONDS: Final = 1.0  # without an answer, after which the row of the store is read again


class Client:
    """The transactions of one connection on their way to the leader."""

    def __init__(self, leadership: Leadership, where: str, report: Callable[[Committed], TxReport]) -> None:
        """Make a client; its thread starts with the first transaction.

        Args:
            where: the description of the store.
            report: makes the report of an answer.
        """
        self._leadership = leadership
        self._where = where
        self._report = report
        self._outbox: deque[Sent] = deque()
        self._unanswered: dict[bytes, Sent] = {}  # only the loop thread uses it
        self._loops: dict[None, asyncio.AbstractEventLoop] = {}  # at most one: `setdefault` tests and sets in one step
        self._running = Single("factstore-client")
        self._will_flush = False
        self._callbacks = Callbacks()
        self._link: Link | None = None
        self._wanted = asyncio.Event()  # set while there is a transaction without an answer
        self._closing = False
        self._ended = asyncio.Event()
        self._is_over = False  # whether the loop has ended, and gives no more outcomes
        self._why = "there is none"  # why no leader was reached

    # -- any thread

    def add(self, sent: Sent) -> None:
        """Send a transaction, after all that were added before; after `close`, end it. Raises: Unavailable."""
        if self._running.thread is None:
            self._start(sent)
        self._outbox.append(sent)
        if not self._will_flush:
            self._will_flush = True
            self._call(self._flush_soon)
        if self._is_over or not self._loops:
            self._end_outbox()  # the thread did it, perhaps before this one was there

    def _start(self, sent: Sent) -> None:
        try:
            # In one line, so that an exception of a signal handler leaves no loop open.
            if self._loops.setdefault(None, loop := self._loops.get(None) or new_loop()) is not loop:
                loop.close()  # another thread was faster
            self._running.start(self._run_loop, self._loops[None])
        except Unavailable as error:
            sent.end(error)  # it is certain that it was not sent
            raise

    def _call(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError, KeyError):  # the loop has ended, or never began
            self._loops[None].call_soon_threadsafe(call)

    def add_pending(self, pending: Pending) -> None:
        """Do the same with a transaction that ends a future."""
        pending.future.later = self._callbacks.call
        self.add(pending)

    def retire(self) -> None:
        """End the thread when all transactions have their outcome."""
        self._closing = True

    def close(self) -> None:
        """Wait for the outcome of all transactions, and end the thread."""
        self._closing = True  # first: a thread that starts now is seen here, or sees this and ends
        self._running.run_here(self._end_without_thread)
        thread = self._running.thread
        if thread is not None and thread is not current_thread():
            self._call(self._end_if_done)
            thread.join()
            self._callbacks.join()

    def _end_without_thread(self) -> None:
        """Close the loop, whose thread could not be started; from now on `add` ends each transaction."""
        self._is_over = True
        self._end_outbox()
        for loop in self._loops.values():
            loop.close()

    def after_fork(self, error: Exception) -> None:
        """End, in a forked child, the futures that only a thread of the parent would end."""
        for sent in (*self._outbox, *self._unanswered.values()):
            if isinstance(sent, Pending):
                sent.end_after_fork(error)

    # -- the loop thread

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            # The end of a loop that has used threads starts another one, which waits for them.
            with suppress(Unavailable), starting_threads(), asyncio.Runner(loop_factory=lambda: loop) as runner:
                if not self._closing:
                    runner.run(self._run())
        finally:
            self._is_over = True
            self._outbox.extendleft(reversed(self._unanswered.values()))
            self._end_outbox()
            self._callbacks.close()

    def _end_outbox(self) -> None:
        """End what was added, because the loop has ended. Called in any thread."""
        with suppress(IndexError):  # it is empty
            while True:
                self._outbox.popleft().end(Closed(":db.error/storage-closed", f"{self._where} was closed"))

    async def _run(self) -> None:
        watching = asyncio.create_task(self._watch())
        connecting = asyncio.create_task(self._stay_connected())
        try:
            await self._ended.wait()
        finally:
            for task in (watching, connecting):
                task.cancel()
            await asyncio.gather(watching, connecting, return_exceptions=True)
            await asyncio.sleep(0)  # a connection that was not complete is closed in the next round of the loop

    def _end_if_done(self) -> None:
        """End the loop if the connection closes, and all transactions have their outcome."""
        if self._closing and not self._outbox and not self._unanswered:
            self._ended.set()

    def _flush_soon(self) -> None:
        """Flush in the next round of the loop.

        The wake-up interrupts the thread that adds the first of perhaps many transactions. It continues in between.
        """
        self._loops[None].call_soon(self._flush)

    def _flush(self) -> None:
        self._will_flush = False
        if self._ended.is_set():
            return  # what comes too late is not sent, so its outcome, `Closed`, is certain
        added = []
        while self._outbox:
            sent = self._outbox.popleft()
            self._unanswered[sent.txid] = sent
            added.append(sent)
        if added:
            self._wanted.set()
        if added and self._link is not None:
            self._link.send(added)

    async def _stay_connected(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                await self._session()
            except (OSError, TimeoutError, StorageError, ssl.SSLError) as error:
                is_ours = isinstance(error, StorageError)
                self._why = str(error) if is_ours else f"{type(error).__name__}: {explained(str(error))}"
                logger.debug("no transactor of %s was reached: %s", self._where, self._why)
            if self._unanswered:
                await asyncio.sleep(RETRY_SECONDS)

    async def _session(self) -> None:
        """Connect to the leader, send all that has no answer, and return when the connection is lost."""
        leader = await in_thread(self._leadership.leader)
        if leader is None or not leader.is_alive:
            self._why = "the last one has ended, and no other has taken over yet"
            return
        link = await self._connected(leader)
        self._link = link
        try:
            link.send(list(self._unanswered.values()))
            await link.lost.wait()
        finally:
            self._link = None
            link.close()
            await link.lost.wait()

    async def _connected(self, leader: Leader) -> Link:
        host, _, port = leader.address.rpartition(":")
        link = Link(leader, self._answer)
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            try:
                with starting_threads():  # for a name that must be looked up
                    await loop.create_connection(
                        lambda: link, host.strip("[]"), int(port), ssl=tls.client_context(), ssl_shutdown_timeout=1.0
                    )
                await link.ready
            except BaseException:
                link.close()
                raise
        return link

    def _answer(self, bodies: list[bytes]) -> None:
        outcomes: list[tuple[Sent, Outcome]] = []
        outcome: Outcome
        newest = 0
        try:
            for txid, answer in chain.from_iterable(map(messages.read_answers, bodies)):
                sent = self._unanswered.pop(txid, None)
                if isinstance(answer, Committed):
                    newest = max(newest, answer.t)
                    if sent is not None:
                        outcomes.append((sent, self._report(answer)))
                elif sent is not None:
                    outcomes.append((sent, answer))
                elif txid == messages.NO_TXID:
                    raise answer  # about the connection itself
        finally:
            self._leadership.acknowledged(newest)  # before a thread reads the database after its transaction
            for sent, outcome in outcomes:
                sent.end(outcome)
        if not self._unanswered:
            self._wanted.clear()
            self._end_if_done()

    async def _watch(self) -> None:
        """End what has waited for too long, and leave a leader that is silent when another one leads."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self._flush()  # an exception may have ended `add` before it called
            self._callbacks.look_after()
            now = monotonic()
            for sent in [sent for sent in self._unanswered.values() if sent.deadline <= now]:
                del self._unanswered[sent.txid]
                sent.end(self._late(sent))
            self._end_if_done()
            link = self._link
            if link is not None and self._unanswered and link.silent_for(now) > SILENT_SECONDS:
                await self._check(link)

    async def _check(self, link: Link) -> None:
        try:
            leader = await in_thread(self._leadership.leader)
        except StorageError:
            return  # the leader cannot write either
        if leader is None or not leader.is_alive or leader.term != link.leader.term:
            link.close()

    def _late(self, sent: Sent) -> StorageError:
        if sent.is_sent:
            text = (
                f"the transactor of {self._where} has not answered in time; the transaction may have been committed,"
                " or may be committed later"
            )
            return UnknownOutcome(":db.error/storage-unknown-outcome", text, txids=[sent.txid])
        text = (
            f"no transactor of {self._where} was reached in time: {self._why}; nothing was committed. Start one with"
            " `factstore transactor`, or end their time with `factstore transactor --retire`"
        )
        return Unavailable(":db.error/no-transactor", text)


class Link(asyncio.Protocol):
    """A connection to the leader."""

    def __init__(self, leader: Leader, answer: Callable[[list[bytes]], None]) -> None:
        self.leader = leader
        self.lost = asyncio.Event()
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._answer = answer
        self._known = Handshake(leader.secret, leader.fingerprint)
        self._frames = Frames(handshake.MOST_BYTES)
        self._challenge = handshake.challenge()
        self._server: bytes | None = None  # the challenge of the server
        self._transport: asyncio.Transport | None = None
        self._heard = monotonic()  # when bytes came last

    def silent_for(self, now: float) -> float:
        """Return the seconds since bytes came."""
        return now - self._heard

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Check the certificate."""
        self._transport = cast(asyncio.Transport, transport)
        try:
            tunnel = cast(ssl.SSLObject, transport.get_extra_info("ssl_object"))
            tls.check_certificate(tunnel.getpeercert(binary_form=True), self.leader.fingerprint)
        except StorageError as error:
            self._fail(error)

    def data_received(self, data: bytes) -> None:
        """Read the frames that are complete."""
        self._heard = monotonic()
        try:
            bodies = self._frames.feed(data)
            while bodies and not self.ready.done():
                self._shake_hands(bodies.pop(0))
            if bodies:
                self._answer(bodies)
        except FactStoreError as error:
            self._fail(error)

    def _shake_hands(self, message: bytes) -> None:
        if self._server is None:
            self._server = handshake.read_hello(message)
            self._write(framed(handshake.response(self._known, self._server, self._challenge)))
            return
        handshake.check_confirmation(self._known, self._server, self._challenge, message)
        self._frames.most_bytes = MOST_BYTES
        self.ready.set_result(None)

    def _fail(self, error: Exception) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
        else:
            logger.warning("the connection to the transactor at %s is closed: %s", self.leader.address, error)
        self.close()

    def send(self, waiting: list[Sent]) -> None:
        """Send transactions."""
        self._heard = max(self._heard, monotonic() - SILENT_SECONDS / 2)
        self._write(b"".join([sent.frame() for sent in waiting]))

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def close(self) -> None:
        """Close the connection now."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """End the session."""
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionResetError("the process at its address does not lead"))
            self.ready.exception()  # it may have no reader
        self.lost.set()
