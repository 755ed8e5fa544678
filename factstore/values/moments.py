"""Moments and durations in words, in one place for the API and the command line.

    point       "42", which is t 42 | 42 | a moment
    moment      "2026-11-24T03:12Z" | "-5m", which is five minutes ago | timedelta(minutes=-5) | an aware datetime
    duration    "30s" | "1h30m" | "250ms" | timedelta(seconds=30)            units: ms s m h d w

Laws: the text of a duration means the sum of its parts, in any order; no text of digits is a moment, which has a zone
or a unit, so "2026" is t 2026 and no year.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from math import isnan, nan
from numbers import Real
from threading import TIMEOUT_MAX
from typing import Any, Final, TypeAlias, TypeVar

from factstore.errors import DatabaseError
from factstore.values.quoting import quoted

T = TypeVar("T")
_UNITS: Final[Mapping[str, timedelta]] = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|[smhdw])")
_DURATION: Final = re.compile(rf"(?:{_PART.pattern})+")
Duration: TypeAlias = float | timedelta | str  # seconds, or a duration in words
_T: Final = re.compile("[0-9]{1,19}", re.ASCII)
_LONGEST: Final = 100  # characters of a text


def duration(value: object) -> timedelta:
    """Return the duration of a text such as "30s" or "1h30m", or a timedelta unchanged.

    Raises: DatabaseError(:db.error/invalid-duration), also for a duration below zero.

    >>> duration("1h30m"), duration("250ms")
    (datetime.timedelta(seconds=5400), datetime.timedelta(microseconds=250000))
    """
    found = _of_text(value) if isinstance(value, str) else value
    if isinstance(found, timedelta) and found >= timedelta(0):
        return found
    text = f'expected a duration, such as "30s", "1h30m" or a timedelta from 0, got {quoted(value)}'
    raise DatabaseError(":db.error/invalid-duration", text, got=value)


def _of_text(text: str) -> timedelta | None:
    if len(text) > _LONGEST or not _DURATION.fullmatch(text):
        return None
    try:
        return sum((float(number) * _UNITS[unit] for number, unit in _PART.findall(text)), timedelta(0))
    except OverflowError:
        return None


def seconds(value: T | timedelta | str) -> T | float:
    """Return a duration in seconds; what is neither a text nor a timedelta is returned unchanged."""
    return duration(value).total_seconds() if isinstance(value, str | timedelta) else value


def timeout_of(value: object) -> float | None:
    """Return a timeout in seconds, or None for no limit, which is also that of a timeout of centuries.

    Args:
        value: None, a number of seconds, a timedelta or a text. A number below 0 is a time that is over.
    Raises: DatabaseError(:db.error/invalid-duration).

    >>> timeout_of("250ms"), timeout_of(0), timeout_of(None), timeout_of(float("inf"))
    (0.25, 0.0, None, None)
    """
    if value is None:
        return None
    given = seconds(value)
    try:
        limit = float(given) if _is_number(given) else nan  # type: ignore[arg-type]
    except OverflowError:
        limit = TIMEOUT_MAX if given > 0 else 0.0  # type: ignore[operator]
    except ValueError:  # a signalling NaN
        limit = nan
    if isnan(limit):
        text = f'expected a timeout in seconds, as a timedelta, a text such as "30s", or None, got {quoted(value)}'
        raise DatabaseError(":db.error/invalid-duration", text, got=value)
    return limit if limit < TIMEOUT_MAX else None


def _is_number(value: object) -> bool:
    """Tell whether a value is a number; a timedelta64 is one for Python, but of any unit."""
    from numpy import timedelta64

    return isinstance(value, Real | Decimal) and not isinstance(value, bool | timedelta64)


def seconds_of(value: object) -> Any:
    """Return a duration in seconds; anything else is returned unchanged, to a caller that rejects it itself."""
    try:
        return seconds(value)
    except DatabaseError:
        return value


def moment(value: object, *, now: datetime | None = None) -> datetime:
    """Return the instant that a text, a negative timedelta or an aware datetime means.

    Args:
        value: "2026-11-24T03:12Z" in ISO 8601 with a zone; "-5m" or timedelta(minutes=-5), which is that long ago.
        now: the time before which a duration is; None: the clock of this machine.
    Raises: DatabaseError(:db.error/invalid-point).

    >>> moment("-1h30m", now=moment("2026-11-24T03:12Z")).isoformat()
    '2026-11-24T01:42:00+00:00'
    """
    now = datetime.now(UTC) if now is None else moment(now)
    try:
        if isinstance(value, str) and value.startswith("-") and (ago := _of_text(value[1:])) is not None:
            return now - ago
        if isinstance(value, timedelta) and value <= timedelta(0):
            return now + value
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
        if isinstance(found, datetime) and found.tzinfo is not None:
            return found
    except (ValueError, OverflowError):
        pass  # the text is no time, or the time is outside the calendar
    words = 'or in words "2026-11-24T03:12Z" or "-5m", five minutes ago'
    text = f"expected t, a transaction's id or an aware datetime, {words}, got {quoted(value)}"
    raise DatabaseError(":db.error/invalid-point", text, point=value)


def point_in(value: object, *, now: datetime | None = None) -> int | datetime:
    """Return the t that a text of digits means, or the moment that another text, a timedelta or a datetime means.

    Raises: DatabaseError(:db.error/invalid-point).

    >>> point_in("42")
    42
    """
    return int(value) if isinstance(value, str) and _T.fullmatch(value) else moment(value, now=now)
