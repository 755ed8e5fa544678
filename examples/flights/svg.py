"""Pictures of the demo: the parts of `factstore.drawing`, and numbers in words."""

from __future__ import annotations

from html import escape

from factstore.drawing.svg import TEXT_WIDTH, Scale, element, hint, line_of, linear, number, short, text, ticks

__all__ = [
    "TEXT_WIDTH",
    "Scale",
    "element",
    "hint",
    "line_of",
    "linear",
    "minutes",
    "number",
    "picture",
    "seconds",
    "short",
    "text",
    "ticks",
]


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
