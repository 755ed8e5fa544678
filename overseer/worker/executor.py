"""Attempts under way: claimed jobs go to a pool, and what comes back goes to be settled.

    claimed ──► hold lease ──► pool ──► outcome ──► settler          also: timeouts, and jobs that were taken from us

Law: of each attempt one outcome at most is handed on, whatever comes first: its handler's end, its timeout, or the loss of its lease.
What fails here on a thread of a pool would be swallowed by its future; it is kept in `error`, and ends the worker.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Future
from datetime import datetime, timedelta
from random import Random
from threading import Condition, local
from typing import Any, Final

from factstore import Keyword
from overseer.attempt import Job
from overseer.errors import Verdict
from overseer.events import Claimed, Started
from overseer.handler import Handler, failure_info, retry_of, status_of, timeout_of
from overseer.job import ABORTED, CRASHES, FAILED, FAILURES, FAULTS, FINISHED, UNSTARTED, Lease, Outcome, Reason, as_keyword
from overseer.retry import FAULT_BACKOFF, NEVER, Retry
from overseer.store import JobStore, crash_outcome
from overseer.worker.config import Config
from overseer.worker.heartbeat import Heartbeat
from overseer.worker.perform import Performed
from overseer.worker.pools import Pool
from overseer.worker.processes import ProcessDied
from overseer.worker.settler import Ended, Settler

log = logging.getLogger("overseer")

# What an executor says when the process that ran a handler is gone. Dask's own is known by its name: dask may not be installed.
_CRASHES: Final = (ProcessDied, BrokenExecutor)
_DASK: Final = frozenset({"KilledWorker"})


class TimedOut(TimeoutError):
    """The handler took longer than an attempt may."""


def outcome_of(error: BaseException, job: Job, policy: Retry, *, now: datetime, random: Random) -> Outcome:
    """Return what an error makes of its job: aborted, put back, tried again or failed."""
    failure, status = failure_info(error), status_of(error)
    if status == ABORTED:
        return Outcome(ABORTED, reason=Reason.ABORT, failure=failure)
    if status == UNSTARTED:
        return _put_back(error, job, failure, now)
    again = policy.pause(error, failed=job.get(FAILURES, 0) + 1, random=random)
    if again is None:
        reason = Reason.TIMEOUT if isinstance(error, TimedOut) else Reason.EXCEPTION
        return Outcome(status, reason=reason, failure=failure, counts=FAILURES)
    return Outcome(UNSTARTED, reason=Reason.RETRY, failure=failure, run_at=now + timedelta(seconds=again), counts=FAILURES)


def _put_back(error: BaseException, job: Job, failure: Mapping[Keyword, Any], now: datetime) -> Outcome:
    wished = error.pause if isinstance(error, Verdict) else None
    if isinstance(error, Verdict) and not error.counts:
        return Outcome(UNSTARTED, reason=Reason.SNOOZE, run_at=now + timedelta(seconds=wished or 0))
    pause = FAULT_BACKOFF(job.get(FAULTS, 0) + 1) if wished is None else wished
    return Outcome(UNSTARTED, reason=Reason.FAULT, failure=failure, run_at=now + timedelta(seconds=pause), counts=FAULTS)


class Executor:
    """Runs claimed jobs in a pool, as many at a time as there are slots; the others of a batch wait for theirs.

    Args:
        handlers: by type; there is one for every job it is given.
        settler: commits what attempts come to.
        heartbeat: holds their leases meanwhile, and tells of timeouts.
        stopping: tells whether jobs that have not begun shall be left in the backlog, to be given back.
    """

    def __init__(
        self,
        store: JobStore,
        handlers: Mapping[Keyword, Handler],
        config: Config,
        pool: Pool,
        settler: Settler,
        heartbeat: Heartbeat,
        *,
        random: Random,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._stopping = stopping
        self._store = store
        self._handlers = handlers
        self._config = config
        self._pool = pool
        self._settler = settler
        self._heartbeat = heartbeat
        self._random = random
        self._retries = {as_keyword(key): policy for key, policy in config.retries.items()}
        self._timeouts = {as_keyword(key): timedelta(milliseconds=timeout) for key, timeout in config.timeouts.items()}
        self._turn = Condition()  # guards what follows
        self._open: dict[Lease, Job] = {}  # attempts of which no outcome was handed on
        self._backlog: deque[Job] = deque()
        self._running: dict[Lease, Future[Performed] | None] = {}  # handlers whose outcome has not been handed on
        self._here = local()  # whether this thread is filling slots
        self.error: BaseException | None = None  # what failed outside of handlers

    @property
    def occupied(self) -> int:
        """How many jobs wait for a slot or take one up; a handler that outlived its timeout still does."""
        return len(self._backlog) + len(self._running)

    def add(self, jobs: Iterable[Job]) -> None:
        """Keep the leases of claimed jobs, and run them as slots come free; inline, all to their end."""
        claimed = [job.watched(self._heartbeat.is_held) for job in jobs]
        self._heartbeat.hold(*(job.lease for job in claimed))
        with self._turn:
            self._open.update((job.lease, job) for job in claimed)
            self._backlog.extend(claimed)
        for job in claimed:
            self._settler.tell(Claimed, job, db=job.db)
        self._fill()

    def _fill(self) -> None:
        """Begin jobs as long as slots are free. One that ends at once is followed by this loop, not by another inside of it."""
        if getattr(self._here, "filling", False):
            return
        self._here.filling = True
        try:
            while (following := self._next()) is not None:
                if self._heartbeat.is_held(following.lease):
                    self._begin(following)
                else:
                    self._skip(following)
                if self._pool.run is not None and self._settler.is_due:
                    self._settler.flush()
        finally:
            self._here.filling = False

    def _next(self) -> Job | None:
        """Take a slot for the next job of the backlog, if one is free."""
        with self._turn:
            if not self._backlog or len(self._running) >= self._config.concurrency or self._stopping():
                return None
            job = self._backlog.popleft()
            self._running[job.lease] = None
            return job

    def _skip(self, job: Job) -> None:
        """Leave out a job that was taken from us before it began."""
        if self._close(job.lease):
            self._settler.drop(job)
        self._leave(job)

    def _begin(self, job: Job) -> None:
        timeout = self._timeout(job)
        if timeout is not None:
            self._heartbeat.limit(job.lease, timeout)
        self._settler.tell(Started, job)
        handler, pool = self._handlers[job.type], self._pool
        if pool.run is not None:
            self._end(self._ended(job, pool.run(handler, job)))
            self._leave(job)
            return
        assert pool.submit is not None, "a pool runs handlers, or takes them"
        future = pool.submit(handler, job)
        with self._turn:
            self._running[job.lease] = future
            unwanted = job.lease not in self._open or not self._heartbeat.is_held(job.lease)
        future.add_done_callback(lambda done: self._done(job, done))
        if unwanted:  # timed out or taken from us before there was a future to cancel
            future.cancel()

    def _timeout(self, job: Job) -> timedelta | None:
        own = job.attributes.get(":job/timeout")
        if own is not None:
            return timedelta(milliseconds=own)
        timeout = timeout_of(self._handlers[job.type])
        return self._timeouts.get(job.type) if timeout is None else timeout

    def stop(self) -> None:
        """Give jobs back that have not begun, for the worker stops."""
        with self._turn:
            backlog, self._backlog = list(self._backlog), deque()
        for job in backlog:
            self._end(Ended(job, Outcome(UNSTARTED, reason=Reason.INTERRUPTED)))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no handler runs any more, up to `timeout` seconds, and tell whether that is so."""
        with self._turn:
            return self._turn.wait_for(lambda: not self.occupied, timeout)

    def time_out(self, lease: Lease) -> None:
        """End an attempt that took too long. Its handler is stopped where the pool can stop it, and otherwise left to itself."""
        with self._turn:
            job, future = self._open.get(lease), self._running.get(lease)
        if job is None:
            return
        self._end(self._failed(job, TimedOut(f"{job.type} {job.id} took longer than {self._timeout(job)}")))
        if future is not None:
            future.cancel()
        if self._pool.run is not None:
            self._settler.flush()  # whoever else would settle it is the one that hangs

    def overtaken(self, jobs: Iterable[int]) -> None:
        """Stop the handlers of jobs that somebody aborted, or took from us, as far as the pool can stop them."""
        gone = set(jobs)
        with self._turn:
            leases = [lease for lease in self._open if lease.job in gone]
            futures = [self._running.get(lease) for lease in leases]
        for lease, future in zip(leases, futures, strict=True):
            self._heartbeat.let_go(lease)
            if future is not None:
                future.cancel()

    def holds(self, job: int) -> bool:
        """Tell whether an attempt at a job is under way here."""
        return self._heartbeat.holds(job)

    def _done(self, job: Job, future: Future[Performed]) -> None:
        """Take what a handler came to, on whatever thread it ended, and let the next job have its slot."""
        try:
            ended = self._came_of(job, future)
            if ended is not None:
                self._end(ended)
            elif self._close(job.lease):
                self._settler.drop(job)
            self._leave(job)
            self._fill()
        except BaseException as error:
            log.exception("what came of %s %s could not be taken up; the worker will stop", job.type, job.id)
            self.error = error

    def _leave(self, job: Job) -> None:
        """Give a slot back. Only once the outcome was handed on, for whoever waits for the slots then lets the settler end."""
        with self._turn:
            del self._running[job.lease]
            self._turn.notify_all()

    def _ended(self, job: Job, performed: Performed) -> Ended:
        if performed.error is not None:
            return self._failed(job, performed.error, performed.seconds)
        return Ended(job, Outcome(FINISHED, facts=performed.facts, result=performed.result), None, performed.seconds)

    def _came_of(self, job: Job, future: Future[Performed]) -> Ended | None:
        """Return what a handler came to; None when it was stopped because the job is no longer ours."""
        if future.cancelled():
            # Some task of the handler's own may have been cancelled, and the handler with it.
            return self._failed(job, CancelledError("the handler was cancelled")) if self._heartbeat.is_held(job.lease) else None
        error = future.exception()
        if error is None:
            return self._ended(job, future.result())
        if isinstance(error, CancelledError):
            return None
        if isinstance(error, _CRASHES) or type(error).__name__ in _DASK:
            return self._crashed(job, error)
        return self._failed(job, error)

    def _failed(self, job: Job, error: BaseException, seconds: float = 0.0) -> Ended:
        return Ended(job, self.judge(job, error), error, seconds)

    def judge(self, job: Job, error: BaseException) -> Outcome:
        """Return what an error makes of a job, by the policy of its handler or of the settings; one that breaks fails the job."""
        policy = retry_of(self._handlers[job.type])
        policy = self._retries.get(job.type, NEVER) if policy is NEVER else policy
        try:
            return outcome_of(error, job, policy, now=self._store.conn.now(), random=self._random)
        except Exception as broken:
            log.exception("what %s %s raised cannot be judged", job.type, job.id)
            return Outcome(FAILED, reason=Reason.EXCEPTION, failure=failure_info(broken), counts=FAILURES)

    def _crashed(self, job: Job, error: BaseException) -> Ended:
        crashes = job.get(CRASHES, 0) + 1
        now = self._store.conn.now()
        return Ended(job, crash_outcome(crashes, max_crashes=self._config.max_crashes, now=now, why=str(error)), error)

    def _end(self, ended: Ended) -> None:
        """Hand an outcome on, unless the attempt has ended otherwise already."""
        if self._close(ended.job.lease):
            self._settler.put(ended, at_once=not self._open)

    def _close(self, lease: Lease) -> bool:
        with self._turn:
            return self._open.pop(lease, None) is not None
