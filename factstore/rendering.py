"""Tables as text for terminals and as HTML for notebooks. All content is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from factstore.values.quoting import text_of

_ADDED: Final = "color:#116329;background:#dafbe1"
_RETRACTED: Final = "color:#82071e;background:#ffebe9"
WIDEST: Final = 60  # characters of a cell in text


def html_table(
    caption: str, header: Sequence[str], rows: Iterable[Sequence[object]], *, added: Sequence[bool] | None = None
) -> str:
    """Return an HTML table; with `added`, rows are green if their item is true, and red otherwise."""
    styles = None if added is None else [f' style="{_ADDED if each else _RETRACTED}"' for each in added]
    lines = [f"<table><caption>{escape(caption)}</caption>"]
    if header:
        lines.append("<thead><tr>" + "".join(f"<th>{escape(name)}</th>" for name in header) + "</tr></thead>")
    lines.append("<tbody>")
    for i, row in enumerate(rows):
        cells = "".join(f"<td>{escape(text_of(cell))}</td>" for cell in row)
        lines.append(f"<tr{styles[i] if styles else ''}>{cells}</tr>")
    return "\n".join([*lines, "</tbody></table>"])


def text_table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table with aligned columns and shortened cells."""
    cells = [list(header), *([_short(text_of(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= WIDEST else f"{line[: WIDEST - 1]}…"
