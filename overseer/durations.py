"""Durations as people write them: a timedelta, or a text such as "30s" or "5m"."""

from __future__ import annotations

from datetime import timedelta
from typing import Final, TypeAlias

from factstore import quoted
from overseer.errors import OverseerError

Duration: TypeAlias = timedelta | str

_UNITS: Final = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


def duration(value: Duration, *, what: str = "a duration") -> timedelta:
    """Return a duration of more than 0 as a timedelta.

    Args:
        value: a timedelta, or a whole number of days, hours, minutes or seconds, such as "30d", "12h", "15m" or "90s".
        what: its name, for the error.
    Raises: OverseerError(:job.error/bad-argument).

    >>> duration("90s"), duration(timedelta(minutes=5))
    (datetime.timedelta(seconds=90), datetime.timedelta(seconds=300))
    """
    try:
        found = value if isinstance(value, timedelta) else read_duration(value)
    except ValueError:
        found = None
    if found is None or found <= timedelta(0):
        why = f"{what} is a timedelta above 0, or a text such as 30d, 12h, 15m or 90s, got {quoted(value)}"
        raise OverseerError(":job.error/bad-argument", why, got=value)
    return found


def read_duration(text: str) -> timedelta:
    """Return the duration in a text such as "30d", "12h", "15m" or "90s". Raises: ValueError with the reason."""
    unit = _UNITS.get(text[-1:]) if isinstance(text, str) else None
    if unit is None or not (text[:-1].isdecimal() and text.isascii()):
        raise ValueError(f"{quoted(text)} is no time such as 30d, 12h, 15m or 90s")
    try:
        return timedelta(**{unit: int(text[:-1])})
    except (OverflowError, ValueError):  # longer than any timedelta, or than the digits that Python reads
        raise ValueError(f"{quoted(text)} is longer than any time") from None
