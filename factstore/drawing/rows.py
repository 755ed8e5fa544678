"""Spans of time in rows: bars on one axis, on which long gaps without any solid bar are folded.

Law: a later time is never left of an earlier one, and a span inside of the picture has a width of at least one pixel.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import Final, NamedTuple

from factstore.drawing import svg

_ROW: Final = 26.0
_FOLDED: Final = 44.0  # pixels of a folded gap
_TOP: Final = 30.0
_GAP_SHARE: Final = 0.2  # a gap is folded if it is longer than this part of all time outside of gaps


class Span(NamedTuple):
    """A bar from one time to another."""

    start: float  # seconds, on any clock
    end: float
    kind: str  # a class of the style: started, finished, failed, aborted, value; wait does not keep time unfolded
    text: str = ""  # inside the bar, if it fits
    hint: str = ""  # when a pointer is on it


class Row(NamedTuple):
    """A line of spans with its name."""

    label: str
    spans: Sequence[Span]


class Axis:
    """A scale of time with folded gaps.

    Args:
        busy: the spans whose time is shown in full.
        start: the first time.
        end: the last time.
        pixels: the range of the picture.
    """

    def __init__(
        self, busy: Iterable[tuple[float, float]], start: float, end: float, pixels: tuple[float, float]
    ) -> None:
        merged = _merged([(start, start), *busy, (end, end)])
        shown = sum(b - a for a, b in merged)
        gaps = [(a, b) for (_, a), (b, _) in pairwise(merged)]
        least = max(_GAP_SHARE * shown, 1e-9)
        self.folds = [(a, b) for a, b in gaps if b - a > least] if shown > 0 else []
        room = max(pixels[1] - pixels[0] - _FOLDED * len(self.folds), 0.3 * (pixels[1] - pixels[0]))
        folded = (pixels[1] - pixels[0] - room) / len(self.folds) if self.folds else 0.0
        self._times = [start, *(time for fold in self.folds for time in fold), max(start, end)]
        unfolded = [b - a for a, b in zip(self._times[::2], self._times[1::2], strict=True)]
        scale = room / (sum(unfolded) or 1.0)
        self._places = [pixels[0]]
        for lasts in unfolded:
            end_of_part = min(self._places[-1] + lasts * scale, pixels[1])
            self._places += [end_of_part, min(end_of_part + folded, pixels[1])]
        self._places[len(self._times) - 1 :] = [pixels[1]]

    def __call__(self, time: float) -> float:
        """Return the place of a time; times outside of the axis are at its ends."""
        time = min(max(time, self._times[0]), self._times[-1])
        n = min(max(bisect_right(self._times, time) - 1, 0), len(self._times) - 2)
        (a, b), (x, y) = self._times[n : n + 2], self._places[n : n + 2]
        return x + (y - x) * (time - a) / (b - a) if b > a else x


def _merged(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def spans(
    name: str,
    title: str,
    rows: Sequence[Row],
    *,
    until: float | None = None,
    width: float = 960.0,
    style: str = "",
    description: str = "",
) -> str:
    """Return the picture of rows of spans, from top to bottom. Times are seconds since 1970, in UTC.

    Args:
        until: the end of the axis, if it is later than the last span; then no gap is folded, so that pictures with the
            same end can be compared.
        width: of the picture, in pixels.
    """
    every = [span for row in rows for span in row.spans]
    if not every:
        return svg.picture(name, title, "There is nothing to show.", width, 40.0, svg.text(title, 8, 24), style=style)
    start, end = min(span.start for span in every), max(until or 0.0, *(span.end for span in every))
    left = min(240.0, 24 + svg.TEXT_WIDTH * max(len(row.label) for row in rows))
    busy = [(start, end)] if until is not None else [(s.start, s.end) for s in every if s.kind != "wait"]
    axis = Axis(busy, start, end, (left, width - 16))
    height = _TOP + _ROW * len(rows) + 10
    marks = [*_ticks(axis, start, end, height), *(mark for fold in axis.folds for mark in _fold(axis, fold, height))]
    for n, row in enumerate(rows):
        y = _TOP + n * _ROW
        marks.append(svg.text(svg.cut(row.label, left - 14), left - 10, y + 17, anchor="end", class_="fs-label"))
        marks += [_bar(axis, span, y) for span in row.spans]
    about = description or f"{len(rows)} rows from {_clock(start)} to {_clock(end)}, {svg.duration(end - start)}."
    return svg.picture(name, title, about, width, height, *marks, style=style)


def _bar(axis: Axis, span: Span, y: float) -> str:
    x, end = axis(span.start), axis(span.end)
    width = max(end - x, 2.0)
    inset = 8.0 if span.kind == "wait" else 4.0
    box = svg.element(
        "rect", x=x, y=y + inset, width=width, height=_ROW - 2 * inset, rx=3, class_=f"fs-bar fs-{span.kind}"
    )
    fits = span.text and len(span.text) * svg.TEXT_WIDTH + 8 <= width
    words = svg.text(span.text, x + 5, y + 17, class_="fs-inside") if fits else ""
    return svg.element("g", svg.hint(span.hint or span.text), box, words)


def _ticks(axis: Axis, start: float, end: float, height: float) -> Iterable[str]:
    """Yield the times on the axis: its ends, and as many others as fit."""
    last = -1e9
    edges = sorted({start, *(time for fold in axis.folds for time in fold)})
    same_day = _clock(start)[:10] == _clock(end)[:10]
    for time in edges:
        x = axis(time)
        yield svg.element("line", x1=x, x2=x, y1=_TOP - 4, y2=height - 6, class_="fs-grid")
        words = _clock(time)[11:] if same_day else _clock(time)[5:16]
        if x - last > len(words) * svg.TEXT_WIDTH + 8 and x < axis(end) - 134:
            yield svg.text(words, x, 16.0, class_="fs-tick")
            last = x
    yield svg.text(_clock(end)[11:] if same_day else _clock(end)[5:16], axis(end), 16.0, anchor="end", class_="fs-tick")


def _fold(axis: Axis, fold: tuple[float, float], height: float) -> Iterable[str]:
    a, b = axis(fold[0]), axis(fold[1])
    for x in (a + 0.3 * (b - a), a + 0.7 * (b - a)):
        yield svg.element("line", x1=x, x2=x, y1=_TOP - 4, y2=height - 6, class_="fs-fold")
    sign = svg.text("⋯", (a + b) / 2, 28.0, anchor="middle", class_="fs-tick")
    yield svg.element("g", svg.hint(f"{svg.duration(fold[1] - fold[0])} are folded here"), sign)


def _clock(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S}"
