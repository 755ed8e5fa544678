"""The queue of transactions that are committed together, and the thread that does it.

    add ──► waiting ──► committed in the turn, outcome noted ──► answered ──► the future ends, outside of the turn

Law: a request leaves the queue only when its outcome stands, and `answered` only when its future has ended. So whoever comes
next finishes what an interrupted call left in either, and no future stays open.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from threading import Event, Thread, current_thread
from time import monotonic
from typing import Final, TypeAlias

from factstore.concurrency.locks import CallLock
from factstore.transact import Preparation, TxReport

logger = logging.getLogger("factstore")

_LOOK_SECONDS: Final = (
    0.5  # how often the thread looks whether its connection is there, and who waits whether the thread is
)

Outcome: TypeAlias = TxReport | BaseException


class Report(Future[TxReport]):
    """The future of a report. To wait for it where the waiting thread has the turn is an error: it would never come."""

    background: Background

    def result(self, timeout: float | None = None) -> TxReport:
        """Return the report, or raise the error; see `concurrent.futures.Future`. Raises: TransactError(:db.error/transaction-open)."""
        if not self.done():
            self._wait(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error, None if there is a report. Raises: TransactError(:db.error/transaction-open)."""
        if not self.done():
            self._wait(timeout)
        return super().exception(0)

    def _wait(self, timeout: float | None) -> None:
        deadline = None if timeout is None else monotonic() + timeout
        while not self.done():
            self.background.look_after()
            left = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, deadline - monotonic())
            if left <= 0:
                return
            with suppress(TimeoutError, CancelledError):
                super().exception(left)


class Request:
    """A transaction on its way: how it is prepared, what has become of it, and the future that tells."""

    __slots__ = ("begun", "future", "outcome", "preparation", "report", "sent")

    def __init__(self, preparation: Preparation, future: Future[TxReport]) -> None:
        self.preparation = preparation
        self.future = future
        self.sent: Sequence[
            tuple[bytes, int]
        ] = ()  # the txid of an append that may have been applied, and the t after which
        self.report: TxReport | None = None  # what there will be to tell if that append was applied
        self.outcome: Outcome | None = None
        self.begun = False

    def begin(self) -> bool:
        """Return whether the transaction is still wanted; from here on its future cannot be cancelled."""
        if not self.begun:
            self.begun = True
            return self.future.set_running_or_notify_cancel()
        return not self.future.cancelled()

    def deliver(self) -> None:
        """End the future with the outcome, unless somebody did so already."""
        try:
            if isinstance(self.outcome, TxReport):
                self.future.set_result(self.outcome)
            else:
                self.future.set_exception(self.outcome)
        except InvalidStateError:
            return  # another thread was quicker, or it was cancelled


class Background:
    """Takes requests, and lets a function commit all that wait, on a thread of its own."""

    def __init__(self, turn: CallLock, commit: Callable[[deque[Request], deque[Request]], None]) -> None:
        """Make a queue; `commit` takes the turn, and moves requests that have an outcome from the first queue to the second."""
        self._turn = turn
        self.waiting: deque[Request] = deque()
        self._answered: deque[Request] = deque()
        self._commit = commit
        self._thread: Thread | None = None
        self._runs = False  # whether the thread takes what is added; quicker to ask than the thread itself
        self._starting = CallLock()
        self._wake = Event()
        self._closing = False

    def add(self, request: Request) -> Future[TxReport]:
        """Leave a request to the thread: whatever comes while it commits goes into its next commit."""
        self.waiting.append(request)
        try:
            if not self._runs:
                self._start()
            if not self._wake.is_set():
                self._wake.set()
            if (self._closing or current_thread() is self._thread) and not self._turn.is_mine:
                self.drain()  # the thread that would is gone or going, or this very one, called back by a future
        except BaseException:
            request.future.cancel()
            raise
        return request.future

    def look_after(self) -> None:
        """See to it that a future for which somebody waits will end. Raises: what `reentered` of the turn returns."""
        if self._turn.is_mine:
            raise self._turn.reentered()
        if not (self._closing or self._is_alive):
            self._start()  # the thread was ended by an exception at a moment in which nothing catches it
            self._wake.set()

    @property
    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _start(self) -> None:
        with self._starting:
            if not (self._runs and self._is_alive):
                thread = Thread(target=self._run, name="factstore-commit", daemon=True)
                thread.start()
                self._thread = thread
                self._runs = True

    def _run(self) -> None:
        try:
            while not self._closing:
                try:
                    self._wake.wait(_LOOK_SECONDS)
                    self._wake.clear()
                    self.drain()
                except BaseException:
                    # The requests were told, or wait still: the thread must live on, whatever was raised in it.
                    logger.exception("committing in the background was interrupted")
                    self._wake.set()
            self.drain()
        finally:
            self._runs = False

    def retire(self) -> None:
        """End the thread once all that waits is committed. For a finalizer, which may run at any step of any thread: it takes no lock."""
        self._closing = True

    def drain(self) -> None:
        """Commit all that waits, and end its futures."""
        while self.waiting or self._answered:
            self._deliver()
            if self.waiting:
                self._commit(self.waiting, self._answered)

    def _deliver(self) -> None:
        # After the turn: a future calls back, and who is called may transact.
        while self._answered:
            try:
                request = self._answered[0]
                request.deliver()
                self._answered.remove(request)
            except (IndexError, ValueError):
                continue  # another thread delivers too

    def after_fork(self, error: Exception) -> None:
        """End, in a forked child, the futures that only a thread of the parent would end."""
        for future in [request.future for request in (*self.waiting, *self._answered)]:
            if future._state != "FINISHED":  # not `done()`, which would wait for a thread that is not here
                future.__init__()  # type: ignore[misc]  # with a lock that nobody holds, and without the parent's callbacks
                future.set_exception(error)
        self.waiting.clear()
        self._answered.clear()

    def close(self) -> None:
        """Commit all that waits, and end the thread."""
        self._closing = True
        if self._thread is not None:
            self._wake.set()
            self._thread.join()
        self.drain()
