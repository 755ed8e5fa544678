"""Tables that are none, or not whole: an error of ours that names the row and the column, and nothing is written."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest

import factstore
from factstore import Connection, FactStoreError, Into, TransactError

KINDS = ("long", "bigint", "double", "float", "bigdec", "boolean", "instant", "uuid", "keyword", "symbol", "uri", "bytes")
ID_AND_N = {"id": ":u/id", "n": ":u/long"}


def schema() -> Iterator[dict[str, Any]]:
    yield {
        ":db/ident": ":u/id",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
        ":db/unique": ":db.unique/identity",
    }
    yield {
        ":db/ident": ":u/no",
        ":db/valueType": ":db.type/long",
        ":db/cardinality": ":db.cardinality/one",
        ":db/unique": ":db.unique/value",
    }
    yield {":db/ident": ":u/ref", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/one"}
    for kind in KINDS:
        yield {":db/ident": f":u/{kind}", ":db/valueType": f":db.type/{kind}", ":db/cardinality": ":db.cardinality/one"}


@pytest.fixture
def conn() -> Iterator[Connection]:
    with factstore.connect("memory:") as conn:
        conn.transact(list(schema()))
        yield conn


def refused(conn: Connection, source: Any, mapping: Any, **options: Any) -> FactStoreError:
    """Return the error of a load, having seen that it left nothing."""
    before = conn.db()
    with pytest.raises(FactStoreError) as caught:
        conn.load(source, mapping, **options)
    assert before.basis_t == conn.db().basis_t
    assert set(before.datoms("eavt")) == set(conn.db().datoms("eavt"))
    return caught.value


def written(folder: Path, data: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


# -- columns

HAS = {"id": ["k1"], "m": [1]}


def frame_of(package: str) -> Any:
    module = pytest.importorskip(package)
    return module.table(HAS) if package == "pyarrow" else module.DataFrame(HAS)


def as_file(folder: Path) -> Any:
    return written(folder, "id,m\nk1,1\n")


def as_record_array(_folder: Path) -> Any:
    return np.array([("k1", 1)], [("id", "U2"), ("m", int)])


def as_lazy_frame(_folder: Path) -> Any:
    return pytest.importorskip("polars").LazyFrame(HAS)


SOURCES: dict[str, Callable[[Path], Any]] = {
    "CSV": as_file,
    "rows": lambda _: [{"id": "k1", "m": 1}],
    "columns": lambda _: HAS,
    "records": as_record_array,
    "pandas": lambda _: frame_of("pandas"),
    "pyarrow": lambda _: frame_of("pyarrow"),
    "polars": lambda _: frame_of("polars"),
    "lazy polars": as_lazy_frame,
}


@pytest.mark.parametrize("name", SOURCES)
def test_a_column_that_is_not_there_is_named_with_those_that_are(name: str, conn: Connection, tmp_path: Path) -> None:
    error = refused(conn, SOURCES[name](tmp_path), ID_AND_N)
    assert ":db.error/invalid-load" == error.code
    assert "n" == error.column
    assert ("id", "m") == error.columns
    assert "no column 'n'" in error.message
    assert "'id', 'm'" in error.message


@pytest.mark.parametrize("name", SOURCES)
def test_a_report_tells_the_columns_left_out_and_the_rows_without_a_value(name: str, conn: Connection, tmp_path: Path) -> None:
    report = conn.load(SOURCES[name](tmp_path), {"id": ":u/id"})
    assert 1 == report.rows
    assert ("m",) == report.unmapped
    assert {} == dict(report.missing)
    lacking = conn.load([{"id": "a", "n": None, "x": 1}, {"id": "b"}, {"id": "c", "n": 1, "y": 2}], ID_AND_N, batch_rows=2)
    assert 3 == lacking.rows
    assert ("x", "y") == lacking.unmapped
    assert {"n": 2} == dict(lacking.missing)


@pytest.mark.parametrize(
    ("source", "part"),
    [
        ({"id": ["a", "b"], "n": [1]}, "column 'id' has 2 rows, and column 'n' has 1"),
        ({"id": ["a"], "n": np.array([1, 2])}, "column 'id' has 1 rows, and column 'n' has 2"),
        ({"id": "ab", "n": [1, 2]}, "expected a sequence of values, one per row, as column 'id', got 'ab' (str)"),
        ({"id": ["a"], "n": 1}, "column 'n' cannot be read"),
        ({"id": ["a"], "n": {1}}, "as column 'n', got {1} (set)"),
        ({"id": ["a"], "n": np.ones((1, 2))}, "as column 'n', got array"),
        ([("k", 1)], "expected a mapping for each row, got ('k', 1) (tuple), as row 1"),
        ([{"id": "a", "n": 1}, None], "got None (NoneType), as row 2"),
        ([{"id": "a", "n": 1, None: ["x"]}], "row 1 has values without a column: ['x']"),
        (np.ones((2, 2)), "as row 1"),
        (5, "expected a table"),
        (b"id,n", "expected a table"),
        (None, "expected a table"),
        (object(), "expected a table"),
    ],
)
def test_a_source_that_is_no_table_is_refused(source: Any, part: str, conn: Connection) -> None:
    error = refused(conn, source, ID_AND_N)
    assert ":db.error/invalid-load" == error.code
    assert part in error.message


def test_columns_of_one_name_are_refused(conn: Connection, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    for source in (written(tmp_path, "id,n,n\na,1,2\n"), pandas.DataFrame([["a", 1, 2]], columns=["id", "n", "n"])):
        assert "column 'n' is 2 times in" in refused(conn, source, ID_AND_N).message
    # Those that nobody asked for may have one name, such as none.
    assert 1 == conn.load(written(tmp_path, "id,n,,\na,1,x,y\n"), ID_AND_N).rows


def test_rows_may_be_anything_that_reads_like_a_mapping(conn: Connection) -> None:
    sqlite3 = pytest.importorskip("sqlite3")
    with sqlite3.connect(":memory:") as database:
        database.row_factory = sqlite3.Row
        assert 1 == conn.load(database.execute("select 'a' as id, 1 as n"), ID_AND_N).rows
    assert 2 == conn.load(({"id": each, "n": 1} for each in "bc"), ID_AND_N).rows
    assert {"a", "b", "c"} == {datom.v for datom in conn.db().datoms("aevt", ":u/id")}


def test_a_table_without_rows_is_loaded(conn: Connection, tmp_path: Path) -> None:
    for source in ([], {"id": [], "n": []}, written(tmp_path, "id,n\n")):
        assert (0, 0) == conn.load(source, ID_AND_N)[:2]


# -- arguments


@pytest.mark.parametrize(
    ("mapping", "options", "part"),
    [
        ({}, {}, "expected a mapping of at least one column"),
        ([("id", ":u/id")], {}, "expected a mapping of at least one column"),
        (None, {}, "expected a mapping of at least one column"),
        ({"id": None}, {}, "column 'id' goes to an attribute, or to Into"),
        ({"id": Into(":u/id", convert=5)}, {}, "column 'id' goes to an attribute, or to Into"),  # type: ignore[arg-type]
        ({"id": Into(":u/ref", lookup=":u/long")}, {}, "needs a unique attribute, :u/long is not"),
        ({"id": Into(":u/ref")}, {}, "needs a `lookup`"),
        ({"id": ":u/id"}, {"batch_rows": 0}, "batch_rows is a whole number from 1, got 0"),
        ({"id": ":u/id"}, {"batch_rows": -1}, "batch_rows is a whole number from 1, got -1"),
        ({"id": ":u/id"}, {"batch_rows": True}, "batch_rows is a whole number from 1"),
        ({"id": ":u/id"}, {"batch_rows": 1.5}, "batch_rows is a whole number from 1"),
        ({"id": ":u/id"}, {"missing": "NA"}, "missing is a collection of texts"),
        ({"id": ":u/id"}, {"missing": [None]}, "missing is a collection of texts"),
    ],
)
def test_arguments_that_cannot_mean_anything_are_refused(mapping: Any, options: dict[str, Any], part: str, conn: Connection) -> None:
    error = refused(conn, [{"id": "a"}], mapping, **options)
    assert ":db.error/invalid-load" == error.code
    assert part in error.message


# -- files

NOT_A_TABLE: dict[str, tuple[str | bytes, str, dict[str, Any]]] = {
    "empty": ("", "expected a header", {}),
    "semicolons": ("id;n\na;1\n", "separated by something else than a comma?", {"column": "id"}),
    "longer row": ("id,n\na,1\nb,2,3\n", "row 2 (line 3)", {"row": 2, "line": 3}),
    "shorter row": ("id,n\n\na,1\n\nb\n", "row 2 (line 5)", {"row": 2, "line": 5}),
    "open quote": ('id,n\na,1\n"b,2\n', "row 2 (line 3)", {"row": 2, "line": 3}),
    "text after a quote": ('id,n\n"a"x,1\n', "row 1 (line 2)", {"row": 1, "line": 2}),
    "open quote in the header": ('"id,n\na,1\n', "the header of", {}),
    "latin-1": ("id,n\na,1\nJosé,2\n".encode("latin-1"), "in column 'id', row 2 (line 3)", {"row": 2, "column": "id"}),
    "latin-1 in the header": ("né,id,n\na,b,1\n".encode("latin-1"), "the header", {"row": 0}),
    "utf-16": ("id,n\na,1\n".encode("utf-16"), "expected UTF-8", {}),
    "cut in a character": ("id,n\né".encode()[:-1], "expected UTF-8", {}),
    "parquet": (b"PAR1\x15\x04\x15\xff\xfe", "expected UTF-8", {}),
}


def test_a_cell_of_a_file_has_any_length(conn: Connection, tmp_path: Path) -> None:
    text = "k" * 131_073  # one more than the limit of Python's reader
    conn.load(written(tmp_path, f"id,n\n{text},1\n"), ID_AND_N)
    assert 1 == conn.db().entity([":u/id", text])[":u/long"]


@pytest.mark.parametrize("name", NOT_A_TABLE)
def test_a_file_that_is_not_csv_is_refused_with_the_place(name: str, conn: Connection, tmp_path: Path) -> None:
    data, part, place = NOT_A_TABLE[name]
    path = written(tmp_path, data)
    error = refused(conn, path, ID_AND_N)
    assert ":db.error/invalid-load" == error.code
    assert part in error.message
    assert str(path) in error.message
    assert place == {key: error.data[key] for key in place}


def test_a_file_that_cannot_be_read_is_named(conn: Connection, tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.csv", tmp_path, "nul\0byte.csv"):
        error = refused(conn, path, ID_AND_N)
        assert ":db.error/file-unavailable" == error.code
        assert "unavailable" == error.category


def test_a_byte_order_mark_belongs_to_no_column(conn: Connection, tmp_path: Path) -> None:
    conn.load(written(tmp_path, "\ufeffid,n\na,1\n"), ID_AND_N)
    assert {":u/id": "a", ":u/long": 1} == factstore.pull(conn.db(), [":u/id", ":u/long"], [":u/id", "a"])


def test_text_may_hold_nul_and_lines(conn: Connection, tmp_path: Path) -> None:
    report = conn.load(written(tmp_path, '"id","n"\r\n"a\0b\nc",1\r\nd,2\r\n'), ID_AND_N)
    assert {"a\0b\nc", "d"} == {datom.v for datom in conn.db().datoms("aevt", ":u/id")}
    assert 2 == report.rows
    error = refused(conn, written(tmp_path, 'id,n\n"x\ny",1\nz,q\n'), ID_AND_N)
    assert 2 == error.row
    assert 4 == error.line
    assert "n" == error.column


# -- texts as values

GOOD: dict[str, dict[str, Any]] = {
    "long": {"7": 7, "-7": -7, "+7": 7, " 7 ": 7, "007": 7},
    "bigint": {"1" * 40: int("1" * 40)},
    "double": {"1.5": 1.5, "-.5": -0.5, "5.": 5.0, "2e-3": 0.002, " 1 ": 1.0, "-inf": -math.inf, "Infinity": math.inf},
    "float": {"0.1": float(np.float32(0.1))},
    "bigdec": {"1.50": Decimal("1.50"), "12345678901234567890123456789.1": Decimal("12345678901234567890123456789.1")},
    "boolean": {"true": True, "FALSE": False, "1": True, "0": False},
    "instant": {
        "2026-01-01T12:00:00Z": datetime(2026, 1, 1, 12, tzinfo=UTC),
        "2026-01-01 14:00:00.5000000+02:00": datetime(2026, 1, 1, 12, 0, 0, 500_000, tzinfo=UTC),
    },
    "uuid": {"00000000-0000-0000-0000-00000000000a": UUID(int=10), "{0000000000000000000000000000000A}": UUID(int=10)},
    "keyword": {":red": factstore.Keyword(":red")},
    "symbol": {"a/b": factstore.Symbol("a/b")},
    "uri": {"urn:x": factstore.Uri("urn:x")},
}
BAD: dict[str, list[str]] = {
    "long": ["7x", "1_000", "٣", "³", "1.0", "0x1", "--1", "1 2", str(1 << 63), "nan"],
    "bigint": ["1_000", "٣", "1.0", "9" * 5_000],
    "double": ["x", "1_0.5", "٣.5", "1e400", "0x1p3", "1,5", "infinite"],
    "float": ["x", "1e39", "1e400"],
    "bigdec": ["x", "NaN", "sNaN", "Infinity", "1_0", "٣", "1e99999999999999999999"],
    "boolean": ["maybe", "yes", "2", "t"],
    "instant": ["yesterday", "2026-01-01T12:00:00", "2026-01-01", "1e9", "2026-01-01T12:00:00.1234567Z", "0001-01-01T00:00:00+14:00"],
    "uuid": ["x", "0000000_000000000000000000000000a", "٣" * 32],
    "keyword": ["red", ":", "no keyword"],
    "bytes": ["AP8="],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in GOOD.items() for text in texts])
def test_a_text_is_read_by_the_type_of_its_attribute(kind: str, text: str, conn: Connection, tmp_path: Path) -> None:
    conn.load(written(tmp_path, f'id,v\na,"{text}"\n'), {"id": ":u/id", "v": f":u/{kind}"})
    found = [datom.v for datom in conn.db().datoms("aevt", f":u/{kind}")]
    assert [(GOOD[kind][text], str(GOOD[kind][text]))] == [(v, str(v)) for v in found]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in BAD.items() for text in texts])
def test_a_text_that_is_no_value_is_refused_with_row_line_and_column(kind: str, text: str, conn: Connection, tmp_path: Path) -> None:
    error = refused(conn, written(tmp_path, f'id,v\n"k\n1",\nk2,NA\nk3,"{text}"\n'), {"id": ":u/id", "v": f":u/{kind}"})
    assert ":db.error/wrong-type-for-attribute" == error.code
    assert f":u/{kind}" == error.attribute
    assert 3 == error.row
    assert 5 == error.line
    assert "v" == error.column
    assert "column 'v', row 3 (line 5)" in error.message
    assert kind in error.message


def test_the_text_of_a_reference_is_read_by_the_type_of_its_lookup(conn: Connection, tmp_path: Path) -> None:
    to = conn.transact([{":db/id": "to", ":u/no": 5}]).tempids["to"]
    mapping = {"id": ":u/id", "to": Into(":u/ref", lookup=":u/no")}
    conn.load(written(tmp_path, "id,to\na,5\n"), mapping)
    assert [to] == [datom.v for datom in conn.db().datoms("aevt", ":u/ref")]
    error = refused(conn, written(tmp_path, "id,to\na,5\nb,x\n"), mapping)
    assert 2 == error.row
    assert "to" == error.column
    assert ":u/no" == error.attribute
    error = refused(conn, [{"id": "a", "to": None}, {"id": "b", "to": 6}], mapping)
    assert ":db.error/not-an-entity" == error.code
    assert 2 == error.row
    assert "to" == error.column
    error = refused(conn, [{"id": "b", "to": [6]}], mapping)
    assert ":db.error/not-an-entity" == error.code
    assert 1 == error.row
    assert "to" == error.column


# -- converters, and what transactions check


class Broken(Exception):
    """What a converter of somebody's own may raise."""


@pytest.mark.parametrize("source", ["file", "rows", "columns", "array"])
@pytest.mark.parametrize("raised", [ValueError, KeyError, ZeroDivisionError, Broken, StopIteration, TransactError])
def test_an_error_of_a_converter_is_told_with_row_and_column(
    source: str, raised: type[Exception], conn: Connection, tmp_path: Path
) -> None:
    made = raised(":db.error/x", "no") if raised is TransactError else raised("no")

    def convert(value: Any) -> Any:
        if int(value) == 3:
            raise made
        return int(value)

    tables = {
        "file": written(tmp_path, "id,n\na,1\nb,NA\nc,3\n"),
        "rows": [{"id": "a", "n": 1}, {"id": "b", "n": None}, {"id": "c", "n": 3}],
        "columns": {"id": ["a", "b", "c"], "n": [1, None, 3]},
        "array": {"id": ["a", "b", "c"], "n": np.array([1.0, np.nan, 3.0])},
    }
    error = refused(conn, tables[source], {"id": ":u/id", "n": Into(":u/long", convert=convert)})
    assert ":db.error/invalid-load" == error.code
    assert 3 == error.row
    assert "n" == error.column
    assert f"the converter of column 'n' raised {raised.__name__}" in error.message
    assert made is error.__cause__


@pytest.mark.parametrize("known", [False, True])
def test_what_a_predicate_refuses_is_told_with_row_and_column(known: bool, conn: Connection) -> None:
    factstore.register("load/even", lambda value: value % 2 == 0)
    conn.transact([{":db/id": ":u/long", ":db.attr/preds": ["load/even"]}])
    if known:
        conn.transact([{":u/id": "a"}, {":u/id": "c"}])
    error = refused(conn, [{"id": "a", "n": 2}, {"id": "b", "n": None}, {"id": "c", "n": 3}], ID_AND_N, batch_rows=10)
    assert ":db.error/attr-pred" == error.code
    assert 3 == error.row
    assert "n" == error.column
    assert "which is column 'n', row 3" in error.message


def test_rows_are_counted_over_all_batches(conn: Connection) -> None:
    rows = [{"id": str(i), "n": i} for i in range(10)] + [{"id": "x", "n": "x"}]
    with pytest.raises(TransactError) as caught:
        conn.load(rows, ID_AND_N, batch_rows=3)
    assert 11 == caught.value.row
    assert 9 == len(list(conn.db().datoms("aevt", ":u/long")))


def test_markers_of_missing_values_are_no_values_in_tables_of_every_kind(conn: Connection) -> None:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    for dtype in ("Int64", "int64[pyarrow]"):
        conn.load(pandas.DataFrame({"id": ["a", "b"], "n": pandas.array([1, None], dtype=dtype)}), ID_AND_N)
    for dtype in ("string", "string[pyarrow]", "category", "str", object):
        conn.load(pandas.DataFrame({"k": pandas.Series(["c", None], dtype=dtype), "n": [1, 2]}), {"k": ":u/id", "n": ":u/long"})
    for marker in (None, math.nan, np.float32("nan"), Decimal("NaN"), pandas.NA, pandas.NaT, np.datetime64("NaT")):
        conn.load([{"id": "d", "n": marker}], ID_AND_N)
        conn.load({"id": ["d"], "n": np.array([marker], object)}, ID_AND_N)
    assert {("a", 1), ("c", 1)} == factstore.q("[:find ?k ?n :where [?e :u/id ?k] [?e :u/long ?n]]", conn.db())


def test_a_dictionary_reader_may_be_the_rows(conn: Connection, tmp_path: Path) -> None:
    path = written(tmp_path, "id,n\na,1\nb,2,3\n")
    with path.open(newline="") as file:
        error = refused(conn, csv.DictReader(file), {"id": ":u/id", "n": Into(":u/long", convert=int)})
    assert ":db.error/invalid-load" == error.code
    assert 2 == error.row
