"""When a worker without a claim takes part, and when it leaves that to others.

Every commit can wake every worker. If each of them took in all transactions and tried to claim every job, the cost
would grow with the square of their number. So a worker that had no use for the last commits peeks at the next ones: it
sleeps for a moment, and counts what was committed meanwhile, without taking it in (`Connection.peek`).

    nothing is unstarted                                    it continues to sleep
    no job of its types came, and it has none               it continues to sleep
    the others start the jobs fast enough                   it continues to sleep: it would only be in the way
    otherwise                                               it takes everything in, and claims

While transactions follow each other closely, it does not wait for the next one, but only sleeps between two peeks.
Where jobs of other types come and it has none itself, it counts only the facts that can give it one.

Of several workers, the one that started the last job *leads*: it takes in new jobs at once, and the others leave them
to it. They have an account of patience, in seconds, as long as jobs wait. It begins with a random time, so that one of
them continues if the leader does not. Each new job pays in the time that taking it in takes, each started job several
times the time that this worker needs for one, and the time that passes is taken out. The worker takes part when nothing
is left. So while jobs are short one worker runs all of them and the others sleep; jobs that take long are spread over
all workers at once. A worker that has waited for a start in vain waits for no other worker until it sees one start a
job. If others start jobs, but too slowly, and many wait, then one worker joins them at first, on average, and twice as
many each time that this was not enough: a worker that joins takes in all jobs that wait, which slows the others down.

Of several workers that are in the way of each other, the one whose name is the first continues to work. Another one
stands back: it claims nothing until its patience is used up. Each time that this happens again, a started job pays in
twice as much as before. A worker that has not run any job assumes that it would need `_UNKNOWN` seconds for one. If
others are faster, it tries after a time that grows with their speed, and with the number of jobs that they claim
together, because only short jobs are claimed together. Limits have a random part, so that one worker
returns, and the others see that it starts jobs.

Laws: a job that no other worker starts is taken in within `QUIET * SPREAD + 2 * LONGEST` seconds. Peeking takes at most
`SHARE` of the time, unless transactions come faster than `LONGEST` allows, or jobs wait for a leader.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from overseer.jobs.states import ABORTED, FAILED, FINISHED, STARTED, UNSTARTED

if TYPE_CHECKING:
    from factstore import Connection, Keyword

LONGEST: Final = 0.1  # seconds between two peeks, on average
GLANCES: Final = 0.25  # the same, beside others that run jobs of other types, if this worker has had none for a while
SHORTEST: Final = 0.005
SHARE: Final = 1 / 400  # of the time of a thread, for peeks
QUIET: Final = 0.3  # seconds without a started job after which the first worker that stands back claims again
SPREAD: Final = 4  # times that, after which the last one does

_GRACE: Final = 0.005  # seconds in which the leader is expected to claim the first of new jobs
_QUEUE: Final = 16  # times that, in which the last of many workers does
_TAKEN_IN: Final = 0.0004  # seconds in which it is expected to take in one new job
_PAYS: Final = 10  # times the time of this worker for a job, that a started job pays in
_PAYS_MOST: Final = 80
_UNKNOWN: Final = 0.0001  # seconds for a job, as long as this worker has not run any
_FIRST_TRY: Final = (0.3, 10.0)  # seconds of work by others after which a worker that has not run any job tries
_MANY: Final = 100  # jobs
_WHILE: Final = 10.0  # seconds
_JOINS: Final = 0.0001  # seconds in which a worker that joins others is expected to take in one job,
_JOINED: Final = 1.0  # and the most in which it is expected to take in all
_SHORT: Final = 16  # jobs started per transaction, from which on they are certainly short
_WORTHWHILE: Final = 0.5  # of the time spent in handlers, from which on another worker is of use

_STATUS: Final = ":job/status"
_CAME: Final = (_STATUS, UNSTARTED, True)
_STARTED: Final = (_STATUS, STARTED, True)
_CLAIMED: Final = ((_STATUS, UNSTARTED, False), _STARTED)
_REOPENED: Final[list[tuple[Any, Any, bool]]] = [(_STATUS, ended, False) for ended in (FINISHED, FAILED, ABORTED)]
_ENDED: Final[list[tuple[Any, Any, bool]]] = [(_STATUS, ended, True) for ended in (FINISHED, FAILED, ABORTED)]
_LEFT: Final[list[tuple[Any, Any, bool]]] = [(_STATUS, live, False) for live in (UNSTARTED, STARTED)]


class Known(NamedTuple):
    """What a worker has taken in."""

    t: int
    unstarted: int  # the number of unstarted jobs of all types
    others: int  # the number of unstarted jobs that this worker does not handle
    has_jobs: bool  # whether there are live jobs that it handles
    is_last: bool  # whether it must also take in the end of the last job


class Counts(NamedTuple):
    """What was committed in a part of the log."""

    came: int  # jobs that are unstarted now; too few where other types were seen, see `Standby._glance`
    started: int
    new: int  # jobs of the handled types
    foreign: int  # new jobs of other types
    reopened: int  # jobs that had ended

    def plus(self, more: Counts) -> Counts:
        """Return the counts of this part and the next one."""
        return Counts(*(n + m for n, m in zip(self, more, strict=True)))


_Round: TypeAlias = tuple[float, int, float]  # when a worker claimed, how many, and its handlers' time
_NONE: Final = Counts(0, 0, 0, 0, 0)


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
        self._types = [(":job/type", type, True) for type in types]
        self._random, self._clock = random, clock
        self._sleep, self._effort = sleep, effort
        self.is_eager = True  # whether the last commits led to a claim, so that the next one is taken in at once
        self.stands_back = False  # whether it claims nothing although jobs are ready
        self._base = self._t = -1  # the t that the worker has taken in, and the t up to which it has peeked
        self._counts = _NONE  # between the two
        self._pause = SHORTEST
        self._peeked = 0.0  # the time of the last peek, or the end of a time in which nothing was committed
        self._wanted = 0.0  # the time of the last peek that showed that the worker should take part
        self._is_crowded = False  # whether more than one transaction came between the last two peeks
        self._is_foreign = False  # whether jobs of other types have come, so that none is left to others
        self._is_left = False  # whether, at the last peek, jobs were left to others
        self._is_new = False  # whether it was the first at which they were, and no job had been started since
        self._others = 0  # the number of other workers that are expected to start jobs, as far as is known
        self._leads = False  # whether this worker has started the last job
        self._is_helped = False  # whether these jobs are left to others at first, or others have started jobs since
        self._patience = 0.0  # seconds for which they still are if no job is started
        self._limit = self._new_limit()  # of the same
        self._rounds = 0  # how often it has run out while others started jobs
        self._began = 0  # the number of other workers that have begun since this one has
        self._tries_after = random.uniform(*_FIRST_TRY)  # seconds of leaving jobs to others, if it has not run any
        self._others_started = -inf  # when another worker was last seen to start jobs
        self._round: _Round | None = None
        # Seconds for a job while this worker was of no use beside others; 0 if it was of use; None if it has run none.
        self._per_job: float | None = None
        self._stood_back = 0  # how often since it was last of use

    @property
    def t(self) -> int:
        """The newest transaction that it has seen."""
        return self._t

    @property
    def crowd(self) -> int:
        """The number of other workers of the same type that have begun, as far as is known."""
        return self._others + self._began

    @property
    def leaves_jobs(self) -> bool:
        """Whether this worker claims nothing: it stands back, or has not taken in what it has seen of the log."""
        return self.stands_back or self._t > self._base

    def others_work(self, *, within: float) -> bool:
        """Whether another worker has started many jobs until now, so that this one leaves its duties to it.

        Args:
            within: seconds since the last start.
        """
        is_behind = self._counts.came + self._counts.started >= _MANY  # otherwise it costs little to look
        return is_behind and not self.is_eager and self._clock() - self._others_started < within

    def claimed(self, count: int, busy: float, slots: int, other: str | None) -> None:
        """Note a claim, and stand back if this worker is in the way of another one.

        Args:
            count: the number of claimed jobs.
            busy: seconds that handlers have run in all.
            other: a worker that has started jobs since the last claim; None: there is none.
        """
        now, last = self._clock(), self._round
        self.is_eager = count > 0
        self._leads = self._leads or count > 0
        self._round = (now, count, busy)
        if last is None or not last[1]:
            return
        seconds = max(now - last[0], 1e-6)
        is_useful = busy - last[2] >= _WORTHWHILE * seconds * slots
        self._per_job = 0.0 if is_useful else seconds / last[1]
        if other is None or is_useful:
            self._stood_back = 0
        elif other < self._worker:
            self._stand_back(now)

    def _stand_back(self, now: float) -> None:
        self.stands_back, self.is_eager = True, False
        self._others_started = self._peeked = now
        self._limit = self._patience = self._new_limit()
        self._stood_back += 1

    def _new_limit(self) -> float:
        return QUIET * self._random.uniform(1, SPREAD)

    def expect(self, others: int) -> None:
        """Note the number of other workers that run, before this one begins."""
        self._others, self.is_eager = others, not others

    def notice_others(self, *, last: bool = True) -> None:
        """Note that another worker starts jobs.

        Args:
            last: whether it has started the last job. Otherwise this worker has, and the log shows the other start now.
        """
        self._others_started = self._clock()
        self._others, self._leads = max(self._others, 1), not last

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
            self._counts = _NONE
            self._is_left = self.stands_back
            self._is_foreign = known.others > 0
        is_wanted = self._sleep_and_peek(timeout, known) or (is_due and self.leaves_jobs)
        if is_wanted:
            self._base, self.stands_back, self._wanted = self._t, False, self._peeked
        return is_wanted

    def _sleep_and_peek(self, timeout: float, known: Known) -> bool:
        deadline = self._clock() + timeout
        while (left := deadline - self._clock()) > 0:
            effort = self._effort()
            if not (self._is_left or self._is_crowded):
                began = self._clock()
                head, _ = self._conn.peek(after=self._t, timeout=left)
                self._peeked = self._clock()
                self._pause = max(self._pause - (self._peeked - began), SHORTEST)
                if head <= self._t:
                    return False
            pause, left = self._pause * self._random.uniform(0.5, 1.5), deadline - self._clock()
            if pause > LONGEST * 1.5 and pause > left:  # the worker may have to stop, or a job may be due
                self._sleep(max(left, 0.0))
                self._pause = pause - left
                return False
            self._sleep(pause)
            seen = self._t
            is_wanted = self._peek(known)
            self._is_crowded = self._t > seen + 1
            self._pause = self._new_pause(self._effort() - effort, is_last=known.is_last)
            if is_wanted:
                return True
        return False

    def _new_pause(self, effort: float, *, is_last: bool) -> float:
        if self._is_foreign and self._peeked - self._wanted > _WHILE:
            return GLANCES
        longest = max(self._patience, SHORTEST) if self._is_new else LONGEST
        pause = min(max(effort / SHARE, SHORTEST), longest)
        # An earlier peek would change nothing, except that the last worker sees that it is the last.
        return max(pause, self._patience / 2) if self._is_left and not is_last else pause

    def _peek(self, known: Known) -> bool:
        """Count what was committed since the last peek, and decide whether to take it in."""
        last, self._peeked = self._peeked, self._clock()
        seen = self._t
        is_glance = self._is_foreign and not known.has_jobs
        counts = self._glance() if is_glance else self._count()
        self._counts = all_ = self._counts.plus(counts)
        if counts.started:
            self.notice_others()
        was_left, self._is_left, self._is_new = self._is_left, False, False
        if is_glance:
            return all_.new + all_.reopened > 0
        self._is_foreign = self._is_foreign or all_.foreign + all_.reopened > 0
        unstarted = known.unstarted + all_.came - all_.started
        if unstarted <= 0:
            return known.is_last and not counts.started
        if not (known.has_jobs or all_.new or all_.reopened):
            return False
        if not self._is_foreign:
            if not was_left:
                self._begin_to_wait()
            rounds = self._rounds
            self._is_left = self._is_patient(counts, self._peeked - last, self._t - seen, unstarted)
            is_new = not was_left and not counts.started
            self._is_new = self._is_left and (is_new or self._rounds > rounds)
        return not self._is_left

    def _glance(self) -> Counts:
        """Count only what is needed where jobs of other types come, and this worker has none.

        Most of the time, shared memory shows that nothing of that was committed, and the log is not read. It also shows
        that others have started jobs, but not how many.
        """
        wanted, after = [*_REOPENED, *self._types], self._t
        self._t, (left, started, *more) = self._conn.peek(*_CLAIMED, *wanted, after=after, rough=True)
        if any(more):
            self._t, more = self._conn.peek(*wanted, after=after)
        reopened = len(_REOPENED)
        return Counts(0, _MANY if left and started else 0, sum(more[reopened:]), 0, sum(more[:reopened]))

    def _count(self) -> Counts:
        # Of a worker that begins; of one type, because workers are counted, as a hint.
        begins = [(":worker/handler", type, True) for _, type, _ in self._types[:1]]
        after, about = self._t, [*begins, _CAME, _STARTED, *self._types]
        self._t, counts = self._conn.peek(*about, after=after)
        self._began += sum(counts[: len(begins)])
        came, started, *new = counts[len(begins) :]
        if came == sum(new):
            return Counts(came, started, sum(new), 0, 0)
        # Rarely: jobs of other types came, or jobs are unstarted again.
        wanted = [_CAME, _STARTED, *_ENDED, *_LEFT, *_REOPENED, *self._types]
        self._t, (came, started, *more) = self._conn.peek(*wanted, after=after)
        ended, more = sum(more[: len(_ENDED)]), more[len(_ENDED) :]
        left, more = sum(more[: len(_LEFT)]), more[len(_LEFT) :]
        reopened, new_ = sum(more[: len(_REOPENED)]), sum(more[len(_REOPENED) :])
        # A job that gets another status leaves one; only a new job leaves none.
        foreign = max(0, came + started + ended - left - reopened - new_)
        return Counts(came, started, new_, foreign, reopened)

    def _begin_to_wait(self) -> None:
        """Leave jobs to others from now on, if there are any."""
        self._patience = _GRACE * self._random.uniform(1, min(1 + self._others, _QUEUE))
        self._limit = QUIET * self._random.uniform(SPREAD / 2, SPREAD)
        self._is_helped = self._others > 0 and not self._leads
        self._rounds = 0

    def _is_patient(self, counts: Counts, seconds: float, transactions: int, unstarted: int) -> bool:
        """Return whether jobs are left to the others for some more time.

        Args:
            counts, seconds, transactions: since the last peek.
            unstarted: the number of jobs that wait.
        """
        self._is_helped = self._is_helped or counts.started > 0
        if not self._is_helped:
            return False
        per_job = _UNKNOWN if self._per_job is None else self._per_job
        pays = min(_PAYS * 2 ** max(self._stood_back - 1, 0), _PAYS_MOST)
        paid = _TAKEN_IN * counts.new + pays * per_job * counts.started
        self._patience = min(self._patience + paid, self._limit) - seconds
        if self._per_job is None:
            # The faster the others are, and the more jobs they claim together, the less useful is a try. If they pay
            # less than the time that passes, the patience ends anyway.
            speed = max(paid / seconds, seconds / paid) if paid > 0 and seconds > 0 else inf
            self._tries_after -= seconds / speed * min(1.0, _SHORT * transactions / max(counts.started, 1))
            if self._tries_after <= 0:
                return False
        return self._patience > 0 or self._lets_others_go_first(unstarted)

    def _lets_others_go_first(self, unstarted: int) -> bool:
        """Decide by chance whether others join the busy ones before this worker, and renew the patience if so.

        Each worker that joins takes in all jobs. If all joined at the same time, the busy ones would get even slower.
        So one of them joins at first, on average, and twice as many each time that this was not enough.
        """
        if not self._counts.started:
            self._others, self._others_started = 0, -inf
            return False
        if unstarted < _MANY or self._random.random() * min(self.crowd, _QUEUE) < 2**self._rounds:
            return False
        self._rounds += 1
        self._patience = min(LONGEST + _JOINS * unstarted, _JOINED) * self._random.uniform(0.75, 1.25)
        return True
