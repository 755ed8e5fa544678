"""Queues: their settings as facts, and how many jobs they let start.

A limit is checked by counting the jobs that run; there is no counter, so a crash cannot leak a slot. A worker chooses
jobs by an `Allowance`. The transaction that claims them checks again, with `admitted`, on the database to which it is
applied, and compares the starts of the queue with those that the worker saw. Law: with any number of workers, the
limits of a queue hold in every database of the store, and its rate holds in every window (`rates`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import factstore
from factstore import Keyword, TransactError, quoted
from overseer.errors import ConfigError
from overseer.jobs.rates import Starts, window
from overseer.jobs.states import STARTED, Forms, as_keyword

if TYPE_CHECKING:
    from factstore import Database

Lane: TypeAlias = tuple[Keyword | None, str | None]  # queue and partition of a job: its limits

SETTINGS: Final = (":queue/paused", ":queue/limit", ":queue/partition-limit", ":queue/rate", ":queue/period")
FULL: Final = ":job.error/queue-full"

_SHORTEST: Final = timedelta(milliseconds=1)  # shortest period of a rate
_LONGEST: Final = timedelta(days=36_525)  # longest period: a century
_UNLIMITED: Final = -1  # the value of a limit or a rate that was removed
# The valid values of each setting; any other value limits nothing.
_VALID: Final[Mapping[str, range]] = {
    ":queue/limit": range(2**63),  # 0, asserted by hand, lets nothing start
    ":queue/partition-limit": range(2**63),
    ":queue/rate": range(1, 2**63),
    ":queue/period": range(1, _LONGEST // _SHORTEST + 1),
}


class Unchanged(Enum):
    """The default of a setting: it does not change."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return self.name


UNCHANGED: Final = Unchanged.UNCHANGED

_LANE: Final = "[:job/queue :job/partition]"


class Queue(NamedTuple):
    """The settings of a queue, and its latest starts."""

    eid: int
    name: Keyword
    paused: bool = False
    limit: int | None = None
    partition_limit: int | None = None
    rate: int | None = None
    period: timedelta = timedelta(seconds=1)
    starts: Starts = Starts()
    starts_fact: str | None = None  # the value of `:queue/starts`

    def startable(self, now: datetime) -> int | None:
        """Return how many jobs may start now by the rate only; None is any number."""
        if not self.rate:
            return None
        return max(0, self.rate - sum(count for _, count in self.starts.within(self.period, now)))

    def startable_at(self, now: datetime) -> datetime | None:
        """Return when the next job may start by the rate, if that is later than now."""
        counted = sorted(self.starts.within(self.period, now)) if self.rate else []
        left = sum(count for _, count in counted)
        for at, count in counted:
            if self.rate and left >= self.rate:
                left -= count
                if left < self.rate:
                    return at + window(self.period)
        return None

    def started(self, count: int, now: datetime) -> Forms:
        """Return the forms that record starts; they fail if another worker has started a job of the queue."""
        after = self.starts.plus(count, now, self.period).text()
        return [[":db/cas", self.eid, ":queue/starts", self.starts_fact, after]] if self.rate else []


def queue(
    name: str,
    *,
    paused: bool | None = None,
    limit: int | Unchanged | None = UNCHANGED,
    partition_limit: int | Unchanged | None = UNCHANGED,
    rate: int | Unchanged | None = UNCHANGED,
    period: timedelta | Unchanged | None = UNCHANGED,
) -> dict[str, Any]:
    """Return the assertion of a queue's settings, to be transacted; settings that are not given do not change.

    Args:
        name: the queue, as jobs name it in `:job/queue`.
        paused: True lets none of its jobs start; running jobs continue.
        limit: how many of its jobs may run at a time, on all workers together; None is any number.
        partition_limit: how many jobs with the same `:job/partition` may run at a time; None is any number.
        rate: how many of its jobs may start in a period; None is any number.
        period: the period of `rate`; None is a second.
    Raises: ConfigError(:job.error/bad-queue) for a value that is not allowed.

    >>> queue("mail", limit=5, paused=False)
    {':queue/name': :mail, ':queue/paused': False, ':queue/limit': 5}
    >>> queue("mail", limit=None)  # no limit
    {':queue/name': :mail, ':queue/limit': -1}
    """
    if paused is not None and type(paused) is not bool:
        raise _bad(name, "paused", f"whether a queue is paused is True or False, got {quoted(paused)}")
    counts = {"limit": limit, "partition_limit": partition_limit, "rate": rate}
    settings = {
        ":queue/name": as_keyword(name),
        ":queue/paused": UNCHANGED if paused is None else paused,
        **{f":queue/{setting.replace('_', '-')}": _count(name, setting, value) for setting, value in counts.items()},
        ":queue/period": _period(name, period),
    }
    return {attribute: value for attribute, value in settings.items() if value is not UNCHANGED}


def _count(queue: str, setting: str, value: int | Unchanged | None) -> int | Unchanged:
    """Return the fact of a limit or a rate."""
    if value is None:
        return _UNLIMITED
    is_count = isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**63
    if not is_count and value is not UNCHANGED:
        why = f"a queue's {setting} is at least 1, got {quoted(value)}; to let nothing start, pause it"
        raise _bad(queue, setting, why)
    return value


def _period(queue: str, period: timedelta | Unchanged | None) -> int | Unchanged:
    """Return the fact of a period, in milliseconds."""
    if isinstance(period, Unchanged):
        return period
    if period is None:
        return timedelta(seconds=1) // _SHORTEST
    if not (isinstance(period, timedelta) and _SHORTEST <= period <= _LONGEST):
        why = f"a queue's period is a millisecond at least and {_LONGEST.days:,} days at most, got {quoted(period)}"
        raise _bad(queue, "period", why)
    return round(period / _SHORTEST)


def _bad(queue: str, setting: str, why: str) -> ConfigError:
    return ConfigError(":job.error/bad-queue", why, setting=setting, queue=queue)


def queues(db: Database, names: Iterable[Keyword] | None = None) -> dict[Keyword, Queue]:
    """Return the queues that have settings, by name; only those in `names`, unless it is None."""
    if names is None:
        every = [_read(db, datom.e) for datom in db.datoms("aevt", ":queue/name")]
        return {queue.name: queue for queue in every}
    eids = ((name, db.entid([":queue/name", name])) for name in names)
    return {name: _read(db, eid) for name, eid in eids if eid is not None}


def _read(db: Database, eid: int) -> Queue:
    """Read the settings of a queue; an invalid value, which can be asserted by hand, limits nothing."""
    facts = _facts(db, eid)
    limit, partition_limit, rate, period = (
        value if (value := facts.get(attribute, _UNLIMITED)) in valid else None for attribute, valid in _VALID.items()
    )
    return Queue(
        eid,
        facts[":queue/name"],
        facts.get(":queue/paused", False),
        limit,
        partition_limit,
        rate,
        timedelta(seconds=1) if period is None else period * _SHORTEST,
        Starts.read(facts.get(":queue/starts")),
        facts.get(":queue/starts"),
    )


def _facts(db: Database, eid: int) -> dict[str, Any]:
    return {db.schema.attribute(datom.a).ident: datom.v for datom in db.datoms("eavt", eid)}


def problems(db: Database) -> dict[Keyword, str]:
    """Return the queues with invalid settings, which limit nothing, each with the reason."""
    reasons: dict[Keyword, str] = {}
    for datom in db.datoms("aevt", ":queue/name"):
        facts = _facts(db, datom.e)
        wrong = [
            f"{name} is {valid.start} to {valid.stop - 1:,}, got {facts[name]:,}"
            for name, valid in _VALID.items()
            if facts.get(name, _UNLIMITED) != _UNLIMITED and facts[name] not in valid
        ]
        if wrong:
            reasons[facts[":queue/name"]] = f"{'; '.join(wrong)}, which limits nothing"
    return reasons


def named(db: Database) -> set[Keyword]:
    """Return the queues that jobs name, whether they have settings or not."""
    return set(factstore.q("[:find [?queue ...] :where [_ :job/queue ?queue]]", db))


def is_paused(db: Database, name: Keyword) -> bool:
    """Tell whether a queue lets no job start."""
    eid = db.entid([":queue/name", name]) if db.entid(":queue/name") is not None else None
    return eid is not None and any(datom.v for datom in db.datoms("eavt", eid, ":queue/paused"))


def running(db: Database) -> Counter[Lane]:
    """Return how many jobs run, by queue and partition; the key (queue, None) is the whole queue."""
    # Not a query: it would rebuild columns of all jobs after each claim, although few jobs run.
    jobs = [datom.e for datom in db.datoms("avet", ":job/status", STARTED)]
    counts: Counter[Lane] = Counter()
    for lane in factstore.pull_many(db, _LANE, jobs):
        name, partition = (lane or {}).get(":job/queue"), (lane or {}).get(":job/partition")
        if name is not None:
            counts[name, None] += 1
            if partition:
                counts[name, partition] += 1
    return counts


class Allowance:
    """How many jobs of each lane may still start, given the running ones; `take` counts one more.

    Args:
        queues: the queues that have settings.
        running: how many jobs run, by lane.
        now: the time, for the rates; None ignores them.
    """

    def __init__(self, queues: Mapping[Keyword, Queue], running: Counter[Lane], now: datetime | None) -> None:
        self._queues = queues
        self._running = Counter(running)
        self._startable = {name: None if now is None else queue.startable(now) for name, queue in queues.items()}

    def admits(self, lane: Lane) -> bool:
        """Tell whether one more job of a lane may start."""
        return self._limit_reached(lane) is None

    def block_reason(self, lane: Lane) -> str | None:
        """Return why a job of a lane may not start, in words; None if it may."""
        name, partition = lane
        reached = self._limit_reached(lane)
        if name is None or reached is None:
            return None
        queue = self._queues[name]
        if reached == ":queue/paused":
            return f"its queue {name} is paused"
        if reached == ":queue/limit":
            return f"its queue {name} runs {queue.limit} jobs at a time, and as many are running"
        if reached == ":queue/partition-limit":
            most = f"{queue.partition_limit} jobs of {quoted(partition)}"
            return f"its queue {name} runs {most} at a time, and as many are running"
        seconds = f"{queue.period.total_seconds():g} s"
        return f"its queue {name} starts {queue.rate} jobs in {seconds}, and as many have started"

    def _limit_reached(self, lane: Lane) -> str | None:
        """Return the setting that keeps a job of a lane from starting."""
        name, partition = lane
        queue = self._queues.get(name) if name is not None else None
        if queue is None:
            return None
        if queue.paused:
            return ":queue/paused"
        if queue.limit is not None and self._running[name, None] >= queue.limit:
            return ":queue/limit"
        if queue.partition_limit is not None and partition and self._running[lane] >= queue.partition_limit:
            return ":queue/partition-limit"
        return ":queue/rate" if self._startable[queue.name] == 0 else None

    def take(self, lane: Lane) -> None:
        """Count one more job of a lane as running."""
        name, partition = lane
        self._running[name, None] += 1
        if partition:
            self._running[name, partition] += 1
        left = self._startable.get(name) if name is not None else None
        if name is not None and left is not None:
            self._startable[name] = left - 1


def allowance(db: Database, now: datetime, limited: Mapping[Keyword, Queue] | None = None) -> Allowance:
    """Return how many jobs the queues of a database let start.

    Args:
        limited: the queues that have settings, with the starts that an observer has seen; None reads them.
    """
    limited = queues(db) if limited is None else limited
    return Allowance(limited, running(db) if limited else Counter(), now)


def next_start(limited: Mapping[Keyword, Queue], now: datetime) -> datetime | None:
    """Return when a queue whose rate is used up may start the next job; None if there is no such queue."""
    times = [queue.startable_at(now) for queue in limited.values() if queue.startable(now) == 0]
    return min((time for time in times if time is not None), default=None)


def admitted(lanes: Sequence[Lane]) -> Forms:
    """Return the forms that reject a transaction unless all these jobs may start; none for jobs without a queue."""
    in_queues = [[name, partition or ""] for name, partition in lanes if name is not None]
    return [[_ADMIT, *in_queues]] if in_queues else []


_ADMIT: Final = "overseer/admit"


@factstore.register(_ADMIT)
def _admit(db: Database, *lanes: tuple[Keyword, str]) -> Forms:
    """Transaction function: reject more running jobs than the queues allow, and any job of a paused queue."""
    limited = queues(db, {name for name, _ in lanes})
    if not limited:
        return []
    allowed = Allowance(limited, running(db), None)
    for name, partition in lanes:
        reason = allowed.block_reason((name, partition or None))
        if reason is not None:
            raise TransactError(FULL, f"the job cannot start: {reason}", queue=name, partition=partition)
        allowed.take((name, partition or None))
    return []
