"""The page "what if": the plan of the live jobs, and the one with more workers, a paused queue, or without a type."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final

from markupsafe import Markup

import factstore
from factstore.console import Answer, PageRequest, Table
from overseer import status
from overseer.console.asking import names, number, time_of
from overseer.jobs.queues import queue as settings_of
from overseer.jobs.store import bulk
from overseer.planning.plan import Plan, PlannedJob, plan
from overseer.status import matching

if TYPE_CHECKING:
    from factstore import Database

drawing = factstore.drawing
_SLOTS: Final = 16  # rows of a picture
_DRAWN: Final = 400  # jobs of a picture
_MOST_WORKERS: Final = 10_000


def what_if(request: PageRequest) -> Answer:
    """Return the plan of the jobs at the moment of the page, and the one after the changes in the address."""
    now, asked = time_of(request), request.parameters
    db = request.newest.branch(request.moment.upto)
    running = (each for each in status.workers(request.db, at=now) if not each.is_silent)
    slots = sum(each.slots or 0 for each in running) or 1
    workers = max(1, number(asked.get("workers"), slots, _MOST_WORKERS))
    more = number(asked.get("more"), 4, _MOST_WORKERS)
    given = {name: asked.get(name, "").strip() for name in ("pause", "resume", "without")}
    before = plan(db, now=now, workers=workers)
    after = plan(_changed(db, given, request.who), now=now, workers=workers + more)
    end = max(before.ends, after.ends)
    pictures = [_gantt(name, each, end) for name, each in (("before", before), ("after", after))]
    values = {
        "workers": workers,
        "more": more,
        "given": given,
        "queues": names(request.db, ":job/queue"),
        "types": names(request.db, ":job/type"),
        "plans": [_about("As it is", before, now, pictures[0]), _about("What if", after, now, pictures[1])],
        "sooner": (before.ends - after.ends).total_seconds(),
        "duration": drawing.svg.duration,
    }
    columns = ("plan", "id", "type", "start", "end", "after")
    rows = [(name, *step) for name, each in (("before", before), ("after", after)) for step in each.steps]
    return Answer("what_if.html", values, {"steps": Table(columns, rows)})


def _changed(db: Database, given: dict[str, str], who: str) -> Database:
    """Return the database after the changes: queues paused and resumed, and without the live jobs of a type."""
    forms: list[Any] = [settings_of(given[name], paused=name == "pause") for name in ("pause", "resume") if given[name]]
    if given["without"]:
        jobs = [job for _, job in matching(db, type=given["without"])]
        forms += bulk.abort(db, jobs, "what if", by=who).forms
    return factstore.with_(db, forms).db_after if forms else db


def _about(title: str, found: Plan, now: datetime, picture: Markup) -> dict[str, Any]:
    return {
        "title": title,
        "picture": picture,
        "jobs": len(found.steps),
        "never": found.never,
        "ends": found.ends,
        "takes": (found.ends - now).total_seconds(),
        "least": (found.soonest - now).total_seconds(),
        "critical": found.critical,
        "is_all": len(found.steps) <= _DRAWN,
    }


def _gantt(name: str, found: Plan, end: datetime) -> Markup:
    """Return the picture of a plan: a row for each slot, the jobs that determine the end in blue."""
    critical = {step.id for step in found.critical}
    rows = [
        drawing.Row(
            f"slot {n}",
            [
                drawing.Span(
                    step.start.timestamp(),
                    step.end.timestamp(),
                    "started" if step.id in critical else "finished",
                    step.type.name,
                    f"{step.id}, {step.type}: {drawing.svg.duration((step.end - step.start).total_seconds())}",
                )
                for step in slot
            ],
        )
        for n, slot in enumerate(slots_of(found.steps[:_DRAWN])[:_SLOTS], 1)
    ]
    about = f"{len(found.steps):,} jobs, the last one ends at {found.ends:%Y-%m-%d %H:%M:%S}."
    return Markup(drawing.spans(f"plan-{name}", "Plan", rows, until=end.timestamp(), width=520, description=about))


def slots_of(steps: Sequence[PlannedJob]) -> list[list[PlannedJob]]:
    """Return the jobs of a plan, in order of start, by slot: each takes the slot that has been free longest.

    Law: no two jobs of a slot overlap, and there are no more slots than jobs that run at a time.
    """
    slots: list[list[PlannedJob]] = []
    free: list[tuple[datetime, int]] = []
    for step in steps:
        if free and free[0][0] <= step.start:
            n = heappop(free)[1]
        else:
            n = len(slots)
            slots.append([])
        slots[n].append(step)
        heappush(free, (step.end, n))
    return slots
