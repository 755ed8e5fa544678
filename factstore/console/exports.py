"""Exports: the tables of a page by the suffix of its address.

.json                      all tables of the page, with its moment
.csv .ndjson .edn .parquet the first table, row by row

CSV is opened in spreadsheets, so it has no text that one would run as a formula. The other formats are exact.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any, Final, NamedTuple

from factstore import edn
from factstore.console.moment import Moment
from factstore.console.page import Table, plain
from factstore.errors import DatabaseError
from factstore.tables.csv_files import csv_of
from factstore.values.numerals import is_short

_LONGS: Final = 1 << 63


class Export(NamedTuple):
    """The bytes of an export and their media type."""

    content: bytes
    media_type: str


def exported(suffix: str, tables: Mapping[str, Table], moment: Moment) -> Export:
    """Return the tables of a page in the format of a suffix.

    Raises: DatabaseError(:db.error/unsupported) for a page without a table, and for Parquet without pyarrow.
    """
    if suffix == "json":
        parts = {name: list(map(_json_row, table.dicts())) for name, table in tables.items()}
        return Export(_json({"t": moment.upto, "from": moment.after, **parts}).encode(), "application/json")
    if not tables:
        raise DatabaseError(":db.error/unsupported", "this page has no table to export", suffix=suffix)
    write, media_type = _FORMATS[suffix]
    return Export(write(next(iter(tables.values()))), media_type)


def _csv(table: Table) -> bytes:
    rows = ([_cell(plain(cell)) for cell in row] for row in table.rows)
    return csv_of(table.columns, rows, for_spreadsheets=True)


def _cell(cell: Any) -> Any:
    return edn.write(cell) if isinstance(cell, bool) else _text(cell)


def _ndjson(table: Table) -> bytes:
    return "".join(f"{_json(_json_row(row))}\n" for row in table.dicts()).encode()


def _edn(table: Table) -> bytes:
    return "".join(f"{edn.write([plain(cell) for cell in row])}\n" for row in table.rows).encode()


def _parquet(table: Table) -> bytes:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        message = "an export as Parquet needs pyarrow: install factstore[pyarrow]"
        raise DatabaseError(":db.error/unsupported", message, suffix="parquet") from None
    columns = {name: _column([plain(row[i]) for row in table.rows]) for i, name in enumerate(table.columns)}
    file = io.BytesIO()
    parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue()


def _column(cells: list[Any]) -> list[Any]:
    """Return the cells of a column as one type: numbers and booleans as they are, mixed and other values as text."""
    kinds = {type(cell) for cell in cells} - {type(None)}
    if len(kinds) <= 1 and kinds <= {str, float, bool}:
        return cells
    if kinds == {int} and all(cell is None or -_LONGS <= cell < _LONGS for cell in cells):
        return cells
    return [cell if isinstance(cell, str) else edn.write(cell) for cell in map(_text, cells)]


def _text(cell: Any) -> Any:
    """Return a cell as text: strings and keywords as they are, None as an empty cell, other values as EDN."""
    if cell is None or isinstance(cell, str):
        return "" if cell is None else str(cell)
    return cell if _is_number(cell) else edn.write(cell)


def _is_number(cell: Any) -> bool:
    """Return whether JSON and CSV can write a cell as a number or a boolean."""
    return isfinite(cell) if isinstance(cell, float) else isinstance(cell, int) and is_short(cell)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _json_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: None if cell is None else _text(cell) for name, cell in row.items()}


_FORMATS: Final[Mapping[str, tuple[Callable[[Table], bytes], str]]] = {
    "csv": (_csv, "text/csv; charset=utf-8"),
    "ndjson": (_ndjson, "application/x-ndjson"),
    "edn": (_edn, "application/edn"),
    "parquet": (_parquet, "application/vnd.apache.parquet"),
}
SUFFIXES: Final = ("json", *_FORMATS)
