"""When a worker without a claim takes part, and when it leaves that to others.

Every commit can wake every worker. If each of them took in all transactions and tried to claim every job, the cost
would grow with the square of their number. So a worker that had no use for the last commits peeks at the next ones: it
sleeps for a moment, and counts what was committed meanwhile, without taking it in (`Connection.peek`).

    nothing is unstarted                                         it continues to sleep
    no job of its types came, and it has none                    it continues to sleep
    the handlers take less time than the claims, and another
      worker starts the jobs about as fast as this one could     it continues to sleep: it would only be in the way
    otherwise                                                    it takes everything in, and claims

Of several workers that are in the way of each other, the one whose name is the first continues to work. Another one
stands back: it claims nothing until no job has started for `QUIET` seconds, or until the others turn out to be slow.
The time after which it decides the latter doubles each time that it stands back again. A worker that has not run any
job yet does the same while the others start a job in a millisecond, and then tries. All times have a random part, so
that one worker returns, and the others see that it starts jobs.

Laws: a job that no other worker starts is taken in within `QUIET * SPREAD + 2 * LONGEST` seconds. Peeking takes at most
`SHARE` of the time, unless transactions come faster than `LONGEST` allows.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from overseer.jobs.states import ABORTED, FAILED, FINISHED, STARTED, UNSTARTED, Reason

if TYPE_CHECKING:
    from factstore import Connection, Keyword

LONGEST: Final = 0.1  # seconds between two peeks, on average
SHORTEST: Final = 0.005
SHARE: Final = 1 / 400  # of the time of a thread, for peeks
QUIET: Final = 0.3  # seconds without a started job after which the first worker that stands back claims again
SPREAD: Final = 4  # times that, after which the last one does
AT_WORK: Final = 1.0  # seconds for which another worker that has started a job is expected to be alive

_FIRST_DOUBT: Final = 0.3  # seconds after which a worker that stands back decides whether the others are too slow
_LAST_DOUBT: Final = 3.0
_SLOW: Final = 10  # times the time of this worker for a job, from which on others are too slow to be left alone
_UNKNOWN: Final = 0.0001  # seconds for a job, as long as this worker has not run any
_WORTHWHILE: Final = 0.5  # of the time spent in handlers, from which on another worker is of use

_STATUS: Final = ":job/status"
_MOVES: Final[list[tuple[Any, Any, bool]]] = [
    (_STATUS, UNSTARTED, True),
    (_STATUS, UNSTARTED, False),
    (_STATUS, STARTED, True),
    (":job/reason", Reason.INTERRUPTED, True),
    *((_STATUS, ended, False) for ended in (FINISHED, FAILED, ABORTED)),
]


class Known(NamedTuple):
    """What a worker has taken in."""

    t: int
    unstarted: int  # the number of unstarted jobs of all types
    others: int  # the number of unstarted jobs that this worker does not handle
    has_jobs: bool  # whether there are live jobs that it handles
    is_last: bool  # whether it must also take in the end of the last job


class Standby:
    """Decides what a worker takes in while it has no claim; used by the thread of the main loop.

    Args:
        worker: the name of this worker.
        types: the types of jobs that it handles.
        random: spreads the peeks of several workers in time.
        clock: the monotonic clock.
        sleep, effort: sleeps, and returns the processor time of this thread; other ones are for tests.
    """

    def __init__(
        self,
        conn: Connection,
        worker: str,
        types: Collection[Keyword],
        random: Random,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        effort: Callable[[], float] = time.thread_time,
    ) -> None:
        self._conn = conn
        self._worker = worker
        self._facts = [*_MOVES, *((":job/type", type, True) for type in types)]
        self._random = random
        self._clock = clock
        self._sleep = sleep
        self._effort = effort
        self.is_eager = True  # whether the last commits led to a claim, so that the next one is taken in at once
        self.stands_back = False  # whether it claims nothing although jobs are ready
        self._base = self._t = -1  # the t that the worker has taken in, and the t up to which it has peeked
        self._counts = [0] * len(self._facts)  # between the two
        self._pause = SHORTEST
        self._others_started = float("-inf")  # when another worker was last seen to start jobs
        self._doubt = _FIRST_DOUBT
        self._quiet = QUIET
        self._stood_back = float("-inf")  # when it stood back, or decided to continue
        self._started = 0  # jobs that others have started since then
        self._round: tuple[float, int, float] | None = (
            None  # when this worker claimed, how many, and its handlers' time
        )
        # Seconds for a job while this worker was of no use beside others; 0 if it was of use; None if it has run none.
        self._per_job: float | None = None

    @property
    def leaves_jobs(self) -> bool:
        """Whether this worker claims nothing: it stands back, or has not taken in what it has seen of the log."""
        return self.stands_back or self._t > self._base

    def others_work(self) -> bool:
        """Whether this worker leaves its jobs, and all other duties, to a worker that starts jobs right now."""
        return not self.is_eager and self._clock() - self._others_started < AT_WORK

    def claimed(self, count: int, busy: float, slots: int, other: str | None) -> None:
        """Note a claim, and stand back if this worker is in the way of another one.

        Args:
            count: the number of claimed jobs.
            busy: seconds that handlers have run in all.
            other: a worker that has started jobs since the last claim; None: there is none.
        """
        now, last = self._clock(), self._round
        self.is_eager = count > 0
        self._round = (now, count, busy)
        if last is None or not last[1]:
            return
        seconds = max(now - last[0], 1e-6)
        is_useful = busy - last[2] >= _WORTHWHILE * seconds * slots
        self._per_job = 0.0 if is_useful else seconds / last[1]
        if other is None or is_useful:
            self._doubt = _FIRST_DOUBT
        elif other < self._worker:
            self._stand_back(now)

    def _stand_back(self, now: float) -> None:
        self.stands_back, self.is_eager = True, False
        self._stood_back = self._others_started = now
        self._started = 0
        self._doubt = min(2 * self._doubt, _LAST_DOUBT)
        self._quiet = QUIET * (1 + (SPREAD - 1) * self._random.random())

    def took_in(self) -> None:
        """Note that a commit was taken in at once; if it does not lead to a claim, the next one is not."""
        self.is_eager, self._round = False, None

    def wait(self, timeout: float, known: Known, *, is_due: bool) -> bool:
        """Wait for commits that this worker should take in; False if there are none within `timeout` seconds.

        Args:
            is_due: whether the worker has something to do after this time, and must not be behind then.
        """
        self._round = None
        if known.t != self._base:
            self._base = self._t = known.t
            self._counts = [0] * len(self._facts)
        is_wanted = self._sleep_and_peek(timeout, known) or (is_due and self.leaves_jobs)
        if is_wanted:
            self._base, self.stands_back = self._t, False
        return is_wanted

    def _sleep_and_peek(self, timeout: float, known: Known) -> bool:
        began, deadline = self._clock(), self._clock() + timeout
        while (left := deadline - self._clock()) > 0:
            effort = self._effort()
            if not self.stands_back and self._conn.peek(after=self._t, timeout=left)[0] <= self._t:
                return False
            self._sleep(self._pause * (0.5 + self._random.random()))
            is_wanted = self._peek(self._clock() - began, known)
            self._pause = min(max((self._effort() - effort) / SHARE, SHORTEST), LONGEST)
            if is_wanted:
                return True
            began = self._clock()
        return False

    def _peek(self, seconds: float, known: Known) -> bool:
        """Count what was committed since the last peek, and decide whether to take it in."""
        self._t, counts = self._conn.peek(*self._facts, after=self._t)
        self._counts = [n + more for n, more in zip(self._counts, counts, strict=True)]
        started = counts[2]
        if started:
            self._others_started = self._clock()
        came, went, _, released, *reopened_and_new = self._counts
        reopened, new = sum(reopened_and_new[:3]), sum(reopened_and_new[3:])
        if known.unstarted + came - went <= 0:
            return known.is_last and not started
        if not (known.has_jobs or new or reopened):
            return False
        are_all_mine = not known.others and came == new + released
        return not (are_all_mine and self._are_fast(seconds, started))

    def _are_fast(self, seconds: float, started: int) -> bool:
        """Return whether the others start jobs fast enough to be left alone."""
        per_job, now = self._per_job, self._clock()
        if not self.stands_back:
            is_fast = seconds <= _SLOW * (_UNKNOWN if per_job is None else per_job) * started
            if is_fast and per_job is None:
                self._stand_back(now)
            return is_fast
        self._started += started
        if now - self._others_started >= self._quiet:
            return False
        if now - self._stood_back < self._doubt:
            return True
        seconds, started = now - self._stood_back, self._started
        self._stood_back, self._started = now, 0
        return per_job is not None and seconds <= _SLOW * per_job * started
