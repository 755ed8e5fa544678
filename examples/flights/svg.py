"""Pictures as text: elements, scales and axes. Knows nothing of flights or jobs.

Law: every picture names itself to those who cannot see it, takes its colours from the page, and needs nothing from outside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from html import escape
from typing import Final

TEXT_WIDTH: Final = 6.4  # of a letter at 12 px, on average

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
    """Return what a mark says when it is pointed at."""
    return element("title", escape(words))


def picture(name: str, title: str, description: str, width: float, height: float, *marks: str) -> str:
    """Return a whole picture; it scales with the page, and reads itself out as `title` and `description`."""
    return element(
        "svg",
        element("title", escape(title), id=f"{name}-title"),
        element("desc", escape(description), id=f"{name}-desc"),
        *marks,
        id=name,
        viewBox=f"0 0 {number(width)} {number(height)}",
        style=f"max-width:{number(width)}px",
        role="img",
        aria_labelledby=f"{name}-title {name}-desc",
        xmlns="http://www.w3.org/2000/svg",
    )


def linear(domain: tuple[float, float], pixels: tuple[float, float]) -> Scale:
    """Return the straight line from one range to another."""
    (low, high), (start, end) = domain, pixels
    slope = (end - start) / ((high - low) or 1)
    return lambda value: start + (value - low) * slope


def ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Return round numbers that cut a range into about so many parts.

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


def minutes(value: float) -> str:
    """Return an average delay in words.

    >>> minutes(12.64), minutes(-1.8)
    ('12.6 min late', '1.8 min early')
    """
    return f"{abs(value):.1f} min {'late' if value >= 0 else 'early'}"


def seconds(value: float) -> str:
    """Return a duration, with as many digits as matter.

    >>> seconds(0.0304), seconds(4.218), seconds(75)
    ('30 ms', '4.2 s', '75 s')
    """
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 60 else f"{value:.0f} s"
