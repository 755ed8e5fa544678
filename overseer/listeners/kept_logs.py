"""Keeps the last lines that the handler of an attempt logs, so that they are committed with its outcome.

Law: an attempt keeps at most `MAX_LINES` lines and `MAX_LOGS` characters, the last ones, wherever its handler runs.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Lock
from typing import Final

from overseer.events import Around, Attempt, Event, current_lease
from overseer.jobs.states import Lease

MAX_LINES: Final = 200
MAX_LOGS: Final = 64_000  # characters


class KeptLogs:
    """The listener of the setting `keep_logs`. It ignores events, and surrounds handlers."""

    def __call__(self, event: Event, /) -> None:
        """Do nothing."""

    def around(self, job: Attempt, /) -> AbstractContextManager[None]:
        """Return a context that keeps what the handler logs."""
        return keeping(job)

    def elsewhere(self, job: Attempt, /) -> Around:
        """Return the same context for a handler in another process."""
        return keeping


@contextmanager
def keeping(job: Attempt) -> Iterator[None]:
    """Keep what the handler of an attempt logs, as its `logs`."""
    lines = _COLLECTOR.begin(job.lease)
    try:
        yield
    finally:
        _COLLECTOR.end(job.lease)
        job.logs = "\n".join(lines)[-MAX_LOGS:] or None


class _Collector(logging.Handler):
    """Puts each record into the lines of the attempt that made it; a handler of the root logger while there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        self._lines: dict[Lease, deque[str]] = {}
        self._turn = Lock()

    def begin(self, lease: Lease) -> deque[str]:
        lines: deque[str] = deque(maxlen=MAX_LINES)
        with self._turn:
            if not self._lines:
                logging.getLogger().addHandler(self)
            self._lines[lease] = lines
        return lines

    def end(self, lease: Lease) -> None:
        with self._turn:
            self._lines.pop(lease, None)
            if not self._lines:
                logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        lease = current_lease()
        lines = None if lease is None else self._lines.get(lease)
        if lines is None:
            return
        try:
            lines.append(self.format(record)[-MAX_LOGS:].encode("utf-8", "replace").decode())
        except Exception:  # from the record's own arguments
            self.handleError(record)


_COLLECTOR: Final = _Collector()
