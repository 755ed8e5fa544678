"""One thread per connection that follows commits of other processes while tasks of event loops wait for reports.

    commits of other processes ──► wait, on the thread ──► listeners ──► queues of reports ──► loops are woken

Any number of waiting tasks uses one thread. It ends when no task waits.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, Thread
from typing import Final
from weakref import WeakKeyDictionary

from factstore.commit.following import Newest
from factstore.concurrency.limits import started
from factstore.db.database import Database
from factstore.errors import FactStoreError

_LOOK_SECONDS: Final = 0.5  # how often the thread checks that a task waits


class Follower:
    """Brings a connection up to date while there are readers."""

    def __init__(self) -> None:
        self._readers: list[Callable[[], None]] = []  # each wakes its loop
        self._runs = False
        self.error: FactStoreError | None = (
            None  # the reason for which the thread ended last; `Closed` is a regular end
        )
        self._lock = Lock()

    @property
    def runs(self) -> bool:
        """Whether the thread follows; False after an error."""
        return self._runs

    def add(self, wake: Callable[[], None], newest: Callable[[], int], wait: Callable[[int, float], Database]) -> None:
        """Follow until the reader is removed; `wake` is called if that becomes impossible. Raises: Unavailable."""
        with self._lock:
            if not self._runs:
                started(Thread(target=self._run, args=(newest, wait), name="factstore-follower", daemon=True))
                self._runs = True
            self._readers.append(wake)

    def remove(self, wake: Callable[[], None]) -> None:
        """Stop following for a reader."""
        with self._lock:
            self._readers.remove(wake)

    def _run(self, newest: Callable[[], int], wait: Callable[[int, float], Database]) -> None:
        try:
            while self._is_needed():
                wait(newest(), _LOOK_SECONDS)
        except FactStoreError as error:
            with self._lock:
                self.error = error
                self._runs = False
                readers = tuple(self._readers)
            for wake in readers:
                wake()

    def _is_needed(self) -> bool:
        with self._lock:
            self._runs = bool(self._readers)
            return self._runs


_followers: WeakKeyDictionary[Newest, Follower] = WeakKeyDictionary()
_making: Final = Lock()


def follower_of(committer: Newest) -> Follower:
    """Return the follower of a connection's committer."""
    with _making:
        return _followers.setdefault(committer, Follower())
