"""Handlers in an executor of the caller announce that they begin, because such an executor does not report it.

An announcement is an empty file, named after the attempt's token. Law: only one attempt to create such a file succeeds.
So an attempt runs once, whatever the executor does after a process has died, and a withdrawn attempt does not begin.
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

_KEPT: Final = 3600.0  # seconds until an announcement is deleted after the end of its attempt


class BeganBefore(Exception):
    """The attempt has begun before, in a process that has ended, or it was withdrawn."""


def announce(path: str) -> bool:
    """Announce an attempt; False if it must not begin, because it was announced before or its worker has ended."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except (FileExistsError, FileNotFoundError):
        return False
    return True


def perform_announced(path: str | None, handler: Handler, job: Job, around: Sequence[Around]) -> Performed:
    """Run a handler in another process, unless the attempt has begun before."""
    if path is not None and not announce(path):
        return Performed(
            error=BeganBefore(f"attempt {job.attempt} of {job.type} {job.id} began before, in a process that has ended")
        )
    return perform_elsewhere(handler, job, around)


def is_reached(folder: str, handlers: bytes | Sequence[Any]) -> bool:
    """Return whether this process can reach a folder of the worker's machine; check that it can load the handlers."""
    if isinstance(handlers, bytes):
        pickle.loads(handlers)
    return Path(folder).is_dir()


class Announcements:
    """The announcements that a worker expects."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="overseer-")
        self.reached = True  # whether other processes can reach the folder; otherwise attempts count as begun at once
        self._turn = Lock()  # guards the attributes below
        self._expected: dict[str, Callable[[], None]] = {}
        self._ended: deque[tuple[float, str]] = deque()  # the time, on the monotonic clock, and the token

    def __bool__(self) -> bool:
        return bool(self._expected)

    def path(self, job: Job) -> str:
        """Return the path of the announcement of an attempt."""
        return self._path(job.lease.token)

    def _path(self, token: str) -> str:
        return os.path.join(self.folder, token)  # noqa: PTH118 - called for each attempt

    def expect(self, job: Job, began: Callable[[], None]) -> None:
        """Call `began` once the attempt is announced."""
        with self._turn:
            self._expected[job.lease.token] = began

    def look(self) -> None:
        """Call the callbacks of the attempts that were announced since the last call."""
        if self._expected:
            with self._turn:
                # Not Path.exists, because this is called often.
                announced = [token for token in self._expected if os.path.exists(self._path(token))]  # noqa: PTH110
                begun = [self._expected.pop(token) for token in announced]
            for began in begun:
                began()

    def withdraw(self, job: Job) -> bool:
        """Prevent an attempt from beginning; False if it has begun."""
        return announce(self.path(job))

    def forget(self, job: Job) -> None:
        """Expect an ended attempt no longer. Its file stays for a while: Dask reruns a task whose result is lost."""
        now = time.monotonic()
        with self._turn:
            self._expected.pop(job.lease.token, None)
            self._ended.append((now, job.lease.token))
            while self._ended[0][0] < now - _KEPT:
                with suppress(FileNotFoundError):
                    os.unlink(self._path(self._ended.popleft()[1]))  # noqa: PTH108

    def close(self) -> None:
        """Delete the folder: no attempt begins from now on."""
        shutil.rmtree(self.folder, ignore_errors=True)
