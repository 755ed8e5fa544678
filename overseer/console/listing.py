"""The page of jobs: those for which all filters hold, with their counts by status and the form of the actions."""

from __future__ import annotations

from typing import Any, Final

from factstore.console import Answer, PageRequest, Table
from overseer import status
from overseer.console.asking import FILTERS, again, filters, names, number
from overseer.jobs.states import STATUSES

_SHOWN: Final = 100
_MOST: Final = 5_000


def jobs(request: PageRequest) -> Answer:
    """Return the jobs that the filters of the address choose, the newest change first."""
    db = request.db
    given: dict[str, Any] = filters(request.parameters)
    limit = number(request.parameters.get("limit"), _SHOWN, _MOST)
    others = {name: text for name, text in given.items() if name != "status"}
    counts = status.counts(db, **others)
    chosen = [one for one in STATUSES if given.get("status", one.name).removeprefix(":job.status/") == one.name]
    count = sum(counts[one] for one in chosen)
    listed = status.jobs(db, **given, limit=limit)
    values: dict[str, Any] = {
        "given": dict.fromkeys(FILTERS, "") | given,
        "is_filtered": bool(given),
        "others": others,
        "counts": counts,
        "count": count,
        "listed": listed,
        "types": names(db, ":job/type"),
        "queues": names(db, ":job/queue"),
        "more": min(10 * limit, _MOST) if count > len(listed) and limit < _MOST else None,
    }
    columns = ("id", "type", "status", "queue", "attempt", "since", "by", "why")
    return Answer("jobs.html", values, {"jobs": Table(columns, listed)}, again=again(request))
