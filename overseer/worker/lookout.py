"""A thread that looks, waits, and looks again: what the monitor and the scheduler of a worker have in common.

Law: what it cannot make sense of ends it, and is kept for the worker to see; it never goes on looking with its eyes shut.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from threading import Event, Thread
from typing import Any

log = logging.getLogger("overseer")


class Lookout(ABC):
    """Looks until it is stopped.

    Args:
        name: of its thread, and in the log.
    """

    def __init__(self, name: str) -> None:
        self._stopped = Event()
        self._thread = Thread(target=self._run, name=f"overseer-{name}", daemon=True)
        self.error: BaseException | None = None  # what ended the thread, if not `stop`

    @abstractmethod
    def look(self) -> Any:
        """Do what there is to do now."""

    @abstractmethod
    def pause(self) -> float:
        """Return the seconds to wait before the next look."""

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._stopped.wait(self.pause()):
                self.look()
        except BaseException as error:
            log.exception("%s failed; the worker will stop", self._thread.name)
            self.error = error
