"""The chart of a query's result, if it suits one: a column of categories or of instants, and columns of numbers.

Bars show categories in the order of the rows; lines show instants in ascending order.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import isfinite
from typing import Any, Final, NamedTuple

from factstore import drawing

_BARS: Final = 40  # categories that are drawn
_POINTS: Final = 100  # instants that are drawn
_SERIES: Final = 3  # columns of numbers that are drawn
_NAME: Final = 130.0  # pixels of the name of a column
_LEAST, _MOST = 1e-9, 1e15  # of the largest number: the axis has short texts
_END: Final = 253_402_300_799.0  # the last second that a clock shows: the year 9999


class Charted(NamedTuple):
    """A picture as SVG, and the sentences that state what it leaves out."""

    picture: str
    omitted: tuple[str, ...]


def charted(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Charted | None:
    """Return the chart of a result; None for a result that does not suit one.

    A result suits a chart if it has at least two rows, one column of texts, keywords, booleans or instants (each
    instant once), and otherwise only columns of numbers.
    """
    named = _naming_column(columns, rows)
    if named is None:
        return None
    numbers = [i for i in range(len(columns)) if i != named]
    drawn = [(columns[i], i) for i in numbers[:_SERIES]]
    title = f"{', '.join(name for name, _ in drawn)} by {columns[named]}"
    omitted = _omitted(len(numbers), _SERIES, f"The first {_SERIES} of {len(numbers)} columns are drawn.")
    if isinstance(rows[0][named], datetime):
        return _over_time(title, drawn, named, rows, omitted)
    some, more = rows[:_BARS], f"The first {_BARS} of {len(rows):,} rows are drawn."
    labels = [_label(row[named]) for row in some]
    picture = drawing.bars("chart", title, labels, _series(drawn, some))
    return Charted(picture, omitted + _omitted(len(rows), _BARS, more))


def _naming_column(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> int | None:
    """Return the column of categories or instants; None for a result that does not suit a chart."""
    if len(rows) < 2 or len(columns) < 2:
        return None
    others = [i for i, cell in enumerate(rows[0]) if not _is_number(cell)]
    if len(others) != 1:
        return None
    named = others[0]
    numbers = [i for i in range(len(columns)) if i != named]
    has_numbers = all(_is_number(row[i]) for row in rows for i in numbers)
    suits = has_numbers and _has_axis(rows, numbers[:_SERIES]) and _has_names([row[named] for row in rows])
    return named if suits else None


def _has_names(names: Sequence[Any]) -> bool:
    if all(isinstance(name, datetime) for name in names):
        return len(set(names)) == len(names)
    return all(isinstance(name, str | bool) for name in names)


def _over_time(
    title: str, drawn: list[tuple[str, int]], named: int, rows: Sequence[Sequence[Any]], omitted: tuple[str, ...]
) -> Charted:
    ordered = sorted(rows, key=lambda row: row[named])
    last, most = len(ordered) - 1, min(len(ordered), _POINTS)
    some = [ordered[n * last // (most - 1)] for n in range(most)]
    times = [min(row[named].timestamp(), _END) for row in some]
    more = f"{_POINTS} of {len(rows):,} instants are drawn, with the same number of rows between them."
    picture = drawing.lines("chart", title, times, _series(drawn, some))
    return Charted(picture, omitted + _omitted(len(rows), _POINTS, more))


def _series(drawn: list[tuple[str, int]], rows: Sequence[Sequence[Any]]) -> list[drawing.Series]:
    return [
        drawing.Series(drawing.svg.cut(name, _NAME), f"s{n}", [float(row[i]) for row in rows])
        for n, (name, i) in enumerate(drawn)
    ]


def _has_axis(rows: Sequence[Sequence[Any]], numbers: list[int]) -> bool:
    largest: float = max(abs(row[i]) for row in rows for i in numbers)
    return largest == 0 or _LEAST <= largest <= _MOST


def _is_number(cell: Any) -> bool:
    if isinstance(cell, bool):
        return False
    return isinstance(cell, int) or (isinstance(cell, float) and isfinite(cell))


def _label(name: str | bool) -> str:
    text = str(name) if isinstance(name, str) else str(name).lower()
    return "".join(letter if letter.isprintable() else " " for letter in text[:100])


def _omitted(count: int, most: int, sentence: str) -> tuple[str, ...]:
    return (sentence,) if count > most else ()
