"""A worker without threads, which claims, runs and settles one job at a time: the real parts, called in order.

reports ──► ready set ──► next ──► claim ──► executor ──► settler
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING, Protocol

from overseer.events import Listeners
from overseer.handler import Handler
from overseer.jobs.leases import random_token
from overseer.jobs.store import JobStore
from overseer.testing.clock import FakeClock
from overseer.worker import Config
from overseer.worker.executor import Executor, Shutdown
from overseer.worker.heartbeat import HeldLeases
from overseer.worker.judge import Judge
from overseer.worker.pools.pools import Pool, pool
from overseer.worker.ready import TAILED, ReadySet
from overseer.worker.settler import InlineSettler, Reporter

if TYPE_CHECKING:
    from factstore import Connection, Keyword, TxReport


class Reports(Protocol):
    """A queue of reports, such as `factstore.TxReports`."""

    def get(self, timeout: float | None = None) -> TxReport | None:
        """Return the next report, or None after `timeout` seconds without one."""


class Bench:
    """A worker without threads.

    Args:
        reports: of all transactions after the database that `ready` has read.
        ready: the jobs that may start.
        config: retry policies, timeouts, the lease and listeners; its other settings have no effect.
        random: chooses among ready jobs.
        worker: its name.
        runs: runs the handlers on this thread; None is a pool that runs them inline.
        token: returns a text that no other lease has.
    """

    def __init__(
        self,
        conn: Connection,
        reports: Reports,
        by_type: Mapping[Keyword, Handler],
        config: Config,
        *,
        ready: ReadySet,
        random: Random,
        worker: str,
        runs: Pool | None = None,
        token: Callable[[], str] = random_token,
    ) -> None:
        self._conn = conn
        self._reports = reports
        self.ready = ready
        self._config = config
        self._random = random
        self.store = store = JobStore(conn, worker=worker, token=token)
        listeners = Listeners(config.listeners)
        self.leases = leases = HeldLeases()  # without a heartbeat, unless the owner of the bench lets it beat
        judge = Judge(by_type, now=conn.now, random=random, **config.judging)
        reporter = Reporter(store, listeners)
        self._settler = InlineSettler(store, leases, reporter, judge)
        self.executor = Executor(
            store,
            by_type,
            config,
            pool("inline", 1, listeners) if runs is None else runs,
            judge=judge,
            settler=self._settler,
            reporter=reporter,
            leases=leases,
            shutdown=Shutdown(),
        )

    def next(self, *, wait: bool) -> int | None:
        """Return a job that may start, after aborting the jobs that never can.

        Args:
            wait: return a job that waits for its time, if no other can start, and move a FakeClock to that time.
        """
        self._absorb()
        while self.ready.doomed:
            self.store.give_up(self.ready.take_doomed())
            self._absorb()
        if self.store.wake():
            self._absorb()
        now = self._conn.now()
        while True:
            self.ready.wake(now)
            limited = self.ready.limited and len(self.ready)
            allowed = self.store.allowance(self._conn.db(), now) if limited else None
            picked = self.ready.pick(1, now=now, random=self._random, allowed=allowed)
            due = self.ready.next_due()
            if picked or not wait or due is None:
                return picked[0] if picked else None
            now = max(now, due)
            if isinstance(self._conn.clock, FakeClock):
                self._conn.clock.now = now

    def run(self, job: int) -> int:
        """Run a job, and return the number of attempts: 0 if it could not be claimed."""
        claimed = self.store.claim([job], lease=self._config.lease)
        self.executor.add(claimed)
        self._settler.flush()
        if not claimed:
            self.ready.look(self._conn.db(), job)
        return len(claimed)

    def _absorb(self) -> None:
        self._conn.db()  # so that commits of other processes are reported, too
        while (report := self._reports.get(0.0)) is not None:
            self.ready.absorb(report.db_after, report.datoms_of(*TAILED))
