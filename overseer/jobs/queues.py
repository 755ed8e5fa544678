"""Queues: settings as facts, and what they let start. Limits are derived from live leases, so there is no slot to lose or to leak.

A worker asks an `Allowance` which jobs to pick; the transaction that claims them asks again, by `admit`, on the
database that it commits on top of, and compares the queue's starts with those that the worker saw. Law: however many
workers claim at once, a queue's limits hold in every database of the store, and its rate in every window (`rates`).
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

Lane: TypeAlias = tuple[Keyword | None, str | None]  # queue and partition of a job: what may hold it back

SETTINGS: Final = (":queue/paused", ":queue/limit", ":queue/partition-limit", ":queue/rate", ":queue/period")
FULL: Final = ":job.error/queue-full"

_SHORTEST: Final = timedelta(milliseconds=1)  # period of a rate
_LONGEST: Final = timedelta(days=36_525)  # of the same: a century
_UNLIMITED: Final = -1  # the value of a limit or a rate that was taken away
# The values of each setting that mean something; any other limits nothing.
_MEANINGFUL: Final[Mapping[str, range]] = {
    ":queue/limit": range(2**63),  # 0 by hand lets nothing start
    ":queue/partition-limit": range(2**63),
    ":queue/rate": range(1, 2**63),
    ":queue/period": range(1, _LONGEST // _SHORTEST + 1),
}


class Unchanged(Enum):
    """The default of a setting: it stays as it is."""

    UNCHANGED = "unchanged"

    def __repr__(self) -> str:
        return self.name


UNCHANGED: Final = Unchanged.UNCHANGED

_LANE: Final = "[:job/queue :job/partition]"


class Queue(NamedTuple):
    """The settings of a queue, and its latest starts, which its rate limits."""

    eid: int
    name: Keyword
    paused: bool = False
    limit: int | None = None
    partition_limit: int | None = None
    rate: int | None = None
    period: timedelta = timedelta(seconds=1)
    starts: Starts = Starts()
    told: str | None = None  # `:queue/starts` as it stands

    def startable(self, now: datetime) -> int | None:
        """Return how many jobs may start now by the rate alone; None is any number."""
        if not self.rate:
            return None
        return max(0, self.rate - sum(count for _, count in self.starts.within(self.period, now)))

    def startable_at(self, now: datetime) -> datetime | None:
        """Return when the next job may start by the rate, where that is later than now."""
        counted = sorted(self.starts.within(self.period, now)) if self.rate else []
        left = sum(count for _, count in counted)
        for at, count in counted:
            if self.rate and left >= self.rate:
                left -= count
                if left < self.rate:
                    return at + window(self.period)
        return None

    def started(self, count: int, now: datetime) -> Forms:
        """Return the forms that take note of starts; they fail when anybody else started a job of the queue since this was read."""
        after = self.starts.plus(count, now, self.period).text()
        return [[":db/cas", self.eid, ":queue/starts", self.told, after]] if self.rate else []


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
    """Return the queues that have settings, by name; `names`: only of these."""
    if names is None:
        return {found.name: found for datom in db.datoms("aevt", ":queue/name") for found in [_read(db, datom.e)]}
    eids = ((name, db.entid([":queue/name", name])) for name in names)
    return {name: _read(db, eid) for name, eid in eids if eid is not None}


def _read(db: Database, eid: int) -> Queue:
    """Read a queue's settings. What somebody asserted by hand and cannot mean anything limits nothing: it must not end the workers."""
    known = _facts(db, eid)
    limit, partition_limit, rate, period = (
        value if (value := known.get(attribute, _UNLIMITED)) in meaningful else None
        for attribute, meaningful in _MEANINGFUL.items()
    )
    return Queue(
        eid,
        known[":queue/name"],
        known.get(":queue/paused", False),
        limit,
        partition_limit,
        rate,
        timedelta(seconds=1) if period is None else period * _SHORTEST,
        Starts.read(known.get(":queue/starts")),
        known.get(":queue/starts"),
    )


def _facts(db: Database, eid: int) -> dict[str, Any]:
    return {db.schema.attribute(datom.a).ident: datom.v for datom in db.datoms("eavt", eid)}


def problems(db: Database) -> dict[Keyword, str]:
    """Return the queues with settings that cannot mean anything, and so limit nothing; each with the reason."""
    found: dict[Keyword, str] = {}
    for datom in db.datoms("aevt", ":queue/name"):
        known = _facts(db, datom.e)
        wrong = [
            f"{name} is {meaningful.start} to {meaningful.stop - 1:,}, got {known[name]:,}"
            for name, meaningful in _MEANINGFUL.items()
            if known.get(name, _UNLIMITED) != _UNLIMITED and known[name] not in meaningful
        ]
        if wrong:
            found[known[":queue/name"]] = f"{'; '.join(wrong)}, which limits nothing"
    return found


def named(db: Database) -> set[Keyword]:
    """Return the queues that jobs name, whether they have settings or not."""
    return set(factstore.q("[:find [?queue ...] :where [_ :job/queue ?queue]]", db))


def is_paused(db: Database, name: Keyword) -> bool:
    """Tell whether a queue lets no job start."""
    eid = db.entid([":queue/name", name]) if db.entid(":queue/name") is not None else None
    return eid is not None and any(datom.v for datom in db.datoms("eavt", eid, ":queue/paused"))


def running(db: Database) -> Counter[Lane]:
    """Return how many jobs run, by queue and partition; under (queue, None) those of the whole queue."""
    # No query: it would make columns of all jobs anew after each claim, and few of them run.
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
    """How many jobs of each lane may still start, given what runs; `take` one and there is one less.

    Args:
        known: the queues that have settings.
        occupied: what runs already.
        now: the time, for the rates; None leaves them out.
    """

    def __init__(self, known: Mapping[Keyword, Queue], occupied: Counter[Lane], now: datetime | None) -> None:
        self._known = known
        self._occupied = Counter(occupied)
        self._startable = {name: None if now is None else queue.startable(now) for name, queue in known.items()}

    def admits(self, lane: Lane) -> bool:
        """Tell whether one more job of a lane may start."""
        return self.hindrance(lane) is None

    def hindrance(self, lane: Lane) -> str | None:
        """Return what keeps a job of a lane from starting, in words; None when nothing does."""
        name, partition = lane
        queue = self._known.get(name) if name is not None else None
        if queue is None:
            return None
        if queue.paused:
            return f"its queue {name} is paused"
        if queue.limit is not None and self._occupied[name, None] >= queue.limit:
            return f"its queue {name} runs {queue.limit} jobs at a time, and as many are running"
        if queue.partition_limit is not None and partition and self._occupied[name, partition] >= queue.partition_limit:
            return f"its queue {name} runs {queue.partition_limit} jobs of {quoted(partition)} at a time, and as many are running"
        if self._startable[queue.name] == 0:
            return f"its queue {name} starts {queue.rate} jobs in {queue.period.total_seconds():g} s, and as many have started"
        return None

    def take(self, lane: Lane) -> None:
        """Let one job of a lane start."""
        name, partition = lane
        self._occupied[name, None] += 1
        if partition:
            self._occupied[name, partition] += 1
        left = self._startable.get(name) if name is not None else None
        if name is not None and left is not None:
            self._startable[name] = left - 1


def allowance(db: Database, now: datetime, known: Mapping[Keyword, Queue] | None = None) -> Allowance:
    """Return what the queues of a database let start; `known` are its queues with the starts as an observer saw them."""
    known = queues(db) if known is None else known
    return Allowance(known, running(db) if known else Counter(), now)


def next_start(known: Mapping[Keyword, Queue], now: datetime) -> datetime | None:
    """Return when a queue that is held back by its rate may start a job again; None when none is held back."""
    times = [queue.startable_at(now) for queue in known.values() if queue.startable(now) == 0]
    return min((time for time in times if time is not None), default=None)


def admitted(lanes: Sequence[Lane]) -> Forms:
    """Return the forms that make a transaction fail when these jobs may not all start; none for jobs without a queue."""
    held = [[name, partition or ""] for name, partition in lanes if name is not None]
    return [[_ADMIT, *held]] if held else []


_ADMIT: Final = "overseer/admit"


@factstore.register(_ADMIT)  # type: ignore[untyped-decorator]
def _admit(db: Database, *lanes: tuple[Keyword, str]) -> Forms:
    """Transaction function: refuse more jobs at a time than the queues allow, or any while they are paused."""
    known = queues(db, {name for name, _ in lanes})
    if not known:
        return []
    allowed = Allowance(known, running(db), None)
    for name, partition in lanes:
        hindrance = allowed.hindrance((name, partition or None))
        if hindrance is not None:
            raise TransactError(FULL, f"the job cannot start: {hindrance}", queue=name, partition=partition)
        allowed.take((name, partition or None))
    return []
