"""Transactions about jobs, as data. One builder per move; whatever a move relies on is compared in the same transaction.

Builders are pure: ids, times and what was read before are arguments. Law: a move names the status it leaves, and a move
of an attempt names its number and its token, so that whoever lost a race, or a lease, writes nothing at all.
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
from overseer.jobs.graph import Attributes, Graph, TypeGraph, job_graph, new_id, new_job
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
    is_adrift,
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
    timeout: timedelta | None = None,
) -> dict[str, Any]:
    """Return the assertion of a new job; transact it together with the facts that it belongs to.

    A transaction that asserts a job with an existing id is rejected with `:db.error/already-inserted`, also when that
    job has ended: only `retry` and `revert` let a job run again. Use `once` for an assertion that can be repeated.

    Args:
        type: chooses the handler.
        attrs: the arguments, as attributes that the schema declares; they override the other parameters.
        id: the job's id, and its tempid in the transaction; None makes a new one.
        queue: the queue whose limits apply to the job.
        priority: jobs with a higher priority start first; the default is 0.
        partition: the value by which the queue's limit per partition counts.
        run_at: the earliest start, an aware datetime.
        timeout: the maximum duration of an attempt.
    Raises: GraphError(:job.error/bad-argument) for a timeout that is not a positive timedelta.

    >>> sorted(job_txn("mail/send", {":mail/to": "ann@example.org"}, id="m1").items())  # doctest: +NORMALIZE_WHITESPACE
    [(':db/id', 'm1'), (':job/id', 'm1'), (':job/status', :job.status/unstarted), (':job/type', :mail/send),
     (':mail/to', 'ann@example.org')]
    """
    options = {
        ":job/queue": None if queue is None else as_keyword(queue),
        ":job/priority": priority,
        ":job/partition": partition,
        ":job/run-at": run_at,
        ":job/timeout": None if timeout is None else _milliseconds(timeout),
    }
    given = {attribute: value for attribute, value in options.items() if value is not None}
    job = new_job(type, {**given, **(attrs or {})}, id=new_id() if id is None else id)
    return {":db/id": job[":job/id"], **job}


def _milliseconds(timeout: object) -> int:
    if not (isinstance(timeout, timedelta) and timedelta(0) < timeout):
        why = f"a timeout is a timedelta above 0, got {quoted(timeout)}"
        raise GraphError(":job.error/bad-argument", why, timeout=timeout)
    return max(1, round(timeout / _MILLISECOND))


def unique(key: str, job: Mapping[str, Any], *, period: timedelta | None = None, refuse: bool = False) -> list[Any]:
    """Return the form that inserts a job unless a live job has the same key, whoever inserted that one.

    Args:
        key: what there shall be one live job of; one job may have it in one transaction.
        job: the job's assertion, as from `job_txn`.
        period: a job inserted with the key less than this ago counts too, even when it has ended.
        refuse: reject the whole transaction with `:job.error/duplicate` instead of leaving the job out.
    Raises: GraphError(:job.error/invalid-job) for an assertion that names no job of its own.
    """
    _check_job(job)
    if period is not None and not isinstance(period, timedelta):
        raise GraphError(":job.error/bad-argument", f"a period is a timedelta, got {quoted(period)}", period=period)
    within = None if period is None else period.total_seconds()
    return [_INSERT_UNIQUE, key, dict(job), within, refuse]


def _check_job(job: Any) -> None:
    if not isinstance(job, Mapping) or ":db/id" not in job or ":job/id" not in job:
        why = f"expected the assertion of one job, as from job_txn, with :db/id and :job/id, got {quoted(job)}"
        raise GraphError(":job.error/invalid-job", why, job=job)


def once(job: Mapping[str, Any]) -> list[Any]:
    """Return the form that inserts a job unless a job of its id is known, whatever became of that one; then the known job stays as it is.

    The rest of the transaction is made in either case, and may refer to the job by its tempid.

    Args:
        job: the job's assertion, as from `job_txn` with an `id`.
    Raises: GraphError(:job.error/invalid-job) for an assertion that names no job of its own.
    """
    _check_job(job)
    return [_INSERT_NEW, dict(job)]


_INSERT_NEW: Final = "overseer/insert-new"


@factstore.register(_INSERT_NEW)  # type: ignore[untyped-decorator]
def _insert_new(db: Database, job: dict[str, Any]) -> Forms:
    """Transaction function: insert a job, or name the known one."""
    is_known = db.entid([":job/id", job[":job/id"]]) is not None
    return [{attribute: job[attribute] for attribute in (":db/id", ":job/id")} if is_known else job]


DUPLICATE: Final = ":job.error/duplicate"
_INSERT_UNIQUE: Final = "overseer/insert-unique"


@factstore.register(_INSERT_UNIQUE)  # type: ignore[untyped-decorator]
def _insert_unique(db: Database, key: str, job: dict[str, Any], within: float | None, refuse: bool) -> Forms:
    """Transaction function: insert a job, and note it as the one that has the key, if the one that had it before is done."""
    eid = db.entid([":unique/key", key])
    held = next(iter(db.datoms("eavt", eid, ":unique/job")), None) if eid is not None else None
    is_live = held is not None and lookup.status(db, held.v) in LIVE
    now = factstore.tx_clock()
    inserted = _inserted(db, held) if held is not None and not is_live and within is not None else None
    if held is not None and (
        is_live or (inserted is not None and within is not None and (now - inserted).total_seconds() < within)
    ):
        if refuse:
            id = lookup.value(db, held.v, ":job/id")
            raise TransactError(DUPLICATE, f"the job {id} has the key {quoted(key)}", key=key, known=id)
        # A time that is ahead of the clock, by which the key would be kept for as long, is taken to be now.
        return [] if inserted is None or inserted <= now else [[ADD, held.e, ":unique/inserted", now]]
    noted = {":unique/inserted": now} if now < factstore.tx_instant() else {}
    return [job, {":unique/key": key, ":unique/job": job[":db/id"], **noted}]


def _inserted(db: Database, held: Datom) -> datetime:
    """Return when the job that had a key last was inserted: as noted since then, or else the instant of the transaction."""
    noted = next(iter(db.datoms("eavt", held.e, ":unique/inserted")), None)
    inserted: datetime = (
        noted.v if noted is not None and noted.tx >= held.tx else lookup.value(db, held.tx, ":db/txInstant")
    )
    return inserted


def graph_txns(graph: Graph | TypeGraph, attrs: Attributes | None = None, *, ids: Callable[[], str] = new_id) -> Forms:
    """Return the assertions of a graph of jobs, as one flat list to be transacted with whatever they are about.

    Args:
        graph: each type with the types it depends on, or a Graph.
        attrs: the arguments, put on every job as attributes that the schema knows.
        ids: makes the job ids.
    Raises: GraphError for a missing dependency or a cycle, naming it.
    """
    if isinstance(graph, Graph):
        whole = Graph({id: {**job, **attrs} for id, job in graph.jobs.items()}, graph.deps) if attrs else graph
    else:
        whole = job_graph(graph, attrs, ids=ids)
    jobs = [{":db/id": id, **job} for id, job in whole.jobs.items()]
    edges = [{":db/id": job, ":job/dep": dep} for job, deps in whole.deps.items() for dep in deps]
    return [*jobs, *edges]


def insert_once(graph: Graph) -> Forms:
    """Return the assertions of a graph that are rejected, whole, when any of its jobs is known already."""
    return [[_REFUSE_KNOWN, *graph.jobs], *graph_txns(graph)]


KNOWN: Final = ":job.error/known"
_REFUSE_KNOWN: Final = "overseer/refuse-known"


@factstore.register(_REFUSE_KNOWN)  # type: ignore[untyped-decorator]
def _refuse_known(db: Database, *ids: str) -> Forms:
    """Transaction function: reject the transaction when any of these jobs is known. Without it, an assertion would update them."""
    known = [id for id in ids if db.entid([":job/id", id]) is not None]
    if known:
        why = f"{len(known)} of the {len(ids)} jobs of the graph are in the store already, {known[0]} among them"
        raise TransactError(KNOWN, why, known=known)
    return []


def claim(leases: Sequence[Lease], before: Sequence[int | None], *, lasts: timedelta) -> Forms:
    """unstarted → started, by exactly the next attempt of each job.

    Args:
        before: each job's `:job/attempt` as it was read; None and 0 are told apart, for somebody may have asserted the
            latter.
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
    """Return what a claim makes of a job's attributes."""
    return {
        ":job/status": STARTED,
        ":job/attempt": lease.attempt,
        ":job/token": lease.token,
        ":job/worker": lease.worker,
    }


def fence(lease: Lease) -> Forms:
    """Require that the attempt still holds its job: its number and its token stand where it put them."""
    return [
        [CAS, lease.job, ":job/attempt", lease.attempt, lease.attempt],
        [CAS, lease.job, ":job/token", lease.token, lease.token],
    ]


def hold(lease: Lease) -> Forms:
    """Require that the attempt still holds its job, and that the job has not ended."""
    return [[CAS, lease.job, ":job/status", STARTED, STARTED], *fence(lease)]


def beat(leases: Sequence[Lease], *, lasts: timedelta) -> Forms:
    """Hold on to started jobs for longer."""
    return [_lease_until(_RENEW, leases, lasts), *(form for lease in leases for form in hold(lease))]


def _lease_until(function: str, leases: Sequence[Lease], lasts: timedelta) -> list[Any]:
    return [function, lasts / _MILLISECOND, *[lease.job for lease in leases]]


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEASE: Final = "overseer/lease"
_RENEW: Final = "overseer/renew"


@factstore.register(_LEASE)  # type: ignore[untyped-decorator]
def _lease(db: Database, milliseconds: float, *jobs: int) -> Forms:
    """Transaction function: let leases end that much later than now, by the clock."""
    expires = factstore.tx_clock() + timedelta(milliseconds=milliseconds)
    return [[ADD, job, ":job/lease-expires", expires] for job in jobs]


@factstore.register(_RENEW)  # type: ignore[untyped-decorator]
def _renew(db: Database, milliseconds: float, *jobs: int) -> Forms:
    """Transaction function: the same for leases that have an end; the fact changes even if the clock stands still, for others to see."""
    now = factstore.tx_clock()
    expires = now + timedelta(milliseconds=milliseconds)
    # A clock past the newest transaction is past the last renewal too, so the end is another one. Only otherwise is
    # there a need to read.
    if now - _EPOCH > timedelta(microseconds=db.last_instant):
        return [[ADD, job, ":job/lease-expires", expires] for job in jobs]
    later = expires + timedelta.resolution
    before = factstore.pull_many(db, "[:job/lease-expires]", jobs)
    ends = (later if known and known.get(":job/lease-expires") == expires else expires for known in before)
    return [[ADD, job, ":job/lease-expires", end] for job, end in zip(jobs, ends, strict=True)]


def settle(
    lease: Lease, outcome: Outcome, *, count: int = 0, crashes: int | None = None, fallout: Iterable[int] = ()
) -> Forms:
    """started → what the attempt came to, with the facts it brings and the jobs it takes down.

    Args:
        count: what the outcome's counter stood at before.
        crashes: the number of crashes that this end of an attempt makes forgotten: only crashes in a row count.
        fallout: the unstarted jobs that can no longer run after this.
    """
    moved = [CAS, lease.job, ":job/status", STARTED, outcome.status]
    forgotten = [] if crashes is None else [[RETRACT, lease.job, CRASHES, crashes]]
    told = _particulars(lease.job, outcome, count)
    return [moved, *fence(lease), *told, *forgotten, *give_up(fallout, cause=lease.job), *outcome.facts]


def rescue(job: int, outcome: Outcome, *, count: int, fallout: Iterable[int] = ()) -> Forms:
    """started → what becomes of a job whose worker went silent; the caller has made sure that its lease was not renewed."""
    return [
        [CAS, job, ":job/status", STARTED, outcome.status],
        *_particulars(job, outcome, count),
        *give_up(fallout, cause=job),
    ]


def take_adrift(job: int) -> Forms:
    """started → unstarted, for a job that nobody holds: it was started without a lease, by hand or by an import."""
    failure: Failure = {Keyword(":reason"): Reason.LEASE_EXPIRED, Keyword(":message"): "it was started without a lease"}
    outcome = Outcome(UNSTARTED, reason=Reason.LEASE_EXPIRED, failure=failure)
    return [[CAS, job, ":job/status", STARTED, UNSTARTED], *_particulars(job, outcome, 0)]


def fail_unclaimable(job: int, *, by: str, failure: Failure, fallout: Iterable[int] = ()) -> Forms:
    """unstarted → failed, for a job whose facts do not let anybody claim it."""
    outcome = Outcome(FAILED, reason=Reason.UNCLAIMABLE, failure=failure)
    return [
        [CAS, job, ":job/status", UNSTARTED, FAILED],
        *_particulars(job, outcome, 0),
        *give_up(fallout, cause=job),
        signed(by),
    ]


def _particulars(job: int, outcome: Outcome, count: int) -> Forms:
    """Assert why, when next and how often, as far as the outcome says."""
    forms: Forms = []
    if outcome.reason is not None:
        forms.append([ADD, job, ":job/reason", outcome.reason])
    if outcome.failure is not None:
        kept = {key: value[:MAX_MESSAGE] if type(value) is str else value for key, value in outcome.failure.items()}
        forms.append([ADD, job, ":job/failure", factstore.edn.write(kept)])
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
    """Transaction function: let a job wait until a time, and note how long that is, for those who measure elapsed time."""
    milliseconds = round((until - factstore.tx_clock()) / timedelta(milliseconds=1))
    return [[ADD, job, ":job/run-at", until], [ADD, job, ":job/pause", max(0, milliseconds)]]


def give_up(jobs: Iterable[int], *, cause: int) -> Forms:
    """unstarted → aborted, for jobs that a parent's end took down."""
    forms: Forms = []
    for job in jobs:
        forms += [
            [CAS, job, ":job/status", UNSTARTED, ABORTED],
            [ADD, job, ":job/reason", Reason.PARENT],
            [ADD, job, ":job/cause", cause],
        ]
    return forms


def abort_by_hand(job: int, status: Status | None, *, by: str, failure: Failure, fallout: Iterable[int] = ()) -> Forms:
    """unstarted, started or of no status → aborted, on somebody's word; a running attempt finds its lease lost."""
    outcome = Outcome(ABORTED, reason=Reason.ABORT, failure=failure)
    return [
        [CAS, job, ":job/status", status, ABORTED],
        *_particulars(job, outcome, 0),
        *give_up(fallout, cause=job),
        signed(by),
    ]


def run_again(
    job: int, status: Status | None, *, by: str, forget: Sequence[tuple[str, Any]] = (), revived: Sequence[int] = ()
) -> Forms:
    """failed, aborted, of no status, or started and held by nobody → unstarted, on somebody's word, with the jobs given up on its account.

    Args:
        forget: attributes of the job and their values that the new life starts without.
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
    """Transaction function: reject another run of a job that would be given up at once, or that a worker holds."""
    if lookup.status(db, job) == STARTED:
        if not is_adrift(lookup.attributes(db, job)):
            raise TransactError(HELD, f"the job {job} is held by a worker", job=job)
        return []
    if lookup.readiness(db, job) == DOOMED:
        id, lost = lookup.value(db, job, ":job/id"), lookup.lost_parents(db, job)
        roots = sorted({lookup.name(db, root) for _, root in lost})
        told = "; ".join(_lost(db, id, parent, root) for parent, root in lost)
        parents = [lookup.name(db, parent) for parent, _ in lost]
        raise TransactError(PARENT_LOST, f"{told}: retry {' and '.join(roots)}", job=id, parents=parents, retry=roots)
    return []


def _lost(db: Database, id: str, parent: int, root: int) -> str:
    ended = "failed" if lookup.status(db, parent) == FAILED else "was aborted"
    because = "" if parent == root else f" on account of {lookup.name(db, root)}"
    return f"{id} waits for {lookup.name(db, parent)}, which {ended}{because}"


def revive(jobs: Sequence[int]) -> list[Any]:
    """Return the form by which jobs that become live again take back their unique keys, or are rejected with `:job.error/duplicate`."""
    return [_REVIVE, *jobs]


_REVIVE: Final = "overseer/revive"


@factstore.register(_REVIVE)  # type: ignore[untyped-decorator]
def _revive(db: Database, *jobs: int) -> Forms:
    """Transaction function: let each job have its unique keys again, if no other live job has them.

    The key is written in any case, so that two jobs which take it in one transaction contradict each other.
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
    """Say on the transaction itself who made it."""
    return [ADD, THIS_TX, ":overseer/by", by]
