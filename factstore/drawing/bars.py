"""Bars of categories: one row for each category, with one bar for each series, from 0 to the value.

Law: no bar is outside of the picture; of two values with the same sign, the one further from 0 has no shorter bar.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from factstore.drawing import svg
from factstore.drawing.chart import Series, Written, key, ranges

_WIDTH: Final = 560.0
_TOP: Final = 30.0
_BAR: Final = 13.0
_GAP: Final = 7.0  # between categories
_LABEL: Final = 180.0  # the widest label
_VALUE: Final = 52.0  # the text of a value beside its bar


def bars(
    name: str,
    title: str,
    labels: Sequence[str],
    series: Sequence[Series],
    *,
    written: Written = svg.short,
    style: str = "",
) -> str:
    """Return the picture of the values of categories, from top to bottom.

    Args:
        name: the id of the picture, which is unique on a page.
        labels: the categories, at least one.
        series: one value for each category, also a negative one; None: there is no bar.
        written: a value as text.
    """
    values = [v for one in series for v in one.values if v is not None]
    low, high = min([0.0, *values]), max([0.0, *values])
    left = min(_LABEL, 18 + svg.TEXT_WIDTH * max(map(len, labels)))
    start = left + (_VALUE if low < 0 else 0.0)
    x = svg.linear((low, high if high > low else 1.0), (start, _WIDTH - _VALUE))
    row = _BAR * len(series) + _GAP
    height = _TOP + row * len(labels) + 6
    marks = [svg.element("line", x1=x(0), x2=x(0), y1=_TOP - 2, y2=height - 6, class_="fs-grid")]
    for n, label in enumerate(labels):
        y = _TOP + n * row
        place = y + (row - _GAP) / 2 + 4
        marks.append(svg.text(svg.cut(label, left - 14), left - 10, place, anchor="end", class_="fs-label"))
        for i, one in enumerate(series):
            marks += _bar(label, one, one.values[n], x, y + i * _BAR, written)
    about = f"{len(labels)} categories: {ranges(series, written)}."
    return svg.picture(name, title, about, _WIDTH, height, *marks, *key(series, 10.0), style=style)


def _bar(label: str, one: Series, value: float | None, x: svg.Scale, y: float, written: Written) -> Iterable[str]:
    if value is not None:
        first, last = sorted((x(0), x(value)))
        hint = svg.hint(f"{label}: {one.label} {written(value)}")
        box = {"x": first, "y": y + 1, "width": max(last - first, 1.0), "height": _BAR - 2}
        yield svg.element("rect", hint, **box, class_=f"fs-dot fs-{one.kind}")
        place, anchor = (first - 5, "end") if value < 0 else (last + 5, "start")
        yield svg.text(written(value), place, y + _BAR - 3, anchor=anchor, class_="fs-tick")
