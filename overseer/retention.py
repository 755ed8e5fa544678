"""Retention: rules by which jobs that ended long ago are retracted, each with its own facts and no others.

A job is retracted only together with every job that refers to it, and stays if any other fact refers to it. Law: after
pruning, the facts of all other entities are the same as before, and none of them refers to a retracted job.

The facts stay in history, unless `excise` erases them there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import factstore
from factstore import Keyword, quoted
from overseer.errors import OverseerError
from overseer.jobs import lookup
from overseer.jobs.states import LIVE, STATUSES, Forms, as_keyword
from overseer.sources import of_connection, of_database

if TYPE_CHECKING:
    from factstore import Connection, Database

__all__ = ["Pruned", "Rule", "prunable", "prune"]

ENDED: Final = tuple(status for status in STATUSES if status not in LIVE)

_ENDED_AS: Final = "[:find ?j ?type ?tx :in $ ?status :where [?j :job/status ?status ?tx] [?j :job/type ?type]]"
# References of the job layer's own entities; they do not keep a job.
_WEAK_REFS: Final = (":unique/job",)


@factstore.rendering.shown_as_record
class Rule(NamedTuple):
    """Which jobs may be retracted.

    Args:
        older_than: the minimum time since they ended.
        statuses: how they ended, as keywords or as names such as "finished".
        types: only these types; None is all.
        keep_last: number of jobs of each type, the newest ones, that stay.
    """

    older_than: timedelta
    statuses: Collection[str] = ("finished",)
    types: Collection[str] | None = None
    keep_last: int = 0


@of_database
def prunable(db: Database, rule: Rule, now: datetime) -> list[int]:
    """Return the jobs that a rule selects, dependents before their parents.

    Raises: OverseerError(:job.error/bad-retention) for a status of jobs that have not ended.
    """
    aged = _aged(db, rule, now)
    return _dependents_first(unreferred(db, aged))


def _aged(db: Database, rule: Rule, now: datetime) -> set[int]:
    """Return the jobs with these statuses that ended long enough ago, except the newest of each type."""
    types = None if rule.types is None else frozenset(map(as_keyword, rule.types))
    last = db.t_at(_ago(rule.older_than, now))
    ended: dict[Keyword, list[tuple[int, int]]] = {}
    for status in map(_end, rule.statuses):
        for job, type, tx in factstore.q(_ENDED_AS, db, status):
            if types is None or type in types:
                ended.setdefault(type, []).append((db.t_at(tx), job))
    older = (sorted(jobs)[: max(0, len(jobs) - rule.keep_last)] for jobs in ended.values())
    return {job for jobs in older for t, job in jobs if t <= last}


def _ago(time: timedelta, now: datetime) -> datetime:
    try:
        return now - time
    except OverflowError:  # earlier than any datetime
        return datetime.min.replace(tzinfo=UTC)


def _end(status: str) -> Keyword:
    keyword = as_keyword(status, "job.status")
    if keyword not in ENDED:
        names = ", ".join(one.name for one in ENDED)
        raise OverseerError(
            ":job.error/bad-retention", f"only jobs that ended are pruned: {names}; got {quoted(status)}", status=status
        )
    return keyword


@of_database
def unreferred(db: Database, jobs: Iterable[int]) -> dict[int, set[int]]:
    """Return the jobs that no other entity refers to, each with the jobs among them that refer to it."""
    weak = {db.schema.attribute(name).id for name in _WEAK_REFS if db.entid(name) is not None}
    referrers = {job: _referrers(db, job, weak) for job in jobs}
    refers_to = _reversed(referrers)
    kept = [job for job, others in referrers.items() if not others <= referrers.keys()]
    while kept:
        job = kept.pop()
        if referrers.pop(job, None) is not None:
            kept += refers_to.get(job, ())
    return referrers


def _reversed(referrers: dict[int, set[int]]) -> dict[int, list[int]]:
    refers_to: dict[int, list[int]] = {}
    for job, others in referrers.items():
        for other in others:
            refers_to.setdefault(other, []).append(job)
    return refers_to


def _referrers(db: Database, job: int, weak: Collection[int]) -> set[int]:
    """Return the entities that refer to a job or to one of its components, except the job and its components."""
    whole = {job} | _components(db, job)
    return {datom.e for part in whole for datom in db.datoms("vaet", part) if datom.a not in weak} - whole


def _components(db: Database, entity: int) -> set[int]:
    attributes = [attribute.ident for attribute in db.schema.attributes if attribute.is_component]
    components: set[int] = set()
    waiting = [entity] if attributes else []
    while waiting:
        whole = waiting.pop()
        parts = {datom.v for attribute in attributes for datom in db.datoms("eavt", whole, attribute)} - components
        components |= parts
        waiting += parts
    return components


def _dependents_first(referrers: dict[int, set[int]]) -> list[int]:
    """Return jobs in an order in which each comes after those that refer to it; cycles of references come last."""
    left = {job: len(others) for job, others in referrers.items()}
    refers_to = _reversed(referrers)
    free = sorted((job for job, count in left.items() if count == 0), reverse=True)
    order: list[int] = []
    while free:
        order.append(job := free.pop())
        for other in refers_to.get(job, ()):
            left[other] -= 1
            if left[other] == 0:
                free.append(other)
    return order + [job for job, count in left.items() if count > 0]


@factstore.rendering.shown_as_record
class Pruned(NamedTuple):
    """The result of pruning."""

    jobs: int
    transactions: int


@of_connection
def prune(
    conn: Connection,
    rule: Rule,
    *,
    now: datetime,
    batch: int = 500,
    excise: bool = False,
    progress: Callable[[int], None] = lambda jobs: None,
) -> Pruned:
    """Retract the jobs that a rule selects, in several transactions; workers may run meanwhile.

    Args:
        now: the time from which `older_than` is counted back.
        batch: number of jobs per transaction.
        excise: erase them from history, too, one by one; `Connection.excise` documents the cost.
        progress: called after each transaction with the number of retracted jobs.
    """
    order = prunable(conn.db(), rule, now)
    gone = transactions = 0
    for start in range(0, len(order), batch):
        report = conn.transact(
            [[_PRUNE, [str(_end(status)) for status in rule.statuses], *order[start : start + batch]]]
        )
        retracted = [datom.e for datom in report.datoms_of(":job/id") if not datom.added]
        for job in retracted if excise else ():
            conn.excise(job)
        gone += len(retracted)
        transactions += 1
        progress(gone)
    return Pruned(gone, transactions)


_PRUNE: Final = "overseer/prune"


@factstore.register(_PRUNE)
def _prune(db: Database, statuses: Any, *jobs: int) -> Forms:
    """Transaction function: retract the jobs that still have the statuses, and that no other entity refers to."""
    ended = [job for job in jobs if lookup.status(db, job) in statuses]
    return [[":db/retractEntity", job] for job in unreferred(db, ended)]
