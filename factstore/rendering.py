"""Tables as text for terminals and as HTML for notebooks. All content is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from html import escape
from itertools import accumulate
from typing import Any, Final, TypeVar
from unicodedata import category, east_asian_width

from factstore.values.quoting import quoted, text_of

T = TypeVar("T")
_ADDED: Final = "color:#116329;background:#dafbe1"
_RETRACTED: Final = "color:#82071e;background:#ffebe9"
WIDEST: Final = 60  # columns of a cell in text
_MOST_RECORDS: Final = 200  # rows of a table of records


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


def text_table(header: Sequence[str], rows: Iterable[Sequence[object]], *, widest: int | None = WIDEST) -> str:
    """Return a table with aligned columns, also of East Asian text, and cells that are shortened to `widest`."""
    cells = [list(header), *([_in_one_line(text_of(cell), widest) for cell in row] for row in rows)]
    widths = [max(map(width_of, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell + " " * (width - width_of(cell)) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )


def width_of(text: str) -> int:
    """Return the number of columns that a text takes on a terminal: wide characters take two, combining ones none.

    >>> width_of("abc"), width_of("日本"), width_of("e\u0301")
    (3, 4, 1)
    """
    return len(text) if text.isascii() else sum(map(_width_of_character, text))


def _width_of_character(character: str) -> int:
    if category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def _in_one_line(text: str, widest: int | None) -> str:
    line = " ".join(text.split())
    if widest is None or width_of(line) <= widest:
        return line
    ends = (end for end, width in enumerate(accumulate(map(_width_of_character, line))) if width > widest - 1)
    return f"{line[: next(ends)]}…"


def html_record(caption: str, fields: Mapping[str, object]) -> str:
    """Return an HTML table of names and values; text is shown without quotes, other values as `quoted` does."""
    rows = [(name, value if isinstance(value, str) else quoted(value)) for name, value in fields.items()]
    return html_table(caption, (), rows)


def fields_of(value: Any) -> dict[str, object]:
    """Return the public fields of a named tuple or a dataclass by their names."""
    names = getattr(value, "_fields", None) or [field.name for field in fields(value)]
    return {name: getattr(value, name) for name in names if not name.startswith("_")}


def shown_as_record(kind: type[T]) -> type[T]:
    """Make the values of a named tuple or a dataclass show themselves in notebooks, as a table of their fields.

    >>> from typing import NamedTuple
    >>> @shown_as_record
    ... class Point(NamedTuple):
    ...     x: int
    >>> Point(7)._repr_html_().splitlines()[2]
    '<tr><td>x</td><td>7</td></tr>'
    """

    def _repr_html_(self: Any) -> str:
        return html_record(type(self).__name__, fields_of(self))

    setattr(kind, _repr_html_.__name__, _repr_html_)
    return kind


class Records(list[T]):
    """A list of named tuples that shows itself in notebooks as a table with a row for each."""

    def _repr_html_(self) -> str:
        shown = [fields_of(value) for value in self[:_MOST_RECORDS]]
        rows = [[value if isinstance(value, str) else quoted(value) for value in row.values()] for row in shown]
        more = f", the first {_MOST_RECORDS} shown" if len(self) > _MOST_RECORDS else ""
        caption = f"{len(self):,} row{'' if len(self) == 1 else 's'}{more}"
        return html_table(caption, list(shown[0]) if shown else (), rows)
