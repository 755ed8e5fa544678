"""A worker: finds ready jobs, claims them, runs them, and settles them; any number of equal ones share a store.

    log ──► ready set ──► claim ──► executor                    one thread, the caller's
                                    executor ──► handlers       that thread too, or a pool
                                    handlers ──► settler        a thread of its own
                                 held leases ──► heartbeat      a thread of its own
                              others' leases ──► monitor        a thread of its own
                                   schedules ──► cron           a thread of its own

The store is all that workers share, and all that they coordinate by. Outside of handlers a worker is crash-only: what it does not
understand ends it, and others take its jobs when their leases run out.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Self

import factstore
from overseer import lookup
from overseer.attempt import Job
from overseer.cron import Cron
from overseer.errors import ConfigError, OverseerError
from overseer.events import Fatal, Listeners
from overseer.handler import Handlers, check_handlers
from overseer.job import STARTED, STATUSES, as_keyword
from overseer.listeners import chosen
from overseer.queues import allowance, next_start, queues
from overseer.ready import TAILED, ReadySet
from overseer.store import JobStore, install
from overseer.worker.config import Config
from overseer.worker.executor import Executor
from overseer.worker.heartbeat import Heartbeat
from overseer.worker.monitor import Monitor
from overseer.worker.pools import pool
from overseer.worker.settler import Settler

if TYPE_CHECKING:
    from factstore import Connection, Datom, TxReports

__all__ = ["Config", "Running", "Worker", "start"]

log = logging.getLogger("overseer")

_ATTENTION: Final = 0.25  # seconds: how often a waiting worker looks whether it was told to stop
_MOST_PENDING: Final = 1000  # outcomes not yet written, from which on the disk is given time to catch up
_LEAVING: Final = 5.0  # seconds: how long each step of leaving in a hurry may take
_ENDS: Final = frozenset(STATUSES) - {STARTED}


def worker_name() -> str:
    """Return a name for a worker that tells people where it runs, and that no other worker ever had."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class Worker:
    """Works on the jobs of a store until it is stopped.

    Args:
        handlers: by job type: a function of the job, or a mapping of stages. Jobs of other types are left to others.
        config: settings, as a Config or as a mapping.
    """

    def __init__(self, conn: Connection, handlers: Handlers, config: Config | Mapping[str, Any] | None = None) -> None:
        self.config = config = Config.of(config)
        self.name = worker_name()
        by_type = check_handlers(handlers)
        self._conn = conn
        self._random = random = Random(config.seed)
        self._stopping = False  # no Event: two signals at once would wait for each other in it
        self._store = store = JobStore(conn, worker=self.name)
        self._listeners = listeners = Listeners([*config.listeners, *chosen(conn, **config.watching)])
        self._ready = ReadySet(by_type, queues=None if config.queues is None else map(as_keyword, config.queues))
        self._pool = pool(config.executor or ("inline" if config.concurrency == 1 else "threads"), config.concurrency, listeners)
        self._heartbeat = Heartbeat(
            store, every=config.heartbeat_sleep_time / 1000, lease=config.lease, time_out=lambda lease: self._executor.time_out(lease)
        )
        self._settler = Settler(
            store,
            self._heartbeat,
            listeners,
            lambda job, error: self._executor.judge(job, error),
            flush=config.flush / 1000,
            most=config.holds,
        )
        self._executor = Executor(
            store, by_type, config, self._pool, self._settler, self._heartbeat, random=random, stopping=lambda: self._stopping
        )
        self._monitor = Monitor(
            store,
            lease=config.lease.total_seconds(),
            max_crashes=config.max_crashes,
            random=Random(random.random()),
            listeners=listeners,
        )
        self._cron = Cron(conn, clock=conn.now, random=Random(random.random()))
        self._parts = (self._heartbeat, self._monitor, self._cron, self._settler)
        # Each a thread of its own; but what runs on the loop's thread is settled there too.
        self._threads = self._parts if self._pool.run is None else self._parts[:-1]
        self._ran = False

    @property
    def lost(self) -> int:
        """How many results of this worker were refused because its lease had been lost."""
        return self._settler.lost

    def stop(self) -> None:
        """Let the jobs under way end, and claim no more; `run` then returns."""
        self._stopping = True

    @property
    def stopping(self) -> bool:
        """Whether the worker was told to stop."""
        return self._stopping

    @property
    def busy(self) -> bool:
        """Whether handlers run, or jobs wait for a slot."""
        return self._executor.occupied > 0

    def abandon(self, code: int) -> None:
        """Give the jobs under way back without waiting for their handlers, and end the process; returns at once.

        The handlers cannot be interrupted, so the process goes, as it would in a crash; only their jobs need not wait for the
        leases to run out, and listeners send off what they hold. Each step has its time, for a store or a tracker may hang.
        It happens on threads of its own, for the caller may be a signal handler in the middle of a commit.
        """
        self.stop()

        def leave() -> None:
            for step in (self._give_back, self._listeners.close):
                taken = Thread(target=step, name="overseer-abandon", daemon=True)
                taken.start()
                taken.join(_LEAVING)
            os._exit(code)

        Thread(target=leave, name="overseer-abandon", daemon=True).start()

    def _give_back(self) -> None:
        """Settle what has ended, and let others have what has not."""
        self._settler.flush()
        self._store.release(self._heartbeat.held)

    def run(self, *, until_idle: bool = False) -> None:
        """Work until `stop` is called.

        Args:
            until_idle: return, too, when no job of the handled types is unstarted or started any more, anywhere.
        """
        if self._ran:
            raise OverseerError(":job.error/worker-ran", f"a worker runs once, and {self.name} has: make another", worker=self.name)
        self._ran = True
        try:
            self._run(until_idle)
        except KeyboardInterrupt:
            self._give_back()
            raise
        except BaseException as error:
            self._listeners.tell(Fatal(at=datetime.now(UTC), worker=self.name, error=error))
            raise
        finally:
            self._stopping = True  # handlers that end from here on are followed by no others
            if self._pool.executor is not None:
                self._pool.executor.shutdown(wait=False, cancel_futures=True)
            self._listeners.close()

    def _run(self, until_idle: bool) -> None:
        started: list[Heartbeat | Monitor | Cron | Settler] = []
        install(self._conn)
        with self._conn.tx_reports() as reports:
            try:
                self._ready.load(self._conn.db())
                for part in self._threads:
                    part.start()
                    started.append(part)
                while not self._stopping:
                    self._check_threads()
                    self._absorb(reports, wait=0.0)
                    if until_idle and not self._ready.live:
                        break
                    self._work_or_wait(reports)
                self._finish(reports)
            finally:
                self._stopping = True
                for part in started:
                    part.stop()
                if self._settler not in started:
                    self._settler.flush()
        self._check_threads()  # once more: the settler may have failed on the last of its outcomes

    def _work_or_wait(self, reports: TxReports) -> None:
        """Claim ready jobs and let them run, or wait for what changes next."""
        doomed = self._ready.take_doomed()
        if doomed:
            self._store.give_up(doomed)
        free = self.config.holds - self._executor.occupied
        if free <= 0 or (self._settler in self._threads and self._settler.pending > _MOST_PENDING):
            # Not as long as until the next job is due: it may be due already, and would be waited for without end.
            self._absorb(reports, wait=_ATTENTION)
            return
        picked = self._pick(free)
        claimed = self._claim(picked) if picked else []
        settled = self._pool.run is not None and self._settler.end()
        if not picked and not settled:
            self._absorb(reports, wait=self._patience())
        self._executor.add(claimed)

    def _claim(self, picked: list[int]) -> list[Job]:
        """Claim jobs, and look anew at those that somebody else has now."""
        behind = self._settler.begin if self._pool.run is not None and self._settler.pending else None
        claimed = self._store.claim(picked, lease=self.config.lease, behind=behind)
        lost = set(picked) - {job.eid for job in claimed}
        if lost:
            db = self._conn.db()
            for job in lost:
                self._ready.look(db, job)
        return claimed

    def _pick(self, most: int) -> list[int]:
        now = self._conn.now()
        allowed = allowance(self._conn.db(), now) if self._ready.limited and len(self._ready) else None
        return self._ready.pick(most, now=now, random=self._random, allowed=allowed)

    def _patience(self) -> float:
        """Return the seconds that may pass before there is something to do that no commit tells of."""
        now = self._conn.now()
        times = [self._ready.next_due()]
        if self._ready.limited and len(self._ready):
            times.append(next_start(queues(self._conn.db()), now))
        waits = [(time - now).total_seconds() for time in times if time is not None]
        return max(0.0, min(*waits, self.config.sleep_time / 1000, _ATTENTION)) if waits else min(self.config.sleep_time / 1000, _ATTENTION)

    def _absorb(self, reports: TxReports, *, wait: float) -> None:
        report = reports.get(wait)
        datoms: list[Datom] = []
        while report is not None:
            datoms += report.datoms_of(*TAILED)
            db = report.db_after
            report = reports.get(0.0)
        if datoms:
            self._ready.absorb(db, datoms)
            moved = {datom.e for datom in datoms if datom.v in _ENDS and self._executor.holds(datom.e)}
            if moved:
                self._executor.overtaken(job for job in moved if lookup.status(db, job) != STARTED)

    def _finish(self, reports: TxReports) -> None:
        """Let the jobs under way end. They keep their leases meanwhile, and one that is aborted is stopped as ever."""
        self._executor.stop()
        while not self._executor.wait(_ATTENTION):
            self._check_threads()
            self._absorb(reports, wait=0.0)

    def _check_threads(self) -> None:
        for part in (*self._parts, self._executor):
            if part.error is not None:
                raise part.error


class Running:
    """A worker at work on a thread of its own: what `start` returns."""

    def __init__(self, worker: Worker, conn: Connection) -> None:
        self.worker = worker
        self.conn = conn
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="overseer-worker", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:
            log.exception("worker %s failed", self.worker.name)
            self._error = error

    def join(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds for the worker to end, and tell whether it has; raises what ended it."""
        self._thread.join(timeout)
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Let the job under way end, then close the connection."""
        self.worker.stop()
        try:
            self.join()
        finally:
            self.conn.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()


def start(config: Config | Mapping[str, Any], handlers: Handlers) -> Running:
    """Open the store that the settings name, start a worker on it in the background, and return it.

    Args:
        config: settings; `store` is required.
        handlers: by job type.
    """
    settings = Config.of(config)
    if not settings.store:
        raise ConfigError(":job.error/bad-config", "the setting store is required: the path or uri of the store", setting="store")
    conn = factstore.connect(settings.store)
    install(conn)  # here too, not only on the worker's thread: the caller may insert jobs as soon as this returns
    return Running(Worker(conn, handlers, settings), conn)
