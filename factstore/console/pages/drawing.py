"""Pictures of the console as SVG: no style in attributes, a title and a description for screen readers."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Final, NamedTuple

from markupsafe import Markup

_ROW, _WIDTH, _BOX = 34, 460, 130  # pixels
_MOST: Final = 60  # arrows


class Arrow(NamedTuple):
    """A reference from one namespace to another, by the name of an attribute."""

    source: str
    name: str
    target: str


def references(arrows: Iterable[Arrow]) -> Markup:
    """Return a picture of references: those that refer on the left, their targets on the right; "" for none.

    Law: it does not depend on the order of the arrows, and no two boxes or names overlap.
    """
    shown = sorted(set(arrows))[:_MOST]
    if not shown:
        return Markup("")
    height = _ROW * len(shown) + 8
    targets = sorted({arrow.target for arrow in shown})
    step = height / len(targets)
    middle_of = {target: step * (i + 0.5) for i, target in enumerate(targets)}
    parts = [_box(_WIDTH - _BOX - 1, y, name) for name, y in middle_of.items()]
    for source in sorted({arrow.source for arrow in shown}):
        rows = [i for i, arrow in enumerate(shown) if arrow.source == source]
        parts.append(_box(1, _middle(sum(rows) / len(rows)), source))
    parts += [
        _line(_middle(i), _middle_of_source(shown, arrow), middle_of[arrow.target], arrow.name)
        for i, arrow in enumerate(shown)
    ]
    title = '<title id="refs-title">References between namespaces</title>'
    text = "; ".join(f"{arrow.source} {arrow.name} {arrow.target}" for arrow in shown)
    head = f'<svg role="img" aria-labelledby="refs-title refs-desc" class="references" viewBox="0 0 {_WIDTH} {height}">'
    return Markup(f'{head}{title}<desc id="refs-desc">{escape(text)}</desc>{"".join(parts)}</svg>')


def _middle(row: float) -> float:
    return _ROW * (row + 0.5) + 4


def _middle_of_source(shown: list[Arrow], arrow: Arrow) -> float:
    rows = [i for i, each in enumerate(shown) if each.source == arrow.source]
    return _middle(sum(rows) / len(rows))


def _box(x: float, y: float, name: str) -> str:
    short = name if len(name) <= 17 else f"{name[:16]}…"
    rect = f'<rect class="box" x="{x:g}" y="{y - 13:g}" width="{_BOX}" height="26" rx="6"/>'
    return f'{rect}<text x="{x + _BOX / 2:g}" y="{y + 4:g}" text-anchor="middle">{escape(short)}</text>'


def _line(y: float, from_y: float, to_y: float, name: str) -> str:
    left, right, middle = _BOX + 1, _WIDTH - _BOX - 1, _WIDTH / 2
    curve = f"M{left} {from_y:g}C{left + 25} {from_y:g} {middle - 75:g} {y:g} {middle - 50:g} {y:g}"
    onward = f"H{middle + 50:g}C{middle + 75:g} {y:g} {right - 25} {to_y:g} {right} {to_y:g}"
    short = name if len(name) <= 16 else f"{name[:15]}…"
    label = f'<text class="on-line" x="{middle:g}" y="{y - 4:g}" text-anchor="middle">{escape(short)}</text>'
    return f'<path class="edge" d="{curve}{onward}"/>{label}'
