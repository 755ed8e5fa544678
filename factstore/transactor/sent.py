"""Transactions on their way to the leader, until they have an outcome.

    Sent     a thread waits for it, on a lock of its own, which is the cheapest way to wake a thread
    Pending  a future ends with it

They end in the thread that reads the answers. A callback of a future may take long, or transact, so callbacks are
called in a thread of their own, which starts with the first one. A coroutine that waits for a future needs none.
Law: transactions end in the order of their answers, and the first outcome of each is its only one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import InvalidStateError
from contextlib import suppress
from queue import SimpleQueue
from threading import current_thread
from time import monotonic
from typing import Final, TypeAlias

from factstore.commit.background import Report
from factstore.concurrency.locks import CallLock, silent_bell
from factstore.concurrency.threads import Single
from factstore.errors import Unavailable
from factstore.transact import TxReport
from factstore.transactor import messages
from factstore.transactor.frames import framed

logger = logging.getLogger("factstore")

GRACE_SECONDS: Final = 10.0  # after the patience of a transaction, for the answer that it has waited for too long

Outcome: TypeAlias = TxReport | BaseException


class Sent:
    """A transaction that a thread waits for."""

    __slots__ = ("_bell", "deadline", "is_sent", "outcome", "patience", "payload", "txid")

    def __init__(self, txid: bytes, payload: bytes, patience: float) -> None:
        """Make a transaction without an outcome.

        Args:
            payload: from `messages.packed`.
            patience: seconds that it may wait in the queue of the leader.
        """
        self.txid = txid
        self.payload = payload
        self.patience = patience
        self.deadline = monotonic() + patience + GRACE_SECONDS
        self.is_sent = False  # whether a leader may have got it
        self.outcome: Outcome | None = None
        self._bell = silent_bell()

    def frame(self) -> bytes:
        """Return the frame to send now; from now on a leader may have the transaction."""
        body = messages.request(self.txid, self.patience, self.payload, is_again=self.is_sent)
        self.is_sent = True
        return framed(body)

    def end(self, outcome: Outcome) -> None:
        """Give the transaction its outcome, unless it has one."""
        if self.outcome is None:
            self.outcome = outcome
            self._bell.release()

    def wait(self, seconds: float = -1.0) -> bool:
        """Wait for the outcome, without a limit unless one is given; return whether there is one."""
        if self.outcome is None and self._bell.acquire(timeout=seconds):
            self._bell.release()  # for the next call
        return self.outcome is not None

    def result(self) -> TxReport:
        """Return the report, or raise the error, of a transaction that has its outcome."""
        outcome = self.outcome
        assert outcome is not None
        if isinstance(outcome, TxReport):
            return outcome
        try:
            raise outcome
        finally:
            del self, outcome  # the error refers to this frame: only the garbage collector would free both


class Pending(Sent):
    """A transaction that a future waits for."""

    __slots__ = ("future",)

    def __init__(self, txid: bytes, payload: bytes, patience: float, future: Report) -> None:
        """Make a transaction without an outcome; its future cannot be cancelled from now on."""
        super().__init__(txid, payload, patience)
        self.future = future
        future.set_running_or_notify_cancel()

    def end(self, outcome: Outcome) -> None:
        """End the future, unless it has ended."""
        super().end(outcome)
        with suppress(InvalidStateError):
            if isinstance(outcome, TxReport):
                self.future.set_result(outcome)
            else:
                self.future.set_exception(outcome)

    def end_after_fork(self, error: Exception) -> None:
        """End the future in a forked child, where no thread would end it."""
        if self.future._state != "FINISHED":  # not `done()`, which would wait for a thread that is not here
            self.future.__init__()  # type: ignore[misc]  # with a new lock, and without the parent's callbacks
            self.future.set_exception(error)


class Callbacks:
    """Calls the callbacks of futures in a thread of its own, one after the other."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Callable[[], object] | None] = SimpleQueue()  # None ends the thread
        self._thread = Single("factstore-answers")
        self._closing = CallLock()
        self._is_closed = False

    def call(self, callback: Callable[[], object]) -> None:
        """Call a function soon, after all earlier ones; after `close`, call it now."""
        with self._closing:
            is_now = self._is_closed
            if not is_now:
                self._calls.put(callback)
        if is_now:
            callback()
        else:
            self.look_after()

    def look_after(self) -> None:
        """Start the thread if it is needed. If the system starts none now, the functions wait until it does."""
        if not self._calls.empty():
            try:
                self._thread.start(self._run)
            except Unavailable as error:
                logger.warning("the callbacks of transactions wait: %s", error)

    def _run(self) -> None:
        while (callback := self._calls.get()) is not None:
            try:
                callback()
            except BaseException:  # the callbacks of other futures are called anyway
                logger.exception("a callback of a transaction was interrupted")

    def close(self) -> None:
        """End the thread after what was given to `call` before; call that now if there is no thread."""
        with self._closing:
            self._is_closed = True
            self._calls.put(None)
        self._thread.run_here(self._run)

    def join(self) -> None:
        """Wait until the thread has ended, unless it is the calling one."""
        thread = self._thread.thread
        if thread is not None and thread is not current_thread():
            thread.join()
