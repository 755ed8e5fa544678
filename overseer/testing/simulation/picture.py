"""The picture of a run, as SVG: time from top to bottom, a line for each process, and the story beside it.

A thick bar is an attempt, from its claim to its end; a dashed line is a process that does not continue.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from overseer.testing.simulation.schedule import BACK, CLAIM, FORWARD, RELEASE, SETTLE, write_schedule
from overseer.testing.simulation.story import Line, lines_of

if TYPE_CHECKING:
    from overseer.testing.simulation.scenario import Run

_ROW: Final = 24  # pixels
_COLUMN: Final = 56
_LEFT: Final = 96  # where the first process stands; the times are left of it
_TOP: Final = 48
_CHARACTER: Final = 7.3  # pixels of a character, at most
_WIDE: Final = 110  # characters of a line below the picture
_COLOURS: Final = ("#2f6fab", "#b8741a", "#3c8d5a", "#8a5aa8", "#7a7a2e", "#4a8f99")
_BAD: Final = "#c0392b"

_OPENS: Final = frozenset({CLAIM})
_CLOSES: Final = frozenset({SETTLE, RELEASE, "crashes", "fails"})
_LEAVES: Final = frozenset({"stalls", "pauses", "waits"})
_WRONG: Final = frozenset({"crashes", "stalls", "pauses", "loses", "fails", FORWARD, BACK})


def picture_of(run: Run) -> str:
    """Return the picture of a run."""
    lines = lines_of(run)
    names = list(dict.fromkeys(line.who for line in lines))
    text_at = _LEFT + _COLUMN * len(names)
    ending = wrap(run.violation or "nothing is wrong", _WIDE)
    schedule = wrap(f"schedule: {write_schedule(run.schedule) or 'no intervention'}", _WIDE)
    longest = max([*(len(line.text) for line in lines), *map(len, (*ending, *schedule))], default=0)
    width = text_at + int(longest * _CHARACTER) + 24
    bottom = _TOP + _ROW * len(lines) + 16
    height = bottom + 20 * (len(ending) + len(schedule)) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
        ' font-family="ui-monospace, Menlo, Consolas, monospace" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        *_stripes(lines, width),
        *(part for n, name in enumerate(names) for part in _process(name, n, lines)),
        *(part for row, line in enumerate(lines) for part in _line(row, line, names, text_at)),
        *_below(ending, bottom, _BAD if run.violation else "#333"),
        *_below(schedule, bottom + 20 * len(ending), "#555"),
        "</svg>",
    ]
    return "\n".join(parts)


def _y(row: int) -> int:
    return _TOP + _ROW * row


def _x(column: int) -> int:
    return _LEFT + _COLUMN * column


def _stripes(lines: list[Line], width: int) -> Iterator[str]:
    for row in range(0, len(lines), 2):
        yield f'<rect x="0" y="{_y(row) - _ROW // 2}" width="{width}" height="{_ROW}" fill="#f5f6f8"/>'


def _process(name: str, column: int, lines: list[Line]) -> Iterator[str]:
    """Yield the name, the life line and the attempts of a process."""
    x, colour = _x(column), _COLOURS[column % len(_COLOURS)]
    yield f'<text x="{x}" y="{_TOP - 24}" text-anchor="middle" font-weight="bold" fill="{colour}">{escape(name)}</text>'
    own = [(row, line) for row, line in enumerate(lines) if line.who == name]
    last = own[-1][0] if own[-1][1].mark in ("crashes", "fails") else len(lines) - 1
    rows = [row for row, _ in own]
    away = {row: line.mark in _LEAVES for row, line in own}
    for begin, end in zip(rows, [*rows[1:], last], strict=True):
        dash = ' stroke-dasharray="3 4"' if away[begin] else ""
        yield f'<line x1="{x}" y1="{_y(begin)}" x2="{x}" y2="{_y(end)}" stroke="{colour}" stroke-width="1.5"{dash}/>'
    opened: int | None = None
    for row, line in own:
        opened = row if line.mark in _OPENS else opened
        if opened is not None and (line.mark in _CLOSES or row == own[-1][0]):
            yield (
                f'<rect x="{x - 5}" y="{_y(opened) - 6}" width="10" height="{_y(row) - _y(opened) + 12}" rx="4"'
                f' fill="{colour}" fill-opacity="0.3" stroke="{colour}"/>'
            )
            opened = None


def _line(row: int, line: Line, names: list[str], text_at: int) -> Iterator[str]:
    """Yield the time, the mark and the text of an event."""
    x, y = _x(names.index(line.who)), _y(row)
    colour = _BAD if line.mark in _WRONG else "#222"
    yield f'<text x="{_LEFT - 26}" y="{y + 4}" text-anchor="end" fill="#777">{line.at:.3f} s</text>'
    yield f'<line x1="{x + 8}" y1="{y}" x2="{text_at - 20}" y2="{y}" stroke="#ccc"/>'
    if line.mark in ("crashes", "fails"):
        cross = f"M{x - 6} {y - 6} l12 12 m0 -12 l-12 12"
        yield f'<path d="{cross}" fill="none" stroke="{_BAD}" stroke-width="3"/>'
    elif line.mark in _WRONG:
        yield f'<rect x="{x - 5}" y="{y - 5}" width="10" height="10" fill="white" stroke="{_BAD}" stroke-width="2"/>'
    else:
        yield f'<circle cx="{x}" cy="{y}" r="4" fill="{_COLOURS[names.index(line.who) % len(_COLOURS)]}"/>'
    yield f'<text x="{text_at - 12}" y="{y + 4}" fill="{colour}">{escape(line.text)}</text>'


def _below(texts: list[str], y: int, colour: str) -> Iterator[str]:
    for n, text in enumerate(texts):
        yield f'<text x="16" y="{y + 20 * n}" fill="{colour}">{escape(text)}</text>'
