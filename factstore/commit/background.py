"""The queue of transactions that are committed together, and the thread that commits them.

    add ──► waiting ──► committed in the turn, outcome stored ──► answered ──► the future ends, after the turn

Law: a request leaves the queue only when its outcome is stored, and `answered` only when its future has ended. So the
next caller finishes what an interrupted call left in either queue, and no future stays open.
"""

from __future__ import annotations

import logging
from _thread import LockType
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, InvalidStateError
from threading import Thread, current_thread
from time import monotonic
from typing import Any, Final, TypeAlias, TypeVar

from factstore.concurrency.limits import started
from factstore.concurrency.locks import CallLock, ring, silent_bell
from factstore.rendering import html_record
from factstore.transact import Preparation, TxReport
from factstore.values.moments import Duration, timeout_of
from factstore.values.process_bound import ProcessBound

logger = logging.getLogger("factstore")

_LOOK_SECONDS: Final = 0.5  # how often a waiting caller checks that the thread runs

Outcome: TypeAlias = TxReport | BaseException
T = TypeVar("T")

_awaited: Callable[[Future[Any]], Generator[Any, None, Any]] | None = None
_FINISHED: Final = "FINISHED"  # the state of a future that has ended


class PendingReport(ProcessBound, Future[TxReport]):
    """The future of the report of a transaction, for threads (`concurrent.futures`) and for coroutines (`await`)."""

    _kind = "PendingReport"
    _instead = "wait for its report, as in pending.result(), and send the t of that"

    def __await__(self) -> Generator[Any, None, TxReport]:
        """Wait for the report in a coroutine, without blocking its event loop.

        If the task is cancelled, a transaction that has not begun is not committed.
        """
        global _awaited
        if _awaited is None:
            from factstore.concurrency.awaiting import awaited  # not above: it imports asyncio, which takes long

            _awaited = awaited
        return _awaited(self)

    def _repr_html_(self) -> str:
        if self.done() and not self.cancelled() and self.exception() is None:
            return self.result()._repr_html_()
        return html_record("PendingReport", {"state": self._state.lower()})


class Report(PendingReport):
    """The future of a report. A thread that holds the turn must not wait for it, because it would wait forever."""

    background: Background
    later: Callable[[Callable[[], object]], object] | None = None  # where callbacks are called; None: where it ends
    _done_callbacks: list[Callable[[Future[TxReport]], object]]  # of `concurrent.futures`, which uses no other one

    def _invoke_callbacks(self) -> None:
        """Call the callbacks: those of waiting coroutines now, and the others later, if they can be called later."""
        if self.later is not None and self._done_callbacks:
            slow = []
            for callback in self._done_callbacks:
                if getattr(callback, "is_quick", False):
                    callback(self)
                else:
                    slow.append(callback)
            self._done_callbacks = slow
            if slow:
                self.later(super()._invoke_callbacks)  # type: ignore[misc]
        else:
            super()._invoke_callbacks()  # type: ignore[misc]

    def result(self, timeout: Duration | None = None) -> TxReport:
        """Return the report, or raise the error; see `concurrent.futures.Future`.

        Args:
            timeout: seconds, a timedelta or a text such as "30s"; None waits without a limit.
        Raises: TimeoutError; TransactError(:db.error/transaction-open); DatabaseError(:db.error/invalid-duration).
        """
        limit = timeout_of(timeout)
        # Not `done()`, which acquires a lock, as `result` does again.
        return super().result(0) if self._state == _FINISHED else self._ended(super().result, limit)

    def exception(self, timeout: Duration | None = None) -> BaseException | None:
        """Return the error, or None if there is a report. Raises: TransactError(:db.error/transaction-open)."""
        limit = timeout_of(timeout)
        return super().exception(0) if self._state == _FINISHED else self._ended(super().exception, limit)

    def _ended(self, end: Callable[[float], T], limit: float | None) -> T:
        """Return what `end` returns when the future has ended; meanwhile check that the background thread runs."""
        self.background.check_outside()
        deadline = None if limit is None else monotonic() + limit
        while True:
            left = _LOOK_SECONDS if deadline is None else min(_LOOK_SECONDS, deadline - monotonic())
            try:
                return end(left)
            except TimeoutError:
                # The outcome itself may be a TimeoutError, of a transaction function.
                if self.done():
                    return end(0)
                if deadline is not None and monotonic() >= deadline:
                    raise
            self.background.look_after()


class Request(ABC):
    """A transaction in the queue: its preparation and its outcome. A subclass does something with the outcome."""

    __slots__ = ("outcome", "preparation", "report", "sent", "txid")

    def __init__(self, preparation: Preparation, txid: bytes | None = None) -> None:
        """Make a request without an outcome.

        Args:
            txid: of its record in the log; None: the committer chooses one.
        """
        self.preparation = preparation
        self.txid = txid
        self.sent: Sequence[
            tuple[bytes, int]
        ] = ()  # the txid of an append that may have been applied, and the t after which
        self.report: TxReport | None = None  # what there will be to tell if that append was applied
        self.outcome: Outcome | None = None

    @abstractmethod
    def begin(self) -> bool:
        """Return whether the transaction must be committed; from now on it cannot be cancelled."""

    @abstractmethod
    def deliver(self) -> None:
        """Do with the outcome what must be done, unless that has been done."""

    @abstractmethod
    def cancel(self) -> None:
        """Give the request up, because it was not added to the queue."""

    @abstractmethod
    def end_after_fork(self, error: Exception) -> None:
        """End, in a forked child, a future that only a thread of the parent would end."""


class Awaited(Request):
    """A request that a future waits for."""

    __slots__ = ("_begun", "future")

    def __init__(self, preparation: Preparation, future: Future[TxReport]) -> None:
        super().__init__(preparation)
        self.future = future
        self._begun = False

    def begin(self) -> bool:
        """Return whether the transaction must be committed; from now on its future cannot be cancelled."""
        if not self._begun:
            self._begun = True
            return self.future.set_running_or_notify_cancel()
        return not self.future.cancelled()

    def deliver(self) -> None:
        """End the future with the outcome, unless it has ended already."""
        try:
            if isinstance(self.outcome, TxReport):
                self.future.set_result(self.outcome)
            else:
                self.future.set_exception(self.outcome)
        except InvalidStateError:
            return  # another thread was faster, or the future was cancelled

    def cancel(self) -> None:
        """Cancel the future."""
        self.future.cancel()

    def end_after_fork(self, error: Exception) -> None:
        """End the future, unless it has ended."""
        if self.future._state != _FINISHED:  # not `done()`, which would wait for a thread that is not here
            self.future.__init__()  # type: ignore[misc]  # with a new lock, and without the parent's callbacks
            self.future.set_exception(error)


class Background:
    """Collects requests, and calls a function that commits them, on its own thread."""

    def __init__(self, turn: CallLock, commit: Callable[[deque[Request], deque[Request]], None]) -> None:
        """Make an empty queue.

        Args:
            commit: takes the turn, and moves requests that have an outcome from its first argument to its second.
        """
        self._turn = turn
        self.waiting: deque[Request] = deque()
        self._answered: deque[Request] = deque()
        self._commit = commit
        self._thread: Thread | None = None
        self._runs = False  # whether the thread runs; faster to read than the state of the thread
        self._starting = CallLock()
        self._bell = silent_bell()  # wakes the thread
        self._closing = False
        self._wanted: tuple[int, LockType] | None = None  # a bell, and the length of the queue at which it rings
        self.when_delivered: Callable[[], object] | None = None  # called after outcomes were delivered, perhaps again

    def has_less_than(self, count: int, bell: LockType) -> bool:
        """Return whether the queue has less than a number of requests; ring a bell when it has them."""
        self._wanted = count, bell  # first: a request that comes between the two lines rings the bell
        return len(self.waiting) < count

    def forget(self, bell: LockType) -> None:
        """Ring this bell no more."""
        wanted = self._wanted
        if wanted is not None and wanted[1] is bell:
            self._wanted = None

    def add(self, *requests: Request) -> None:
        """Add requests to the queue; those that arrive during a commit are part of the next one."""
        try:
            self.waiting.extend(requests)
            if not self._runs:
                self._start()
            if self._bell.locked():
                ring(self._bell)
            wanted = self._wanted
            if wanted is not None and len(self.waiting) >= wanted[0] and wanted[1].locked():
                ring(wanted[1])
            if (self._closing or current_thread() is self._thread) and not self._turn.is_mine:
                self.drain()  # the thread ends or has ended, or this is the thread, in a callback of a future
        except BaseException:
            for request in requests:
                request.cancel()
            raise

    def check_outside(self) -> None:
        """Check that this thread does not hold the turn; it would wait for itself. Raises: the turn's `reentered`."""
        if self._turn.is_mine:
            raise self._turn.reentered()

    def look_after(self) -> None:
        """Start the thread again if it has ended, and wake it, so that a future that a caller waits for ends."""
        if not self._closing:
            if not self._is_alive:
                self._start()  # an exception outside of every `try` ended the thread
            ring(self._bell)  # an exception may have ended `add` before it did

    @property
    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _start(self) -> None:
        with self._starting:
            if not (self._runs and self._is_alive):
                # First assigned: if an exception ends this call in between, the next one starts a thread, and `close`
                # finds each thread that runs.
                self._thread = Thread(target=self._run, name="factstore-commit", daemon=True)
                started(self._thread)
                self._runs = True

    def _run(self) -> None:
        try:
            self._runs = True  # the call that started this thread may have ended before it noted that
            while not self._closing:
                try:
                    self._bell.acquire()
                    self.drain()
                except BaseException:
                    # Each request has an outcome or is still in the queue, so the thread continues after any exception.
                    logger.exception("committing in the background was interrupted")
                    ring(self._bell)
            self.drain()
        finally:
            self._runs = False
            # An interrupted start can leave a second thread, which waits for the same bell.
            if self._closing:
                ring(self._bell)

    def retire(self) -> None:
        """End the thread when all waiting requests are committed.

        A finalizer calls this at any step of any thread, so it waits for no lock.
        """
        self._closing = True
        ring(self._bell)

    def drain(self) -> None:
        """Commit all waiting requests, and end their futures."""
        while self.waiting or self._answered:
            self._deliver()
            if self.waiting:
                self._commit(self.waiting, self._answered)
        self._deliver()  # an exception may have ended an earlier call before its last line

    def _deliver(self) -> None:
        # Not during the turn: a future runs callbacks, and a callback may transact.
        while self._answered:
            try:
                request = self._answered[0]
                request.deliver()
                self._answered.remove(request)
            except (IndexError, ValueError):
                continue  # another thread delivers too
        if self.when_delivered is not None:
            self.when_delivered()

    def after_fork(self, error: Exception) -> None:
        """End, in a forked child, the futures that only a thread of the parent would end."""
        for request in (*self.waiting, *self._answered):
            request.end_after_fork(error)
        self.waiting.clear()
        self._answered.clear()

    def close(self) -> None:
        """Commit all waiting requests, and end the thread."""
        self._closing = True
        thread = self._thread
        if thread is not None and thread.is_alive():
            ring(self._bell)
            thread.join()
        self.drain()
