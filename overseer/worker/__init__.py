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

import atexit
import logging
import os
import socket
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from random import Random
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import factstore
from overseer.errors import ConfigError, OverseerError
from overseer.events import Fatal, Listeners
from overseer.handler import Handlers, check_handlers
from overseer.jobs import lookup
from overseer.jobs.crashes import suspect_from
from overseer.jobs.job import Job
from overseer.jobs.queues import allowance, next_start, problems
from overseer.jobs.rates import stopwatch
from overseer.jobs.states import CRASHES, FAILED, STARTED, STATUSES, as_keyword
from overseer.jobs.store import JobStore, install
from overseer.listeners import chosen
from overseer.planning import obstacles
from overseer.sources import check_connection
from overseer.worker.config import Config
from overseer.worker.executor import Executor
from overseer.worker.heartbeat import Heartbeat
from overseer.worker.judge import Judge
from overseer.worker.monitor import Monitor
from overseer.worker.pools.pools import pool
from overseer.worker.pools.signals import interruptible
from overseer.worker.ready import TAILED, ReadySet
from overseer.worker.scheduler import Scheduler
from overseer.worker.settler import Settler

if TYPE_CHECKING:
    from factstore import Connection, Datom, Keyword, TxReports

__all__ = ["Config", "Running", "Worker", "start"]

log = logging.getLogger("overseer")

_ATTENTION: Final = 0.25  # seconds: how often a waiting worker looks whether it was told to stop
_MOST_PENDING: Final = 1000  # outcomes not yet written, from which on the disk is given time to catch up
_STANDSTILL: Final = (
    1.0  # seconds without any commit after which a worker that shall become idle reports what it waits for
)
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
        check_connection(Worker, conn)
        self.config = config = Config.of(config)
        self.name = worker_name()
        by_type = check_handlers(handlers)
        self._conn = conn
        self._random = random = Random(config.seed)
        self._stopping = False  # no Event: two signals at once would wait for each other in it
        self._store = store = JobStore(conn, worker=self.name)
        self._listeners = listeners = Listeners([*config.listeners, *chosen(conn, **config.watching)])
        only = None if config.queues is None else map(as_keyword, config.queues)
        self._ready = ReadySet(by_type, queues=only, elapsed=stopwatch(conn))
        kind = config.executor or ("inline" if config.concurrency == 1 else "threads")
        self._pool = pool(kind, config.concurrency, listeners, start_method=config.start_method)
        self._handlers = by_type
        self._judge = Judge(
            by_type, retries=config.retries, max_crashes=config.max_crashes, now=conn.now, random=random
        )
        self._heartbeat = Heartbeat(
            store,
            every=config.heartbeat_sleep_time / 1000,
            lease=config.lease,
            time_out=lambda lease: self._executor.time_out(lease),
            look=self._look,
        )
        self._settler = Settler(
            store,
            self._heartbeat,
            listeners,
            self._judge,
            flush=config.flush / 1000,
            most=config.holds,
        )
        self._executor = Executor(
            store,
            by_type,
            config,
            self._pool,
            self._judge,
            self._settler,
            self._heartbeat,
            stopping=lambda: self._stopping,
        )
        self._monitor = Monitor(
            store,
            lease=config.lease.total_seconds(),
            max_crashes=config.max_crashes,
            random=Random(random.random()),
            listeners=listeners,
        )
        self._cron = Scheduler(conn, clock=conn.now, random=Random(random.random()))
        self._parts = (self._heartbeat, self._monitor, self._cron, self._settler)
        # Each a thread of its own; but what runs on the loop's thread is settled there too.
        self._threads = self._parts[:-1] if self._pool.is_inline else self._parts
        self._standstill = _Standstill()
        self._bad_settings: dict[Keyword, str] = {}  # those that were logged
        self._failures = set[int]()  # jobs that were seen to fail since this began
        self._ran = False
        # Jobs of which one more crash would fail them run alone, so that it is certainly theirs.
        self._suspect_from = config.max_crashes if self._pool.isolates else suspect_from(config.max_crashes)
        self._suspects: list[int] = []  # ready jobs that wait until no other runs
        self._has_suspect = False  # whether the job that runs is one
        self._is_ready = False  # whether the pool was found fit for the handlers
        self._leaving = False  # whether the jobs under way are given back instead of waited for
        self._gone = Event()  # nothing of this worker is left to do
        self._process = os.getpid()

    @property
    def lost(self) -> int:
        """How many results of this worker were refused because its lease had been lost."""
        return self._settler.lost

    def stop(self) -> None:
        """Let the jobs under way end, and claim no more; `run` then returns."""
        self._stopping = True

    @property
    def failed(self) -> list[str]:
        """The ids of jobs of its types and queues that failed while it worked, on this worker or another, and that nobody has retried."""
        if not self._failures:
            return []
        db = self._conn.db()
        known = [lookup.attributes(db, job) for job in sorted(self._failures)]
        return [
            about[":job/id"] for about in known if about.get(":job/status") == FAILED and self._ready.handles(about)
        ]

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
        self._executor.abandon()
        # Those too that were claimed in the moment in which the worker was interrupted, before it could take note of them.
        held = {(lease.job, lease.attempt): lease for lease in (*self._heartbeat.held, *self._store.held())}
        self._store.release(list(held.values()))

    def prepare(self) -> None:
        """Find out whether the handlers can run where the settings say; `run` does it before it claims anything.

        Raises: HandlerError, ConfigError.
        """
        if not self._is_ready:
            try:
                self._pool.prepare(self._handlers)
            except BaseException:
                self._pool.shutdown()
                raise
            self._is_ready = True

    def run(self, *, until_idle: bool = False) -> None:
        """Work until `stop` is called.

        `KeyboardInterrupt` and `SystemExit`, raised by a signal, end it too, and so does the end of the program: the jobs under way are
        given back then, as they are when something in the worker fails.

        Args:
            until_idle: return, too, when no job of the handled types is unstarted or started any more, anywhere;
                `failed` then tells which of them failed.

        Raises: HandlerError or ConfigError, before any job is claimed, for handlers that cannot run where the settings say.
        """
        if self._ran:
            raise OverseerError(
                ":job.error/worker-ran", f"a worker runs once, and {self.name} has: make another", worker=self.name
            )
        self._ran = True
        atexit.register(self._leave_with_program)
        try:
            with interruptible(self.stop):
                self.prepare()
                self._run(until_idle)
        except (KeyboardInterrupt, SystemExit):
            self._give_back_if_possible()
            raise
        except BaseException as error:
            self._listeners.tell(Fatal(at=datetime.now(UTC), worker=self.name, error=error))
            self._give_back_if_possible()
            raise
        finally:
            self._stopping = True  # handlers that end from here on are followed by no others
            self._pool.shutdown()
            self._listeners.close()
            self._gone.set()
            atexit.unregister(self._leave_with_program)

    def _give_back_if_possible(self) -> None:
        """Let others have the jobs under way at once. If that fails too, they are free when their leases run out."""
        try:
            self._give_back()
        except Exception:
            log.exception("worker %s could not give its jobs back; they are free when their leases run out", self.name)

    def _leave_with_program(self) -> None:
        """Give the jobs under way back, and end what runs them, because the program ends while the worker is at work in the background."""
        if os.getpid() == self._process:  # and not one that was forked from it
            self._stopping = self._leaving = True
            self._gone.wait(_LEAVING)

    def _look(self) -> float:
        """Look after the attempts, on the heartbeat's thread, which no handler can hold up."""
        if self._leaving and self._pool.is_inline and not self._gone.is_set():
            self._give_back_if_possible()
            self._gone.set()
        return self._executor.look()

    def _run(self, until_idle: bool) -> None:
        started: list[Heartbeat | Monitor | Scheduler | Settler] = []
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
                    if until_idle:
                        self._report_why_not_idle()
                self._finish(reports)
            finally:
                self._stopping = True
                for part in started:
                    part.stop()
                if self._settler not in started:
                    self._settler.flush()
                if self._leaving:
                    self._give_back()
        self._check_threads()  # once more: the settler may have failed on the last of its outcomes

    def _report_why_not_idle(self) -> None:
        """Log what keeps the jobs that are left from running, once they and the reasons for it stay the same for a while."""
        now = time.monotonic()
        if now - self._standstill.since < _STANDSTILL:  # a look at the store between every two jobs would be too many
            return
        db = self._conn.db()
        if self._executor.occupied or self._settler.pending or db.basis_t != self._standstill.t:
            self._standstill = _Standstill(db.basis_t, now, self._standstill.told)
        elif not self._standstill.is_looked_into:
            told = tuple(obstacles.reasons(db, self._ready.live, self._handlers, self._conn.now()))
            if told and told != self._standstill.told:
                log.warning("worker %s waits, and is not idle; %s", self.name, "; ".join(told))
            self._standstill = _Standstill(db.basis_t, now, told, is_looked_into=True)

    def _work_or_wait(self, reports: TxReports) -> None:
        """Claim ready jobs and let them run, or wait for what changes next."""
        doomed = self._ready.take_doomed()
        if doomed:
            self._store.give_up(doomed)
        room = self._room()
        if room <= 0 or (self._settler in self._threads and self._settler.pending > _MOST_PENDING):
            if self._pool.is_inline:
                self._settler.end()
            # Not as long as until the next job is due: it may be due already, and would be waited for without end.
            self._absorb(reports, wait=_ATTENTION)
            return
        picked = self._suspects[:1] or self._pick(room)
        claimed = self._claim(picked) if picked else []
        settled = self._pool.is_inline and self._settler.end()
        if not picked and not settled:
            self._absorb(reports, wait=self._patience())
        self._executor.add(claimed)

    def _claim(self, picked: list[int]) -> list[Job]:
        """Claim jobs, and look anew at those that somebody else has now."""
        behind = self._settler.begin if self._pool.is_inline and self._settler.pending else None
        alone = not self._executor.occupied
        claimed = self._store.claim(
            picked, lease=self.config.lease, behind=behind, suspect_from=self._suspect_from, alone=alone
        )
        lost = set(picked) - {job.eid for job in claimed}
        if lost:
            db = self._conn.db()
            for job in lost:
                self._ready.look(db, job)
                if lookup.value(db, job, CRASHES, 0) >= self._suspect_from:
                    self._suspects.append(job)
        self._has_suspect = len(claimed) == 1 and claimed[0].attributes.get(CRASHES, 0) >= self._suspect_from
        return claimed

    def _room(self) -> int:
        """Return how many jobs may be claimed now: none beside one that may have ended its worker, which runs when no other does."""
        if self._suspects:
            self._suspects = [job for job in self._suspects if job in self._ready]
        if (self._suspects or self._has_suspect) and self._executor.occupied:
            return 0
        return self._executor.room

    def _pick(self, most: int) -> list[int]:
        now = self._conn.now()
        if self._ready.settings_changed:
            self._ready.settings_changed = False
            self._report_bad_settings()
        if not (self._ready.limited and len(self._ready)):
            return self._ready.pick(most, now=now, random=self._random)
        db = self._conn.db()
        known = self._store.paced_queues(db, now)
        if any(queue.rate for queue in known.values()):
            most = min(most, self._executor.free)  # a job that is claimed ahead starts later than it was counted for
        return (
            self._ready.pick(most, now=now, random=self._random, allowed=allowance(db, now, known)) if most > 0 else []
        )

    def _report_bad_settings(self) -> None:
        """Log once what stands in the settings of a queue and cannot mean anything."""
        found = problems(self._conn.db())
        for name in found.keys() - self._bad_settings.keys():
            log.error("the queue %s: %s", name, found[name])
        self._bad_settings = found

    def _patience(self) -> float:
        """Return the seconds that may pass before there is something to do that no commit tells of."""
        now = self._conn.now()
        times = [self._ready.next_due()]
        if self._ready.limited and len(self._ready):
            times.append(next_start(self._store.paced_queues(self._conn.db(), now), now))
        waits = [(time - now).total_seconds() for time in times if time is not None]
        return max(0.0, min(self._ready.next_pause(), *waits, self.config.sleep_time / 1000, _ATTENTION))

    def _absorb(self, reports: TxReports, *, wait: float) -> None:
        report = reports.get(wait)
        datoms: list[Datom] = []
        while report is not None:
            datoms += report.datoms_of(*TAILED)
            db = report.db_after
            report = reports.get(0.0)
        if datoms:
            self._ready.absorb(db, datoms)
            self._failures.update(datom.e for datom in datoms if datom.added and datom.v == FAILED)
            moved = {datom.e for datom in datoms if datom.v in _ENDS and self._executor.holds(datom.e)}
            if moved:
                self._executor.overtaken(job for job in moved if lookup.status(db, job) != STARTED)

    def _finish(self, reports: TxReports) -> None:
        """Let the jobs under way end. They keep their leases meanwhile, and one that is aborted is stopped as ever."""
        self._executor.stop()
        while not self._executor.wait(_ATTENTION) and not self._leaving:
            self._check_threads()
            self._absorb(reports, wait=0.0)

    def _check_threads(self) -> None:
        for part in (*self._parts, self._executor):
            if part.error is not None:
                raise part.error


class _Standstill(NamedTuple):
    """Since when nothing has happened in the store, and what was last reported of that."""

    t: int = -1
    since: float = 0.0  # on the monotonic clock
    told: tuple[str, ...] = ()
    is_looked_into: bool = False


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

    Raises: HandlerError or ConfigError for handlers that cannot run where the settings say.
    """
    settings = Config.of(config)
    if not settings.store:
        raise ConfigError(
            ":job.error/bad-config", "the setting store is required: the path or uri of the store", setting="store"
        )
    conn = factstore.connect(settings.store)
    if not conn.db().basis_t and not settings.store.startswith("memory:"):
        log.warning("the store %s is new and empty: is that where the jobs are?", settings.store)
    try:
        install(conn)  # here too, not only on the worker's thread: the caller may insert jobs as soon as this returns
        worker = Worker(conn, handlers, settings)
        worker.prepare()
    except BaseException:
        conn.close()
        raise
    return Running(worker, conn)
