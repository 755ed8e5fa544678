"""The page of charts: throughput, waiting and running time of any period, from history alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from markupsafe import Markup

import factstore
from factstore.console import Answer, PageRequest, Table
from overseer.console.asking import names, time_of

drawing = factstore.drawing
SPANS: Final = {
    "15m": ("15 minutes", timedelta(minutes=15)),
    "1h": ("1 hour", timedelta(hours=1)),
    "6h": ("6 hours", timedelta(hours=6)),
    "1d": ("1 day", timedelta(days=1)),
    "1w": ("1 week", timedelta(weeks=1)),
}
_STEPS: Final = 48


def charts(request: PageRequest) -> Answer:
    """Return the charts of a period that ends at the moment of the page, or of the time between the handles."""
    from overseer.planning.flow import MOST, Flow, flow  # it loads numpy

    db, end, span = request.db, time_of(request), request.parameters.get("span", "")
    given = {name: text for name in ("type", "queue") if (text := request.parameters.get(name, "").strip())}
    start = _start(request, end, span)
    found: Flow = flow(db, start=start, end=end, steps=_STEPS, **given)
    columns = ("type", "finished", "failed", "aborted", "waiting 50 %", "95 %", "running 50 %", "95 % of running")
    none = (None, None)
    rows = [(*row[:4], *(row.waiting or none), *(row.running or none)) for row in found.types]
    values = {
        "pictures": [Markup(picture) for picture in _pictures(found)],
        "duration": drawing.svg.duration,
        "start": start,
        "end": end,
        "span": span if span in SPANS else "" if request.moment.start is not None else "1h",
        "spans": {name: words for name, (words, _) in SPANS.items()},
        "given": {"type": "", "queue": ""} | given,
        "types": names(db, ":job/type"),
        "queues": names(db, ":job/queue"),
        "ended": sum(step.finished + step.failed + step.aborted for step in found.steps),
        "most": None if found.is_all else MOST,
    }
    return Answer("charts.html", values, {"types": Table(columns, rows)})


def _start(request: PageRequest, end: datetime, span: str) -> datetime:
    if span not in SPANS and request.moment.start is not None:
        first = request.newest.instant_of(request.moment.after)
        if first is not None and first < end:
            return first
    return end - SPANS.get(span, SPANS["1h"])[1]


def _pictures(found: Any) -> list[str]:
    times = [step.start.timestamp() for step in found.steps]
    edges = [*times, found.end.timestamp() if found.end.timestamp() > times[-1] else times[-1] + 1]
    ended = [
        drawing.Series(status, status, [getattr(step, status) for step in found.steps])
        for status in ("finished", "failed", "aborted")
    ]
    pictures = [drawing.chart("throughput", "Jobs that ended", edges, columns=ended)]
    for name, title in (("waiting", "Waiting time"), ("running", "Running time")):
        shares = [getattr(step, name) for step in found.steps]
        lines = [
            drawing.Series(label, f"s{n}", [None if share is None else share[n] for share in shares])
            for n, label in enumerate(("median", "95 of 100"))
        ]
        pictures.append(drawing.chart(name, title, edges, lines=lines, written=drawing.svg.duration))
    return pictures
