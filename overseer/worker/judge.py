"""Decides what the end of an attempt means for its job.

A return, an exception, a timeout or a crash becomes an `Outcome`. This module commits nothing and notifies no listener.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, TypeAlias

from factstore import Keyword
from overseer.errors import HandlerError, Verdict
from overseer.handler import CHOSEN, Handler, failure_info, retry_of, status_of
from overseer.jobs.crashes import crash_outcome
from overseer.jobs.job import Job
from overseer.jobs.states import (
    ABORTED,
    CRASHES,
    FAILED,
    FAILURES,
    FAULTS,
    FINISHED,
    UNSTARTED,
    Failure,
    Outcome,
    Reason,
    as_keyword,
)
from overseer.jobs.waits import Waiting
from overseer.retry import FAULT_BACKOFF, NEVER, Retry
from overseer.worker.pools.perform import Performed

log = logging.getLogger("overseer")

Scrub: TypeAlias = Callable[[str], str]

_RELEASED: Final = Outcome(UNSTARTED, reason=Reason.INTERRUPTED)


class TimedOut(TimeoutError):
    """The handler ran longer than its timeout."""


@dataclass(frozen=True, slots=True)
class EndedAttempt:
    """An attempt that has ended, with the outcome to settle."""

    job: Job
    outcome: Outcome
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def suppressed(self) -> bool:
        """Whether the handler marked its error as expected, so that error trackers ignore it."""
        return isinstance(self.error, Verdict) and self.error.suppress


class Judge:
    """Turns the end of an attempt into an outcome: by its handler's retry policy, the job's counters and the clock.

    Args:
        handlers: by type; every judged job has one.
        retries: policies by type, for handlers without one.
        max_crashes: the number of crashes at which a job fails.
        now: the clock.
        random: for the jitter of pauses.
        scrub: is applied to each text of a handler that is stored: messages, tracebacks, data and logs.
    """

    def __init__(
        self,
        handlers: Mapping[Keyword, Handler],
        *,
        retries: Mapping[str, Retry],
        max_crashes: int,
        now: Callable[[], datetime],
        random: Random,
        scrub: Scrub | None = None,
    ) -> None:
        self._handlers = handlers
        self._retries = {as_keyword(key): policy for key, policy in retries.items()}
        self._max_crashes = max_crashes
        self._now = now
        self._random = random
        self._scrub = scrub

    def of_run(self, job: Job, performed: Performed) -> EndedAttempt:
        """Judge what a handler returned or raised."""
        if performed.error is not None:
            return self.of_error(job, performed.error, performed.seconds)
        outcome = self._kept(job, Outcome(FINISHED, facts=performed.facts, result=performed.result))
        return EndedAttempt(job, outcome, None, performed.seconds)

    def of_error(self, job: Job, error: BaseException, seconds: float = 0.0) -> EndedAttempt:
        """Judge an exception. If the retry policy itself raises, the job fails with that exception."""
        try:
            outcome = self._outcome_of(job, error)
        except Exception as broken:
            log.exception("the retry policy of %s %s failed", job.type, job.id)
            outcome = Outcome(FAILED, reason=Reason.EXCEPTION, failure=failure_info(broken), counts=FAILURES)
        return EndedAttempt(job, self._kept(job, outcome), error, seconds)

    def of_timeout(self, job: Job, timeout: timedelta | None) -> EndedAttempt:
        """Judge an attempt that ran longer than its timeout."""
        return self.of_error(job, TimedOut(f"{job.type} {job.id} took longer than {timeout}"))

    def of_crash(self, job: Job, error: BaseException, *, alone: bool) -> EndedAttempt:
        """Judge an attempt whose process died.

        Args:
            alone: whether no other attempt can have caused the crash.
        """
        crashes = job.get(CRASHES, 0) + 1
        now = self._now()
        outcome = crash_outcome(crashes, max_crashes=self._max_crashes, now=now, why=str(error), alone=alone)
        return EndedAttempt(job, outcome, error)

    def of_release(self, job: Job) -> EndedAttempt:
        """Return the end of an attempt whose job is given back without a result."""
        return EndedAttempt(job, _RELEASED)

    def _kept(self, job: Job, outcome: Outcome) -> Outcome:
        """Return an outcome with the logs of its attempt, and with texts that may be stored."""
        if job.logs is not None:
            outcome = replace(outcome, logs=scrubbed(job.logs, self._scrub))
        if outcome.failure is not None and self._scrub is not None:
            outcome = replace(outcome, failure=scrubbed(outcome.failure, self._scrub))
        return outcome

    def _outcome_of(self, job: Job, error: BaseException) -> Outcome:
        """Return aborted, failed, or unstarted for a job that will run again."""
        if isinstance(error, Verdict) and error.status not in CHOSEN:
            error = _bad_verdict(error, job)
        failure, status = failure_info(error), status_of(error)
        if status == ABORTED:
            return Outcome(ABORTED, reason=Reason.ABORT, failure=failure)
        if status == UNSTARTED:
            return self._postponed(job, error, failure)
        pause = self._policy(job).pause(error, failed=job.get(FAILURES, 0) + 1, random=self._random)
        if pause is None:
            reason = Reason.TIMEOUT if isinstance(error, TimedOut) else Reason.EXCEPTION
            return Outcome(status, reason=reason, failure=failure, counts=FAILURES)
        return Outcome(UNSTARTED, reason=Reason.RETRY, failure=failure, run_at=self._after(pause), counts=FAILURES)

    def _policy(self, job: Job) -> Retry:
        own = retry_of(self._handlers[job.type])
        return self._retries.get(job.type, NEVER) if own is NEVER else own

    def _postponed(self, job: Job, error: BaseException, failure: Failure) -> Outcome:
        """Return the outcome of a wait, a fault or a snooze."""
        if isinstance(error, Waiting):
            return Outcome(UNSTARTED, facts=error.forms, reason=Reason.WAIT, run_at=error.until)
        pause = error.pause if isinstance(error, Verdict) else None
        if isinstance(error, Verdict) and not error.counts:
            return Outcome(UNSTARTED, reason=Reason.SNOOZE, run_at=self._after(pause or 0))
        if pause is None:
            pause = FAULT_BACKOFF(job.get(FAULTS, 0) + 1)
        return Outcome(UNSTARTED, reason=Reason.FAULT, failure=failure, run_at=self._after(pause), counts=FAULTS)

    def _after(self, seconds: float) -> datetime:
        return self._now() + timedelta(seconds=seconds)


def scrubbed(value: Any, scrub: Scrub | None) -> Any:
    """Return a value with each text in it replaced by `scrub`; if that fails, by a sentence that says so."""
    if scrub is None:
        return value
    if isinstance(value, Mapping):
        return {key: scrubbed(one, scrub) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(one, scrub) for one in value]
    if type(value) is not str:
        return value
    try:
        text = scrub(value)
    except Exception as error:
        log.exception("the function scrub failed")
        return f"(removed, because scrub raised {type(error).__name__})"
    return text if isinstance(text, str) else f"(removed, because scrub returned {type(text).__name__})"


def _bad_verdict(verdict: Verdict, job: Job) -> HandlerError:
    allowed = ", ".join(map(str, CHOSEN))
    why = (
        f"a handler gives its job one of the statuses {allowed}; "
        f"the handler of {job.type} {job.id} raised a Verdict of {verdict.status!r}"
    )
    return HandlerError(":job.error/bad-verdict", f"{why}: {verdict.message}", job=job.id, status=str(verdict.status))
