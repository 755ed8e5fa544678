"""What the pages of jobs share: the time of a page, filters in addresses, and when a page is out of date."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import factstore
from factstore.console import PageRequest

if TYPE_CHECKING:
    from factstore import Database

FILTERS: Final = ("status", "type", "queue", "worker", "text")
_DUE: Final = """[:find (min ?at) . :in $ ?now
  :where [?j :job/status :job.status/unstarted] [?j :job/run-at ?at] [(> ?at ?now)]]"""
_ENDS: Final = """[:find (min ?at) . :in $ ?now
  :where [?j :job/status :job.status/started] [?j :job/lease-expires ?at] [(> ?at ?now)]]"""
_BEHIND: Final = 0.05  # seconds after a lease has ended when a page is drawn again


def time_of(request: PageRequest) -> datetime:
    """Return the time at which the page shows jobs: that of its transaction, or now for a live page."""
    if request.moment.t is None:
        return request.conn.now().astimezone(UTC)
    return request.db.moment or datetime.fromtimestamp(0, UTC)


def again(request: PageRequest) -> float | None:
    """Return the seconds until a job is due, or a lease ends; None if no job changes by time alone."""
    now = time_of(request)
    times = [factstore.q(query, request.db, now) for query in (_DUE, _ENDS)]
    first = min((time for time in times if time is not None), default=None)
    return None if first is None else (first - now).total_seconds() + _BEHIND


def filters(given: Mapping[str, str]) -> dict[str, str]:
    """Return the filters of jobs in an address or a form, without empty ones."""
    return {name: text for name in FILTERS if (text := given.get(name, "").strip())}


def number(text: str | None, default: int, most: int) -> int:
    """Return a whole number in an address, at most `most`; the default for another text."""
    return min(int(text), most) if text and text.isascii() and text.isdecimal() and len(text) < 10 else default


def names(db: Database, attribute: str) -> list[Any]:
    """Return the different values of an attribute of jobs, sorted."""
    return sorted(factstore.q(f"[:find [?v ...] :where [_ {attribute} ?v]]", db))


def plural(count: int, noun: str) -> str:
    """Return a number with its noun.

    >>> plural(1, "job"), plural(1200, "job")
    ('1 job', '1,200 jobs')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def seconds(texts: Iterable[str]) -> list[float]:
    """Return the numbers among texts."""
    return [float(text) for text in texts if text.replace(".", "", 1).isdecimal()]
