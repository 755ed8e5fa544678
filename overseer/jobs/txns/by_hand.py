"""Transactions of an operator: abort a job, or let it run again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import factstore
from factstore import TransactError, quoted
from overseer.jobs import lookup
from overseer.jobs.dependency_rules import DOOMED
from overseer.jobs.states import (
    ABORTED,
    FAILED,
    STARTED,
    UNSTARTED,
    Failure,
    Forms,
    Outcome,
    Reason,
    Status,
    is_orphaned,
)

if TYPE_CHECKING:
    from factstore import Database
from overseer.jobs.txns.attempts import details, give_up
from overseer.jobs.txns.forms import ADD, CAS, RETRACT, signed
from overseer.jobs.txns.inserting import DUPLICATE


def abort_by_hand(
    job: int, status: Status | None, *, by: str, failure: Failure, dependents: Iterable[int] = ()
) -> Forms:
    """unstarted, started or orphaned → aborted, by an operator; a running attempt loses its lease."""
    outcome = Outcome(ABORTED, reason=Reason.ABORT, failure=failure)
    return [
        [CAS, job, ":job/status", status, ABORTED],
        [_LEAVE_WAIT, job],
        *details(job, outcome, 0),
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
    return [
        [_RUN_AGAIN, job],
        revive([job, *revived]),
        *unstart(job, status, forget=forget, revived=revived),
        signed(by),
    ]


def unstart(
    job: int, status: Status | None, *, forget: Sequence[tuple[str, Any]] = (), revived: Sequence[int] = ()
) -> Forms:
    """failed, aborted or orphaned → unstarted, as part of `run_again`, which checks it."""
    forms: Forms = [
        [CAS, job, ":job/status", status, UNSTARTED],
        [ADD, job, ":job/reason", Reason.BY_HAND],
        [_WAIT_AGAIN, job],
    ]
    forms += [[RETRACT, job, attribute, value] for attribute, value in forget]
    for child in revived:
        forms += [
            [CAS, child, ":job/status", ABORTED, UNSTARTED],
            [ADD, child, ":job/reason", Reason.BY_HAND],
            [RETRACT, child, ":job/cause", job],
        ]
    return forms


_LEAVE_WAIT: Final = "overseer/leave-wait"
_WAIT_AGAIN: Final = "overseer/wait-again"


@factstore.register(_LEAVE_WAIT)
def _leave_wait(db: Database, job: int) -> Forms:
    """Transaction function: the job is no longer in a wait."""
    return _retracted(db, [job], ":job/wait")


@factstore.register(_WAIT_AGAIN)
def _wait_again(db: Database, job: int) -> Forms:
    """Transaction function: forget the deadlines of the waits whose query has not held, so that they begin again."""
    waits = [] if db.entid(":job/waits") is None else [datom.v for datom in db.datoms("eavt", job, ":job/waits")]
    open = [wait for wait in waits if lookup.value(db, wait, ":wait/t") is None]
    return [*_leave_wait(db, job), *_retracted(db, open, ":wait/until")]


def _retracted(db: Database, entities: Iterable[int], attribute: str) -> Forms:
    """Retract an attribute; a store whose schema is older may not have it."""
    known = [] if db.entid(attribute) is None else entities
    values = ((entity, lookup.value(db, entity, attribute)) for entity in known)
    return [[RETRACT, entity, attribute, value] for entity, value in values if value is not None]


_RUN_AGAIN: Final = "overseer/run-again"
HELD: Final = ":job.error/held"
PARENT_LOST: Final = ":job.error/parent-lost"


@factstore.register(_RUN_AGAIN)
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


@factstore.register(_REVIVE)
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
