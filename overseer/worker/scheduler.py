"""The scheduler of a worker enqueues the jobs of schedules that are due. Every worker has one; there is no leader."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from random import Random
from time import monotonic
from typing import TYPE_CHECKING, Final

from factstore import CasFailed, StorageError, TransactError
from overseer.cron import FACTS, Schedule, any_schedules, next_time, read_schedule, schedule_entities, tick_portion
from overseer.errors import OverseerError, is_busy
from overseer.jobs import lookup, txns
from overseer.jobs.rates import stopwatch
from overseer.worker.lookout import Lookout
from overseer.worker.pacing.arrivals import Arrivals

if TYPE_CHECKING:
    from factstore import Connection, TxReports

log = logging.getLogger("overseer")

_LEAST_PAUSE: Final = 0.02  # seconds between two portions
# A schedule's last time may be ahead of the clock by this: the clocks of processes differ.
_AHEAD: Final = timedelta(minutes=1)
_SET: Final = timedelta(seconds=10)  # if the clock differs from elapsed time by more, it was set


class Scheduler(Lookout):
    """Enqueues jobs until it is stopped, shortly after each nominal time.

    Missed times are enqueued in portions, and jobs run meanwhile. Idle schedules cost nothing: the scheduler follows
    the log for their facts, and reads only schedules that are due.

    Args:
        clock: determines which schedules are due.
        random: spreads the schedulers of several workers in time.
        every: seconds between two checks for new schedules.
        rests: whether another worker is certainly at work, which then enqueues what is due.
    """

    def __init__(
        self,
        conn: Connection,
        *,
        clock: Callable[[], datetime],
        random: Random,
        every: float = 1.0,
        rests: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__("cron", rests)
        self._conn = conn
        self._clock = clock
        self._random = random
        self._every = every
        self._logged: dict[str, int] = {}  # schedule → the t of its facts for which an error was logged
        self._reports: TxReports | None = None  # while there are schedules
        self._arrivals = Arrivals(conn, ":schedule/id")
        self._times: dict[int, datetime] = {}  # schedule → its next nominal time
        self._agenda: list[
            tuple[datetime, int]
        ] = []  # heap of the same; an entry that differs from `_times` is obsolete
        self._elapsed = stopwatch(conn)
        self._last_look = (clock(), self._elapsed())
        self._took = 0.0  # seconds that the last portions took; 0 if nothing is left

    def stop(self) -> None:
        """End the thread."""
        super().stop()
        self.close()

    def close(self) -> None:
        """Stop following the log."""
        if self._reports is not None:
            self._reports.close()

    def look(self) -> list[str]:
        """Enqueue the jobs that are due now, and return their ids; an error of a schedule is logged once."""
        began, now = monotonic(), self._clock()
        self._follow(now)
        enqueued: list[str] = []
        for eid in self._due(now):
            if self._stopped.is_set():
                break
            try:
                enqueued += tick_portion(self._conn, eid, now)
            except StorageError as error:
                if not is_busy(error):
                    raise
                self._put(eid, now + timedelta(seconds=self._every))
            except (OverseerError, TransactError) as error:
                self._log_once(eid, error.message)
                # The facts that repair it need not belong to the schedule, so it is tried again.
                self._put(eid, now + timedelta(seconds=self._every))
            else:
                self._plan(eid, now)
        is_behind = bool(self._agenda) and self._agenda[0][0] <= now
        self._took = monotonic() - began if is_behind else 0.0
        return enqueued

    def catch_up(self) -> None:
        """Enqueue all jobs that are due now. Called before `start`, for a worker that ends when no job is left."""
        self.look()
        while self._took and not self._stopped.is_set():
            self.look()

    def _follow(self, now: datetime) -> None:
        """Plan the schedules that have changed since the last look, or all of them if the clock was set."""
        last_time, last_elapsed = self._last_look
        self._last_look = (now, self._elapsed())
        if (self._reports is None and not self._arrivals.any()) or not any_schedules(self._conn.db()):
            return
        elapsed = self._last_look[1] - last_elapsed
        is_set = abs((now - last_time).total_seconds() - elapsed) > _SET.total_seconds()
        if self._reports is None or is_set:
            self._reports = self._reports or self._conn.tx_reports()
            changed = set(schedule_entities(self._conn.db()).values())
        else:
            changed = set()
        while (report := self._reports.get(0.0)) is not None:
            changed.update(datom.e for datom in report.datoms_of(*FACTS))
        for eid in changed:
            self._plan(eid, now)

    def _plan(self, eid: int, now: datetime) -> None:
        """Put a schedule on the agenda at its next time."""
        self._times.pop(eid, None)
        try:
            schedule = read_schedule(self._conn.db(), eid)
            if schedule is not None and not schedule.paused and schedule.after - now > _AHEAD:
                schedule = self._continue_from(schedule, now)
            time = next_time(schedule) if schedule is not None else None
        except OverseerError as error:
            self._log_once(eid, error.message)
            return
        if time is not None:
            self._put(eid, time)

    def _put(self, eid: int, time: datetime) -> None:
        self._times[eid] = time
        heapq.heappush(self._agenda, (time, eid))

    def _continue_from(self, schedule: Schedule, now: datetime) -> Schedule | None:
        """Let a schedule whose last time is ahead of the clock continue from now: a clock was wrong then, or is now.

        Times that have jobs already get no second job, because it would have the same id.
        """
        log.warning(
            "the last time of the schedule %s is %s, which is ahead of the clock; it continues from now",
            schedule.id,
            schedule.after,
        )
        try:
            with suppress(CasFailed):  # another scheduler may be first
                self._conn.transact([[txns.CAS, schedule.eid, ":schedule/last", schedule.last, now]])
        except StorageError as error:
            if not is_busy(error):
                raise
        return read_schedule(self._conn.db(), schedule.eid)

    def _due(self, now: datetime) -> list[int]:
        """Remove the schedules that are due from the agenda, and return them."""
        due: list[int] = []
        while self._agenda and self._agenda[0][0] <= now:
            time, eid = heapq.heappop(self._agenda)
            if self._times.get(eid) == time:
                del self._times[eid]
                due.append(eid)
        return due

    def _log_once(self, eid: int, why: str) -> None:
        db = self._conn.db()
        id = lookup.value(db, eid, ":schedule/id", f"entity {eid}")
        changed = max((datom.tx for datom in db.datoms("eavt", eid)), default=0)
        # The reason is not compared: it contains a time, and so differs each time.
        if self._logged.get(id) != changed:
            log.error("nothing is enqueued for the schedule %s: %s (entity %s)", id, why, eid)
            self._logged[id] = changed

    @property
    def awaits_commit(self) -> bool:
        """Whether there has been no schedule yet; one can become due at any time, because the clock can be set."""
        return self._reports is None

    def pause(self) -> float:
        """Return the seconds until the next look; a random part keeps schedulers from looking at the same time."""
        if self._took:  # as long again, so that missed times take half of the time at most
            return min(max(self._took, _LEAST_PAUSE), self._every)
        now = self._clock()
        while self._agenda and self._times.get(self._agenda[0][1]) != self._agenda[0][0]:
            heapq.heappop(self._agenda)
        until = (self._agenda[0][0] - now).total_seconds() if self._agenda else self._every
        return max(0.0, min(until, self._every)) + self._every / 4 * self._random.random()
