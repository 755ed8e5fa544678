"""Tools for tests of handlers: run all jobs in this thread, with a clock that moves only when a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Final

from overseer.events import Listeners
from overseer.handler import Handler, Handlers, check_handlers
from overseer.jobs.store import JobStore, install
from overseer.sources import of_connection
from overseer.worker import Config
from overseer.worker.executor import Executor, Shutdown
from overseer.worker.heartbeat import HeldLeases
from overseer.worker.judge import Judge
from overseer.worker.pools.pools import pool
from overseer.worker.ready import ReadySet
from overseer.worker.settler import InlineSettler, Reporter

if TYPE_CHECKING:
    from factstore import Connection, Keyword, TxReports

_START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """A clock that moves only when it is moved; pass it to `factstore.connect(…, clock=…)`.

    Rates and pauses use it, too. Setting it back, by `now`, does not set back its elapsed time.
    """

    def __init__(self, now: datetime = _START) -> None:
        self.now = now
        self._last = now
        self._elapsed = 0.0

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self.now += timedelta(seconds=seconds)

    def elapsed(self) -> float:
        """Return the seconds by which the clock was moved forward between calls."""
        self._elapsed += max(0.0, (self.now - self._last).total_seconds())
        self._last = self.now
        return self._elapsed


@of_connection
def drain(
    conn: Connection,
    handlers: Handlers,
    *,
    seed: int | None = 0,
    wait: bool = False,
    most: int = 100_000,
    config: Config | None = None,
) -> int:
    """Run ready jobs in this thread until none is left, and return the number of attempts.

    Args:
        seed: determines the order of ready jobs; None is a random order.
        wait: also run the jobs that wait for their time. A FakeClock is moved to that time; with any other clock, the
            jobs run as if their time had come.
        most: maximum number of attempts, after which a RuntimeError is raised, for jobs that never end.
        config: retry policies, timeouts and listeners; its other settings have no effect.
    """
    by_type = check_handlers(handlers)
    install(conn)
    attempts = 0
    with conn.tx_reports() as reports:
        bench = _Bench(conn, reports, by_type, config or Config(), Random(seed))
        while (job := bench.next(wait=wait)) is not None:
            attempts += bench.run(job)
            if attempts > most:
                raise RuntimeError(f"{most} attempts were not enough to drain the jobs")
    return attempts


class _Bench:
    """A worker without threads, which claims, runs and settles one job at a time."""

    def __init__(
        self, conn: Connection, reports: TxReports, by_type: dict[Keyword, Handler], config: Config, random: Random
    ) -> None:
        self._conn = conn
        self._reports = reports
        self._ready = ReadySet(by_type)
        self._ready.load(conn.db())
        self._config = config
        self._random = random
        self._store = store = JobStore(conn, worker="drain")
        listeners = Listeners(config.listeners)
        leases = HeldLeases()  # without a heartbeat: no other worker claims the jobs, however long a handler runs
        judge = Judge(by_type, retries=config.retries, max_crashes=config.max_crashes, now=conn.now, random=random)
        reporter = Reporter(store, listeners)
        self._settler = InlineSettler(store, leases, reporter, judge)
        self._executor = Executor(
            store,
            by_type,
            config,
            pool("inline", 1, listeners),
            judge=judge,
            settler=self._settler,
            reporter=reporter,
            leases=leases,
            shutdown=Shutdown(),
        )

    def next(self, *, wait: bool) -> int | None:
        """Return a job that may start, after aborting the jobs that never can."""
        self._absorb()
        while doomed := self._ready.take_doomed():
            self._store.give_up(doomed)
            self._absorb()
        now = self._conn.now()
        while True:
            allowed = self._store.allowance(self._conn.db(), now) if self._ready.limited and len(self._ready) else None
            picked = self._ready.pick(1, now=now, random=self._random, allowed=allowed)
            due = self._ready.next_due()
            if picked or not wait or due is None:
                return picked[0] if picked else None
            now = max(now, due)
            if isinstance(self._conn.clock, FakeClock):
                self._conn.clock.now = now

    def run(self, job: int) -> int:
        """Run a job, and return the number of attempts: 0 if it could not be claimed."""
        claimed = self._store.claim([job], lease=self._config.lease)
        self._executor.add(claimed)
        self._settler.flush()
        if not claimed:
            self._ready.look(self._conn.db(), job)
        return len(claimed)

    def _absorb(self) -> None:
        self._conn.db()  # so that commits of other processes are reported, too
        while (report := self._reports.get(0.0)) is not None:
            self._ready.absorb(report.db_after, report.tx_data)
