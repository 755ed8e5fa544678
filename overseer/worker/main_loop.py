"""The main loop of a worker: it follows the log, claims ready jobs, and hands them to the executor."""

from __future__ import annotations

import logging
import time
from functools import partial
from math import inf
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from overseer.jobs import lookup
from overseer.jobs.crashes import suspect_from
from overseer.jobs.job import Job
from overseer.jobs.queues import allowance, next_start, problems
from overseer.jobs.rates import slack
from overseer.jobs.states import CRASHES, FAILED, STARTED, STATUSES, as_keyword
from overseer.jobs.store import JobStore, install
from overseer.jobs.store.presence import running
from overseer.planning import obstacles
from overseer.planning.unhandled import Unhandled
from overseer.worker.config import Config
from overseer.worker.executor import Executor, Shutdown
from overseer.worker.pacing.standby import Known, Standby
from overseer.worker.ready import TAILED, ReadySet
from overseer.worker.settler import Settler

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from factstore import Database, Datom, Keyword, TxReports

log = logging.getLogger("overseer")

_ATTENTION: Final = 0.25  # seconds: how often a waiting worker checks whether it must stop, or the clock was set
_LONGEST: Final = 1.0  # seconds of waiting while no job waits for a time or a queue
_STANDSTILL: Final = 1.0  # seconds without any commit, after which a worker that runs until idle logs what it waits for
_SAFE: Final = 0.5  # part of the slack of a rate in which jobs that wait for a slot are expected to begin
_NOT_STARTED: Final = frozenset(STATUSES) - {STARTED}


class Part(Protocol):
    """A part of a worker with a thread of its own."""

    error: BaseException | None

    def start(self) -> None:
        """Start the thread."""

    def stop(self) -> None:
        """End the thread."""


class MainLoop:
    """Claims jobs and lets them run, on the thread of its caller.

    Args:
        types: the job types that have handlers.
        isolates: whether a handler that crashes takes no other with it.
        random: chooses among ready jobs.
        standby: decides what the worker takes in while it has no claim.
        parts: are started before the first claim, and stopped in the same order; the settler is the last.
        stir: is called after commits, before the loop waits for the next one.
    """

    def __init__(
        self,
        store: JobStore,
        ready: ReadySet,
        executor: Executor,
        settler: Settler,
        config: Config,
        *,
        types: Collection[Keyword],
        isolates: bool,
        random: Random,
        standby: Standby,
        parts: Sequence[Part],
        shutdown: Shutdown,
        stir: Callable[[], None],
    ) -> None:
        self._conn = store.conn
        self._store = store
        self._ready = ready
        self._executor = executor
        self._settler = settler
        self._config = config
        self._types = types
        self._random = random
        self._standby = standby
        self._parts = parts
        self._shutdown = shutdown
        self._stir = stir
        # A job that one more crash would fail runs alone, so that a crash is certainly its own.
        self._suspect_from = config.max_crashes if isolates else suspect_from(config.max_crashes)
        self._suspects: list[int] = []  # ready jobs that wait until no other job runs
        self._has_suspect = False  # whether the running job is a suspect
        self._within = inf  # seconds within which the jobs of the next claim must begin
        self._bad_settings: dict[Keyword, str] = {}  # the problems that were logged
        self._t = self._stirred_t = -1  # the newest transaction that is taken in, and the newest at the last `stir`
        self._own = set[int]()  # the jobs that this worker claimed and has not seen started in the log
        self._other: str | None = None  # a worker that has started jobs since the last claim
        self._standstill = _Standstill()
        self._unhandled = Unhandled(store.worker)
        self.failures = set[int]()  # jobs that failed on any worker since this loop began

    def run(self, *, until_idle: bool) -> None:
        """Work until the shutdown is requested; with `until_idle`, also until no job of these types is left."""
        started: list[Part] = []
        install(self._conn)
        with self._conn.tx_reports() as reports:
            try:
                db = self._conn.db()
                self._ready.load(db)
                self._t = db.basis_t
                queues = None if self._config.queues is None else map(as_keyword, self._config.queues)
                self._standby.expect(running(db, self._types))
                self._store.presence.begin(handlers=self._types, queues=queues, slots=self._executor.slots.count)
                self._log_start()
                for part in self._parts:
                    started.append(part)  # first: if an exception ends `start`, the thread may run
                    part.start()
                while not self._shutdown.requested:
                    self._check_parts()
                    self._absorb(reports)
                    if until_idle and not self._ready.live:
                        self._absorb(reports, wait=0.0)
                        if not self._ready.live:
                            break
                    self._work_or_wait(reports, until_idle)
                    if until_idle:
                        self._report_standstill()
                if self._shutdown.requested:
                    log.info("worker %s stops: %d jobs still run", self._store.worker, self._executor.slots.occupied)
                self._finish(reports)
            finally:
                self._shutdown.requested = True
                for part in started:
                    part.stop()
                if self._shutdown.at_exit:
                    self._executor.release_all()
                self._store.presence.end()
        self._check_parts()  # again: the settler may have failed on its last outcomes

    def _log_start(self) -> None:
        queues = "all queues" if self._config.queues is None else f"queues {', '.join(self._config.queues)}"
        log.info(
            "worker %s starts: handlers %s; %s; %d at a time",
            self._store.worker,
            ", ".join(sorted(self._types)) or "none",
            queues,
            self._executor.slots.count,
        )

    def _work_or_wait(self, reports: TxReports, until_idle: bool) -> None:
        """Claim ready jobs and let them run, or wait for the next change."""
        if self._ready.doomed:
            self._store.give_up(self._ready.take_doomed())
        self._unhandled.look(self._ready.others, self._conn.db)
        room = self._room()
        if room <= 0 or self._settler.is_behind:
            self._settler.catch_up()
            if room <= 0:
                self._executor.slots.wait_for_room(_ATTENTION)
            # Not until the next job is due: it may be due already, and the loop would spin.
            self._absorb(reports, wait=_ATTENTION if room > 0 else 0.0)
            return
        picked = [] if self._standby.leaves_jobs else self._suspects[:1] or self._pick(room)
        claimed = self._claim(picked, room) if picked else []
        settled = self._settler.catch_up()
        if not picked and not settled:
            self._wait(reports, until_idle)
        self._executor.add(claimed)

    def _wait(self, reports: TxReports, until_idle: bool) -> None:
        """Wait for commits that this worker should take in, or until something is due."""
        patience = self._patience(until_idle)
        newest = max(self._t, self._standby.t)
        if newest != self._stirred_t:  # not earlier, because the other threads would delay the start of a job
            self._stirred_t = newest
            self._stir()
        if self._standby.is_eager:
            if self._in_steps(lambda seconds: self._absorb(reports, wait=seconds), patience):
                self._standby.took_in()
            return
        self._absorb(reports)
        ready = self._ready
        has_jobs = bool(ready.live) or self._executor.slots.occupied > 0
        known = Known(self._t, ready.unstarted, ready.others, has_jobs, is_last=until_idle)
        is_due = patience < _ATTENTION
        if self._in_steps(lambda seconds: self._standby.wait(seconds, known, is_due=is_due), patience):
            self._absorb(reports, wait=0.0)

    def _in_steps(self, wait: Callable[[float], bool], patience: float) -> bool:
        """Wait in short steps, until one returns True, or for `patience` seconds, or until the worker must end.

        Returns: whether a step returned True.
        """
        deadline, left = time.monotonic() + patience, patience
        while True:
            if wait(min(left, _ATTENTION)):
                return True
            left = deadline - time.monotonic()
            if left <= 0 or self._shutdown.requested or any(part.error is not None for part in self._watched):
                return False

    def _claim(self, picked: list[int], room: int) -> list[Job]:
        """Claim jobs, and read again those that another worker has claimed, or that would begin too late."""
        alone = not self._executor.slots.occupied
        claimed = self._store.claim(
            picked,
            lease=self._config.lease,
            commit=self._settler.commit,
            suspect_from=self._suspect_from,
            alone=alone,
            fits=partial(self._executor.slots.fits, within=self._within),
        )
        slots = self._executor.slots
        slots.ahead.claimed(len(claimed), chosen=len(picked), room=room)
        self._standby.claimed(len(claimed), slots.busy, slots.count, self._other)
        self._own.update(job.eid for job in claimed)
        self._other = None
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
        """Return the number of jobs that may be claimed now: none if a suspect would run beside another job."""
        if self._suspects:
            self._suspects = [job for job in self._suspects if job in self._ready]
        slots = self._executor.slots
        return 0 if (self._suspects or self._has_suspect) and slots.occupied else slots.room

    def _pick(self, limit: int) -> list[int]:
        now, self._within = self._conn.now(), inf
        if self._ready.settings_changed:
            self._ready.settings_changed = False
            self._report_bad_settings()
        self._ready.wake(now)
        if not (self._ready.limited and len(self._ready)):
            return self._ready.pick(limit, now=now, random=self._random)
        db = self._conn.db()
        queues = self._store.paced_queues(db, now)
        slacks = [slack(queue.period).total_seconds() for queue in queues.values() if queue.rate]
        if slacks:
            # A job that waits for a slot starts later than it is counted, but not by more than the slack.
            self._within = _SAFE * min(slacks)
            limit = self._executor.slots.most(limit, within=self._within)
        if limit <= 0:
            return []
        return self._ready.pick(limit, now=now, random=self._random, allowed=allowance(db, now, queues))

    def _report_bad_settings(self) -> None:
        """Log invalid settings of queues once."""
        bad_settings = problems(self._conn.db())
        for name in bad_settings.keys() - self._bad_settings.keys():
            log.error("the queue %s: %s", name, bad_settings[name])
        self._bad_settings = bad_settings

    def _patience(self, until_idle: bool) -> float:
        """Return the seconds to wait for a commit: until the next job is due, or a queue lets another job start."""
        now = self._conn.now()
        times = [self._ready.next_due()]
        if self._ready.limited and len(self._ready):
            times.append(next_start(self._store.paced_queues(self._conn.db(), now), now))
        waits = [(time - now).total_seconds() for time in times if time is not None]
        longest = _ATTENTION if until_idle or waits or len(self._ready) else _LONGEST
        return max(0.0, min(self._ready.next_pause(), *waits, self._config.sleep_time / 1000, longest))

    def _absorb(self, reports: TxReports, *, wait: float | None = None) -> bool:
        """Take in the transactions since the last call, and return whether there are any.

        Args:
            wait: seconds to wait for the first; None: only those that this process has read already.
        """
        t = self._t
        report = reports.get_nowait() if wait is None else reports.get(wait)
        datoms: list[Datom] = []
        while report is not None:
            if report.t > self._t:
                self._t = report.t
                datoms += report.datoms_of(*TAILED)
                db = report.db_after
            report = reports.get_nowait()  # later commits are found by the next claim, or by the next call
        if datoms:
            self._ready.absorb(db, datoms)
            self.failures.update(datom.e for datom in datoms if datom.added and datom.v == FAILED)
            self._notice_others(db, [datom.e for datom in datoms if datom.added and datom.v == STARTED])
            moved = {d.e for d in datoms if d.added and d.v in _NOT_STARTED and self._executor.holds(d.e)}
            if moved:
                self._executor.drop(job for job in moved if lookup.status(db, job) != STARTED)
        return self._t > t

    def _notice_others(self, db: Database, started: Sequence[int]) -> None:
        """Note another worker that started one of these jobs, which are in the order of the log."""
        foreign = [job for job in started if job not in self._own]
        if foreign:
            self._other = lookup.value(db, foreign[-1], ":job/worker")
            self._standby.notice_others(last=started[-1] == foreign[-1])
        self._own.difference_update(started)

    def _finish(self, reports: TxReports) -> None:
        """Let the attempts under way end. Their leases are still renewed, and aborted jobs are still stopped."""
        self._executor.release_waiting()
        while not self._executor.wait(_ATTENTION) and not self._shutdown.at_exit:
            self._check_parts()
            self._absorb(reports, wait=0.0)

    @property
    def _watched(self) -> tuple[Part | Executor, ...]:
        return (*self._parts, self._executor)

    def _check_parts(self) -> None:
        for part in self._watched:
            if part.error is not None:
                raise part.error

    def _report_standstill(self) -> None:
        """Log what keeps the remaining jobs from running, once the jobs and the reasons stay the same for a while."""
        now = time.monotonic()
        if now - self._standstill.since < _STANDSTILL or self._standby.others_work(
            within=_STANDSTILL
        ):  # reading the store between every two jobs would be too slow
            return
        db = self._conn.db()
        if self._executor.slots.occupied or self._settler.pending or db.basis_t != self._standstill.t:
            self._standstill = _Standstill(db.basis_t, now, self._standstill.reasons)
        elif not self._standstill.is_examined:
            reasons = tuple(obstacles.reasons(db, self._ready.live, self._types, self._conn.now()))
            if reasons and reasons != self._standstill.reasons:
                log.warning("worker %s waits, and is not idle; %s", self._store.worker, "; ".join(reasons))
            self._standstill = _Standstill(db.basis_t, now, reasons, is_examined=True)


class _Standstill(NamedTuple):
    """The time since which nothing was committed, and the reasons that were last logged."""

    t: int = -1
    since: float = 0.0  # on the monotonic clock
    reasons: tuple[str, ...] = ()
    is_examined: bool = False
