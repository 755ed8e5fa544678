"""Who ran which job from when to when: read off the history of statuses, where every attempt left its facts.

Law: an attempt begins where its job became started, and ends where the job's status next changed.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import NamedTuple

from factstore import Database, q

from . import questions

STARTED = ":job.status/started"
FINISHED = ":job.status/finished"


class Attempt(NamedTuple):
    """One run of a job."""

    type: str
    worker: str
    start: datetime
    end: datetime | None  # None: it still runs
    status: str  # what the job became: STARTED while it runs, FINISHED, …

    @property
    def seconds(self) -> float | None:
        """How long it took; None while it runs."""
        return None if self.end is None else (self.end - self.start).total_seconds()


def attempts(db: Database) -> list[Attempt]:
    """Return every attempt that was ever made, in order of its start."""
    history = db.history()
    claims: defaultdict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for type, worker, at in q(questions.CLAIMS, history):
        claims[type].append((at, worker))
    statuses: defaultdict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for type, status, at in q(questions.STATUSES, history):
        statuses[type].append((at, status))
    found = []
    for type, life in statuses.items():
        life.sort()
        for (start, status), after in zip(life, [*life[1:], None], strict=True):
            if status == STARTED:
                # A worker that takes the same job twice says so once: a fact that stands is not asserted again.
                worker = max(claim for claim in claims[type] if claim[0] <= start)[1]
                found.append(Attempt(type, worker, start, after and after[0], after[1] if after else STARTED))
    return sorted(found, key=lambda attempt: attempt.start)


def dependencies(db: Database) -> dict[str, list[str]]:
    """Return each type of job with those it waits for."""
    found: dict[str, list[str]] = {type: [] for type, _ in q(questions.STANDING, db)}
    for child, parent in sorted(q(questions.DEPENDENCIES, db)):
        found[child].append(parent)
    return found
