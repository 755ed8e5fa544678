"""The scheduler of a worker: it enqueues the jobs of schedules when they are due. Every worker has one, none leads."""

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

if TYPE_CHECKING:
    from factstore import Connection, TxReports

log = logging.getLogger("overseer")

_LEAST_PAUSE: Final = 0.02  # seconds between two portions
_AHEAD: Final = timedelta(
    minutes=1
)  # by which a schedule's last time may be ahead of the clock: clocks of processes differ
_SET: Final = timedelta(seconds=10)  # a clock that moves by so much more or less than elapsed time was set


class Scheduler(Lookout):
    """Ticks until it is stopped, shortly after each nominal time.

    What was missed is enqueued in portions, and jobs run meanwhile. Idle schedules cost nothing: it follows the log for their facts,
    and looks only at those that are due.

    Args:
        clock: tells what is due.
        random: spreads the schedulers of several workers in time.
        every: seconds after which to look again, for schedules that are new.
    """

    def __init__(self, conn: Connection, *, clock: Callable[[], datetime], random: Random, every: float = 1.0) -> None:
        super().__init__("cron")
        self._conn = conn
        self._clock = clock
        self._random = random
        self._every = every
        self._told: dict[
            str, int
        ] = {}  # schedule → the t of its facts of which it was logged that they enqueue nothing
        self._reports: TxReports | None = None  # while there are schedules
        self._times: dict[int, datetime] = {}  # schedule → its next nominal time
        self._agenda: list[tuple[datetime, int]] = []  # heap of them; an entry counts only while `_times` says the same
        self._elapsed = stopwatch(conn)
        self._looked = (clock(), self._elapsed())
        self._took = 0.0  # seconds that the last portions took; 0 when nothing is left

    def stop(self) -> None:
        """Look no more."""
        super().stop()
        self.close()

    def close(self) -> None:
        """Follow the log no more."""
        if self._reports is not None:
            self._reports.close()

    def look(self) -> list[str]:
        """Enqueue what is due now, and return the ids of those jobs; a schedule that cannot be enqueued is logged once as it stands."""
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
                self._complain(eid, error.message)
                self._put(
                    eid, now + timedelta(seconds=self._every)
                )  # somebody may mend it without a word about the schedule
            else:
                self._plan(eid, now)
        is_behind = bool(self._agenda) and self._agenda[0][0] <= now
        self._took = monotonic() - began if is_behind else 0.0
        return enqueued

    def _follow(self, now: datetime) -> None:
        """Take in what was said about schedules since the last look; all of them, when the clock was set."""
        db = self._conn.db()
        was, then = self._looked
        self._looked = (now, self._elapsed())
        if not any_schedules(db):
            return
        is_set = abs((now - was).total_seconds() - (self._looked[1] - then)) > _SET.total_seconds()
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
        """Put a schedule where its next time is."""
        self._times.pop(eid, None)
        try:
            schedule = read_schedule(self._conn.db(), eid)
            if schedule is not None and not schedule.paused and schedule.after - now > _AHEAD:
                schedule = self._go_on_from(schedule, now)
            time = next_time(schedule) if schedule is not None else None
        except OverseerError as error:
            self._complain(eid, error.message)
            return
        if time is not None:
            self._put(eid, time)

    def _put(self, eid: int, time: datetime) -> None:
        self._times[eid] = time
        heapq.heappush(self._agenda, (time, eid))

    def _go_on_from(self, schedule: Schedule, now: datetime) -> Schedule | None:
        """Let a schedule whose times count from one that is ahead of the clock go on from now: a clock was wrong then, or is now.

        Times that have become jobs already do not become jobs again, for these have the same ids.
        """
        log.warning(
            "the schedule %s counts from %s, which is ahead of the clock; it goes on from now",
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
        """Take from the agenda the schedules that are due."""
        found: list[int] = []
        while self._agenda and self._agenda[0][0] <= now:
            time, eid = heapq.heappop(self._agenda)
            if self._times.get(eid) == time:
                del self._times[eid]
                found.append(eid)
        return found

    def _complain(self, eid: int, why: str) -> None:
        db = self._conn.db()
        id = lookup.value(db, eid, ":schedule/id", f"entity {eid}")
        changed = max((datom.tx for datom in db.datoms("eavt", eid)), default=0)
        # Not by the reason, which names the time of an occurrence and so differs each time.
        if self._told.get(id) != changed:
            log.error("nothing is enqueued for the schedule %s: %s (entity %s)", id, why, eid)
            self._told[id] = changed

    def pause(self) -> float:
        """Return the seconds to wait before the next look; a random part keeps schedulers from looking all at once."""
        if self._took:  # as long again, so that what is missed takes half of the time at most
            return min(max(self._took, _LEAST_PAUSE), self._every)
        now = self._clock()
        while self._agenda and self._times.get(self._agenda[0][1]) != self._agenda[0][0]:
            heapq.heappop(self._agenda)
        until = (self._agenda[0][0] - now).total_seconds() if self._agenda else self._every
        return max(0.0, min(until, self._every)) + self._every / 4 * self._random.random()
