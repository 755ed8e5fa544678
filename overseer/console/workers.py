"""The page of workers: who runs, where, since when, with which jobs; and the types that no worker handles."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from factstore.console import Answer, PageRequest, Table
from overseer import status
from overseer.console.asking import again, time_of
from overseer.jobs.states import UNSTARTED

_FORGOTTEN: Final = timedelta(days=1)  # a worker that ended longer ago is not shown


def workers(request: PageRequest) -> Answer:
    """Return the workers at the moment of the page."""
    db, now = request.db, time_of(request)
    every = status.workers(db, ended=True, at=now)
    shown = [each for each in every if each.ended is None or now - each.ended < _FORGOTTEN]
    handled = {type for each in shown if each.state == "runs" for type in each.handlers}
    waiting = {type for type, by in status.counts_by_type(db).items() if by[UNSTARTED]}
    values = {
        "workers": shown,
        "unhandled": sorted(waiting - handled),
        "is_past": request.moment.t is not None,
    }
    table = Table(status.WorkerInfo._fields, [tuple(map(_plain, each)) for each in shown])
    return Answer("workers.html", values, {"workers": table}, again=again(request))


def _plain(cell: object) -> object:
    return list(cell) if isinstance(cell, tuple) else cell
