"""Handlers in an executor of somebody else's announce that they begin, for such an executor does not tell.

An announcement is an empty file, named after the attempt's token. Law: of the makings of one such file one succeeds. So an attempt runs
once, whatever the executor does with a process that has died; and an attempt that was withdrawn does not begin any more.
"""

from __future__ import annotations

import os
import pickle
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final

from overseer.events import Around
from overseer.handler import Handler
from overseer.jobs.job import Job
from overseer.worker.pools.perform import Performed, perform_elsewhere

_KEPT: Final = 3600.0  # seconds that an announcement stays after its attempt has ended


class BeganBefore(Exception):
    """The attempt began before, in a process that ended; or it was withdrawn."""


def announce(path: str) -> bool:
    """Announce an attempt; False when it must not begin, because it was announced before or its worker has ended."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except (FileExistsError, FileNotFoundError):
        return False
    return True


def perform_announced(path: str | None, handler: Handler, job: Job, around: Sequence[Around]) -> Performed:
    """Run a handler in another process, once."""
    if path is not None and not announce(path):
        return Performed(
            error=BeganBefore(f"attempt {job.attempt} of {job.type} {job.id} began before, in a process that has ended")
        )
    return perform_elsewhere(handler, job, around)


def is_reached(folder: str, handlers: bytes | Sequence[Any]) -> bool:
    """Tell whether a folder of the worker's machine can be reached here; called in another process, with handlers that it must load."""
    if isinstance(handlers, bytes):
        pickle.loads(handlers)
    return Path(folder).is_dir()


class Announcements:
    """What a worker knows of them."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="overseer-")
        self.reached = (
            True  # whether the other processes can reach the folder; otherwise an attempt is taken to begin at once
        )
        self._turn = Lock()  # guards what follows
        self._expected: dict[str, Callable[[], None]] = {}
        self._ended: deque[tuple[float, str]] = deque()  # when, on the monotonic clock, and its token

    def __bool__(self) -> bool:
        return bool(self._expected)

    def path(self, job: Job) -> str:
        """Return the file that announces an attempt."""
        return self._path(job.lease.token)

    def _path(self, token: str) -> str:
        return os.path.join(self.folder, token)  # noqa: PTH118 - on the path of each attempt

    def expect(self, job: Job, began: Callable[[], None]) -> None:
        """Call `began` when the attempt is announced."""
        with self._turn:
            self._expected[job.lease.token] = began

    def look(self) -> None:
        """Take note of what was announced meanwhile."""
        if self._expected:
            with self._turn:
                announced = [token for token in self._expected if os.path.exists(self._path(token))]  # noqa: PTH110 - often
                begun = [self._expected.pop(token) for token in announced]
            for began in begun:
                began()

    def withdraw(self, job: Job) -> bool:
        """Let an attempt not begin any more; False when it has begun."""
        return announce(self.path(job))

    def forget(self, job: Job) -> None:
        """Expect nothing of an attempt that has ended. Its announcement stays for a while: Dask runs a task again whose result it lost."""
        now = time.monotonic()
        with self._turn:
            self._expected.pop(job.lease.token, None)
            self._ended.append((now, job.lease.token))
            while self._ended[0][0] < now - _KEPT:
                with suppress(FileNotFoundError):
                    os.unlink(self._path(self._ended.popleft()[1]))  # noqa: PTH108

    def close(self) -> None:
        """Clear everything away: no attempt begins from now on."""
        shutil.rmtree(self.folder, ignore_errors=True)
