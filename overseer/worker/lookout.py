"""A thread that looks, waits, and looks again: the common base of the monitor, the scheduler and the waker of a worker.

    look ──► rest, until the store changes ──► pause ──► look

The worker's own thread waits for commits anyway. So a lookout that has nothing to do before the next commit does not
look for one: it rests until the worker calls `stir`.

Law: an unexpected exception ends the thread and is kept in `error`, where the worker finds it.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from threading import Event, Thread
from typing import Any

from factstore.concurrency.limits import started

log = logging.getLogger("overseer")


class Lookout(ABC):
    """Looks until it is stopped.

    Args:
        name: the name of its thread, also in the log.
        rests: whether another worker does the work at present, so that this one does not look.
    """

    def __init__(self, name: str, rests: Callable[[], bool] = lambda: False) -> None:
        self._rests = rests
        self._stopped = Event()
        self._stirred = Event()  # something may have been committed since the last look
        self._stirred.set()
        self._thread = Thread(target=self._run, name=f"overseer-{name}", daemon=True)
        self.error: BaseException | None = None  # the exception that ended the thread

    @abstractmethod
    def look(self) -> Any:
        """Do the work that is due now."""

    @abstractmethod
    def pause(self) -> float:
        """Return the seconds to wait before the next look."""

    @property
    def awaits_commit(self) -> bool:
        """Whether only a commit makes another look necessary."""
        return False

    def stir(self) -> None:
        """End the rest, because something was committed."""
        if not self._stirred.is_set():
            self._stirred.set()

    def start(self) -> None:
        """Start the thread."""
        started(self._thread)

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._stirred.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopped.wait(self.pause()):
                if not self._rests():
                    self._stirred.clear()
                    self.look()
                # `stop` may have come before `clear`, which then removed its signal.
                if self.awaits_commit and not self._stopped.is_set():
                    self._stirred.wait()
        except BaseException as error:
            log.exception("%s failed; the worker will stop", self._thread.name)
            self.error = error
