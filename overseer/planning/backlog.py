"""The backlog of a queue: a value that needs no columns, so that reading it loads none."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Backlog(NamedTuple):
    """The live jobs of one queue."""

    ready: int = 0
    blocked: int = 0  # wait for other jobs
    later: int = 0  # wait for their time
    running: int = 0
    silent: int = 0  # running jobs whose lease has expired
    oldest: str | None = None  # the job that has been ready longest
    since: datetime | None = None  # since when it is ready
    paused: bool = False
