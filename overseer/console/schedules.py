"""The page of schedules: next and missed times, run now, pause, and the backfill of a period."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import factstore
from factstore.console import Answer, PageRequest, Redirect, Table, commit, signing
from overseer import cron
from overseer.console.asking import time_of
from overseer.errors import OverseerError

_LISTED: Final = 200
_NEXT: Final = 3  # times of each schedule


def schedules(request: PageRequest) -> Answer | Redirect:
    """Return the schedules at the moment of the page; with a form, insert jobs of one, or pause it."""
    form, tried = request.form, None
    if form is not None:
        found = _done(request, form)
        if isinstance(found, Redirect):
            return found
        tried = found
    db, now = request.db, time_of(request)
    found_all = cron.schedules(db)
    rows = [
        (each, [] if each.paused else _next(each, now), len(cron.to_enqueue(each, now)), _jobs(request, each))
        for each in found_all
    ]
    columns = ("id", "cron", "timezone", "type", "paused", "next", "last", "due")
    table = [
        (each.id, each.cron, each.timezone, each.type, each.paused, times[0] if times else None, each.last, due)
        for each, times, due, _ in rows
    ]
    values = {
        "rows": rows,
        "problems": cron.problems(db),
        "tried": tried,
        "form": form or {"schedule": request.parameters.get("schedule", ""), "start": "", "end": ""},
        "listed": _LISTED,
    }
    return Answer("schedules.html", values, {"schedules": Table(columns, table)})


def _next(schedule: cron.Schedule, now: datetime) -> list[datetime]:
    return list(islice(cron.nominal_times(schedule.cron, schedule.timezone, after=now), _NEXT))


def _jobs(request: PageRequest, schedule: cron.Schedule) -> list[str]:
    """Return the ids of the newest jobs of a schedule."""
    query = "[:find ?at ?id :in $ ?s :where [?j :job/schedule ?s] [?j :job/nominal ?at] [?j :job/id ?id]]"
    return [id for _, id in sorted(factstore.q(query, request.db, schedule.eid), reverse=True)[:3]]


def _done(request: PageRequest, form: Mapping[str, str]) -> Redirect | list[str]:
    """Do what a form requests; return the ids of a backfill that is only tried.

    Raises: OverseerError for an unknown schedule, wrong times, or an unknown request.
    """
    id, conn, live = form.get("schedule", ""), request.conn, {"t": "", "from": ""}
    if form.get("do") == "run":
        with signing(request):
            return Redirect("/job", {"id": cron.run_now(conn, id, by=request.who), **live})
    if form.get("do") in ("pause", "resume"):
        commit(request, [{":schedule/id": id, ":schedule/paused": form["do"] == "pause"}])
        return Redirect("/schedules", live)
    if form.get("do") not in ("try", "backfill"):
        raise OverseerError(":job.error/bad-argument", f"unknown request {factstore.quoted(form.get('do', ''))}")
    start, end = (_instant(form.get(name, "")) for name in ("start", "end"))
    if form["do"] == "try":
        return cron.backfill(conn, id, start=start, end=end, dry_run=True)
    with signing(request):
        cron.backfill(conn, id, start=start, end=end, by=request.who)
    return Redirect("/jobs", {"text": f"{id}@", **live})


def _instant(text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        why = f"expected a time such as 2026-01-31T12:00, in UTC, got {factstore.quoted(text)}"
        raise OverseerError(":job.error/bad-argument", why, time=text) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
