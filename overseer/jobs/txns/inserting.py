"""Transactions that insert jobs: one, a graph, or one that may exist already."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import factstore
from factstore import TransactError, quoted
from overseer.errors import GraphError
from overseer.jobs import lookup
from overseer.jobs.graph import Attributes, Graph, TypeGraph, check_attributes, job_graph, new_id, new_job
from overseer.jobs.states import (
    LIVE,
    Forms,
    as_keyword,
)

if TYPE_CHECKING:
    from factstore import Database, Datom
from overseer.jobs.txns.forms import ADD

_MILLISECOND: Final = timedelta(milliseconds=1)


def job_txn(
    type: str,
    attrs: Attributes | None = None,
    *,
    id: str | None = None,
    queue: str | None = None,
    priority: int | None = None,
    partition: str | None = None,
    run_at: datetime | None = None,
    timeout: timedelta | str | None = None,
) -> dict[str, Any]:
    """Return the assertion of a new job; transact it together with the facts that it belongs to.

    A transaction that asserts a job with an existing id is rejected with `:db.error/already-inserted`, also when that
    job has ended: only `retry` and `revert` let a job run again. Use `once` for an assertion that can be repeated.

    Args:
        type: chooses the handler.
        attrs: the arguments, as attributes that the schema declares; they override the other parameters.
        id: the job's id and tempid; None makes a new one.
        queue: the queue whose limits apply to the job.
        priority: jobs with a higher priority start first; the default is 0.
        partition: the value by which the queue's limit per partition counts.
        run_at: the earliest start, an aware datetime.
        timeout: the maximum duration of an attempt, as a timedelta or a text such as "30s".
    Raises: GraphError(:job.error/bad-argument): arguments that are no mapping, a timeout that is no duration.

    >>> job_txn("mail", id="m1")
    {':db/id': 'm1', ':job/id': 'm1', ':job/type': :mail, ':job/status': :job.status/unstarted}
    """
    options = {
        ":job/queue": None if queue is None else as_keyword(queue),
        ":job/priority": priority,
        ":job/partition": partition,
        ":job/run-at": run_at,
        ":job/timeout": None if timeout is None else _milliseconds(timeout),
    }
    given = {attribute: value for attribute, value in options.items() if value is not None}
    job = new_job(type, attrs, id=new_id() if id is None else id)
    return {":db/id": job[":job/id"], **given, **job}


def _milliseconds(timeout: object) -> int:
    lasts = _duration("timeout", timeout)
    if not lasts:
        raise _no_duration("timeout", timeout)
    return max(1, round(lasts / _MILLISECOND))


def _duration(name: str, value: object) -> timedelta:
    try:
        return factstore.duration(value)
    except factstore.DatabaseError:
        raise _no_duration(name, value) from None


def _no_duration(name: str, value: object) -> GraphError:
    why = f'a {name} is a timedelta above 0 or a text such as "30s", got {quoted(value)}'
    return GraphError(":job.error/bad-argument", why, **{name: value})


def unique(
    key: str, job: Mapping[str, Any], *, period: timedelta | str | None = None, refuse: bool = False
) -> list[Any]:
    """Return the form that inserts a job unless a live job has the same key.

    Args:
        key: the uniqueness key: at most one live job has it. A transaction may use it for one job only.
        job: the job's assertion, as from `job_txn`.
        period: a job that was inserted with the key less than this ago blocks another one, too, even when it has ended.
        refuse: reject the whole transaction with `:job.error/duplicate` instead of leaving out the job.
    Raises: GraphError(:job.error/invalid-job) for a value that is not the assertion of a job with an id.
    """
    _check_job(job)
    within = None if period is None else _duration("period", period).total_seconds()
    return [_INSERT_UNIQUE, key, dict(job), within, refuse]


def _check_job(job: Any) -> None:
    if not isinstance(job, Mapping) or ":db/id" not in job or ":job/id" not in job:
        why = f"expected the assertion of one job, as from job_txn, with :db/id and :job/id, got {quoted(job)}"
        raise GraphError(":job.error/invalid-job", why, job=job)


def once(job: Mapping[str, Any]) -> list[Any]:
    """Return the form that inserts a job unless a job with the same id exists, which then stays as it is.

    The other forms of the transaction are applied in both cases, and may refer to the job by its tempid.

    Args:
        job: the job's assertion, as from `job_txn` with an `id`.
    Raises: GraphError(:job.error/invalid-job) for a value that is not the assertion of a job with an id.
    """
    _check_job(job)
    return [_INSERT_NEW, dict(job)]


_INSERT_NEW: Final = "overseer/insert-new"


@factstore.register(_INSERT_NEW)
def _insert_new(db: Database, job: dict[str, Any]) -> Forms:
    """Transaction function: insert a job, or refer to the existing one."""
    exists = db.entid([":job/id", job[":job/id"]]) is not None
    return [{attribute: job[attribute] for attribute in (":db/id", ":job/id")} if exists else job]


DUPLICATE: Final = ":job.error/duplicate"
_INSERT_UNIQUE: Final = "overseer/insert-unique"


@factstore.register(_INSERT_UNIQUE)
def _insert_unique(db: Database, key: str, job: dict[str, Any], within: float | None, refuse: bool) -> Forms:
    """Transaction function: insert a job and give it the key, unless the key is taken."""
    eid = db.entid([":unique/key", key])
    held = next(iter(db.datoms("eavt", eid, ":unique/job")), None) if eid is not None else None  # the last job with it
    if held is not None and lookup.status(db, held.v) is None:
        held = None  # its insertion was reverted
    is_live = held is not None and lookup.status(db, held.v) in LIVE
    now = factstore.tx_clock()
    inserted = _inserted(db, held) if held is not None and not is_live and within is not None else None
    if held is not None and (
        is_live or (inserted is not None and within is not None and (now - inserted).total_seconds() < within)
    ):
        if refuse:
            id = lookup.value(db, held.v, ":job/id")
            raise TransactError(DUPLICATE, f"the job {id} has the key {quoted(key)}", key=key, known=id)
        # A recorded time that is ahead of the clock would keep the key for longer, so it is replaced by the current
        # time.
        return [] if inserted is None or inserted <= now else [[ADD, held.e, ":unique/inserted", now]]
    recorded = {":unique/inserted": now} if now < factstore.tx_instant() else {}
    return [job, {":unique/key": key, ":unique/job": job[":db/id"], **recorded}]


def _inserted(db: Database, held: Datom) -> datetime:
    """Return when the last job with a key was inserted: the recorded time, or the instant of the transaction."""
    recorded = next(iter(db.datoms("eavt", held.e, ":unique/inserted")), None)
    inserted: datetime = (
        recorded.v if recorded is not None and recorded.tx >= held.tx else lookup.value(db, held.tx, ":db/txInstant")
    )
    return inserted


def graph_txns(graph: Graph | TypeGraph, attrs: Attributes | None = None, *, ids: Callable[[], str] = new_id) -> Forms:
    """Return the assertions of a graph of jobs as one list; transact it with the facts that it belongs to.

    Args:
        graph: each type with the types it depends on, or a Graph.
        attrs: the arguments of every job, as attributes that the schema declares.
        ids: makes the job ids.
    Raises: GraphError for a missing dependency or a cycle, naming it.
    """
    if isinstance(graph, Graph):
        check_attributes(attrs)
        whole = Graph({id: {**job, **attrs} for id, job in graph.jobs.items()}, graph.deps) if attrs else graph
    else:
        whole = job_graph(graph, attrs, ids=ids)
    jobs = [{":db/id": id, **job} for id, job in whole.jobs.items()]
    edges = [{":db/id": job, ":job/dep": dep} for job, deps in whole.deps.items() for dep in deps]
    return [*jobs, *edges]


def insert_once(graph: Graph) -> Forms:
    """Return the assertions of a graph, which are all rejected if one of its jobs exists already."""
    return [[_REJECT_KNOWN, *graph.jobs], *graph_txns(graph)]


KNOWN: Final = ":job.error/known"
_REJECT_KNOWN: Final = "overseer/refuse-known"


@factstore.register(_REJECT_KNOWN)
def _reject_known(db: Database, *ids: str) -> Forms:
    """Transaction function: reject the transaction if one of these jobs exists; otherwise it would be updated."""
    existing = [id for id in ids if db.entid([":job/id", id]) is not None]
    if existing:
        why = f"{len(existing)} of the {len(ids)} jobs of the graph are in the store already, {existing[0]} among them"
        raise TransactError(KNOWN, why, known=existing)
    return []
