"""The live jobs of each queue, counted by columns."""

from __future__ import annotations

from collections.abc import Set
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from factstore import Keyword
from overseer.planning.backlog import Backlog
from overseer.planning.columns import Ints, LiveJobs, Mask

if TYPE_CHECKING:
    from factstore import Database

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def count_by_queue(db: Database, now: datetime, silent: Set[str]) -> dict[Keyword | None, Backlog]:
    """Return the backlog of each queue with live jobs, as if none was paused; None is for the jobs without a queue.

    Args:
        silent: the ids of the started jobs whose lease has expired.
    """
    jobs = LiveJobs(db)
    names, queue = _queues(jobs)
    due = _due(jobs)
    may_run = jobs.states[0] & ~jobs.is_started
    is_due = due <= (now - _EPOCH) // timedelta.resolution
    ready = may_run & is_due
    is_silent = np.fromiter((id in silent for id in jobs.ids), bool, len(jobs)) & jobs.is_started
    masks = (ready, ~(may_run | jobs.is_started), may_run & ~is_due, jobs.is_started, is_silent)
    counts = [np.bincount(queue[mask], minlength=len(names)).tolist() for mask in masks]
    oldest = _oldest(jobs, queue, ready, due)
    return {
        name: Backlog(*of_queue, *oldest.get(n, (None, None)))
        for n, (name, *of_queue) in enumerate(zip(names, *counts, strict=True))
        if of_queue != [0] * len(masks)
    }


def _queues(jobs: LiveJobs) -> tuple[list[Keyword | None], Ints]:
    """Return the names of queues, None first, and the number of each job's queue."""
    places, named = jobs.values(":job/queue")
    numbers: dict[Keyword | None, int] = {None: 0}
    queue = np.zeros(len(jobs), np.int64)
    queue[places] = [numbers.setdefault(name, len(numbers)) for name in named]
    return list(numbers), queue


def _due(jobs: LiveJobs) -> Ints:
    """Return the earliest start of each job, in microseconds since 1970."""
    due = np.full(len(jobs), np.iinfo(np.int64).min)
    places, times = jobs.values(":job/run-at")
    due[places] = [(time - _EPOCH) // timedelta.resolution for time in times]
    return due


def _oldest(jobs: LiveJobs, queue: Ints, ready: Mask, due: Ints) -> dict[int, tuple[str, datetime]]:
    """Return the job of each queue that has been ready longest, and since when.

    A job is ready since the last of these: it became unstarted, it was due, a parent ended.
    """
    places = np.flatnonzero(ready)
    since = due.copy()
    since[places] = np.maximum(since[places], jobs.instants(jobs.status_tx[places]))
    ended = ready[jobs.child] & (jobs.end != 0)
    np.maximum.at(since, jobs.child[ended], jobs.instants(jobs.end_tx[ended]))
    ordered = places[np.lexsort((since[places], queue[places]))]
    _, first = np.unique(queue[ordered], return_index=True)
    return {
        int(queue[place]): (jobs.ids[place], _EPOCH + int(since[place]) * timedelta.resolution)
        for place in ordered[first].tolist()
    }
