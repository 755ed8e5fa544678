"""Elements, scales and axes of pictures, as text.

Law: every picture has a title and a description for screen readers, takes its colours from classes, and refers to
nothing outside of itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from html import escape
from typing import Final

TEXT_WIDTH: Final = 7.2  # of a letter at 12 px: digits and capitals are wider than the average

Scale = Callable[[float], float]


def element(name: str, *children: str, **attributes: object) -> str:
    """Return an element; `class_` stands for class, `stroke_width` for stroke-width, numbers are rounded to a tenth.

    >>> element("rect", x=1.04, stroke_width=2)
    '<rect x="1" stroke-width="2"/>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{number(value) if isinstance(value, float) else escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    inside = "".join(children)
    return f"<{name}{written}>{inside}</{name}>" if inside else f"<{name}{written}/>"


def number(value: float) -> str:
    """Return a coordinate as short as a tenth of a pixel allows."""
    return f"{value:.1f}".removesuffix(".0")


def text(words: str, x: float, y: float, *, anchor: str = "start", class_: str = "label") -> str:
    """Return a line of text; `y` is its baseline."""
    return element(
        "text", escape(words), x=float(x), y=float(y), text_anchor=None if anchor == "start" else anchor, class_=class_
    )


def hint(words: str) -> str:
    """Return the text that is shown when a pointer is on a mark."""
    return element("title", escape(words))


def picture(
    name: str,
    title: str,
    description: str,
    width: float,
    height: float,
    *marks: str,
    style: str = "",
    has_links: bool = False,
) -> str:
    """Return a whole picture, which shrinks with the page.

    Args:
        name: its id, which is unique on a page.
        title: for screen readers, and when a pointer is on it.
        description: for screen readers: what the picture shows.
        style: rules of CSS, for a picture outside of a page that has them.
        has_links: whether marks are links, which screen readers then read one by one.
    """
    return element(
        "svg",
        element("title", escape(title), id=f"{name}-title"),
        element("desc", escape(description), id=f"{name}-desc"),
        element("style", style) if style else "",
        *marks,
        id=name,
        class_="fs-picture",
        viewBox=f"0 0 {number(width)} {number(height)}",
        width=number(width),
        role="group" if has_links else "img",
        aria_labelledby=f"{name}-title {name}-desc",
        xmlns="http://www.w3.org/2000/svg",
    )


def linear(domain: tuple[float, float], pixels: tuple[float, float]) -> Scale:
    """Return the straight line from one range to another."""
    (low, high), (start, end) = domain, pixels
    slope = (end - start) / ((high - low) or 1)
    return lambda value: start + (value - low) * slope


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Return round numbers that divide a range.

    Args:
        about: the approximate number of parts.

    >>> ticks(0, 47)
    [0.0, 10.0, 20.0, 30.0, 40.0]
    """
    rough = (high - low or 1) / about
    power: float = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]


def short(value: float) -> str:
    """Return a number for an axis.

    >>> [short(v) for v in (0, 950, 12_000, 2_500_000, 0.25)]
    ['0', '950', '12k', '2.5M', '0.25']
    """
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def line_of(points: Iterable[tuple[float, float]]) -> str:
    """Return the path data of a line through points."""
    return "M" + "L".join(f"{number(x)},{number(y)}" for x, y in points)


def cut(words: str, pixels: float) -> str:
    """Return the beginning of a text that fits into a width, at 12 px.

    >>> cut("a long name", 51)
    'a long…'
    """
    most = max(1, int(pixels / TEXT_WIDTH))
    return words if len(words) <= most else f"{words[: most - 1]}…"


def duration(seconds: float) -> str:
    """Return a duration with as many digits as matter.

    >>> [duration(s) for s in (0.0304, 4.218, 75, 5400, 200_000)]
    ['30 ms', '4.2 s', '75 s', '1.5 h', '2.3 d']
    """
    for size, unit in ((86_400, "d"), (3600, "h")):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}" if seconds >= 10 * size else f"{seconds / size:.2g} {unit}"
    if seconds >= 600:
        return f"{seconds / 60:.0f} min"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 60 else f"{seconds:.0f} s"
