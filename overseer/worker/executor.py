"""Runs attempts: claimed jobs go to a pool, and their outcomes to the settler.

    claimed ──► hold lease ──► slot ──► pool ──► judge ──► settler          also: timeouts, and lost leases

Laws: each attempt has one outcome at most, whichever is first: the end of its handler, its timeout, or the loss of its
lease. A slot is taken until its handler has ended, and a job that cannot begin is released. An exception of this module
on a thread of a pool would be swallowed by a future; it is kept in `error`, and ends the worker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Future
from concurrent.futures import CancelledError as Cancelled
from dataclasses import replace
from datetime import timedelta
from math import inf
from threading import Event, local
from typing import Final

from factstore import Keyword
from overseer.errors import OverseerError
from overseer.events import Claimed, Started
from overseer.handler import Handler, timeout_of
from overseer.jobs.job import Job
from overseer.jobs.queues import is_paused, queues
from overseer.jobs.rates import slack
from overseer.jobs.states import Lease, as_keyword, time_limit
from overseer.jobs.store import JobStore
from overseer.worker.config import Config
from overseer.worker.heartbeat import HeldLeases
from overseer.worker.judge import EndedAttempt, Judge
from overseer.worker.pacing.ahead import Adaptive, Ahead, Fixed
from overseer.worker.pools.announced import BeganBefore
from overseer.worker.pools.perform import Performed, arrived
from overseer.worker.pools.pools import Pool
from overseer.worker.pools.processes import ProcessDied
from overseer.worker.settler import Reporter, Settler
from overseer.worker.slots import Slot, Slots

log = logging.getLogger("overseer")

# Executors raise these when their process has ended. Dask's is recognized by name, because Dask may not be installed.
_CRASHES: Final = (ProcessDied, BrokenExecutor, BeganBefore)
_DASK: Final = frozenset({"KilledWorker"})
# Seconds between two checks of executors that do not report when a handler begins, and of slots for which jobs wait.
_OFTEN: Final = 0.05
_SHORTLY: Final = 0.25  # seconds between two checks of handlers, and how long a stopped handler may take to end


class ExecutorFailed(OverseerError):
    """The pool that runs handlers has failed, or hangs. The worker ends, and its jobs go to other workers."""


class Shutdown:
    """Whether a worker must end."""

    def __init__(self) -> None:
        # No Event: a second signal during its `set` would wait for its lock without end.
        self.requested = False  # whether no further job is claimed and no further handler begins
        self.at_exit = False  # whether the program ends, so that jobs are released instead of waited for
        self.done = Event()  # the worker has nothing left to do


class Executor:
    """Runs claimed jobs in a pool, one in each slot; the others of a batch wait for a slot.

    Args:
        handlers: by type; every job has one.
        settler: commits the outcomes.
        leases: the leases that the heartbeat renews; it also reports timeouts.
        shutdown: jobs that have not begun stay in the backlog once it is requested, and are released.
    """

    def __init__(
        self,
        store: JobStore,
        handlers: Mapping[Keyword, Handler],
        config: Config,
        pool: Pool,
        *,
        judge: Judge,
        settler: Settler,
        reporter: Reporter,
        leases: HeldLeases,
        shutdown: Shutdown,
    ) -> None:
        self._store = store
        self._handlers = handlers
        self._pool = pool
        self._judge = judge
        self._settler = settler
        self._reporter = reporter
        self._leases = leases
        self._shutdown = shutdown
        self._lease = config.lease.total_seconds()
        self._timeouts = {as_keyword(key): timedelta(milliseconds=timeout) for key, timeout in config.timeouts.items()}
        self.slots = Slots(pool.slots, ahead=_ahead(config, pool.slots))
        self._begun_at_break: int | None = None  # the number of handlers that ran when the pool broke
        self._paused: tuple[int, dict[Keyword, bool]] = (-1, {})  # t of a database → queue → whether it is paused
        self._here = local()  # whether this thread is filling slots
        self.error: BaseException | None = None  # an exception outside of handlers

    # -- from the claim to the handler

    def add(self, jobs: Iterable[Job]) -> None:
        """Hold the leases of claimed jobs, and run the jobs as slots become free; an inline pool runs all of them."""
        claimed = [job.watched(self._leases.is_held, self._leases.report) for job in jobs]
        self._leases.add(*(job.lease for job in claimed))
        slots = self.slots
        self._limit_waits(claimed[slots.free :])
        with slots.changed:
            slots.open.update((job.lease, job) for job in claimed)
            slots.backlog.extend(claimed)
        for job in claimed:
            self._reporter.notify(Claimed, job, db=job.db)
        self._fill()

    def _limit_waits(self, jobs: Sequence[Job]) -> None:
        """Let jobs that wait for a slot begin only while the rates of their queues count them."""
        names = {name for job in jobs if (name := job.attributes.get(":job/queue")) is not None}
        if names:
            rated = {name: queue for name, queue in queues(jobs[0].db, names).items() if queue.rate}
            for job in jobs:
                name = job.attributes.get(":job/queue")
                if name in rated:
                    self.slots.limit_wait(job, slack(rated[name].period).total_seconds())

    def _fill(self) -> None:
        """Begin jobs while slots are free. If a handler ends at once, this loop continues; none starts inside it."""
        if getattr(self._here, "filling", False):
            return
        self._here.filling = True
        try:
            while (slot := self._take_slot()) is not None:
                if self.slots.is_late(slot.job) or self._is_paused(slot.job):
                    self._end(self._judge.of_release(slot.job))
                    self._free(slot)
                elif self._leases.is_held(slot.job.lease):
                    self._begin(slot)
                else:
                    self._drop(slot.job)
                    self._free(slot)
                self._settler.settle_due()
        finally:
            self._here.filling = False

    def _take_slot(self) -> Slot | None:
        with self.slots.changed:
            return None if self._shutdown.requested else self.slots.take()

    def _begin(self, slot: Slot) -> None:
        job, pool = slot.job, self._pool
        slot.timeout = self._timeout(job)
        if pool.is_inline and (slot.timeout is None or not self._leases.are_watched):
            slot.began = True
            self._reporter.notify(Started, job)
            self._end(self._judge.of_run(job, pool.run(self._handlers[job.type], job)), slot)
            return
        future = self._submit(slot)
        if not (future.done() or (job.lease in self.slots.open and self._leases.is_held(job.lease))):
            # The lease was lost before there was a future to cancel.
            self._drop(job)
            self._stop_handler(slot)
        if pool.is_inline:  # the handler is on another thread only so that this one can leave it when it times out
            with self.slots.changed:
                self.slots.changed.wait_for(lambda: job.lease not in self.slots.running or slot.over_since is not None)

    def _submit(self, slot: Slot) -> Future[Performed]:
        job = slot.job
        try:
            slot.surround = self._pool.surround(job)
            exactly = slot.timeout is not None or self._reporter.has_listeners
            handler = self._handlers[job.type]
            future = slot.future = self._pool.submit(
                handler, job, lambda: self._began(slot), slot.surround, exactly=exactly
            )
        except Exception as error:
            self._end(self._judge.of_release(job), slot)
            # Either this thread or the one that receives the end of a handler is the first to see a broken pool.
            is_broken = isinstance(error, BrokenExecutor)
            failed = _broken(error) if is_broken else _failed(f"the executor of the handlers takes no calls: {error}")
            raise failed from error
        future.add_done_callback(lambda done: self._done(slot, done))
        return future

    def _began(self, slot: Slot) -> None:
        """Note, on any thread, that a handler begins: its time runs from now on."""
        try:
            slot.began = True
            self.slots.moved = time.monotonic()  # without the lock, for which the thread that fills slots would wait
            if slot.job.lease in self.slots.open:
                if slot.timeout is not None:
                    self._leases.limit(slot.job.lease, slot.timeout)
                self._reporter.notify(Started, slot.job)
        except BaseException as error:
            self._fail(slot.job, error)

    def _timeout(self, job: Job) -> timedelta | None:
        own = job.attributes.get(":job/timeout")
        if own is not None:
            return time_limit(own)
        timeout = timeout_of(self._handlers[job.type])
        return self._timeouts.get(job.type) if timeout is None else timeout

    def _is_paused(self, job: Job) -> bool:
        """Return whether the queue of a job was paused after the job was claimed."""
        queue = job.attributes.get(":job/queue")
        if queue is None:
            return False
        db = self._store.conn.db()
        t, paused = self._paused
        if t != db.basis_t:
            t, paused = self._paused = db.basis_t, {}
        if queue not in paused:
            paused[queue] = is_paused(db, queue)
        return paused[queue]

    # -- from the handler to the outcome

    def _done(self, slot: Slot, future: Future[Performed]) -> None:
        """Hand on the outcome of a handler, on the thread on which it ended, and give its slot to the next job."""
        try:
            ended = self._judged(slot, future)
            self._pool.leave(slot.job)
            if self._leases.is_held(slot.job.lease):
                self._end(ended, slot)
            else:
                self._drop(slot.job)
                self._free(slot)
            # Not after a failure: the thread that cancels may hold the lock that submitting the next call needs.
            if not self._pool.is_inline and self.error is None:
                self._fill()
        except BaseException as error:
            self._fail(slot.job, error)

    def _judged(self, slot: Slot, future: Future[Performed]) -> EndedAttempt:
        job = slot.job
        error = Cancelled() if future.cancelled() else future.exception()
        performed = Performed(error=error) if error is not None else arrived(future.result())
        if slot.surround is not None:
            slot.surround.leave(performed.error)
            if performed.error is None:
                performed = replace(performed, facts=[*job.asserted, *performed.facts])
        job.logs = performed.logs or job.logs
        if performed.error is not None and _is_crash(performed.error):
            return self._crashed(slot, performed.error)
        if isinstance(error, Cancelled | asyncio.CancelledError):
            # This class ends an attempt before it cancels the handler.
            if job.lease in self.slots.open:
                self.error = self.error or _failed(
                    f"the executor of the handlers has cancelled {job.type} {job.id}, which had not ended"
                )
            return self._judge.of_release(job)
        return self._judge.of_run(job, performed)

    def _crashed(self, slot: Slot, error: BaseException) -> EndedAttempt:
        """Judge a job whose process died. An executor that breaks as a whole takes the other jobs with it."""
        job, alone = slot.job, True
        self._pool.look()
        if isinstance(error, ProcessDied) and not slot.began and job.lease in self.slots.open:
            self.error = self.error or _failed(f"no process for handlers can be started: {error}")
        if isinstance(error, BrokenExecutor):
            if self._begun_at_break is None:
                with self.slots.changed:
                    running = self.slots.running.values()
                    self._begun_at_break = sum(other.began and other.over_since is None for other in running)
            self.error = self.error or _broken(error)
            alone = self._begun_at_break == 1
        return self._judge.of_crash(job, error, alone=alone) if slot.began else self._judge.of_release(job)

    def _fail(self, job: Job, error: BaseException) -> None:
        log.exception("the end of %s %s could not be processed; the worker will stop", job.type, job.id)
        self.error = error

    def _end(self, ended: EndedAttempt, slot: Slot | None = None) -> None:
        """Hand an outcome to the settler, unless the attempt has ended before.

        Args:
            slot: of the handler, if it has ended too. It is freed in the same step: a thread that waits for free
                slots then stops the settler.
        """
        slots = self.slots
        with slots.changed:
            if slots.open.pop(ended.job.lease, None) is not None:
                self._settler.put(ended, at_once=not slots.open)
            if slot is not None:
                slots.give_back(slot)
            else:
                slots.changed.notify_all()

    def _drop(self, job: Job) -> None:
        """End an attempt that no longer holds its job, unless it has ended before."""
        with self.slots.changed:
            is_open = self.slots.open.pop(job.lease, None) is not None
            self.slots.changed.notify_all()
        if is_open:
            self._settler.drop(job)

    def _free(self, slot: Slot) -> None:
        with self.slots.changed:
            self.slots.give_back(slot)

    def _stop_handler(self, slot: Slot) -> None:
        """Stop a handler whose attempt has ended, if the pool can stop it; it keeps its slot until it ends."""
        with self.slots.changed:
            self.slots.end_attempt(slot)
        if slot.future is not None:
            slot.future.cancel()

    # -- before the handler has ended

    def time_out(self, lease: Lease) -> None:
        """End an attempt that took too long, and stop its handler if the pool can stop it."""
        with self.slots.changed:
            job, slot = self.slots.open.get(lease), self.slots.running.get(lease)
        if job is None:
            return
        self._end(self._judge.of_timeout(job, self._timeout(job)))
        if slot is not None:
            self._stop_handler(slot)
        self._settler.settle_for_blocked_loop()

    def drop(self, jobs: Iterable[int]) -> None:
        """Drop attempts whose jobs were aborted or claimed elsewhere, and stop their handlers if the pool can."""
        entities = set(jobs)
        with self.slots.changed:
            attempts = list(self.slots.open.items())
            dropped = [(job, self.slots.running.get(lease)) for lease, job in attempts if lease.job in entities]
        for job, slot in dropped:
            self._leases.remove(job.lease)
            self._drop(job)
            if slot is not None:
                self._stop_handler(slot)

    def holds(self, job: int) -> bool:
        """Return whether an attempt at a job is under way here."""
        return self._leases.has_job(job)

    def release_waiting(self) -> None:
        """Release the jobs whose handlers have not begun, because the worker stops or no slot becomes free."""
        self._release(lambda job: True)

    def _release(self, is_unwanted: Callable[[Job], bool]) -> None:
        """Release the jobs whose handlers have not begun, and that are unwanted now."""
        slots = self.slots
        with slots.changed:
            waiting = list(slots.backlog)
            submitted = [slot for slot in slots.running.values() if not slot.began and slot.future is not None]
        unwanted = {job.lease for job in waiting if is_unwanted(job)}  # without the lock: it may read the store
        submitted = [slot for slot in submitted if is_unwanted(slot.job)]
        with slots.changed:
            released = [job for job in slots.backlog if job.lease in unwanted]
            slots.backlog = deque(job for job in slots.backlog if job.lease not in unwanted)
        for job in released:
            self._end(self._judge.of_release(job))
        for slot in submitted:
            if self._pool.withdraw(slot.job):
                self._end(self._judge.of_release(slot.job))
                self._stop_handler(slot)
        self._settler.settle_for_blocked_loop()

    def release_all(self) -> None:
        """Settle the attempts that have ended, and release the jobs of all others; their later outcomes are dropped."""
        self._settler.flush()
        with self.slots.changed:
            self.slots.backlog.clear()
            self.slots.open.clear()
            self.slots.changed.notify_all()
        # With the jobs of a claim that was interrupted before this worker held their leases.
        held = {(lease.job, lease.attempt): lease for lease in (*self._leases.all, *self._store.held())}
        self._store.release(list(held.values()))

    def try_to_release_all(self) -> None:
        """Release all jobs at once. If that fails, they are free when their leases expire."""
        try:
            self.release_all()
        except Exception:
            log.exception(
                "worker %s could not release its jobs; they are free when their leases expire", self._store.worker
            )

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds until no attempt is under way, and return whether that is the case.

        It does not wait for handlers whose attempt has ended or whose lease is lost.
        """
        with self.slots.changed:
            return self.slots.changed.wait_for(lambda: not any(map(self._leases.is_held, self.slots.open)), timeout)

    # -- on the heartbeat's thread, which no handler can block

    def look(self) -> float:
        """Detect what no handler reports: that it began elsewhere, that slots hang, that jobs cannot begin.

        Returns: the seconds until the next call; inf if there is no attempt and no handler.
        """
        if self._shutdown.at_exit and self._pool.is_inline and not self._shutdown.done.is_set():
            self.try_to_release_all()
            self._shutdown.done.set()
        slots = self.slots
        expecting = self._pool.look()
        if slots.backlog or expecting:
            if self._shutdown.requested or slots.hang(_SHORTLY) or slots.stand_still():
                self.release_waiting()
            else:
                late = {job.lease for job in slots.late()}
                self._release(lambda job: job.lease in late or self._is_paused(job))
        if self.error is None:
            self.error = self._pool.error or self._hung()
        if expecting or slots.backlog:
            return _OFTEN
        return _SHORTLY if slots.running or self._leases else inf

    def _hung(self) -> ExecutorFailed | None:
        """Return an error if handlers that cannot be stopped have blocked all others for as long as a lease lasts."""
        overdue = self.slots.overdue()
        if not overdue or not (self.slots.hang(self._lease) or self._pool.silent_for() >= self._lease):
            return None
        jobs = ", ".join(f"{slot.job.type} {slot.job.id}" for slot in overdue)
        why = (
            f"handlers that exceeded their timeouts and cannot be stopped have blocked all others for {self._lease:g} s"
        )
        return _failed(f"{why}: {jobs}")


def _ahead(config: Config, slots: int) -> Ahead:
    if config.batch is None:
        return Adaptive(slots)
    return Fixed(slots, holds=config.batch, patience=config.lease.total_seconds())


def _is_crash(error: BaseException) -> bool:
    return isinstance(error, _CRASHES) or type(error).__name__ in _DASK


def _broken(error: BaseException) -> ExecutorFailed:
    return _failed(f"the executor of the handlers is broken: {error}")


def _failed(why: str) -> ExecutorFailed:
    return ExecutorFailed(":job.error/executor-failed", why)
