"""A worker: finds ready jobs, claims them, runs them, and settles them. Any number of workers share a store.

    log ──► ready set ──► claim ──► executor                    the caller's thread: main_loop.py
                                    executor ──► handlers       the same thread, or a pool
                                    handlers ──► settler        a thread of its own, unless handlers run on the caller's
                                 held leases ──► heartbeat      a thread of its own
                              others' leases ──► monitor        a thread of its own
                                   schedules ──► scheduler      a thread of its own
                                       waits ──► waker          a thread of its own

Workers share nothing but the store, and coordinate through it. Outside of handlers a worker is crash-only: an
unexpected exception ends it, and other workers claim its jobs when the leases expire.

Only the main loop waits for commits. The other threads wake up at a known time, or when a lease is held (heartbeat), an
attempt has ended (settler), or the main loop or the heartbeat stirs them after a commit (scheduler, waker).
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from random import Random
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Self

import factstore
from factstore.concurrency.limits import started
from overseer.errors import ConfigError, OverseerError
from overseer.events import Fatal, Listeners
from overseer.handler import Handler, Handlers, check_handlers
from overseer.jobs import lookup
from overseer.jobs.rates import stopwatch
from overseer.jobs.states import FAILED, as_keyword
from overseer.jobs.store import JobStore, install
from overseer.listeners import chosen
from overseer.sources import ConnectionBound, check_connection
from overseer.times import Timeout, timeout_of
from overseer.worker.config import Config
from overseer.worker.executor import Executor, Shutdown
from overseer.worker.heartbeat import Heartbeat, HeldLeases
from overseer.worker.judge import Judge
from overseer.worker.main_loop import MainLoop
from overseer.worker.monitor import Monitor
from overseer.worker.pacing.standby import Standby
from overseer.worker.pools.pools import Pool, pool
from overseer.worker.pools.signals import interruptible
from overseer.worker.ready import ReadySet
from overseer.worker.scheduler import Scheduler
from overseer.worker.settler import InlineSettler, Reporter, Settler, ThreadSettler
from overseer.worker.waker import Waker

if TYPE_CHECKING:
    from factstore import Connection, Keyword

__all__ = ["Config", "Running", "Worker", "start"]

log = logging.getLogger("overseer")

_LEAVING: Final = 5.0  # seconds: the limit of each step of ending in a hurry


def worker_name() -> str:
    """Return a name that tells people where a worker runs, and that no other worker ever had."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class Worker(ConnectionBound):
    """Works on the jobs of a store until it is stopped.

    Args:
        handlers: by job type: a function of the job, or a mapping of stages. Other workers run the jobs of other types.
        config: settings, as a Config or as a mapping.
        settings: single settings, which override those of `config`: `Worker(conn, handlers, concurrency=8)`.
    """

    def __init__(
        self,
        conn: Connection,
        handlers: Handlers,
        config: Config | Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        check_connection(Worker, conn)
        self.config = Config.of(config).with_settings(settings)
        self.name = worker_name()
        self._conn = conn
        self._handlers = check_handlers(handlers)
        self._shutdown = Shutdown()
        self._ran = False
        self._is_prepared = False  # whether the pool can run the handlers
        self._process = os.getpid()
        self._leaving: Thread | None = None  # ends the process
        random = Random(self.config.seed)
        self._store = JobStore(conn, worker=self.name)
        self._listeners = Listeners([*self.config.listeners, *chosen(conn, **self.config.watching)])
        self._ready = _ready_set(conn, self._handlers, self.config)
        self._pool = _pool(self.config, self._listeners)
        self._build_executor(random)
        self._build_loop(random)

    def _repr_html_(self) -> str:
        about = {"store": self._conn.uri, "handlers": " ".join(self._handlers), "concurrency": self.config.concurrency}
        return factstore.rendering.html_record(f"Worker {self.name}", about)

    def _build_executor(self, random: Random) -> None:
        """Build what an attempt passes from its claim to its outcome."""
        config, store, by_type = self.config, self._store, self._handlers
        self._leases = leases = HeldLeases()
        self._judge = judge = Judge(by_type, now=self._conn.now, random=random, **config.judging)
        reporter = Reporter(store, self._listeners)
        self._settler = _settler(store, leases, reporter, judge, config, is_inline=self._pool.is_inline)
        self._executor = Executor(
            store,
            by_type,
            config,
            self._pool,
            judge=judge,
            settler=self._settler,
            reporter=reporter,
            leases=leases,
            shutdown=self._shutdown,
        )

    def _build_loop(self, random: Random) -> None:
        """Build the parts that have a thread of their own, and the loop that starts them."""
        config, store, executor = self.config, self._store, self._executor
        standby = Standby(self._conn, self.name, self._handlers.keys(), Random(random.random()))
        self._heartbeat = Heartbeat(
            store,
            self._leases,
            every=config.heartbeat_sleep_time / 1000,
            lease=config.lease,
            time_out=executor.time_out,
            look=self._look,
        )
        self._monitor = Monitor(
            store,
            lease=config.lease.total_seconds(),
            max_crashes=config.max_crashes,
            random=Random(random.random()),
            listeners=self._listeners,
            rests=partial(standby.others_work, within=min(config.lease.total_seconds() / 8, 1.0)),
        )
        rests = partial(standby.others_work, within=1.0)
        self._scheduler = Scheduler(self._conn, clock=self._conn.now, random=Random(random.random()), rests=rests)
        self._waker = Waker(store, random=Random(random.random()), rests=rests)
        self._loop = MainLoop(
            store,
            self._ready,
            executor,
            self._settler,
            config,
            types=self._handlers.keys(),
            isolates=self._pool.isolates,
            random=random,
            standby=standby,
            parts=(self._heartbeat, self._monitor, self._scheduler, self._waker, self._settler),
            shutdown=self._shutdown,
            stir=self._stir,
        )

    def _look(self) -> float:
        """Do what is due beside a handler that may block the main loop; return the seconds until the next call."""
        self._stir()
        return self._executor.look()

    def _stir(self) -> None:
        """Let the lookouts look again, because something may have been committed."""
        self._scheduler.stir()
        self._waker.stir()

    @property
    def lost(self) -> int:
        """The number of outcomes of this worker that were rejected because the lease had been lost."""
        return self._settler.lost

    @property
    def failed(self) -> list[str]:
        """The ids of its types' and queues' jobs that failed on any worker while it worked, and were not retried."""
        if not self._loop.failures:
            return []
        db = self._conn.db()
        jobs = [lookup.attributes(db, job) for job in sorted(self._loop.failures)]
        return [job[":job/id"] for job in jobs if job.get(":job/status") == FAILED and self._ready.handles(job)]

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called."""
        return self._shutdown.requested

    @property
    def busy(self) -> bool:
        """Whether handlers run, or jobs wait for a slot."""
        return self._executor.slots.occupied > 0

    def stop(self) -> None:
        """Let the jobs under way end, and claim no more. `run` then returns."""
        self._shutdown.requested = True

    def abandon(self, code: int) -> None:
        """Release the jobs under way without waiting for their handlers, and end the process. Returns at once.

        The handlers cannot be interrupted, so the process ends as in a crash. But its jobs need not wait until the
        leases expire, the worker records its end, and the listeners send what they hold. Each step has a time limit,
        because a store or an error tracker may hang. The steps run on threads of their own, because the caller may be a
        signal handler in the middle of a commit. From then on `run` does not return, so that the process has this code.
        A second call changes nothing.
        """
        self.stop()

        def leave() -> None:
            try:
                for step in (self._executor.release_all, self._store.presence.end, self._listeners.close):
                    started(Thread(target=step, name="overseer-abandon", daemon=True)).join(_LEAVING)
            finally:
                os._exit(code)

        if self._leaving is None:
            self._leaving = Thread(target=leave, name="overseer-abandon", daemon=True)
            try:
                started(self._leaving)
            except factstore.errors.Unavailable:  # the steps may not run here, so the leases expire
                os._exit(code)

    def prepare(self) -> None:
        """Check that the handlers can run as the settings require. `run` does so before it claims any job.

        Raises: HandlerError, ConfigError.
        """
        if not self._is_prepared:
            try:
                self._pool.prepare(self._handlers)
            except BaseException:
                self._pool.shutdown()
                raise
            self._is_prepared = True

    def run(self, *, until_idle: bool = False) -> None:
        """Work until `stop` is called.

        `KeyboardInterrupt` and `SystemExit`, raised by a signal, also end it, and so does the end of the program. Then
        the jobs under way are released, as they are when the worker itself fails.

        Args:
            until_idle: enqueue first what schedules have missed; return when all jobs of the handled types have ended,
                on any worker. `failed` then lists those that failed.

        Raises: HandlerError or ConfigError, before any job is claimed, if the handlers cannot run as the settings
            require.
        """
        if self._ran:
            raise OverseerError(
                ":job.error/worker-ran",
                f"{self.name} has run already, and a worker runs once: create another one",
                worker=self.name,
            )
        self._ran = True
        atexit.register(self._leave_with_program)
        try:
            with interruptible(self.stop):
                self.prepare()
                if until_idle:
                    self._scheduler.catch_up()
                self._loop.run(until_idle=until_idle)
        except (KeyboardInterrupt, SystemExit):
            self._executor.try_to_release_all()
            raise
        except BaseException as error:
            self._listeners.tell(Fatal(at=datetime.now(UTC), worker=self.name, error=error))
            self._executor.try_to_release_all()
            raise
        finally:
            self._end()

    def _end(self) -> None:
        self._shutdown.requested = True  # no handler begins after one that ends from here on
        self._pool.shutdown()
        self._listeners.close()
        self._shutdown.done.set()
        atexit.unregister(self._leave_with_program)
        if self._leaving is not None:
            self._leaving.join()

    def _leave_with_program(self) -> None:
        """Release the jobs under way and end the pool, because the program ends while the worker still runs."""
        if os.getpid() == self._process:  # not in a process that was forked from it
            self._shutdown.requested = self._shutdown.at_exit = True
            self._shutdown.done.wait(_LEAVING)


def _ready_set(conn: Connection, by_type: Mapping[Keyword, Handler], config: Config) -> ReadySet:
    queues = None if config.queues is None else map(as_keyword, config.queues)
    return ReadySet(by_type, queues=queues, elapsed=stopwatch(conn))


def _pool(config: Config, listeners: Listeners) -> Pool:
    kind = config.executor or ("inline" if config.concurrency == 1 else "threads")
    return pool(kind, config.concurrency, listeners, start_method=config.start_method)


def _settler(
    store: JobStore, leases: HeldLeases, reporter: Reporter, judge: Judge, config: Config, *, is_inline: bool
) -> Settler:
    """Return the settler for a pool: what runs on the worker's thread is settled there too."""
    flush = config.flush / 1000
    if is_inline:
        return InlineSettler(store, leases, reporter, judge, flush=flush)
    return ThreadSettler(store, leases, reporter, judge, flush=flush, most=config.holds)


class Running(ConnectionBound):
    """A worker that runs on a thread of its own; returned by `start`."""

    def __init__(self, worker: Worker, conn: Connection) -> None:
        self.worker = worker
        self.conn = conn
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="overseer-worker", daemon=True)
        started(self._thread)

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as error:
            log.exception("worker %s failed", self.worker.name)
            self._error = error

    def _repr_html_(self) -> str:
        state = "running" if self._thread.is_alive() else "ended" if self._error is None else "failed"
        return factstore.rendering.html_record("Running", {"worker": self.worker.name, "state": state})

    def join(self, timeout: Timeout | None = None) -> bool:
        """Wait for the worker to end, at most for the timeout, and return whether it has; raise its error, if any.

        Args:
            timeout: seconds, a timedelta or a text such as "30s"; None waits without a limit.
        """
        limit = timeout_of(timeout)
        self._thread.join(None if limit is None else max(limit, 0.0))
        if self._error is not None:
            raise self._error
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Let the jobs under way end, then close the connection."""
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
    """Open the store of the settings, start a worker on it in the background, and return it.

    Args:
        config: settings; `store` is required.
        handlers: by job type.

    Raises: HandlerError or ConfigError for handlers that cannot run as the settings require.
    """
    settings = Config.of(config)
    if not settings.store:
        raise ConfigError(
            ":job.error/bad-config", "the setting store is required: the path or uri of the store", setting="store"
        )
    conn = factstore.connect(settings.store)
    if not conn.db().basis_t and not settings.store.startswith("memory:"):
        log.warning("the store %s is new and empty; check that its path is right", settings.store)
    try:
        install(conn)  # here too, not only on the worker's thread: the caller may insert jobs as soon as this returns
        worker = Worker(conn, handlers, settings)
        worker.prepare()
        try:
            return Running(worker, conn)
        except BaseException:
            worker._end()
            raise
    except BaseException:
        conn.close()
        raise
