"""The live jobs of a database as the simulation uses them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np

from overseer.jobs.queues import queues
from overseer.planning.columns import Ints, LiveJobs
from overseer.planning.simulation import NEVER, Work

if TYPE_CHECKING:
    from factstore import Database

_UNIT: Final = timedelta.resolution
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_END_OF_TIME: Final = datetime.max.replace(tzinfo=UTC)


def work_of(db: Database, jobs: LiveJobs, takes: list[int], now: datetime) -> Work:
    """Return the live jobs as the simulation uses them: times in microseconds from now."""
    beginning = (now - _EPOCH) // _UNIT
    not_before = [0] * len(jobs)
    places, times = jobs.values(":job/run-at")
    for place, time in zip(places.tolist(), times, strict=True):
        not_before[place] = max(0, (time - now) // _UNIT)
    began: list[int | None] = [None] * len(jobs)
    started = np.flatnonzero(jobs.is_started)
    for place, instant in zip(started.tolist(), jobs.instants(jobs.status_tx[started]).tolist(), strict=True):
        began[place] = instant - beginning
    priorities = np.zeros(len(jobs), np.int64)
    places, numbers = jobs.values(":job/priority")
    priorities[places] = numbers
    ranks = np.empty(len(jobs), np.int64)
    ranks[np.lexsort((np.arange(len(jobs)), ~priorities))] = np.arange(len(jobs))
    needs = _needs(db, jobs, jobs.values(":job/type")[0])
    return Work(
        takes=takes,
        ranks=ranks.tolist(),
        not_before=not_before,
        began=began,
        needs=needs.tolist(),
        children=jobs.children(needs > 0),
        end_of_time=(_END_OF_TIME - now) // _UNIT,
    )


def _needs(db: Database, jobs: LiveJobs, typed: Ints) -> Ints:
    """Return how many parents each job still needs to end; 0 for a job that has started.

    Args:
        typed: the places of the jobs that have a type.
    """
    ready, doomed = jobs.states
    needs = np.full(len(jobs), NEVER, np.int64)
    for rule, of_rule in jobs.by_rule:
        waiting = of_rule & ~(ready | doomed)
        needs[waiting] = np.minimum(jobs.waits_for[waiting], 1) if rule.one_suffices else jobs.waits_for[waiting]
    needs[ready] = 0
    paused = {name for name, queue in queues(db).items() if queue.paused}
    if paused:
        places, names = jobs.values(":job/queue")
        needs[places[[name in paused for name in names]]] = NEVER
    has_type = np.zeros(len(jobs), bool)
    has_type[typed] = True
    needs[~has_type] = NEVER
    needs[jobs.is_started] = 0
    return needs
