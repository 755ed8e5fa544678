"""What an error of a handler makes of its job: a pure function of the error, the job, the policy and the time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any

from factstore import Keyword
from overseer.errors import HandlerError, Verdict
from overseer.handler import CHOSEN, failure_info, status_of
from overseer.jobs.job import Job
from overseer.jobs.states import ABORTED, FAILURES, FAULTS, UNSTARTED, Outcome, Reason
from overseer.retry import FAULT_BACKOFF, Retry


class TimedOut(TimeoutError):
    """The handler took longer than an attempt may."""


def outcome_of(error: BaseException, job: Job, policy: Retry, *, now: datetime, random: Random) -> Outcome:
    """Return what an error makes of its job: aborted, put back, tried again or failed."""
    if isinstance(error, Verdict) and error.status not in CHOSEN:
        error = _bad_verdict(error, job)
    failure, status = failure_info(error), status_of(error)
    if status == ABORTED:
        return Outcome(ABORTED, reason=Reason.ABORT, failure=failure)
    if status == UNSTARTED:
        return _put_back(error, job, failure, now)
    again = policy.pause(error, failed=job.get(FAILURES, 0) + 1, random=random)
    if again is None:
        reason = Reason.TIMEOUT if isinstance(error, TimedOut) else Reason.EXCEPTION
        return Outcome(status, reason=reason, failure=failure, counts=FAILURES)
    return Outcome(
        UNSTARTED, reason=Reason.RETRY, failure=failure, run_at=now + timedelta(seconds=again), counts=FAILURES
    )


def _bad_verdict(verdict: Verdict, job: Job) -> HandlerError:
    choice = ", ".join(map(str, CHOSEN))
    why = f"a handler gives its job one of the statuses {choice}; the handler of {job.type} {job.id} raised a Verdict of {verdict.status!r}"
    return HandlerError(":job.error/bad-verdict", f"{why}: {verdict.message}", job=job.id, status=str(verdict.status))


def _put_back(error: BaseException, job: Job, failure: Mapping[Keyword, Any], now: datetime) -> Outcome:
    wished = error.pause if isinstance(error, Verdict) else None
    if isinstance(error, Verdict) and not error.counts:
        return Outcome(UNSTARTED, reason=Reason.SNOOZE, run_at=now + timedelta(seconds=wished or 0))
    pause = FAULT_BACKOFF(job.get(FAULTS, 0) + 1) if wished is None else wished
    return Outcome(
        UNSTARTED, reason=Reason.FAULT, failure=failure, run_at=now + timedelta(seconds=pause), counts=FAULTS
    )
