"""Attempts under way: claimed jobs go to a pool, and what comes back goes to be settled.

    claimed ──► hold lease ──► pool ──► outcome ──► settler          also: timeouts, and jobs that were taken from us

Laws: of each attempt one outcome at most is handed on, whatever comes first: its handler's end, its timeout, or the loss of its lease.
A slot is taken until its handler has ended, and a job that cannot begin is not kept. What fails here on a thread of a pool would be
swallowed by its future; it is kept in `error`, and ends the worker.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import BrokenExecutor, Future
from concurrent.futures import CancelledError as Cancelled
from dataclasses import dataclass, replace
from datetime import timedelta
from threading import Condition, local
from typing import Final

from factstore import Keyword
from overseer.errors import OverseerError
from overseer.events import Claimed, Elsewhere, Started
from overseer.handler import Handler, timeout_of
from overseer.jobs.job import Job
from overseer.jobs.queues import is_paused
from overseer.jobs.states import Lease, as_keyword, time_limit
from overseer.jobs.store import JobStore
from overseer.worker.config import Config
from overseer.worker.heartbeat import Heartbeat
from overseer.worker.judge import EndedAttempt, Judge
from overseer.worker.pools.announced import BeganBefore
from overseer.worker.pools.perform import Performed, arrived
from overseer.worker.pools.pools import Pool
from overseer.worker.pools.processes import ProcessDied
from overseer.worker.settler import Settler

log = logging.getLogger("overseer")

# What an executor says when the process that ran a handler is gone. Dask's own is known by its name: dask may not be installed.
_CRASHES: Final = (ProcessDied, BrokenExecutor, BeganBefore)
_DASK: Final = frozenset({"KilledWorker"})
_OFTEN: Final = 0.05  # seconds between two looks at executors that do not tell when a handler begins
_SHORTLY: Final = (
    0.25  # seconds between two looks at handlers; so long one may take to end when it is stopped, until its slot hangs
)


class ExecutorFailed(OverseerError):
    """What handlers run in has broken, or hangs: the worker ends, and its jobs go to others."""


@dataclass(eq=False, slots=True)
class Slot:
    """A job whose handler was submitted, or runs."""

    job: Job
    timeout: timedelta | None = None
    future: Future[Performed] | None = None
    surround: Elsewhere | None = None
    began: bool = False
    over_since: float | None = None  # when its attempt ended, if the handler goes on; on the monotonic clock


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
        judge: Judge,
        settler: Settler,
        heartbeat: Heartbeat,
        *,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._stopping = stopping
        self._store = store
        self._handlers = handlers
        self._pool = pool
        self._judge = judge
        self._settler = settler
        self._heartbeat = heartbeat
        self._lease = config.lease.total_seconds()
        self._ahead = max(0, config.batch - pool.slots)  # how many jobs may wait for a slot
        self._timeouts = {as_keyword(key): timedelta(milliseconds=timeout) for key, timeout in config.timeouts.items()}
        self._turn = Condition()  # guards what follows
        self._open: dict[Lease, Job] = {}  # attempts of which no outcome was handed on
        self._backlog: deque[Job] = deque()
        self._running: dict[Lease, Slot] = {}  # slots that are taken
        self._over = 0  # how many of them are taken by a handler whose attempt has ended
        self._moved = time.monotonic()  # when a handler last began or ended
        self._begun_at_break: int | None = None  # how many handlers ran when the executor broke
        self._pauses: tuple[int, dict[Keyword, bool]] = (
            -1,
            {},
        )  # t of a database → which queues were paused then, as far as was asked
        self._here = local()  # whether this thread is filling slots
        self.error: BaseException | None = None  # what failed outside of handlers

    @property
    def occupied(self) -> int:
        """How many jobs wait for a slot or take one up; a handler that outlived its timeout still does."""
        return len(self._backlog) + len(self._running)

    @property
    def room(self) -> int:
        """How many jobs may be claimed now: those that can begin, and some ahead of that unless the slots have stood still for a lease."""
        usable = self._pool.slots - self._over
        if usable <= 0 or not self._ahead or self._stands_still():
            return self.free if usable > 0 else 0
        return max(0, usable - (len(self._running) - self._over) - len(self._backlog) + self._ahead)

    @property
    def free(self) -> int:
        """How many jobs could begin at once."""
        return max(0, self._pool.slots - len(self._running) - len(self._backlog))

    def _stands_still(self) -> bool:
        return len(self._running) >= self._pool.slots and time.monotonic() - self._moved >= self._lease

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
                if self._is_paused(following.job):
                    self._end(self._judge.of_release(following.job))
                    self._leave(following)
                elif self._heartbeat.is_held(following.job.lease):
                    self._begin(following)
                else:
                    self._skip(following)
                if self._pool.is_inline and self._settler.is_due:
                    self._settler.flush()
        finally:
            self._here.filling = False

    def _next(self) -> Slot | None:
        """Take a slot for the next job of the backlog, if one is free."""
        with self._turn:
            if not self._backlog or len(self._running) >= self._pool.slots or self._stopping():
                return None
            slot = Slot(self._backlog.popleft())
            self._running[slot.job.lease] = slot
            self._moved = time.monotonic()
            return slot

    def _skip(self, slot: Slot) -> None:
        """Leave out a job that was taken from us."""
        self._drop(slot.job)
        self._leave(slot)

    def _begin(self, slot: Slot) -> None:
        job, pool = slot.job, self._pool
        slot.timeout = self._timeout(job)
        if pool.is_inline and (slot.timeout is None or not self._heartbeat.beats):  # nobody to watch the time
            slot.began = True
            self._settler.tell(Started, job)
            self._end(self._judge.of_run(job, pool.run(self._handlers[job.type], job)), slot)
            return
        future = self._submit(slot)
        if not (future.done() or (job.lease in self._open and self._heartbeat.is_held(job.lease))):
            # It was taken from us before there was a future to cancel.
            self._drop(job)
            self._give_up(slot)
        if pool.is_inline:  # the handler is on another thread only so that this one can leave it when its time is over
            with self._turn:
                self._turn.wait_for(lambda: job.lease not in self._running or slot.over_since is not None)

    def _submit(self, slot: Slot) -> Future[Performed]:
        job = slot.job
        try:
            slot.surround = self._pool.surround(job)
            exactly = slot.timeout is not None or self._settler.is_watched
            handler = self._handlers[job.type]
            future = slot.future = self._pool.submit(
                handler, job, lambda: self._began(slot), slot.surround, exactly=exactly
            )
        except Exception as error:
            self._end(self._judge.of_release(job), slot)
            # The thread that hears of the break first may be this one, or the one that is told what came of a handler.
            is_broken = isinstance(error, BrokenExecutor)
            raise (
                _broken(error) if is_broken else _failed(f"what handlers run in takes no more of them: {error}")
            ) from error
        future.add_done_callback(lambda done: self._done(slot, done))
        return future

    def _began(self, slot: Slot) -> None:
        """Take note that a handler begins, on whatever thread: its time runs from now on."""
        try:
            slot.began, self._moved = (
                True,
                time.monotonic(),
            )  # no lock: whoever fills slots would wait for it, job by job
            if slot.job.lease in self._open:
                if slot.timeout is not None:
                    self._heartbeat.limit(slot.job.lease, slot.timeout)
                self._settler.tell(Started, slot.job)
        except BaseException as error:
            self._fail(slot.job, error)

    def _timeout(self, job: Job) -> timedelta | None:
        own = job.attributes.get(":job/timeout")
        if own is not None:
            return time_limit(own)
        timeout = timeout_of(self._handlers[job.type])
        return self._timeouts.get(job.type) if timeout is None else timeout

    def _is_paused(self, job: Job) -> bool:
        """Tell whether a job's queue was paused after the job was claimed."""
        queue = job.attributes.get(":job/queue")
        if queue is None:
            return False
        db = self._store.conn.db()
        t, known = self._pauses
        if t != db.basis_t:
            t, known = self._pauses = db.basis_t, {}
        if queue not in known:
            known[queue] = is_paused(db, queue)
        return known[queue]

    def stop(self) -> None:
        """Give jobs back that have not begun, for the worker stops, or its slots do not come free."""
        self._give_back(lambda job: True)

    def _give_back(self, unwanted: Callable[[Job], bool]) -> None:
        """Give those jobs back that have not begun, and are not wanted now."""
        with self._turn:
            waiting = list(self._backlog)
            submitted = [slot for slot in self._running.values() if not slot.began and slot.future is not None]
        gone = {job.lease for job in waiting if unwanted(job)}  # not within the lock: it may read the store
        submitted = [slot for slot in submitted if unwanted(slot.job)]
        with self._turn:
            given = [job for job in self._backlog if job.lease in gone]
            self._backlog = deque(job for job in self._backlog if job.lease not in gone)
        for job in given:
            self._end(self._judge.of_release(job))
        for slot in submitted:
            if self._pool.withdraw(slot.job):
                self._end(self._judge.of_release(slot.job))
                self._give_up(slot)
        if self._pool.is_inline:
            self._settler.flush()  # the thread that would settle it may be the one that hangs

    def abandon(self) -> None:
        """Hand on no outcome any more, for all jobs are given back."""
        with self._turn:
            self._backlog.clear()
            self._open.clear()
            self._turn.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until no attempt is under way any more, up to `timeout` seconds, and tell whether that is so.

        A handler that goes on although its attempt has ended, or its job is somebody else's, is not waited for.
        """
        with self._turn:
            return self._turn.wait_for(lambda: not any(map(self._heartbeat.is_held, self._open)), timeout)

    def time_out(self, lease: Lease) -> None:
        """End an attempt that took too long. Its handler is stopped where the pool can stop it, and otherwise left to itself."""
        with self._turn:
            job, slot = self._open.get(lease), self._running.get(lease)
        if job is None:
            return
        self._end(self._judge.of_timeout(job, self._timeout(job)))
        if slot is not None:
            self._give_up(slot)
        if self._pool.is_inline:
            self._settler.flush()

    def overtaken(self, jobs: Iterable[int]) -> None:
        """Stop the handlers of jobs that somebody aborted, or took from us, as far as the pool can stop them."""
        gone = set(jobs)
        with self._turn:
            taken = [(job, self._running.get(lease)) for lease, job in self._open.items() if lease.job in gone]
        for job, slot in taken:
            self._heartbeat.let_go(job.lease)
            self._drop(job)
            if slot is not None:
                self._give_up(slot)

    def holds(self, job: int) -> bool:
        """Tell whether an attempt at a job is under way here."""
        return self._heartbeat.holds(job)

    def look(self) -> float:
        """Notice what no handler tells: that it began elsewhere, that slots hang, that jobs cannot begin. Called by the heartbeat.

        Returns: the seconds until the next look.
        """
        expecting = self._pool.look()
        if (self._backlog or expecting) and (self._stopping() or self._hang(_SHORTLY) or self._stands_still()):
            self.stop()
        elif self._backlog or expecting:
            self._give_back(self._is_paused)
        if self.error is None:
            self.error = self._pool.error or self._hung()
        return _OFTEN if expecting else _SHORTLY

    def _hang(self, seconds: float) -> bool:
        """Tell whether every slot is taken by a handler whose attempt ended that long ago."""
        if self._over < self._pool.slots:
            return False
        limit = time.monotonic() - seconds
        with self._turn:
            return all(slot.over_since is not None and slot.over_since <= limit for slot in self._running.values())

    def _hung(self) -> ExecutorFailed | None:
        """Return what there is to be said when handlers that cannot be stopped let no other run, for longer than a lease."""
        if not self._over or not (self._hang(self._lease) or self._pool.silent_for() >= self._lease):
            return None
        with self._turn:
            hanging = ", ".join(
                f"{slot.job.type} {slot.job.id}" for slot in self._running.values() if slot.over_since is not None
            )
        return _failed(
            f"handlers that outlived their timeouts, and cannot be stopped, let no other run for {self._lease:g} s: {hanging}"
        )

    def _done(self, slot: Slot, future: Future[Performed]) -> None:
        """Take what a handler came to, on whatever thread it ended, and let the next job have its slot."""
        try:
            came = self._came_of(slot, future)
            self._pool.leave(slot.job)
            if self._heartbeat.is_held(slot.job.lease):
                self._end(came, slot)
            else:
                self._skip(slot)
            # Not once something has failed: whoever cancels may hold the very lock that taking another call needs.
            if not self._pool.is_inline and self.error is None:
                self._fill()
        except BaseException as error:
            self._fail(slot.job, error)

    def _fail(self, job: Job, error: BaseException) -> None:
        log.exception("what came of %s %s could not be taken up; the worker will stop", job.type, job.id)
        self.error = error

    def _leave(self, slot: Slot) -> None:
        """Give a slot back."""
        with self._turn:
            self._free(slot)

    def _free(self, slot: Slot) -> None:
        if self._running.pop(slot.job.lease, None) is not None and slot.over_since is not None:
            self._over -= 1
        self._moved = time.monotonic()
        self._turn.notify_all()

    def _give_up(self, slot: Slot) -> None:
        """Stop a handler whose attempt has ended, if it can be stopped; its slot is taken until it has."""
        with self._turn:
            if slot.over_since is None and slot.job.lease in self._running:
                slot.over_since = time.monotonic()
                self._over += 1
                self._turn.notify_all()
        if slot.future is not None:
            slot.future.cancel()

    def _came_of(self, slot: Slot, future: Future[Performed]) -> EndedAttempt:
        """Return what a handler came to."""
        job = slot.job
        error = Cancelled() if future.cancelled() else future.exception()
        performed = Performed(error=error) if error is not None else arrived(future.result())
        if slot.surround is not None:
            slot.surround.leave(performed.error)
            if performed.error is None:
                performed = replace(performed, facts=[*job.asserted, *performed.facts])
        if performed.error is not None and (
            isinstance(performed.error, _CRASHES) or type(performed.error).__name__ in _DASK
        ):
            return self._crashed(slot, performed.error)
        if isinstance(error, Cancelled | asyncio.CancelledError):
            # Not by us, who close an attempt before its handler is cancelled.
            if job.lease in self._open:
                self.error = self.error or _failed(
                    f"what handlers run in has cancelled {job.type} {job.id}, which had not ended"
                )
            return self._judge.of_release(job)
        return self._judge.of_run(job, performed)

    def _crashed(self, slot: Slot, error: BaseException) -> EndedAttempt:
        """Return what becomes of a job whose process died. An executor that breaks as a whole has taken other jobs with it."""
        job, alone = slot.job, True
        self._pool.look()
        if isinstance(error, ProcessDied) and not slot.began and job.lease in self._open:
            self.error = self.error or _failed(f"no process for handlers can be started: {error}")
        if isinstance(error, BrokenExecutor):
            if self._begun_at_break is None:
                with self._turn:
                    self._begun_at_break = sum(
                        slot.began and slot.over_since is None for slot in self._running.values()
                    )
            self.error = self.error or _broken(error)
            alone = self._begun_at_break == 1
        if not slot.began:
            return self._judge.of_release(job)
        return self._judge.of_crash(job, error, alone=alone)

    def _end(self, ended: EndedAttempt, slot: Slot | None = None) -> None:
        """Hand an outcome on, unless the attempt has ended otherwise already.

        Args:
            slot: of the handler, where it has ended too; given back together with that, for whoever waits then lets the settler end.
        """
        with self._turn:
            if self._open.pop(ended.job.lease, None) is not None:
                self._settler.put(ended, at_once=not self._open)
            if slot is not None:
                self._free(slot)
            else:
                self._turn.notify_all()

    def _drop(self, job: Job) -> None:
        """Close an attempt whose job is somebody else's by now, unless it has ended already."""
        with self._turn:
            is_open = self._open.pop(job.lease, None) is not None
            self._turn.notify_all()
        if is_open:
            self._settler.drop(job)


def _broken(error: BaseException) -> ExecutorFailed:
    return _failed(f"what handlers run in is broken: {error}")


def _failed(why: str) -> ExecutorFailed:
    return ExecutorFailed(":job.error/executor-failed", why)
