"""The backlog of a queue, and of all queues: values that need no columns, so that reading them loads none."""

from __future__ import annotations

from datetime import datetime
from html import escape
from typing import NamedTuple

import factstore
from factstore import Keyword


@factstore.rendering.shown_as_record
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


class Backlogs(dict[Keyword | None, Backlog]):
    """The backlog of each queue; a notebook shows it as a table."""

    def _repr_html_(self) -> str:
        """Return the table for notebooks."""
        head = ("queue", *Backlog._fields)
        rows = [[name or "(no queue)", *("" if cell is None else cell for cell in row)] for name, row in self.items()]
        cells = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
        return f"<table><tr>{''.join(f'<th>{name}</th>' for name in head)}</tr>{cells}</table>"
