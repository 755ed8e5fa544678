"""The pictures of delays and of facts: a heat map, bars and a growing area. Data in, SVG text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

from . import svg

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")

Bar: TypeAlias = tuple[str, float, int]  # label, minutes late, how many flights

# Minutes late, below which a step of the colour scale holds; the page gives the colours as classes h0 … h6.
STEPS: Final = (0, 5, 10, 15, 20, 30)


def heat(minutes: float) -> str:
    """Return the class of the colour that says how late."""
    return f"h{sum(minutes >= bound for bound in STEPS)}"


def heat_legend(x: float, y: float) -> str:
    """Return the key to the colours of delay."""
    width = 44
    names = ("early", *(f"{low}–{high}" for low, high in pairwise(STEPS)), f"{STEPS[-1]}+")
    marks = [
        svg.element("rect", x=float(x + n * width), y=float(y), width=width - 2, height=10, rx=2, class_=f"h{n}")
        + svg.text(name, x + n * width + width / 2 - 1, y + 23, anchor="middle", class_="tick")
        for n, name in enumerate(names)
    ]
    return "".join(marks) + svg.text("minutes late", x + len(names) * width + 6, y + 9, class_="tick")


def carriers_by_month(delays: Mapping[tuple[str, int], tuple[int, float]], names: Mapping[str, str]) -> str:
    """Return the heat map of delay by airline and month.

    Args:
        delays: (carrier, month) → how many flights, how late on average.
        names: carrier → name, in the order of the rows.
    """
    months = sorted({month for _, month in delays})
    left, top, row, width = 214.0, 26.0, 27.0, 1000.0
    cell = min((width - left) / len(months), 120)
    height = top + row * len(names) + 48
    marks = [
        svg.text(MONTHS[m - 1], left + cell * (n + 0.5), top - 9, anchor="middle", class_="tick")
        for n, m in enumerate(months)
    ]
    for y, (carrier, name) in enumerate(names.items()):
        marks.append(svg.text(name, left - 40, top + row * y + 18, anchor="end"))
        marks.append(svg.text(carrier, left - 12, top + row * y + 18, anchor="end", class_="tick code"))
        for x, month in enumerate(months):
            found = delays.get((carrier, month))
            if found:
                marks.append(_cell(left + cell * x, top + row * y, cell, row, f"{name}, {MONTHS[month - 1]}", *found))
    marks.append(heat_legend(left, height - 30))
    worst = max(delays, key=lambda key: delays[key][1])
    about = (
        f"A table of {len(names)} airlines by {len(months)} months. The latest were {names[worst[0]]} in {MONTHS[worst[1] - 1]}, "
        f"{svg.minutes(delays[worst][1])} on average."
    )
    return svg.picture("carriers", "Average departure delay by airline and month", about, width, height, *marks)


def _cell(x: float, y: float, width: float, height: float, what: str, flights: int, minutes: float) -> str:
    class_ = heat(minutes)
    box = svg.element("rect", x=x + 1, y=y + 1, width=width - 2, height=height - 2, rx=3, class_=class_)
    label = svg.text(f"{minutes:.0f}", x + width / 2, y + height / 2 + 4, anchor="middle", class_=f"cell on-{class_}")
    return svg.element("g", svg.hint(f"{what}: {svg.minutes(minutes)}, {flights:,} flights"), box, label)


def extent(*groups: Sequence[Bar]) -> tuple[float, float]:
    """Return the range of delays that groups of bars have to show on one scale, no delay included."""
    minutes = [late for group in groups for _, late, _ in group]
    return min(0.0, *minutes), max(0.0, *minutes)


def bars(
    name: str,
    title: str,
    rows: Sequence[Bar],
    domain: tuple[float, float],
    *,
    label_width: float = 92,
    width: float = 480,
) -> str:
    """Return horizontal bars of delay.

    Args:
        rows: from top to bottom.
        domain: the range of minutes; pictures that stand side by side share one, or their lengths would not compare.
    """
    row, top = 26.0, 4.0
    x = svg.linear(domain, (label_width + (10 if domain[0] < 0 else 0), width - 58))
    marks = []
    for n, (label, minutes, flights) in enumerate(rows):
        y = top + n * row
        start, end = sorted((x(0), x(minutes)))
        bar = svg.element(
            "rect", x=start, y=y + 4, width=max(end - start, 1.5), height=row - 8, rx=3, class_=heat(minutes)
        )
        value = svg.text(f"{minutes:.1f}", max(end, x(0)) + 6, y + 17, class_="value")
        marks.append(svg.text(label, label_width - 8, y + 17, anchor="end"))
        marks.append(svg.element("g", svg.hint(f"{label}: {svg.minutes(minutes)}, {flights:,} flights"), bar, value))
    height = top + row * len(rows) + 6
    marks.append(svg.element("line", x1=x(0), x2=x(0), y1=top, y2=height - 6, class_="axis"))
    about = "; ".join(f"{label}: {svg.minutes(minutes)}" for label, minutes, _ in rows) + "."
    return svg.picture(name, title, about, width, height, *marks)


def facts_over_time(points: Sequence[tuple[float, int]]) -> str:
    """Return the area under the number of facts known at each moment of the run.

    Args:
        points: seconds since the run began, facts so far; in order, the first and the last moment included.
    """
    width, height, left, bottom, top = 1000.0, 250.0, 52.0, 34.0, 14.0
    end, total = points[-1][0], points[-1][1]
    x = svg.linear((0, end), (left, width - 76))
    y = svg.linear((0, total), (height - bottom, top))
    marks = []
    for tick in svg.ticks(0, total, about=4):
        marks.append(svg.element("line", x1=left, x2=width - 76, y1=y(tick), y2=y(tick), class_="grid"))
        marks.append(svg.text(svg.short(tick), left - 8, y(tick) + 4, anchor="end", class_="tick"))
    marks += [
        svg.text(f"{tick:g} s", x(tick), height - bottom + 18, anchor="middle", class_="tick")
        for tick in svg.ticks(0, end, about=8)
    ]
    line = [(x(at), y(facts)) for at, facts in points]
    marks.append(svg.element("path", d=svg.line_of([(x(0), y(0)), *line, (x(end), y(0))]) + "Z", class_="area"))
    marks.append(svg.element("path", d=svg.line_of(line), class_="line"))
    marks.append(svg.element("circle", cx=x(end), cy=y(total), r=4, class_="dot"))
    marks.append(svg.text(f"{total:,}", x(end) + 9, y(total) + 4, class_="value"))
    marks.append(svg.element("line", x1=left, x2=width - 76, y1=y(0), y2=y(0), class_="axis"))
    about = f"From none to {total:,} facts in {svg.seconds(end)}, {total / (end or 1):,.0f} a second."
    return svg.picture("facts", "Facts over time", about, width, height, *marks)
