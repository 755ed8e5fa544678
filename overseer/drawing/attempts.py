"""Attempts and plans as bars on an axis of time: waiting is thin and grey, running is in the colour of the end."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import factstore

drawing = factstore.drawing


class Bar(NamedTuple):
    """One attempt, or one planned run."""

    label: str
    began: datetime
    ended: datetime | None  # None while it runs
    state: str  # how it ended: started while it runs
    hint: str = ""
    waited_from: datetime | None = None  # since when it could have begun


def bars_picture(
    bars: Sequence[Bar],
    *,
    now: datetime,
    name: str = "attempts",
    title: str = "Attempts",
    style: str = drawing.CSS,
) -> str:
    """Return the picture of bars, one row for each label in order of appearance.

    Args:
        now: the end of bars that still run.
    """
    rows: dict[str, list[drawing.Span]] = {}
    for bar in bars:
        spans = rows.setdefault(bar.label, [])
        began, ended = bar.began.timestamp(), (bar.ended or max(now, bar.began)).timestamp()
        if bar.waited_from is not None and bar.waited_from < bar.began:
            waited = bar.waited_from.timestamp()
            spans.append(drawing.Span(waited, began, "wait", "", f"waited {drawing.svg.duration(began - waited)}"))
        took = drawing.svg.duration(ended - began)
        spans.append(drawing.Span(began, ended, bar.state, took, f"{bar.hint or bar.label}: {took}"))
    return drawing.spans(name, title, [drawing.Row(*row) for row in rows.items()], style=style)
