"""Times that callers give: durations, as for `factstore.duration` but above 0, and moments, which have a time zone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, TypeAlias

import factstore
from factstore import DatabaseError, quoted
from overseer.errors import OverseerError

Duration: TypeAlias = timedelta | str
Timeout: TypeAlias = timedelta | str | float  # or seconds


def duration(value: Duration, *, what: str = "a duration") -> timedelta:
    """Return a duration of more than 0 as a timedelta.

    Args:
        value: a timedelta, or a text such as "30d", "1h30m" or "250ms"; see `factstore.duration`.
        what: its name, for the error.
    Raises: OverseerError(:job.error/bad-argument).

    >>> duration("90s"), duration(timedelta(minutes=5))
    (datetime.timedelta(seconds=90), datetime.timedelta(seconds=300))
    """
    try:
        length = factstore.duration(value)
    except DatabaseError:
        length = timedelta(0)
    if length <= timedelta(0):
        why = f"{what} is a timedelta above 0, or a text such as 30d, 1h30m or 90s, got {quoted(value)}"
        raise OverseerError(":job.error/bad-argument", why, got=value)
    return length


def timeout_of(value: Timeout | None) -> float | None:
    """Return a timeout in seconds, or None for no limit, as the timeouts of factstore: a number below 0 is over.

    Raises: OverseerError(:job.error/bad-argument).

    >>> timeout_of("1m"), timeout_of(0), timeout_of(timedelta.max)
    (60.0, 0.0, None)
    """
    try:
        return factstore.timeout_of(value)
    except DatabaseError as error:
        why = f"a timeout is a number of seconds, a timedelta, a text such as 30s, or None, got {quoted(value)}"
        raise OverseerError(":job.error/bad-argument", why, got=value) from error


def aware(time: Any, name: str) -> datetime:
    """Return a datetime that has a time zone; `name` is the argument that it is given as.

    Raises: OverseerError(:job.error/bad-argument).

    >>> from datetime import UTC
    >>> aware(datetime(2026, 1, 1, tzinfo=UTC), "now").year
    2026
    """
    if isinstance(time, datetime) and time.tzinfo is not None:
        return time
    why = f"{name} is a datetime with a time zone, such as datetime.now(UTC), got {quoted(time)}"
    raise OverseerError(":job.error/bad-argument", why, argument=name, got=time)
