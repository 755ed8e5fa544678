"""Columns and lines over time: one axis of time, one of values that contains 0, and a key to the series.

    chart    values of steps: columns on top of each other, and lines
    lines    values at instants, which can be negative

Law: no mark is outside of the picture, and the columns of one step are on top of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby, pairwise
from typing import Final, NamedTuple, TypeAlias

from factstore.drawing import svg

Written: TypeAlias = Callable[[float], str]  # a value as text

_WIDTH: Final = 560.0
_HEIGHT: Final = 220.0
_LONG: Final = 180 * 86_400  # seconds after which the axis has dates with years
_LEFT, _RIGHT, _TOP, _BOTTOM = 54.0, _WIDTH - 12.0, 34.0, _HEIGHT - 26.0


class Series(NamedTuple):
    """One value for each step; None: there is none."""

    label: str
    kind: str  # a class of the style: finished, failed, aborted, started, s0, s1 or s2
    values: Sequence[float | None]


def chart(
    name: str,
    title: str,
    times: Sequence[float],
    *,
    columns: Sequence[Series] = (),
    lines: Sequence[Series] = (),
    written: Written = svg.short,
    style: str = "",
) -> str:
    """Return the picture of series over time.

    Args:
        name: the id of the picture, which is unique on a page.
        times: the edges of the steps, one more than there are values, in seconds since 1970.
        columns: series that are drawn on top of each other.
        lines: series that are drawn as lines, with a gap where there is no value.
        written: a value as text.
    """
    sums = [sum(values) for values in zip(*([v or 0.0 for v in one.values] for one in columns), strict=True)]
    most = max([*sums, *(v for one in lines for v in one.values if v is not None)], default=0.0)
    x = svg.linear((times[0], times[-1]), (_LEFT, _RIGHT))
    y = svg.linear((0.0, most or 1.0), (_BOTTOM, _TOP))
    marks = [*_grid(times, (0.0, most or 1.0), x, y, written), *_stacked(columns, times, x, y, written)]
    places = [x((start + end) / 2) for start, end in pairwise(times)]
    for one in lines:
        marks += _line(one, times, places, y, written)
    tops = [(one.label, max((v or 0.0 for v in one.values), default=0.0)) for one in (*columns, *lines)]
    total = ", ".join(f"{label} {written(top)} at most" for label, top in tops)
    about = f"From {_clock(times[0])} to {_clock(times[-1])}: {total}."
    return svg.picture(name, title, about, _WIDTH, _HEIGHT, *marks, *key((*columns, *lines), _LEFT), style=style)


def lines(
    name: str,
    title: str,
    times: Sequence[float],
    series: Sequence[Series],
    *,
    written: Written = svg.short,
    style: str = "",
) -> str:
    """Return the picture of lines through the values at instants.

    Args:
        name: the id of the picture, which is unique on a page.
        times: the instants, at least two, in ascending order, in seconds since 1970.
        series: one value for each instant, also a negative one.
        written: a value as text.
    """
    values = [v for one in series for v in one.values if v is not None]
    low, high = min([0.0, *values]), max([0.0, *values])
    domain = (low, high) if high > low else (0.0, 1.0)
    x, y = svg.linear((times[0], times[-1]), (_LEFT, _RIGHT)), svg.linear(domain, (_BOTTOM, _TOP))
    marks = list(_grid(times, domain, x, y, written))
    for one in series:
        marks += _line(one, times, [x(time) for time in times], y, written)
    about = f"From {_clock(times[0])} to {_clock(times[-1])}: {ranges(series, written)}."
    return svg.picture(name, title, about, _WIDTH, _HEIGHT, *marks, *key(series, _LEFT), style=style)


def ranges(series: Iterable[Series], written: Written) -> str:
    """Return the least and the greatest value of each series, in words."""
    known = [(one.label, [v for v in one.values if v is not None]) for one in series]
    return ", ".join(f"{label} {written(min(found))} to {written(max(found))}" for label, found in known if found)


def _grid(
    times: Sequence[float], domain: tuple[float, float], x: svg.Scale, y: svg.Scale, written: Written
) -> Iterable[str]:
    for value in svg.ticks(*domain, about=4):
        yield svg.element("line", x1=_LEFT, x2=_RIGHT, y1=y(value), y2=y(value), class_="fs-grid")
        yield svg.text(written(value) if value else "0", _LEFT - 7, y(value) + 4, anchor="end", class_="fs-tick")
    is_same_day = _clock(times[0])[:10] == _clock(times[-1])[:10]
    shown = slice(11, 16) if is_same_day else slice(10) if times[-1] - times[0] > _LONG else slice(5, 16)
    for n in range(5):
        time = times[0] + (times[-1] - times[0]) * n / 4
        words = _clock(time)[shown]
        anchor = "start" if n == 0 else "end" if n == 4 else "middle"
        yield svg.text(words, x(time), _HEIGHT - 8, anchor=anchor, class_="fs-tick")


def _stacked(
    columns: Sequence[Series], times: Sequence[float], x: svg.Scale, y: svg.Scale, written: Written
) -> Iterable[str]:
    for n, (start, end) in enumerate(pairwise(times)):
        below = 0.0
        for one in columns:
            value = one.values[n] or 0.0
            if value:
                left, top = x(start) + 0.5, y(below + value)
                hint = svg.hint(f"{_clock(start)}: {written(value)} {one.label}")
                width, height = max(x(end) - left - 0.5, 1.0), max(y(below) - top, 0.5)
                yield svg.element("rect", hint, x=left, y=top, width=width, height=height, class_=f"fs-{one.kind}")
            below += value


def _line(
    one: Series, times: Sequence[float], places: Sequence[float], y: svg.Scale, written: Written
) -> Iterable[str]:
    points = [(n, places[n], v) for n, v in enumerate(one.values)]
    for is_known, group in groupby(points, key=lambda point: point[2] is not None):
        if is_known:
            known = [(n, at, v) for n, at, v in group if v is not None]
            path = svg.line_of((at, y(v)) for _, at, v in known)
            yield svg.element("path", d=path, class_=f"fs-series fs-{one.kind}")
            for n, at, v in known:
                hint = svg.hint(f"{_clock(times[n])}: {one.label} {written(v)}")
                yield svg.element("circle", hint, cx=at, cy=y(v), r=2.5, class_=f"fs-dot fs-{one.kind}")


def key(series: Sequence[Series], x: float) -> Iterable[str]:
    """Yield the names of series beside their colours, in a line at the top that begins at `x`."""
    for one in series:
        yield svg.element("circle", cx=x + 5, cy=14.0, r=5.0, class_=f"fs-dot fs-{one.kind}")
        yield svg.text(one.label, x + 15, 18.0, class_="fs-tick")
        x += 30 + svg.TEXT_WIDTH * len(one.label)


def _clock(time: float) -> str:
    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M:%S}"
