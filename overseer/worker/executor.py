"""Running jobs: from a claim, through its handler, to what is committed of it.

Nothing a handler raises gets past this module, and nothing it does is committed by another attempt than its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from factstore import Keyword, TransactError
from overseer.errors import LeaseLost, Verdict
from overseer.handler import Handler, facts_of, failure_info, invoke, retry_of, status_of
from overseer.job import ABORTED, FAILURES, FAULTS, FINISHED, UNSTARTED, Job, Lease, Outcome, Reason, as_keyword
from overseer.retry import FAULT_BACKOFF, NEVER, Retry
from overseer.store import JobStore
from overseer.worker.config import Config
from overseer.worker.heartbeat import Heartbeat

log = logging.getLogger("overseer")

# SystemExit is a handler's sys.exit(), which is an error of the job. KeyboardInterrupt is meant for the worker.
CAUGHT: Final = (Exception, SystemExit)


def outcome_of(error: BaseException, job: Job, policy: Retry, *, now: datetime, random: Random) -> Outcome:
    """Return what an error makes of its job: aborted, put back, tried again or failed."""
    failure, status = failure_info(error), status_of(error)
    if status == ABORTED:
        return Outcome(ABORTED, reason=Reason.ABORT, failure=failure)
    if status == UNSTARTED:
        wished = error.pause if isinstance(error, Verdict) else None
        pause = FAULT_BACKOFF(job.get(FAULTS, 0) + 1) if wished is None else wished
        return Outcome(UNSTARTED, reason=Reason.FAULT, failure=failure, run_at=now + timedelta(seconds=pause), counts=FAULTS)
    again = policy.pause(error, failed=job.get(FAILURES, 0) + 1, random=random)
    if again is None:
        return Outcome(status, reason=Reason.EXCEPTION, failure=failure, counts=FAILURES)
    return Outcome(UNSTARTED, reason=Reason.RETRY, failure=failure, run_at=now + timedelta(seconds=again), counts=FAILURES)


class Executor:
    """Runs claimed jobs one after the other, and commits what they come to.

    Args:
        handlers: by type; there is one for every job it is given.
        report: hears of errors that were not suppressed, with what is known of the job.
        stopping: tells whether jobs that have not begun shall be given back instead of run.
    """

    def __init__(
        self,
        store: JobStore,
        handlers: Mapping[Keyword, Handler],
        config: Config,
        heartbeat: Heartbeat,
        *,
        random: Random,
        report: Callable[[BaseException, Mapping[str, Any]], None] | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._store = store
        self._handlers = handlers
        self._config = config
        self._heartbeat = heartbeat
        self._random = random
        self._report = report
        self._stopping = stopping
        self._retries = {as_keyword(key): policy for key, policy in config.retries.items()}
        self.lost = 0  # attempts whose result was refused because somebody else held the job

    def run(self, jobs: Sequence[Job]) -> None:
        """Run claimed jobs and settle them all, in as few transactions as their speed allows."""
        for job in jobs:
            self._heartbeat.hold(job.lease)
        settling: list[tuple[Job, Outcome]] = []
        since = time.monotonic()
        for job in jobs:
            settling.append((job, self._attempt(job)))
            if (time.monotonic() - since) * 1000 >= self._config.flush:
                self._settle(settling)
                settling, since = [], time.monotonic()
        self._settle(settling)

    def _attempt(self, job: Job) -> Outcome:
        """Run one job's handler and return what it came to."""
        if self._stopping() or not self._heartbeat.is_held(job.lease):
            return Outcome(UNSTARTED, reason=Reason.INTERRUPTED)
        seen = replace(job, lease_ok=lambda: self._heartbeat.is_held(job.lease))
        started = time.monotonic()
        try:
            result = invoke(self._handlers[job.type], seen)
            outcome = Outcome(FINISHED, facts=facts_of(result, seen))
        except CAUGHT as error:
            outcome = self._failed(job, error)
        log.debug("%s %s attempt %d: %s in %.3f s", job.type, job.id, job.attempt, outcome.status.name, time.monotonic() - started)
        return outcome

    def _failed(self, job: Job, error: BaseException) -> Outcome:
        outcome = outcome_of(error, job, self._policy(job), now=self._store.clock(), random=self._random)
        suppressed = isinstance(error, Verdict) and error.suppress
        level = logging.INFO if suppressed else logging.ERROR
        detail = None if isinstance(error, Verdict) else error
        log.log(level, "%s %s attempt %d %s: %s", job.type, job.id, job.attempt, outcome.status.name, error, exc_info=detail)
        if self._report is not None and not suppressed:
            self._report(error, {"job/type": str(job.type), "job/id": job.id, "job/attempt": job.attempt})
        return outcome

    def _policy(self, job: Job) -> Retry:
        policy = retry_of(self._handlers[job.type])
        return self._retries.get(job.type, NEVER) if policy is NEVER else policy

    def _settle(self, settling: Sequence[tuple[Job, Outcome]]) -> None:
        """Commit outcomes; one whose facts were refused fails its job instead."""
        if not settling:
            return
        jobs = {job.lease: job for job, _ in settling}
        for lease in jobs:
            self._heartbeat.let_go(lease)  # first, or a beat that comes too late would take the settled job for a lost one
        rejected = self._store.settle([(job.lease, outcome) for job, outcome in settling])
        refused = [(lease, self._failed(jobs[lease], error)) for lease, error in rejected if not self._was_lost(lease, error)]
        for lease, error in self._store.settle(refused) if refused else ():
            self._was_lost(lease, error)

    def _was_lost(self, lease: Lease, error: TransactError | LeaseLost) -> bool:
        if not isinstance(error, LeaseLost):
            return False
        self.lost += 1
        log.warning("%s; what it came to is dropped", error.message)
        return True
