"""Obstacles: why unstarted jobs can never start, unless facts change or another worker starts.

Law: if a job is stuck, no end of another job makes it ready; any other job can become ready.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Final

from factstore import Keyword
from overseer.jobs import lookup
from overseer.jobs.dependency_rules import WAITING, rule_named
from overseer.jobs.graph import find_cycle
from overseer.jobs.queues import allowance
from overseer.jobs.states import ENDED, STATUSES, UNSTARTED

if TYPE_CHECKING:
    from factstore import Database

Waiting = dict[int, list[int]]  # waiting job → the parents that have not ended, or that are no jobs

_SHOWN: Final = 5  # ids in a sentence


def _waiting(db: Database, jobs: Iterable[int]) -> Waiting:
    """Return the waiting jobs among these jobs and all their ancestors."""
    waiting: Waiting = {}
    left = list(jobs)
    while left:
        job = left.pop()
        if job not in waiting and lookup.status(db, job) == UNSTARTED and lookup.readiness(db, job) == WAITING:
            waiting[job] = [parent for parent in lookup.parents(db, job) if lookup.status(db, parent) not in ENDED]
            left += waiting[job]
    return waiting


def _stuck(db: Database, waiting: Waiting) -> set[int]:
    """Return the waiting jobs that no end of another job makes ready."""
    children: dict[int, list[int]] = {}
    for job, parents in waiting.items():
        for parent in parents:
            children.setdefault(parent, []).append(job)
    rules = {job: rule_named(lookup.value(db, job, ":job/rule")) for job in waiting}
    # A job with an unknown rule never gets to 0.
    left = {job: -1 if (rule := rules[job]) is None else rule.required(len(waiting[job])) for job in waiting}
    can_end = [parent for parent in children if parent not in waiting and lookup.status(db, parent) in STATUSES]
    stuck = set(waiting)
    while can_end:
        for child in children.get(can_end.pop(), ()):
            left[child] -= 1
            if left[child] == 0:
                stuck.discard(child)
                can_end.append(child)
    return stuck


def obstacle(db: Database, job: int) -> tuple[str, list[int]] | None:
    """Return why a waiting job can never start, in words, with the jobs that the words name; None if it can start."""
    waiting = _waiting(db, [job])
    stuck = _stuck(db, waiting)
    return _words(db, job, waiting, stuck) if job in stuck else None


def _words(db: Database, job: int, waiting: Waiting, stuck: Collection[int]) -> tuple[str, list[int]]:
    graph = {one: [parent for parent in waiting[one] if parent in stuck] for one in waiting if one in stuck}
    circle = find_cycle({job: graph[job], **graph})
    if circle is not None:
        whom = "itself" if job in circle else "jobs that wait for each other"
        path = " → ".join(lookup.name(db, one) for one in circle)
        return f"it waits for {whom}, in a circle: {path}; abort one of them, or retract a :job/dep", circle[:-1]
    for one in graph:
        rule = lookup.value(db, one, ":job/rule")
        who = "it" if one == job else f"it waits for {lookup.name(db, one)}, which"
        if rule_named(rule) is None:
            return f"{who} waits by the rule {rule}, which does not exist", [one]
        none = [parent for parent in waiting[one] if lookup.status(db, parent) not in STATUSES]
        if none and not graph[one]:
            names = ", ".join(lookup.name(db, parent) for parent in none)
            return f"{who} waits for {names}, which is no job that can end", [one]
    return "it waits for a job that cannot end", [job]


def reasons(db: Database, jobs: Iterable[int], types: Collection[Keyword], now: datetime) -> list[str]:
    """Return why these live jobs may not start if there is one worker for some types, with the jobs of each reason.

    Jobs that will start, or that wait only for jobs that will, are left out.

    Args:
        types: the types that the worker handles.
    """
    unstarted = {job for job in jobs if lookup.status(db, job) == UNSTARTED}
    waiting = _waiting(db, unstarted)
    stuck, allowed = _stuck(db, waiting), allowance(db, now)
    by_reason: dict[str, list[int]] = {}
    for job in sorted({*unstarted, *waiting, *(parent for parents in waiting.values() for parent in parents)}):
        if job in waiting:
            if job in stuck and job in unstarted:
                by_reason.setdefault(_words(db, job, waiting, stuck)[0], []).append(job)
        elif lookup.status(db, job) == UNSTARTED:
            type = lookup.value(db, job, ":job/type")
            reason = allowed.block_reason(
                (lookup.value(db, job, ":job/queue"), lookup.value(db, job, ":job/partition"))
            )
            if type not in types:
                by_reason.setdefault(f"its type {type} has no handler here", []).append(job)
            elif reason is not None:
                by_reason.setdefault(reason, []).append(job)
    return [_sentence(db, why, jobs) for why, jobs in by_reason.items()]


def _sentence(db: Database, why: str, jobs: list[int]) -> str:
    shown = ", ".join(lookup.name(db, job) for job in jobs[:_SHOWN])
    return f"{shown}{f' and {len(jobs) - _SHOWN:,} more' if len(jobs) > _SHOWN else ''}: {why}"
