"""Reports of new transactions: queues to read from, and listeners that are called.

    commits of this process and of others ──► a queue each ──► get, iteration
    the log, for a start in the past      ──►           ╰────► the thread of a listener; the thread that closes the
                                                               connection delivers the rest

Law: from its start, a queue delivers each report once, in order of t.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Lock, RLock, Thread, current_thread, main_thread
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from factstore import log
from factstore.commit.following import Newest
from factstore.concurrency.limits import started
from factstore.connection.follower import follower_of
from factstore.db.database import Database, Point
from factstore.errors import Closed
from factstore.rendering import html_record
from factstore.transact import TxReport, report
from factstore.values.moments import Duration, timeout_of
from factstore.values.process_bound import ProcessBound

logger = logging.getLogger("factstore")

Waiting: TypeAlias = Callable[[Point, Duration | None], Database]

_LOOK_SECONDS: Final = 0.5  # how often a listener's thread checks whether it was stopped


class TxReports(ProcessBound):
    """Reports of commits, of this process and of others, in order of t, each once; close it after use."""

    _instead = (
        "send the address of the store and the t of the last report, and follow the store there, as in "
        "connect(address).tx_reports(from_t=t + 1)"
    )

    def __init__(self, committer: Newest, wait: Waiting, first_t: int | None = None) -> None:
        """Make a queue of the reports from now on, or from `first_t` on.

        Args:
            wait: `Connection.wait` of the connection.
        """
        self._committer = committer
        self._wait = wait  # keeps the connection alive as long as the queue
        self._waiting: SimpleQueue[TxReport] = SimpleQueue()
        self._wakes: list[Callable[[], None]] = []  # each wakes an event loop that waits for a report
        self._newest = 0  # the t of the newest report that was put into the queue
        self._given = self._since = committer.listen(
            self._put
        )  # the t of the newest report that was read from the queue
        self._looked = self._since  # the t that the queue had reached at the last attempt to read from it
        self._earlier = None if first_t is None else self._from_log(first_t)
        self._reading = Lock()

    def _repr_html_(self) -> str:
        return html_record("TxReports", {"read up to t": self._given, "waiting": self._waiting.qsize()})

    def _put(self, report: TxReport) -> None:
        self._waiting.put(report)
        self._newest = report.t
        for wake in tuple(self._wakes):
            wake()

    def _from_log(self, first_t: int) -> Iterator[TxReport]:
        db = self._committer.newest.database
        for record in log.read(self._committer.storage, max(first_t - 1, 0), self._since):
            yield report(db.as_of(record.t - 1), db.as_of(record.t), record.all_facts(), {})

    def get(self, timeout: Duration | None = None) -> TxReport | None:
        """Return the next report, or None after the timeout without one.

        Args:
            timeout: seconds, a timedelta or a text such as "30s"; None waits without a limit.
        Raises: DatabaseError(:db.error/invalid-duration).
        """
        limit = timeout_of(timeout)
        deadline = None if limit is None else monotonic() + limit
        while True:
            report = self.get_nowait()
            if report is not None:
                return report
            if not self.wait(None if deadline is None else max(deadline - monotonic(), 0.0)):
                return None

    def get_nowait(self) -> TxReport | None:
        """Return the next report, or None if there is none yet; this also works after the connection was closed."""
        if self._earlier is not None:
            with self._reading:
                earlier = None if self._earlier is None else next(self._earlier, None)
            if earlier is not None:
                return earlier
            self._earlier = None
        self._looked = max(self._since, self._newest)
        try:
            # A report is put twice if its first notification was interrupted.
            while (report := self._waiting.get_nowait()).t <= self._given:
                pass
        except Empty:
            return None
        self._given = report.t
        return report

    def wait(self, timeout: Duration | None = None) -> bool:
        """Wait for a commit after the queue was last found empty; return False after the timeout."""
        # Not for a commit after now: there may have been one since the queue was read.
        if self._wait(self._looked, timeout).basis_t <= self._looked:
            return False
        if self._waiting.empty():
            self._committer.all_notified()
        return True

    def __iter__(self) -> Iterator[TxReport]:
        while (report := self.get()) is not None:
            yield report

    async def __aiter__(self) -> AsyncIterator[TxReport]:
        """Yield each report, without blocking the event loop, until the connection is closed.

        Raises: StorageError, if the store cannot be read.
        """
        import asyncio

        loop, arrived = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed
                loop.call_soon_threadsafe(arrived.set)

        follower = follower_of(self._committer)
        follower.add(wake, lambda: self._committer.newest.t, self._wait)
        self._wakes.append(wake)
        try:
            while True:
                arrived.clear()
                is_open = follower.runs
                while (report := await self._next_of_loop()) is not None:
                    yield report
                if not is_open:
                    if follower.error is not None and not isinstance(follower.error, Closed):
                        raise follower.error
                    return
                await arrived.wait()
        finally:
            self._wakes.remove(wake)
            follower.remove(wake)

    async def _next_of_loop(self) -> TxReport | None:
        """Return the next report, or None; reports of the past are read from the log in another thread."""
        if self._earlier is None:
            return self.get_nowait()
        from factstore.concurrency.threads import in_thread

        return await in_thread(self.get_nowait)

    def close(self) -> None:
        """End the queue."""
        if self._put in self._committer.listeners:
            self._committer.listeners.remove(self._put)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Listener:
    """A function that is called with each report, one at a time, until it is stopped or the connection closes."""

    def __init__(self, listener: Callable[[TxReport], Any], reports: TxReports) -> None:
        self._listener = listener
        self._reports = reports
        self._delivering = RLock()  # reentrant: a listener may close the connection that calls it
        self._stopped = False
        try:
            started(Thread(target=self._run, name="factstore-listener", daemon=True))
        except BaseException:
            self.stop()
            raise

    def _run(self) -> None:
        try:
            while not self._stopped:
                self.deliver()
                self._reports.wait(_LOOK_SECONDS)
        except Closed:
            return  # the thread that closed the connection has delivered the rest

    def deliver(self) -> None:
        """Call the function with all reports in the queue."""
        with self._delivering:
            while not self._stopped and (report := self._reports.get_nowait()) is not None:
                try:
                    self._listener(report)
                except BaseException as error:
                    if current_thread() is main_thread() and isinstance(error, KeyboardInterrupt | SystemExit):
                        raise  # the program ends while it closes the connection
                    logger.exception("a listener failed on t=%d", report.t)

    def stop(self) -> None:
        """Stop calling the function."""
        self._stopped = True
        self._reports.close()
