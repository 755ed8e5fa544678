"""A worker: finds ready jobs, claims them, runs them, and settles them; any number of equal ones share a store.

    log ──► ready set ──► claim ──► handler ──► settle          one thread, the caller's
                           held leases ──► heartbeat            a thread of its own
                          others' leases ──► monitor            a thread of its own

The store is all that workers share, and all that they coordinate by. Outside of handlers a worker is crash-only: what it does not
understand ends it, and others take its jobs when their leases run out.
"""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Callable, Mapping
from random import Random
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final, Self

import factstore
from overseer.errors import ConfigError
from overseer.handler import Handlers, check_handlers
from overseer.ready import TAILED, ReadySet
from overseer.store import JobStore, install
from overseer.worker.config import Config
from overseer.worker.executor import Executor
from overseer.worker.heartbeat import Heartbeat
from overseer.worker.monitor import Monitor

if TYPE_CHECKING:
    from factstore import Connection, Datom, TxReports

__all__ = ["Config", "Running", "Worker", "start"]

log = logging.getLogger("overseer")

_ATTENTION: Final = 0.25  # seconds: how often a waiting worker looks whether it was told to stop


def worker_name() -> str:
    """Return a name for a worker that tells people where it runs, and that no other worker ever had."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class Worker:
    """Works on the jobs of a store until it is stopped.

    Args:
        handlers: by job type: a function of the job, or a mapping of stages. Jobs of other types are left to others.
        config: settings, as a Config or as a mapping.
        report: hears of errors in handlers that were not suppressed, with what is known of the job: an error tracker's entrance.
    """

    def __init__(
        self,
        conn: Connection,
        handlers: Handlers,
        config: Config | Mapping[str, Any] | None = None,
        *,
        report: Callable[[BaseException, Mapping[str, Any]], None] | None = None,
    ) -> None:
        self.config = Config.of(config)
        self.name = worker_name()
        handlers_by_type = check_handlers(handlers)
        random = Random(self.config.seed)
        lease = self.config.lease
        self._conn = conn
        self._random = random
        self._stop = Event()
        self._store = JobStore(conn, worker=self.name, clock=self.config.clock)
        self._ready = ReadySet(handlers_by_type)
        self._heartbeat = Heartbeat(self._store, every=self.config.heartbeat_sleep_time / 1000, lease=lease)
        self._monitor = Monitor(
            self._store, lease=lease.total_seconds(), max_crashes=self.config.max_crashes, random=Random(random.random())
        )
        self._executor = Executor(
            self._store, handlers_by_type, self.config, self._heartbeat, random=random, report=report, stopping=self._stop.is_set
        )

    @property
    def lost(self) -> int:
        """How many results of this worker were refused because its lease had been lost."""
        return self._executor.lost

    def stop(self) -> None:
        """Let the job under way end, and claim no more; `run` then returns."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether the worker was told to stop."""
        return self._stop.is_set()

    def abandon(self, code: int) -> None:
        """Give the jobs under way back without waiting for their handlers, and end the process; returns at once.

        The handlers cannot be interrupted, so the process goes, as it would in a crash; only their jobs need not wait for the
        leases to run out. It happens on a thread of its own, for the caller may be a signal handler in the middle of a commit.
        """

        def leave() -> None:
            try:
                self._store.release(self._heartbeat.held)
            finally:
                os._exit(code)

        Thread(target=leave, name="overseer-abandon", daemon=True).start()

    def run(self, *, until_idle: bool = False) -> None:
        """Work until `stop` is called.

        Args:
            until_idle: return, too, when no job of the handled types is unstarted or started any more, anywhere.
        """
        install(self._conn)
        with self._conn.tx_reports() as reports:
            self._ready.load(self._conn.db())
            self._heartbeat.start()
            self._monitor.start()
            try:
                while not self._stop.is_set():
                    self._check_threads()
                    self._absorb(reports, wait=0.0)
                    if until_idle and not self._ready.live:
                        return
                    self._work_or_wait(reports)
            finally:
                self._monitor.stop()
                self._heartbeat.stop()

    def _work_or_wait(self, reports: TxReports) -> None:
        """Run a batch of ready jobs, or wait for what changes next."""
        doomed = self._ready.take_doomed()
        if doomed:
            self._store.give_up(doomed)
        picked = self._ready.pick(self.config.batch, now=self._store.clock(), random=self._random)
        if not picked:
            self._absorb(reports, wait=self._patience())
            return
        claimed = self._store.claim(picked, lease=self.config.lease)
        lost = set(picked) - {job.eid for job in claimed}
        if lost:
            db = self._conn.db()
            for job in lost:
                self._ready.look(db, job)
        self._executor.run(claimed)

    def _patience(self) -> float:
        """Return the seconds that may pass before there is something to do that no commit tells of."""
        due = self._ready.next_due()
        until_due = (due - self._store.clock()).total_seconds() if due is not None else self.config.sleep_time / 1000
        return max(0.0, min(until_due, self.config.sleep_time / 1000, _ATTENTION))

    def _absorb(self, reports: TxReports, *, wait: float) -> None:
        report = reports.get(wait)
        datoms: list[Datom] = []
        while report is not None:
            datoms += report.datoms_of(*TAILED)
            db = report.db_after
            report = reports.get(0.0)
        if datoms:
            self._ready.absorb(db, datoms)

    def _check_threads(self) -> None:
        for part in (self._heartbeat, self._monitor):
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
        self.join()
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
