"""Transactions of attempts: claim, renew, settle, rescue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import factstore
from factstore import Keyword, TransactError, quoted
from overseer.jobs import lookup
from overseer.jobs.states import (
    ABORTED,
    CRASHES,
    FAILED,
    MAX_MESSAGE,
    MOST,
    STARTED,
    UNSTARTED,
    Failure,
    Forms,
    Lease,
    Outcome,
    Reason,
    Standing,
)
from overseer.jobs.txns.forms import ADD, CAS, RETRACT, signed

if TYPE_CHECKING:
    from factstore import Database

_MILLISECOND: Final = timedelta(milliseconds=1)


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


@factstore.register(_EFFECT)
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


NO_REPORTS: Final[Mapping[Lease, str]] = MappingProxyType({})


def beat(leases: Sequence[Lease], *, lasts: timedelta, reports: Mapping[Lease, str] = NO_REPORTS) -> Forms:
    """Renew the leases of started jobs, and write what their handlers report of their progress."""
    told = [progress(lease, reports[lease]) for lease in leases if lease in reports]
    return [_lease_until(_RENEW, leases, lasts), *(form for lease in leases for form in hold(lease)), *told]


def progress(lease: Lease, report: str) -> list[Any]:
    """Return the form that replaces the report of a job's progress."""
    return [ADD, lease.job, ":job/progress", report]


def _lease_until(function: str, leases: Sequence[Lease], lasts: timedelta) -> list[Any]:
    return [function, lasts / _MILLISECOND, *[lease.job for lease in leases]]


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LEASE: Final = "overseer/lease"
_RENEW: Final = "overseer/renew"


@factstore.register(_LEASE)
def _lease(db: Database, milliseconds: float, *jobs: int) -> Forms:
    """Transaction function: set the end of leases, from now by the clock."""
    expires = factstore.tx_clock() + timedelta(milliseconds=milliseconds)
    return [[ADD, job, ":job/lease-expires", expires] for job in jobs]


@factstore.register(_RENEW)
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
    about = details(lease.job, outcome, count)
    return [move, *fence(lease), *about, *reset, *give_up(dependents, cause=lease.job), *outcome.facts]


def unrenewed(job: int, standing: Standing) -> Forms:
    """Require that the lease of a job is still the one that was seen."""
    facts = zip((":job/attempt", ":job/token", ":job/lease-expires"), standing, strict=True)
    return [[CAS, job, attribute, value, value] for attribute, value in facts if value is not None]


LATE: Final = ":job.error/late"
_PROMPTLY: Final = "overseer/promptly"


def promptly(within: float) -> Forms:
    """Require that the store has accepted another transaction in the last `within` seconds."""
    return [] if within == float("inf") else [[_PROMPTLY, within]]


@factstore.register(_PROMPTLY)
def _promptly(db: Database, within: float) -> Forms:
    """Transaction function: reject what had to wait for the store, because then renewals had to wait, too."""
    since = (factstore.tx_clock() - _EPOCH).total_seconds() - db.last_instant / 1e6
    if since > within:
        raise TransactError(LATE, f"the store accepted nothing for {since:.3f} seconds; expected {within:.3f} at most")
    return []


def rescue(job: int, outcome: Outcome, *, count: int, dependents: Iterable[int] = ()) -> Forms:
    """started → the outcome for a job of a silent worker."""
    return [
        [CAS, job, ":job/status", STARTED, outcome.status],
        *details(job, outcome, count),
        *give_up(dependents, cause=job),
    ]


def take_orphaned(job: int) -> Forms:
    """started → unstarted, for a job that no worker holds: it was started without a lease, by hand or by an import."""
    failure: Failure = {Keyword(":reason"): Reason.LEASE_EXPIRED, Keyword(":message"): "it was started without a lease"}
    outcome = Outcome(UNSTARTED, reason=Reason.LEASE_EXPIRED, failure=failure)
    return [[CAS, job, ":job/status", STARTED, UNSTARTED], *details(job, outcome, 0)]


def fail_unclaimable(job: int, *, by: str, failure: Failure, dependents: Iterable[int] = ()) -> Forms:
    """unstarted → failed, for a job whose facts make every claim fail."""
    outcome = Outcome(FAILED, reason=Reason.UNCLAIMABLE, failure=failure)
    return [
        [CAS, job, ":job/status", UNSTARTED, FAILED],
        *details(job, outcome, 0),
        *give_up(dependents, cause=job),
        signed(by),
    ]


def details(job: int, outcome: Outcome, count: int) -> Forms:
    """Assert the reason, the failure, the result, the next start and the counter of an outcome."""
    forms: Forms = []
    if outcome.reason is not None:
        forms.append([ADD, job, ":job/reason", outcome.reason])
    if outcome.failure is not None:
        stored = {key: value[:MAX_MESSAGE] if type(value) is str else value for key, value in outcome.failure.items()}
        forms.append([ADD, job, ":job/failure", factstore.edn.write(stored)])
    if outcome.logs is not None:
        forms.append([ADD, job, ":job/logs", outcome.logs])
    if outcome.result is not None:
        forms.append([ADD, job, ":job/result", outcome.result])
    if outcome.run_at is not None:
        forms.append([_PAUSE, job, outcome.run_at])
    if outcome.counts is not None:
        forms.append([ADD, job, outcome.counts, min(count + 1, MOST)])
    return forms


_PAUSE: Final = "overseer/pause"


@factstore.register(_PAUSE)
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
