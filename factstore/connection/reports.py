"""Reports as they come: a queue to read from, and listeners that are called.

    commits, of this process or caught up with ──► a queue each ──► get, iteration
    the log, for who wants to begin in the past ──►           ╰──► a listener's thread; what is left when the connection closes,
                                                                   the thread that closes it

Law: reports come in order of t, none is missing and none comes twice, from where the queue begins.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from threading import Lock, RLock, Thread, current_thread, main_thread
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from factstore import log
from factstore.commit.newest import Newest
from factstore.db.database import Database, Point
from factstore.errors import Closed
from factstore.transact import TxReport, report

logger = logging.getLogger("factstore")

Waiting: TypeAlias = Callable[[Point, float | None], Database]

_LOOK_SECONDS: Final = 0.5  # how often a listener's thread looks whether it is still wanted


class TxReports:
    """Reports of commits, of this process and of others, in order of t, none missed and none twice; close it when done."""

    def __init__(self, committer: Newest, wait: Waiting, first_t: int | None = None) -> None:
        """Make a queue of what is committed from now on, and of what was committed since `first_t`.

        Args:
            wait: `Connection.wait` of the connection.
        """
        self._committer = committer
        self._wait = wait  # its connection stays open as long as the queue is in use
        self._waiting: SimpleQueue[TxReport] = SimpleQueue()
        self._newest = 0  # the t of the newest report that is in the queue, or was
        self._given = self._since = committer.listen(self._put)  # the newest one that was read from the queue
        self._looked = self._since  # the t that the queue reached when it was last looked into
        self._earlier = None if first_t is None else self._from_log(first_t)
        self._reading = Lock()

    def _put(self, report: TxReport) -> None:
        self._waiting.put(report)
        self._newest = report.t

    def _from_log(self, first_t: int) -> Iterator[TxReport]:
        db = self._committer.newest.database
        for made in log.read(self._committer.storage, max(first_t - 1, 0), self._since):
            yield report(db.as_of(made.t - 1), db.as_of(made.t), made.all_facts(), {})

    def get(self, timeout: float | None = None) -> TxReport | None:
        """Return the next report, waiting up to `timeout` seconds (None: as long as it takes); None when there was none."""
        deadline = None if timeout is None else monotonic() + timeout
        while True:
            found = self.get_nowait()
            if found is not None:
                return found
            if not self.wait(None if deadline is None else max(deadline - monotonic(), 0.0)):
                return None

    def get_nowait(self) -> TxReport | None:
        """Return the next report if it has come already, also when the connection has been closed since; None when there is none."""
        if self._earlier is not None:
            with self._reading:
                earlier = None if self._earlier is None else next(self._earlier, None)
            if earlier is not None:
                return earlier
            self._earlier = None
        self._looked = max(self._since, self._newest)
        try:
            # One may come twice: telling of it was interrupted the first time.
            while (report := self._waiting.get_nowait()).t <= self._given:
                pass
        except Empty:
            return None
        self._given = report.t
        return report

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until more was committed than had come when the queue was found empty; False if that took too long."""
        # Not than has come by now: there may have been a commit since the look into the queue.
        if self._wait(self._looked, timeout).basis_t <= self._looked:
            return False
        if self._waiting.empty():
            self._committer.all_told()
        return True

    def __iter__(self) -> Iterator[TxReport]:
        while (found := self.get()) is not None:
            yield found

    def close(self) -> None:
        """Stop listening."""
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
        Thread(target=self._run, name="factstore-listener", daemon=True).start()

    def _run(self) -> None:
        try:
            while not self._stopped:
                self.deliver()
                self._reports.wait(_LOOK_SECONDS)
        except Closed:
            return  # who closed the connection has delivered the rest

    def deliver(self) -> None:
        """Call with all reports that are there."""
        with self._delivering:
            while not self._stopped and (found := self._reports.get_nowait()) is not None:
                try:
                    self._listener(found)
                except BaseException as error:
                    if current_thread() is main_thread() and isinstance(error, KeyboardInterrupt | SystemExit):
                        raise  # the program is asked to end, while it closes the connection
                    logger.exception("a listener failed on t=%d", found.t)

    def stop(self) -> None:
        """Call no more."""
        self._stopped = True
        self._reports.close()
