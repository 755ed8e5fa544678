"""CSV files as batches, and rows as CSV.

Law: each row of a file is in exactly one batch, and errors state its number, from 1, and its line. A file that is not
complete UTF-8 or not CSV causes a TransactError that states the position.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Final

from factstore.errors import TransactError, Unavailable
from factstore.tables.batch import Batch, invalid
from factstore.values.quoting import quoted

# Excel, Sheets and Calc take a text for a formula that begins like this, also in full width, which they convert.
_BEFORE_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

_LONGEST_CELL: Final = (1 << 31) - 1  # the most that a C long holds on every platform


def csv_of(header: Iterable[Any], rows: Iterable[Iterable[Any]], *, for_spreadsheets: bool) -> bytes:
    """Return a header and rows as CSV.

    Args:
        for_spreadsheets: put an apostrophe before each text that a spreadsheet would take for a formula, so that facts
            that others have written run no formulas. Texts are quoted, so that none is split at a semicolon. The cells
            are no longer those that the store has.
    """
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC if for_spreadsheets else csv.QUOTE_MINIMAL)
    for row in (header, *rows):
        writer.writerow(map(_without_formula, row) if for_spreadsheets else row)
    return text.getvalue().encode()


def _without_formula(cell: Any) -> Any:
    if cell is None:
        return ""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_BEFORE_FORMULAS) else cell


def allow_long_cells() -> None:
    """Let cells have any length. The limit belongs to the process, so it is only ever raised."""
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))


def batches_of_file(
    path: Path, names: Sequence[Any], size: int, check_header: Callable[[list[str]], None]
) -> Iterator[Batch]:
    """Yield the requested columns of a CSV file with a header, `size` rows at a time.

    `check_header` gets the header before any row and rejects one that lacks a requested column.
    Raises: TransactError(:db.error/invalid-load); Unavailable for a file that cannot be read.
    """
    try:
        # With or without a byte order mark.
        file = path.open(newline="", encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        why = f"cannot read {path}: {error}"
        raise Unavailable(":db.error/file-unavailable", why, path=str(path)) from error
    with file:
        yield from _of_open_file(path, file, names, size, check_header)


def _of_open_file(
    path: Path, file: IO[str], names: Sequence[Any], size: int, check_header: Callable[[list[str]], None]
) -> Iterator[Batch]:
    allow_long_cells()
    reader, first_row = csv.reader(file, strict=True), 1
    try:
        header = next(reader, None)
        if header is None:
            raise invalid(f"expected a header in {path}, which is empty", path=str(path))
        check_header(header)
        positions = {name: header.index(name) for name in names}
        lines: list[int] = []
        rest = _rows_of_file(path, reader, header, lines)
        while rows := list(islice(rest, size)):
            columns = {name: [row[at] for row in rows] for name, at in positions.items()}
            yield Batch(columns, len(rows), first_row, tuple(lines))
            first_row += len(rows)
            lines.clear()
    except csv.Error as error:
        raise _not_csv(path, "the header", error) from error
    except UnicodeDecodeError as error:
        raise _undecodable(path, error) from error


def _rows_of_file(path: Path, reader: Any, header: Sequence[str], lines: list[int]) -> Iterator[list[str]]:
    """Yield the rows after the header, except empty lines; append the line in which each ends to `lines`."""
    number = 1
    try:
        for row in reader:
            if row:
                if len(row) != len(header):
                    counts = f"has {len(row)} values, and the header {len(header)} columns"
                    text = f"row {number} (line {reader.line_num}) of {path} {counts}: {quoted(row)}"
                    raise invalid(text, path=str(path), row=number, line=reader.line_num, got=row)
                lines.append(reader.line_num)
                yield row
                number += 1
    except csv.Error as error:
        raise _not_csv(
            path, f"row {number} (line {reader.line_num})", error, row=number, line=reader.line_num
        ) from error


def _not_csv(path: Path, where: str, error: csv.Error, **position: int) -> TransactError:
    return invalid(f"{where} of {path} is not CSV: {error}", path=str(path), **position)


def _undecodable(path: Path, error: UnicodeDecodeError) -> TransactError:
    """Return the error of a file that is not UTF-8, with the first row and column that are not."""
    with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
        reader = csv.reader(file)
        with suppress(csv.Error):  # such a text may have rows that are too long; then the error has no position
            header = next(reader, [])
            for number, row in enumerate(chain([header], reader)):
                for i, text in enumerate(row):
                    if any("\udc80" <= character <= "\udcff" for character in text):
                        column = header[i] if i < len(header) else None
                        where = f"row {number} (line {reader.line_num})" if number else "the header"
                        text = f"expected UTF-8 in {path}, got {quoted(text)}, in column {column!r}, {where}"
                        return invalid(text, path=str(path), column=column, row=number)
    return invalid(f"expected UTF-8 in {path}: {error}", path=str(path))
