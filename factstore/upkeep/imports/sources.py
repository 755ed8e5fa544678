"""The files of an import as tables: each has a name, and rows that can be read several times.

    .csv .tsv                    texts; one table, with the name of the file
    .ndjson .jsonl .json         objects, one per line, or an array of them
    .parquet                     rows of Arrow
    .db .sqlite .sqlite3         all tables of SQLite, with keys and references
    .edn                         maps with the idents of attributes, as `export` writes them

Law: a source that is read again has the same rows.
"""

from __future__ import annotations

import csv
import errno
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from factstore import edn
from factstore.errors import DatabaseError, TransactError
from factstore.storage.lmdb.opening import kind_of
from factstore.tables.csv_files import allow_long_cells
from factstore.upkeep.dump_files import os_errors_as_unavailable
from factstore.values.quoting import quoted
from factstore.values.types import Keyword

FORMATS: Final[Mapping[str, str]] = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
    ".parquet": "parquet",
    ".db": "sqlite",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".edn": "edn",
}
OTHERS: Final = "`factstore undump` reads a dump, `restore` a backup, and `load` commits transaction data"
Rows = Callable[[], Iterable[Mapping[str, Any]]]


ID: Final = "db/id"  # the column of an export, whose ids mean nothing in another store
NO_NAMESPACE: Final = "_"  # the file of an export with the attributes that have no namespace


class Source(NamedTuple):
    """A table to import."""

    name: str
    rows: Rows
    is_text: bool = False  # all values are texts
    is_typed: bool = False  # each value has the type that it means, and each column the ident of an attribute
    key: str | None = None  # the column that identifies a row
    refs: Mapping[str, tuple[str, str]] = {}  # column → the table and the column that it refers to


def format_of(path: Path) -> str:
    """Return the format that the suffix of a file means. Raises: DatabaseError(:db.error/unsupported)."""
    form = FORMATS.get(path.suffix.lower())
    if form is None:
        known = ", ".join(dict.fromkeys(FORMATS.values()))
        message = f"{path} has the suffix of no format; give one of {known}. {OTHERS}"
        raise DatabaseError(":db.error/unsupported", message, path=str(path))
    return form


def sources(path: Path, form: str) -> list[Source]:
    """Return the tables of a file.

    Raises: Unavailable(:db.error/file-unavailable); TransactError(:db.error/invalid-load) for a file that is not of
        the format. Both can also be raised by the rows.
    """
    with os_errors_as_unavailable(path):
        path.stat()
        if kind := kind_of(path):
            raise OSError(errno.EINVAL, f"it is {kind}, and an import reads a plain file several times")
    if form in ("csv", "tsv"):
        return [Source(path.stem, lambda: _csv(path, "\t" if form == "tsv" else ","), is_text=True)]
    if form == "ndjson":
        return [Source(path.stem, lambda: _json(path))]
    if form == "parquet":
        return [Source(path.stem, lambda: _parquet(path))]
    if form == "edn":
        return [Source(path.stem, lambda: _edn(path), is_typed=True)]
    return _sqlite(path)


def text_of_file(path: Path) -> str:
    """Return the text of a file. Raises: TransactError(:db.error/invalid-load) if it is not UTF-8; Unavailable."""
    with _read_errors(path):
        return path.read_text(encoding="utf-8-sig")


def _invalid(path: Path, why: str, **data: Any) -> TransactError:
    return TransactError(":db.error/invalid-load", f"{path}: {why}", file=str(path), **data)


@contextmanager
def _read_errors(path: Path, expected: str = "", *, errors: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn every error of a library that reads a file into one that names the file.

    Besides its own `errors`, pyarrow raises a KeyError for an unknown time zone, an OverflowError for a time outside of
    the years 1 to 9999, and an OSError without a number for a damaged page.
    """
    try:
        with os_errors_as_unavailable(path):
            try:
                yield
            except OSError as error:
                if error.errno is not None:
                    raise
                raise _invalid(path, f"{expected}{error}") from error
    except (*_ERRORS, *errors) as error:
        raise _invalid(path, f"{expected}{error}") from error


_ERRORS: Final[tuple[type[Exception], ...]] = (ValueError, LookupError, ArithmeticError, RecursionError)


def _check_names(path: Path, names: Sequence[str], where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise _invalid(path, f"a column is twice in the {where}: {', '.join(twice)}", columns=tuple(twice))


def _csv(path: Path, delimiter: str) -> Iterator[Mapping[str, Any]]:
    allow_long_cells()
    with _read_errors(path, errors=(csv.Error,)), path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, strict=True)
        names = reader.fieldnames or []
        other = next((each for each in _OTHER_DELIMITERS if len(names) == 1 and each in names[0]), None)
        if other is not None and other != delimiter:
            yield from _csv(path, other)
            return
        _check_names(path, names, "header")
        for row in reader:
            if None in row or None in row.values():
                why = f"a row has {'more' if None in row else 'fewer'} values than the header, in line"
                raise _invalid(path, f"{why} {reader.line_num}", line=reader.line_num)
            yield row


_OTHER_DELIMITERS: Final = (";", "\t")  # of a file whose header has no comma


def _json(path: Path) -> Iterator[Mapping[str, Any]]:
    with _read_errors(path, "expected a JSON object per line, or an array of objects: "):
        text = path.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("["):
            numbered = list(enumerate(json.loads(text), 1))
        else:
            numbered = [(n, json.loads(line)) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
    for number, row in numbered:
        if not isinstance(row, dict):
            raise _invalid(path, f"expected a JSON object, got {quoted(row)}, as row {number}", row=number)
        yield row


def _edn(path: Path) -> Iterator[Mapping[str, Any]]:
    with _read_errors(path):
        rows = edn.read_all(path.read_text(encoding="utf-8-sig"))
    for number, row in enumerate(rows, 1):
        if not isinstance(row, Mapping) or not all(isinstance(name, Keyword) for name in row):
            why = f'expected a map for each entity, such as {{:person/name "Ann"}}, got {quoted(row)}'
            raise _invalid(path, f"{why}, as value {number}. {OTHERS}", row=number)
        if row and row.keys() <= {":schema", ":datoms"}:
            why = f"expected #datascript/DB before a printed database of DataScript, got {quoted(row)}"
            raise _invalid(path, f"{why}, as value {number}", row=number)
        yield {ID if name == ":db/id" else name: _list_of(value) for name, value in row.items()}


def _list_of(value: Any) -> Any:
    if isinstance(value, tuple):  # a list of EDN, (1 2)
        return list(value)
    return sorted(value, key=repr) if isinstance(value, Set) else value


def _parquet(path: Path) -> Iterator[Mapping[str, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        message = "an import of Parquet needs pyarrow: install factstore[pyarrow]"
        raise DatabaseError(":db.error/unsupported", message, package="pyarrow") from error
    with _read_errors(path, errors=(pyarrow.ArrowException,)), parquet.ParquetFile(path) as file:
        _check_names(path, file.schema_arrow.names, "file")
        for batch in file.iter_batches():
            yield from batch.to_pylist()


def _sqlite(path: Path) -> list[Source]:
    with _read_errors(path, errors=(sqlite3.Error,)), closing(_opened(path)) as db:
        names = [name for (name,) in db.execute(_TABLES)]
        return [_table(path, db, name) for name in names]


_TABLES: Final = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name"


def _opened(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    db.row_factory = sqlite3.Row
    return db


def _table(path: Path, db: sqlite3.Connection, name: str) -> Source:
    columns = db.execute(f"PRAGMA table_info({_named(name)})").fetchall()
    keys = [column["name"] for column in columns if column["pk"]]
    refs = {row["from"]: (row["table"], row["to"]) for row in db.execute(f"PRAGMA foreign_key_list({_named(name)})")}
    refs = {column: (table, to or _key_of(db, table)) for column, (table, to) in refs.items()}

    def rows() -> Iterator[Mapping[str, Any]]:
        in_table = _read_errors(path, f"table {name}: ", errors=(sqlite3.Error,))
        with in_table, closing(_opened(path)) as again:
            for row in again.execute(f"SELECT * FROM {_named(name)}"):
                yield dict(row)

    return Source(name, rows, key=keys[0] if len(keys) == 1 else None, refs=refs)


def _key_of(db: sqlite3.Connection, table: str) -> str:
    return str(next((row["name"] for row in db.execute(f"PRAGMA table_info({_named(table)})") if row["pk"]), "rowid"))


def _named(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
