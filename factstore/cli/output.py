"""Tables of both programs: drawn on a terminal, plain text in a pipe, or JSON.

--json        each row is a line of JSON, an object
a terminal    rich draws the table in the width of the window, if it is installed; $NO_COLOR is respected
otherwise     `factstore.rendering.text_table`, with nothing shortened
"""

from __future__ import annotations

import json
import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import AbstractContextManager
from datetime import date, datetime
from typing import Any, Final

import click

from factstore import Connection, Database, Datom, edn
from factstore.concurrency import pipes
from factstore.errors import FactStoreError
from factstore.rendering import text_table
from factstore.values.numerals import is_short
from factstore.values.quoting import text_of

_NUMBERS: Final = (int, float)


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, as_json: bool = False) -> None:
    """Print a table."""
    if as_json:
        for row in rows:
            click.echo(json_text(dict(zip(header, row))))
        return
    listed = [list(row) for row in rows]
    if not _drawn(header, listed):
        click.echo(text_table(header, [[cell_text(cell) for cell in row] for row in listed], widest=None))


def _drawn(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> bool:
    """Draw a table with rich, if stdout is a terminal and rich is installed, and tell whether it was drawn."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
        return False
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    drawn = Table(header_style="bold")
    for i, name in enumerate(header):
        is_number = bool(rows) and all(isinstance(row[i], _NUMBERS) or row[i] is None for row in rows)
        drawn.add_column(Text(name), overflow="fold", justify="right" if is_number else "left")
    for row in rows:
        drawn.add_row(*(Text(cell_text(cell)) for cell in row))
    Console(highlight=False).print(drawn)
    return True


def cell_text(value: Any) -> str:
    """Return a value as text in one line: strings, keywords and times as they are, collections as EDN."""
    if value is None:
        return ""
    if isinstance(value, str):
        text = str.__str__(value)
    elif isinstance(value, date):
        text = value.isoformat(timespec="milliseconds") if isinstance(value, datetime) else value.isoformat()
    elif isinstance(value, Mapping | Set | list | tuple | bytes | bool):
        text = _edn(value)
    else:
        text = text_of(value)
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    """Return a character that cannot control the terminal."""
    return character if character.isprintable() else " " if character == "\u00a0" else repr(character)[1:-1]


def _edn(value: Any) -> str:
    try:
        return edn.write(value)
    except FactStoreError:  # for example an object that a query's function returned
        return text_of(value)


def json_text(value: Any) -> str:
    """Return a value as JSON in one line."""
    return json.dumps(plain(value), ensure_ascii=False)


def print_json(values: Iterable[Any]) -> None:
    """Print each value as a line of JSON."""
    for value in values:
        click.echo(json_text(value))


def plain(value: Any) -> Any:
    """Return a value as JSON has it: keywords and times as text, named tuples as objects, sets as arrays.

    >>> plain({":a": {2, 1}, 3: (None, float("nan"))})
    {':a': [1, 2], '3': [None, 'nan']}
    """
    if value is None or isinstance(value, bool | int):
        return value if value is None or is_short(value) else _edn(value)
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else cell_text(key): plain(item) for key, item in value.items()}
    if isinstance(value, Set):
        return sorted(map(plain, value), key=repr)
    if isinstance(value, list | tuple):
        return plain(value._asdict()) if hasattr(value, "_asdict") else list(map(plain, value))
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return value.isoformat() if isinstance(value, date) else text_of(value)


def print_datoms(db: Database, data: Iterable[Datom]) -> None:
    """Print datoms, one per line, with the idents that a database has."""
    for datom in data:
        sign = "+" if datom.added else "-"
        click.echo(f"  {sign} [{datom.e} {db.ident(datom.a)} {edn.write(datom.v)}]")


def until_unread(conn: Connection) -> AbstractContextManager[None]:
    """Return a block that waits for transactions, and that ends with the process that reads the output: `… | head -1`.

    Raises: BrokenPipeError from the block, as a write would; then the connection is closed.
    """
    return pipes.until_unread(conn.close)


def progress() -> Callable[[int, int], Any] | None:
    """Return a function that shows the number of transactions done on a terminal; None if stderr is none."""
    if not sys.stderr.isatty():
        return None
    return lambda done, whole: click.echo(f"\r{done:,} of {whole:,} transactions", nl=done == whole, err=True)
