"""Transactions about jobs, as data: one builder per move, with comparisons of everything that the move depends on.

Builders are pure: ids, times and the values that were read are arguments. Law: a move names the status that it changes,
and a move of an attempt names its number and its token, so a process that lost a race or a lease writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import factstore
from factstore import Keyword, TransactError, quoted
from overseer.errors import GraphError
from overseer.jobs import lookup
from overseer.jobs.dependency_rules import DOOMED
from overseer.jobs.graph import Attributes, Graph, TypeGraph, check_attributes, job_graph, new_id, new_job
from overseer.jobs.states import (
    ABORTED,
    CRASHES,
    FAILED,
    LIVE,
    MAX_MESSAGE,
    MOST,
    STARTED,
    UNSTARTED,
    Failure,
    Forms,
    Lease,
    Outcome,
    Reason,
    Status,
    as_keyword,
    is_orphaned,
)

if TYPE_CHECKING:
    from factstore import Database, Datom

CAS: Final = ":db/cas"
ADD: Final = ":db/add"
RETRACT: Final = ":db/retract"
THIS_TX: Final = "datomic.tx"

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


@factstore.register(_INSERT_NEW)  # type: ignore[untyped-decorator]
def _insert_new(db: Database, job: dict[str, Any]) -> Forms:
    """Transaction function: insert a job, or refer to the existing one."""
    exists = db.entid([":job/id", job[":job/id"]]) is not None
    return [{attribute: job[attribute] for attribute in (":db/id", ":job/id")} if exists else job]


DUPLICATE: Final = ":job.error/duplicate"
_INSERT_UNIQUE: Final = "overseer/insert-unique"


@factstore.register(_INSERT_UNIQUE)  # type: ignore[untyped-decorator]
def _insert_unique(db: Database, key: str, job: dict[str, Any], within: float | None, refuse: bool) -> Forms:
    """Transaction function: insert a job and give it the key, unless the key is taken."""
    eid = db.entid([":unique/key", key])
    held = next(iter(db.datoms("eavt", eid, ":unique/job")), None) if eid is not None else None  # the last job with it
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


@factstore.register(_REJECT_KNOWN)  # type: ignore[untyped-decorator]
def _reject_known(db: Database, *ids: str) -> Forms:
    """Transaction function: reject the transaction if one of these jobs exists; otherwise it would be updated."""
    existing = [id for id in ids if db.entid([":job/id", id]) is not None]
    if existing:
        why = f"{len(existing)} of the {len(ids)} jobs of the graph are in the store already, {existing[0]} among them"
        raise TransactError(KNOWN, why, known=existing)
    return []


def claim(leases: Sequence[Lease], before: Sequence[int | None], *, lasts: timedelta) -> Forms:
    """unstarted → started, by the next attempt of each job.

    Args:
        before: each job's `:job/attempt` as it was read; None and 0 differ, because 0 can be asserted by hand.
    """
    forms: Forms = [_lease_until(_LEASE, leases, lasts)]
    for lease, attempt in zip(leases, before, strict=True):
        forms += [
            [CAS, lease.job, ":job/status", UNSTARTED, STARTED],
            [CAS, lease.job, ":job/attempt", attempt, lease.attempt],
            [ADD, lease.job, ":job/token", lease.token],
            [ADD, lease.job, ":job/worker", lease.worker],
        ]
    return forms


def claimed(lease: Lease) -> dict[str, Any]:
    """Return the attributes of a job that a claim changes."""
    return {
        ":job/status": STARTED,
        ":job/attempt": lease.attempt,
        ":job/token": lease.token,
        ":job/worker": lease.worker,
    }


def fence(lease: Lease) -> Forms:
    """Require that the attempt still holds its job: its number and its token have not changed."""
    return [
        [CAS, lease.job, ":job/attempt", lease.attempt, lease.attempt],
        [CAS, lease.job, ":job/token", lease.token, lease.token],
    ]


def hold(lease: Lease) -> Forms:
    """Require that the attempt still holds its job, and that the job has not ended."""
    return [[CAS, lease.job, ":job/status", STARTED, STARTED], *fence(lease)]


REPEATED: Final = ":job.error/effect-repeated"
_EFFECT: Final = "overseer/effect"


def effect(lease: Lease, key: str) -> Forms:
    """Declare an effect outside of the store, which no attempt may have declared before."""
    return [*hold(lease), [_EFFECT, key, lease.job, lease.attempt]]


@factstore.register(_EFFECT)  # type: ignore[untyped-decorator]
def _effect(db: Database, key: str, job: int, attempt: int) -> Forms:
    """Transaction function: record who declares an effect, unless it is declared already."""
    declared = db.entid([":effect/key", key])
    if declared is None:
        return [{":effect/key": key, ":effect/job": job, ":effect/attempt": attempt}]
    before = lookup.value(db, declared, ":effect/attempt")
    by = lookup.name(db, lookup.value(db, declared, ":effect/job"))
    at = db.instant_of(next(iter(db.datoms("eavt", declared, ":effect/key"))).tx)
    why = (
        f"attempt {before} of {by} declared the effect {quoted(key)} at {at:%Y-%m-%d %H:%M:%S}, so it may have happened"
    )
    raise TransactError(REPEATED, f"{why}; find out before you repeat it", key=key, job=by, attempt=before, at=at)


def beat(leases: Sequence[Lease], *, lasts: timedelta) -> Forms:
    """Renew the leases of started jobs."""
    return [_lease_until(_RENEW, leases, lasts), *(form for lease in leases for form in hold(lease))]


def _lease_until(function: str, leases: Sequence[Lease], lasts: timedelta) -> list[Any]:
    return [function, lasts / _MILLISECOND, *[lease.job for lease in leases]]


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEASE: Final = "overseer/lease"
_RENEW: Final = "overseer/renew"


@factstore.register(_LEASE)  # type: ignore[untyped-decorator]
def _lease(db: Database, milliseconds: float, *jobs: int) -> Forms:
    """Transaction function: set the end of leases, from now by the clock."""
    expires = factstore.tx_clock() + timedelta(milliseconds=milliseconds)
    return [[ADD, job, ":job/lease-expires", expires] for job in jobs]


@factstore.register(_RENEW)  # type: ignore[untyped-decorator]
def _renew(db: Database, milliseconds: float, *jobs: int) -> Forms:
    """Transaction function: extend leases; the fact changes even if the clock stands still, so that others see it."""
    now = factstore.tx_clock()
    expires = now + timedelta(milliseconds=milliseconds)
    # If the clock is later than the newest transaction, it is later than the last renewal, so the end changes without a
    # read.
    if now - _EPOCH > timedelta(microseconds=db.last_instant):
        return [[ADD, job, ":job/lease-expires", expires] for job in jobs]
    later = expires + timedelta.resolution
    before = factstore.pull_many(db, "[:job/lease-expires]", jobs)
    ends = (later if about and about.get(":job/lease-expires") == expires else expires for about in before)
    return [[ADD, job, ":job/lease-expires", end] for job, end in zip(jobs, ends, strict=True)]


def settle(
    lease: Lease, outcome: Outcome, *, count: int = 0, crashes: int | None = None, dependents: Iterable[int] = ()
) -> Forms:
    """started → the outcome of the attempt, with its facts and the dependents that it aborts.

    Args:
        count: the value of the outcome's counter before.
        crashes: the number of crashes to reset, because only consecutive crashes count; None resets nothing.
        dependents: the unstarted jobs that can no longer run after this.
    """
    move = [CAS, lease.job, ":job/status", STARTED, outcome.status]
    reset = [] if crashes is None else [[RETRACT, lease.job, CRASHES, crashes]]
    details = _details(lease.job, outcome, count)
    return [move, *fence(lease), *details, *reset, *give_up(dependents, cause=lease.job), *outcome.facts]


def rescue(job: int, outcome: Outcome, *, count: int, dependents: Iterable[int] = ()) -> Forms:
    """started → the outcome for a job of a silent worker; the caller has checked that its lease was not renewed."""
    return [
        [CAS, job, ":job/status", STARTED, outcome.status],
        *_details(job, outcome, count),
        *give_up(dependents, cause=job),
    ]


def take_orphaned(job: int) -> Forms:
    """started → unstarted, for a job that no worker holds: it was started without a lease, by hand or by an import."""
    failure: Failure = {Keyword(":reason"): Reason.LEASE_EXPIRED, Keyword(":message"): "it was started without a lease"}
    outcome = Outcome(UNSTARTED, reason=Reason.LEASE_EXPIRED, failure=failure)
    return [[CAS, job, ":job/status", STARTED, UNSTARTED], *_details(job, outcome, 0)]


def fail_unclaimable(job: int, *, by: str, failure: Failure, dependents: Iterable[int] = ()) -> Forms:
    """unstarted → failed, for a job whose facts make every claim fail."""
    outcome = Outcome(FAILED, reason=Reason.UNCLAIMABLE, failure=failure)
    return [
        [CAS, job, ":job/status", UNSTARTED, FAILED],
        *_details(job, outcome, 0),
        *give_up(dependents, cause=job),
        signed(by),
    ]


def _details(job: int, outcome: Outcome, count: int) -> Forms:
    """Assert the reason, the failure, the result, the next start and the counter of an outcome."""
    forms: Forms = []
    if outcome.reason is not None:
        forms.append([ADD, job, ":job/reason", outcome.reason])
    if outcome.failure is not None:
        stored = {key: value[:MAX_MESSAGE] if type(value) is str else value for key, value in outcome.failure.items()}
        forms.append([ADD, job, ":job/failure", factstore.edn.write(stored)])
    if outcome.result is not None:
        forms.append([ADD, job, ":job/result", outcome.result])
    if outcome.run_at is not None:
        forms.append([_PAUSE, job, outcome.run_at])
    if outcome.counts is not None:
        forms.append([ADD, job, outcome.counts, min(count + 1, MOST)])
    return forms


_PAUSE: Final = "overseer/pause"


@factstore.register(_PAUSE)  # type: ignore[untyped-decorator]
def _pause(db: Database, job: int, until: datetime) -> Forms:
    """Transaction function: let a job wait until a time; store the duration too, for observers of elapsed time."""
    milliseconds = round((until - factstore.tx_clock()) / timedelta(milliseconds=1))
    return [[ADD, job, ":job/run-at", until], [ADD, job, ":job/pause", max(0, milliseconds)]]


def give_up(jobs: Iterable[int], *, cause: int) -> Forms:
    """unstarted → aborted, for jobs that can never run because of the end of a parent."""
    forms: Forms = []
    for job in jobs:
        forms += [
            [CAS, job, ":job/status", UNSTARTED, ABORTED],
            [ADD, job, ":job/reason", Reason.PARENT],
            [ADD, job, ":job/cause", cause],
        ]
    return forms


def abort_by_hand(
    job: int, status: Status | None, *, by: str, failure: Failure, dependents: Iterable[int] = ()
) -> Forms:
    """unstarted, started or orphaned → aborted, by an operator; a running attempt loses its lease."""
    outcome = Outcome(ABORTED, reason=Reason.ABORT, failure=failure)
    return [
        [CAS, job, ":job/status", status, ABORTED],
        *_details(job, outcome, 0),
        *give_up(dependents, cause=job),
        signed(by),
    ]


def run_again(
    job: int, status: Status | None, *, by: str, forget: Sequence[tuple[str, Any]] = (), revived: Sequence[int] = ()
) -> Forms:
    """failed, aborted or orphaned → unstarted, by an operator, together with the jobs that were aborted because of it.

    Args:
        forget: attributes of the job to retract, with their values.
        revived: the aborted jobs whose cause is this one.
    """
    forms: Forms = [[_RUN_AGAIN, job], revive([job, *revived])]
    forms += [[CAS, job, ":job/status", status, UNSTARTED], [ADD, job, ":job/reason", Reason.BY_HAND], signed(by)]
    forms += [[RETRACT, job, attribute, value] for attribute, value in forget]
    for child in revived:
        forms += [
            [CAS, child, ":job/status", ABORTED, UNSTARTED],
            [ADD, child, ":job/reason", Reason.BY_HAND],
            [RETRACT, child, ":job/cause", job],
        ]
    return forms


_RUN_AGAIN: Final = "overseer/run-again"
HELD: Final = ":job.error/held"
PARENT_LOST: Final = ":job.error/parent-lost"


@factstore.register(_RUN_AGAIN)  # type: ignore[untyped-decorator]
def _run_again(db: Database, job: int) -> Forms:
    """Transaction function: reject another run of a job that would be aborted at once, or that a worker holds."""
    if lookup.status(db, job) == STARTED:
        if not is_orphaned(lookup.attributes(db, job)):
            raise TransactError(HELD, f"the job {job} is held by a worker", job=job)
        return []
    if lookup.readiness(db, job) == DOOMED:
        id, lost = lookup.value(db, job, ":job/id"), lookup.lost_parents(db, job)
        roots = sorted({lookup.name(db, root) for _, root in lost})
        why = "; ".join(_lost(db, id, parent, root) for parent, root in lost)
        parents = [lookup.name(db, parent) for parent, _ in lost]
        raise TransactError(PARENT_LOST, f"{why}: retry {' and '.join(roots)}", job=id, parents=parents, retry=roots)
    return []


def _lost(db: Database, id: str, parent: int, root: int) -> str:
    ended = "failed" if lookup.status(db, parent) == FAILED else "was aborted"
    because = "" if parent == root else f" because of {lookup.name(db, root)}"
    return f"{id} waits for {lookup.name(db, parent)}, which {ended}{because}"


def revive(jobs: Sequence[int]) -> list[Any]:
    """Return the form that gives jobs that become live again their unique keys, or rejects the transaction."""
    return [_REVIVE, *jobs]


_REVIVE: Final = "overseer/revive"


@factstore.register(_REVIVE)  # type: ignore[untyped-decorator]
def _revive(db: Database, *jobs: int) -> Forms:
    """Transaction function: give each job its unique keys again, if no other live job has them.

    The key is always written, so that two jobs which take it in one transaction are in conflict.
    """
    taken: dict[int, int] = {}
    for job in jobs:
        for key in lookup.unique_keys(db, job):
            holder = lookup.key_holder(db, key)
            other = taken.setdefault(key, job) if holder is None or holder == job else holder
            if other != job:
                name, id, live = lookup.value(db, key, ":unique/key"), lookup.name(db, job), lookup.name(db, other)
                why = f"{id} cannot run again: the live job {live} has its unique key {quoted(name)}"
                raise TransactError(DUPLICATE, why, key=name, known=live, job=id)
    return [[ADD, key, ":unique/job", job] for key, job in taken.items()]


def signed(by: str) -> list[Any]:
    """Return the form that records on the transaction which process made it."""
    return [ADD, THIS_TX, ":overseer/by", by]
