"""The page of queues: the backlog and the settings of each, and the form that changes them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import factstore
from factstore.console import Answer, PageRequest, Redirect, Table, commit
from overseer import status
from overseer.console.asking import again, time_of
from overseer.errors import OverseerError
from overseer.jobs import queues as settings


def queues(request: PageRequest) -> Answer | Redirect:
    """Return the queues at the moment of the page; with a form, change the settings of one."""
    if request.form is not None:
        commit(request, [_changed(request.form)])
        return Redirect("/queues", {"t": "", "from": ""})
    db, now = request.db, time_of(request)
    backlogs, limits = status.backlog(db, at=now), settings.queues(db)
    rows = [(name, backlog, limits.get(name) if name else None) for name, backlog in backlogs.items()]
    columns = ("queue", "ready", "blocked", "later", "running", "silent", "oldest", "since", "paused", "limit", "rate")
    table = [
        (name, *backlog[:7], backlog.paused, queue.limit if queue else None, rate(queue))
        for name, backlog, queue in rows
    ]
    values = {
        "rows": [(name, backlog, queue, rate(queue)) for name, backlog, queue in rows],
        "totals": {state: sum(getattr(backlog, state) for backlog in backlogs.values()) for state in columns[1:6]},
        "problems": settings.problems(db),
        "now": now,
        "editing": request.parameters.get("queue", "") or None,
    }
    return Answer("queues.html", values, {"queues": Table(columns, table)}, again=again(request))


def rate(queue: settings.Queue | None) -> str:
    """Return the rate of a queue in words; "" for any rate."""
    return f"{queue.rate} per {_duration(queue.period)}" if queue is not None and queue.rate else ""


def _duration(period: timedelta) -> str:
    return "second" if period == timedelta(seconds=1) else f"{period.total_seconds():g} s"


def _changed(form: Any) -> dict[str, Any]:
    """Return the assertion of the settings in a form: only its fields change, and an empty one removes the limit."""
    given: dict[str, Any] = {}
    if "paused" in form:
        given["paused"] = form["paused"] == "yes"
    for name in ("limit", "partition_limit", "rate"):
        if name in form:
            given[name] = _count(name, form[name].strip())
    if form.get("period", "").strip():
        given["period"] = factstore.duration(form["period"].strip())
    return settings.queue(form.get("queue", ""), **given)


def _count(name: str, text: str) -> int | None:
    if text and not (text.isascii() and text.isdecimal() and len(text) < 19):
        setting, got = name.replace("_", " "), factstore.quoted(text)
        why = f"the {setting} of a queue is a whole number, or empty for no limit, got {got}"
        raise OverseerError(":job.error/bad-argument", why, setting=name, got=text)
    return int(text) if text else None
