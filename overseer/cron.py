"""Schedules: facts that state when jobs of a type are due, and the step that inserts due jobs, which every worker does.

The id of such a job consists of its schedule and its nominal time. Law: with any number of schedulers, wrong clocks and
crashes, a nominal time becomes a job at most once; with the policy `all`, exactly once. The transaction that inserts a
job changes `:schedule/last` from the value that was read; otherwise it is rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from zoneinfo import ZoneInfo

import factstore
from factstore import CasFailed, Keyword, TransactError, quoted
from overseer.errors import OverseerError
from overseer.jobs import arguments, lookup, txns
from overseer.jobs.graph import new_id
from overseer.jobs.states import Forms, as_keyword
from overseer.sources import of_connection, of_database
from overseer.times import aware

if TYPE_CHECKING:
    from factstore import Connection, Database

__all__ = [
    "Schedule",
    "Ticked",
    "backfill",
    "due",
    "next_time",
    "nominal_times",
    "problems",
    "run_now",
    "schedule",
    "schedules",
    "tick",
]

SKIP: Final = Keyword(":schedule.missed/skip")  # missed times are skipped
LAST: Final = Keyword(":schedule.missed/last")  # the last missed time becomes a job
ALL: Final = Keyword(":schedule.missed/all")  # every missed time becomes a job
MISSED: Final = (SKIP, LAST, ALL)

_GRACE: Final = timedelta(minutes=1)
_MOST_GRACE: Final = timedelta(days=36_525)  # a century
_MILLISECOND: Final = timedelta(milliseconds=1)
_AT_ONCE: Final = 1000  # maximum number of jobs of one schedule in one transaction
_PORTION: Final = 100  # the same for a scheduler inside a worker
# The attributes that state when a schedule is due; it counts from the latest change of one of them.
_TIMING: Final = (":schedule/cron", ":schedule/timezone", ":schedule/paused")
# The attributes that change a schedule. `:schedule/last` changes with each of its jobs, and is read when the schedule
# is due.
FACTS: Final = (":schedule/id", ":schedule/type", ":schedule/args", ":schedule/missed", ":schedule/grace", *_TIMING)


@factstore.rendering.shown_as_record
class Schedule(NamedTuple):
    """The facts of a schedule."""

    eid: int
    id: str
    cron: str
    type: Keyword
    timezone: str
    args: Mapping[str, Any]  # the arguments of its jobs
    missed: Keyword
    grace: timedelta
    paused: bool
    since: datetime  # the latest change of its timing
    last: datetime | None  # the newest nominal time that became a job
    continues: bool  # whether `last` was asserted after the timing

    @property
    def after(self) -> datetime:
        """The time after which nominal times count."""
        if self.last is None:
            return self.since
        return self.last if self.continues else max(self.since, self.last)

    def occurrence(self, nominal: datetime) -> str:
        """Return the `:job/id` of the job for a nominal time."""
        return f"{self.id}@{nominal.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def schedule(
    id: str,
    cron: str,
    type: str,
    args: Mapping[str, Any] | None = None,
    *,
    timezone: str = "UTC",
    missed: str = "last",
    grace: timedelta = _GRACE,
    paused: bool | None = None,
) -> dict[str, Any]:
    """Return the assertion of a schedule, to be transacted; asserting it again without a change has no effect.

    Args:
        cron: five fields, or six with seconds first, as Debian's cron reads them; also `L`, `LW`, `MON#2`.
        type: the type of its jobs.
        args: the arguments of its jobs, as attributes that the schema declares.
        timezone: an IANA name. A local time in a gap of daylight saving is due after the gap; a repeated one, once.
        missed: the policy for times that no scheduler saw within `grace`: "skip", "last" or "all".
        paused: True stops it; False continues without the times of the pause; None changes nothing.
    Raises: OverseerError(:job.error/bad-schedule).

    >>> schedule("nightly", "30 2 * * *", "report", timezone="Europe/Berlin")[":schedule/cron"]
    '30 2 * * *'
    """
    if not isinstance(id, str) or not id:
        raise _bad(f"a schedule's id is a text that is not empty, got {quoted(id)}", schedule=id)
    next(nominal_times(cron, timezone, after=datetime(2000, 1, 1, tzinfo=UTC)), None)  # raises if it is invalid
    args = arguments.check({} if args is None else args, of=f"the schedule {id}")
    facts = {
        ":schedule/id": id,
        ":schedule/cron": cron,
        ":schedule/type": as_keyword(type),
        ":schedule/timezone": timezone,
        ":schedule/args": factstore.edn.write({Keyword(key): value for key, value in args.items()}),
        ":schedule/missed": _policy(missed, id),
        ":schedule/grace": round(_check_grace(grace, id) / _MILLISECOND),
    }
    return facts if paused is None else {**facts, ":schedule/paused": paused}


def _policy(missed: str, id: str) -> Keyword:
    policy = as_keyword(missed, "schedule.missed")
    if policy not in MISSED:
        names = ", ".join(one.name for one in MISSED)
        raise _bad(f"the policy for missed times is one of {names}; got {quoted(missed)}", schedule=id)
    return policy


def _bad(why: str, **data: Any) -> OverseerError:
    return OverseerError(":job.error/bad-schedule", why, **data)


def _check_grace(grace: timedelta, id: str) -> timedelta:
    if not (isinstance(grace, timedelta) and timedelta(0) <= grace <= _MOST_GRACE):
        raise _bad(
            f"the grace of the schedule {id} is 0 to {_MOST_GRACE.days:,} days, got {quoted(grace)}",
            schedule=id,
            grace=grace,
        )
    return grace


def nominal_times(cron: str, timezone: str, *, after: datetime) -> Iterator[datetime]:
    """Yield the times of an expression after a time, in order and without duplicates, in UTC.

    Where clocks are set back by half an hour (only on Lord Howe Island), times within the hour of the change may be
    left out.

    Raises: OverseerError(:job.error/bad-schedule) for an invalid expression or zone.
    """
    # In UTC, because times of one zone compare by local time, which goes back once a year.
    aware(after, "after")
    try:
        previous = after.astimezone(UTC)
        for local in _walk(cron, timezone, after):
            nominal = local.astimezone(UTC)
            if nominal > previous:  # several local times in a gap are due at the same moment
                yield nominal
                previous = nominal
    except ArithmeticError as error:
        why = f"{quoted(cron)} in the zone {quoted(timezone)} has no times after {after.isoformat()}: {error}"
        raise _bad(why, cron=cron, timezone=timezone) from error


def _walk(cron: str, timezone: str, after: datetime) -> Iterator[datetime]:
    try:
        from cronsim import CronSim, CronSimError
    except ImportError:
        why = "for schedules, install factstore[cron]"
        raise OverseerError(":job.error/missing-package", why, package="cronsim") from None
    # Checked before the values are compared: a deeply nested value exceeds the recursion limit when it is.
    if not (isinstance(cron, str) and isinstance(timezone, str)):
        why = f"the expression and the zone of a schedule are strings, got {quoted(cron)} and {quoted(timezone)}"
        raise _bad(why, cron=cron, timezone=timezone)
    try:
        # CronSim has a fast path for the UTC object.
        zone = UTC if timezone == "UTC" else ZoneInfo(timezone)
        return CronSim(cron, after.astimezone(zone))
    except (CronSimError, ValueError, LookupError, TypeError, AttributeError, OSError) as error:
        why = f"{quoted(cron)} in the zone {quoted(timezone)} has no times: {error}"
        raise _bad(why, cron=cron, timezone=timezone) from error


@lru_cache(maxsize=4096)
def _next(cron: str, timezone: str, after: datetime) -> datetime | None:
    return next(nominal_times(cron, timezone, after=after), None)


@of_database
def schedules(db: Database) -> list[Schedule]:
    """Return the valid schedules of a database, in order of id; `problems` returns the others."""
    valid: list[Schedule] = factstore.rendering.Records()
    for eid in schedule_entities(db).values():
        with suppress(OverseerError):
            valid.extend(filter(None, [read_schedule(db, eid)]))
    return valid


@of_database
def problems(db: Database) -> dict[str, str]:
    """Return the schedules whose jobs cannot be inserted, each with the reason, in order of id."""
    reasons: dict[str, str] = {}
    for id, eid in schedule_entities(db).items():
        try:
            schedule = read_schedule(db, eid)
            if schedule is not None and not schedule.paused:
                _try(db, schedule)
        except (OverseerError, TransactError) as error:
            reasons[id] = error.message
    return reasons


def _try(db: Database, schedule: Schedule) -> None:
    """Raise the error with which the insertion of the schedule's next job would fail."""
    nominal = next_time(schedule)
    if nominal is not None:
        factstore.with_(db, [_job(schedule, nominal, id=new_id())])


def schedule_entities(db: Database) -> dict[str, int]:
    return {} if db.entid(":schedule/id") is None else {datom.v: datom.e for datom in db.datoms("avet", ":schedule/id")}


def read_schedule(db: Database, eid: int) -> Schedule | None:
    """Return a schedule; None if it lacks required facts. Raises: OverseerError for invalid facts."""
    about = lookup.attributes(db, eid)
    if not {":schedule/id", ":schedule/cron", ":schedule/type"} <= about.keys():
        return None
    id, missed = about[":schedule/id"], about.get(":schedule/missed", LAST)
    if missed not in MISSED:
        raise _bad(f"the schedule {id} has the unknown policy {missed} for missed times", schedule=id, missed=missed)
    args = arguments.read(about.get(":schedule/args", "{}"), of=f"the schedule {id}")
    changed = max(datom.tx for attribute in _TIMING for datom in db.datoms("eavt", eid, attribute))
    since = db.instant_of(changed)
    return Schedule(
        eid=eid,
        id=id,
        cron=about[":schedule/cron"],
        type=about[":schedule/type"],
        timezone=about.get(":schedule/timezone", "UTC"),
        args=args,
        missed=missed,
        grace=_grace(about, id),
        paused=about.get(":schedule/paused", False),
        since=since or datetime.min.replace(tzinfo=UTC),
        last=about.get(":schedule/last"),
        continues=any(datom.tx > changed for datom in db.datoms("eavt", eid, ":schedule/last")),
    )


def _grace(about: Mapping[str, Any], id: str) -> timedelta:
    milliseconds = about.get(":schedule/grace", _GRACE // _MILLISECOND)
    if abs(milliseconds) > _MOST_GRACE // _MILLISECOND:
        why = f"the grace of the schedule {id} is 0 to {_MOST_GRACE.days:,} days, got {milliseconds:,} milliseconds"
        raise _bad(why, schedule=id, grace=milliseconds)
    return _check_grace(milliseconds * _MILLISECOND, id)


def next_time(schedule: Schedule) -> datetime | None:
    """Return the first nominal time that has not become a job; None if it is paused, or if there is none."""
    return None if schedule.paused else _next(schedule.cron, schedule.timezone, schedule.after)


def to_enqueue(schedule: Schedule, now: datetime, most: int = _AT_ONCE) -> list[datetime]:
    """Return the nominal times up to `now` that must become jobs, by the policy for missed ones.

    Args:
        most: maximum number of times; the first ones are returned.
    """
    first = next_time(schedule)
    if first is None or first > now:
        return []
    if schedule.missed == ALL:
        return list(islice(_between(schedule, schedule.after, now), most))
    in_time = list(islice(_between(schedule, max(schedule.after, now - schedule.grace), now), most))
    if in_time or schedule.missed == SKIP:
        return in_time
    return [_latest(schedule, now) or first]


def _between(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    return takewhile(lambda nominal: nominal <= until, nominal_times(schedule.cron, schedule.timezone, after=after))


def _latest(schedule: Schedule, now: datetime) -> datetime | None:
    """Return the newest nominal time up to now, without a walk through all missed ones."""
    width = max(schedule.grace, _GRACE)
    while True:
        start = max(schedule.after, now - width)
        times = list(_between(schedule, start, now))
        if times or start == schedule.after:
            return times[-1] if times else None
        width *= 8


@of_database
def due(db: Database, now: datetime) -> Forms:
    """Return the transaction that inserts the due jobs; it is rejected if another scheduler inserted one of them."""
    aware(now, "now")
    return [form for schedule in schedules(db) for form in _enqueue(db, schedule, to_enqueue(schedule, now))]


def _enqueue(db: Database, schedule: Schedule, times: Iterable[datetime]) -> Forms:
    nominals = list(times)
    if not nominals:
        return []
    forms: Forms = [[txns.CAS, schedule.eid, ":schedule/last", schedule.last, nominals[-1]]]
    for nominal in nominals:
        id = schedule.occurrence(nominal)
        if db.entid([":job/id", id]) is None:
            forms.append(_job(schedule, nominal, id=id))
    return forms


def _job(schedule: Schedule, nominal: datetime, *, id: str) -> dict[str, Any]:
    # With its time as the earliest start, because the scheduler's clock may be ahead of the worker's.
    about = {":job/run-at": nominal, **schedule.args, ":job/schedule": schedule.eid, ":job/nominal": nominal}
    return txns.job_txn(schedule.type, about, id=id)


@factstore.rendering.shown_as_record
class Ticked(NamedTuple):
    """The result of one step of a scheduler."""

    enqueued: list[str]  # ids of jobs
    refused: dict[str, str]  # schedule → why its jobs cannot be inserted


@of_connection
def tick(conn: Connection, now: datetime) -> Ticked:
    """Insert the due jobs in one transaction per schedule, so that an invalid schedule does not delay others."""
    aware(now, "now")
    done = Ticked([], {})
    for id, eid in schedule_entities(conn.db()).items():
        try:
            done.enqueued.extend(_tick(conn, eid, now))
        except (OverseerError, TransactError) as error:
            done.refused[id] = error.message
    return done


def _tick(conn: Connection, eid: int, now: datetime) -> Iterator[str]:
    while True:
        db = conn.db()
        schedule = read_schedule(db, eid)
        times = to_enqueue(schedule, now) if schedule is not None else []
        if schedule is None or not times:
            return
        try:
            conn.transact(_enqueue(db, schedule, times))
        except CasFailed:
            continue  # another scheduler was faster: read again
        yield from map(schedule.occurrence, times)


def tick_portion(conn: Connection, eid: int, now: datetime) -> list[str]:
    """Insert some of the due jobs, unless another scheduler is faster."""
    db = conn.db()
    schedule = read_schedule(db, eid)
    times = to_enqueue(schedule, now, _PORTION) if schedule is not None else []
    if schedule is None or not times:
        return []
    try:
        conn.transact(_enqueue(db, schedule, times))
    except CasFailed:
        return []
    return list(map(schedule.occurrence, times))


@of_connection
def run_now(conn: Connection, id: str, *, by: str | None = None) -> str:
    """Insert a job of a schedule now, also if the schedule is paused, and return the id of the job.

    Its nominal time is the current second. The times of the schedule stay as they are.

    Args:
        id: the schedule's name.
        by: who does it, for `:overseer/by` of the transaction.
    Raises: OverseerError(:job.error/no-such-schedule).
    """
    nominal = conn.now().astimezone(UTC).replace(microsecond=0)
    return _insert(conn, _named(conn.db(), id), [nominal], by)[0]


@of_connection
def backfill(
    conn: Connection, id: str, *, start: datetime, end: datetime, by: str | None = None, dry_run: bool = False
) -> list[str]:
    """Insert the jobs of a schedule for its nominal times in a period that have no job, and return their ids.

    The id of such a job consists of the schedule and the time, so a time becomes a job at most once, however often this
    is called and whatever the schedulers do. The jobs may start at once, and the schedule continues as before.

    Args:
        id: the schedule's name.
        start: the first time that may be included.
        end: the time before which the period ends.
        by: who does it, for `:overseer/by` of the transactions.
        dry_run: only return the ids.
    Raises: OverseerError(:job.error/no-such-schedule); OverseerError(:job.error/bad-schedule) for times without a zone,
        and for a period with more than 10,000 times.
    """
    db = conn.db()
    schedule = _named(db, id)
    if not all(isinstance(time, datetime) and time.tzinfo is not None for time in (start, end)):
        raise _bad(f"start and end are times with a zone, got {quoted(start)} and {quoted(end)}", schedule=id)
    if start.year < _FIRST_YEAR or end.year > _LAST_YEAR:
        raise _bad(f"a period lies in the years {_FIRST_YEAR} to {_LAST_YEAR}", schedule=id, start=start, end=end)
    from_start = nominal_times(schedule.cron, schedule.timezone, after=start - timedelta.resolution)
    nominals = list(islice(takewhile(lambda nominal: nominal < end, from_start), _MOST_BACKFILLED + 1))
    if len(nominals) > _MOST_BACKFILLED:
        why = (
            f"the schedule {id} has more than {_MOST_BACKFILLED:,} times from {start.isoformat()} to {end.isoformat()}"
        )
        raise _bad(f"{why}: fill a shorter period first", schedule=id, start=start, end=end)
    missing = [time for time in nominals if db.entid([":job/id", schedule.occurrence(time)]) is None]
    if dry_run:
        return list(map(schedule.occurrence, missing))
    portions = (missing[n : n + _PORTION] for n in range(0, len(missing), _PORTION))
    return [job for portion in portions for job in _insert(conn, schedule, portion, by)]


_MOST_BACKFILLED: Final = 10_000
_FIRST_YEAR, _LAST_YEAR = 1970, 9998  # whose times exist in every time zone


def _insert(conn: Connection, schedule: Schedule, nominals: Iterable[datetime], by: str | None) -> list[str]:
    """Insert the jobs for these times that do not exist yet, in one transaction, and return the ids of all."""
    ids = {schedule.occurrence(nominal): nominal for nominal in nominals}
    forms = [txns.once(_job(schedule, nominal, id=id)) for id, nominal in ids.items()]
    conn.transact([*forms, *([] if by is None else [txns.signed(by)])])
    return list(ids)


def _named(db: Database, id: str) -> Schedule:
    """Return a schedule. Raises: OverseerError if there is none, or if its facts are invalid."""
    eid = schedule_entities(db).get(id) if isinstance(id, str) else None
    schedule = None if eid is None else read_schedule(db, eid)
    if schedule is None:
        why = f"there is no schedule {quoted(id)}"
        raise OverseerError(":job.error/no-such-schedule", why, schedule=id)
    return schedule


def any_schedules(db: Database) -> bool:
    return db.entid(":schedule/id") is not None and next(iter(db.datoms("aevt", ":schedule/id")), None) is not None
