"""Transactions about jobs, as data. One builder per move; whatever a move relies on is compared in the same transaction.

Builders are pure: ids, times and what was read before are arguments. Law: a move names the status it leaves, and a move of an
attempt names its number and its token, so that whoever lost a race, or a lease, writes nothing at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import factstore
from factstore import TransactError
from overseer.graph import Attributes, Graph, TypeGraph, job_graph, new_id, new_job
from overseer.job import ABORTED, STARTED, UNSTARTED, Failure, Forms, Lease, Outcome, Reason, Status

if TYPE_CHECKING:
    from factstore import Database

CAS: Final = ":db/cas"
ADD: Final = ":db/add"
RETRACT: Final = ":db/retract"
THIS_TX: Final = "datomic.tx"


def job_txn(type: str, attrs: Attributes | None = None, *, id: str | None = None) -> dict[str, Any]:
    """Return the assertion of one job that has not run, to be transacted with whatever it is about.

    Args:
        type: chooses the handler.
        attrs: the arguments, as attributes that the schema knows; they win over what would be set otherwise.
        id: the job's id; None makes a new one. It is the tempid too, for other facts of the transaction to refer to.

    >>> sorted(job_txn("mail/send", {":mail/to": "ann@example.org"}, id="m1").items())  # doctest: +NORMALIZE_WHITESPACE
    [(':db/id', 'm1'), (':job/id', 'm1'), (':job/status', :job.status/unstarted), (':job/type', :mail/send),
     (':mail/to', 'ann@example.org')]
    """
    job = new_job(type, attrs, id=new_id() if id is None else id)
    return {":db/id": job[":job/id"], **job}


def graph_txns(graph: Graph | TypeGraph, attrs: Attributes | None = None, *, ids: Callable[[], str] = new_id) -> Forms:
    """Return the assertions of a graph of jobs, as one flat list to be transacted with whatever they are about.

    Args:
        graph: each type with the types it depends on, or a Graph.
        attrs: the arguments, put on every job as attributes that the schema knows.
        ids: makes the job ids.
    Raises: GraphError for a missing dependency or a cycle, naming it.
    """
    whole = graph if isinstance(graph, Graph) else job_graph(graph, attrs, ids=ids)
    extra = attrs or {} if isinstance(graph, Graph) else {}
    jobs = [{":db/id": id, **job, **extra} for id, job in whole.jobs.items()]
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


def claim(lease: Lease, *, expires: datetime) -> Forms:
    """unstarted → started, by exactly the next attempt."""
    return [
        [CAS, lease.job, ":job/status", UNSTARTED, STARTED],
        [CAS, lease.job, ":job/attempt", lease.attempt - 1 or None, lease.attempt],
        {":db/id": lease.job, **claimed(lease, expires=expires)},
    ]


def claimed(lease: Lease, *, expires: datetime) -> dict[str, Any]:
    """Return what a claim makes of a job's attributes."""
    return {
        ":job/status": STARTED,
        ":job/attempt": lease.attempt,
        ":job/token": lease.token,
        ":job/worker": lease.worker,
        ":job/lease-expires": expires,
    }


def fence(lease: Lease) -> Forms:
    """Require that the attempt still holds its job: its number and its token stand where it put them."""
    return [
        [CAS, lease.job, ":job/attempt", lease.attempt, lease.attempt],
        [CAS, lease.job, ":job/token", lease.token, lease.token],
    ]


def beat(lease: Lease, *, expires: datetime) -> Forms:
    """Hold on to a started job for longer."""
    held = [CAS, lease.job, ":job/status", STARTED, STARTED]
    return [held, *fence(lease), [ADD, lease.job, ":job/lease-expires", expires]]


def settle(lease: Lease, outcome: Outcome, *, count: int = 0, fallout: Iterable[int] = ()) -> Forms:
    """started → what the attempt came to, with the facts it brings and the jobs it takes down.

    Args:
        count: what the outcome's counter stood at before.
        fallout: the unstarted jobs that can no longer run after this.
    """
    moved = [CAS, lease.job, ":job/status", STARTED, outcome.status]
    return [moved, *fence(lease), *_particulars(lease.job, outcome, count), *give_up(fallout, cause=lease.job), *outcome.facts]


def rescue(job: int, *, attempt: int, seen: datetime, outcome: Outcome, count: int, by: str, fallout: Iterable[int] = ()) -> Forms:
    """started → what becomes of a job whose worker went silent, if its lease is still the one that was seen to expire."""
    return [
        [CAS, job, ":job/status", STARTED, outcome.status],
        [CAS, job, ":job/attempt", attempt, attempt],
        [CAS, job, ":job/lease-expires", seen, seen],
        *_particulars(job, outcome, count),
        *give_up(fallout, cause=job),
        signed(by),
    ]


def _particulars(job: int, outcome: Outcome, count: int) -> Forms:
    """Assert why, when next and how often, as far as the outcome says."""
    forms: Forms = []
    if outcome.reason is not None:
        forms.append([ADD, job, ":job/reason", outcome.reason])
    if outcome.failure is not None:
        forms.append([ADD, job, ":job/failure", factstore.edn.write(outcome.failure)])
    if outcome.run_at is not None:
        forms.append([ADD, job, ":job/run-at", outcome.run_at])
    if outcome.counts is not None:
        forms.append([ADD, job, outcome.counts, count + 1])
    return forms


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


def abort_by_hand(job: int, status: Status, *, by: str, failure: Failure, fallout: Iterable[int] = ()) -> Forms:
    """unstarted or started → aborted, on somebody's word; a running attempt finds its lease lost."""
    outcome = Outcome(ABORTED, reason=Reason.ABORT, failure=failure)
    return [[CAS, job, ":job/status", status, ABORTED], *_particulars(job, outcome, 0), *give_up(fallout, cause=job), signed(by)]


def run_again(job: int, status: Status, *, by: str, forget: Sequence[tuple[str, Any]], revived: Iterable[int] = ()) -> Forms:
    """failed or aborted → unstarted, on somebody's word, with the jobs that were given up on its account.

    Args:
        forget: attributes of the job and their values that the new life starts without.
        revived: the aborted jobs whose cause is this one.
    """
    forms: Forms = [[CAS, job, ":job/status", status, UNSTARTED], [ADD, job, ":job/reason", Reason.BY_HAND], signed(by)]
    forms += [[RETRACT, job, attribute, value] for attribute, value in forget]
    for child in revived:
        forms += [
            [CAS, child, ":job/status", ABORTED, UNSTARTED],
            [ADD, child, ":job/reason", Reason.BY_HAND],
            [RETRACT, child, ":job/cause", job],
        ]
    return forms


def signed(by: str) -> list[Any]:
    """Say on the transaction itself who made it."""
    return [ADD, THIS_TX, ":overseer/by", by]
