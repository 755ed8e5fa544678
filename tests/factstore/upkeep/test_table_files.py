"""Files of tables: an import of an export has the same facts, and a file that cannot be read is one error with a code."""

from __future__ import annotations

import csv
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pyarrow
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

import factstore
from factstore import Database, Keyword, Symbol, Uri, edn
from factstore.cli import EXIT_UNAVAILABLE, main
from factstore.errors import FactStoreError, TransactError
from factstore.testing import strategies
from factstore.upkeep.imports import Options, carry_out, plan
from factstore.upkeep.wide_tables import FORMATS, file_of, wide_table
from factstore.values.types import VALUE_TYPES


def attribute(name: str, kind: str, many: str, **more: Any) -> dict[str, Any]:
    about = {":db/ident": f":u/{name}", ":db/valueType": f":db.type/{kind}", ":db/cardinality": f":db.cardinality/{many}"}
    return about | {f":db/{key}": value for key, value in more.items()}


KINDS = [row.name for row in VALUE_TYPES.values() if row.name not in ("ref", "tuple")]
SLOTS = {"tupleTypes": [f":db.type/{kind}" for kind in ("string", "instant", "bytes", "double")]}
SCHEMA = [attribute(f"{kind}-{many}", kind, many) for kind in KINDS for many in ("one", "many")] + [
    attribute("pair-one", "tuple", "one", tupleType=":db.type/long"),
    attribute("pair-many", "tuple", "many", tupleType=":db.type/keyword"),
    attribute("mixed-one", "tuple", "one", **SLOTS),
    attribute("mixed-many", "tuple", "many", **SLOTS),
    attribute("both-one", "tuple", "one", tupleAttrs=[":u/long-one", ":u/string-one"]),
]
NAMES = [form[":db/ident"] for form in SCHEMA[:-1]]


def cells(name: str) -> st.SearchStrategy[Any]:
    values = strategies.values(name, SCHEMA)
    return values if name.endswith("-one") else st.lists(values, min_size=1, max_size=3)


ROWS = st.lists(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True).flatmap(
        lambda names: st.fixed_dictionaries({name: cells(name) for name in names})
    ),
    min_size=1,
    max_size=3,
)


def facts(db: Database, *, without: Callable[[str, Any], bool] = lambda name, value: False) -> list[list[str]]:
    """Return the facts of each entity, without the id of the entity and without composite tuples."""
    found: dict[int, list[str]] = {}
    for datom in db.datoms("eavt"):
        name = str(db.ident(datom.a))
        if name in NAMES and not without(name, datom.v):
            found.setdefault(datom.e, []).append(f"{name} {datom.v!r}")
    return sorted(map(sorted, found.values()))


def has_no_cell(name: str, value: Any) -> bool:
    """Return whether CSV has no cell for a value: an empty text and NA mean that there is none."""
    return name == ":u/string-one" and value in ("", "NA")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def imported(path: Path, schema: Any = SCHEMA) -> Database:
    with factstore.connect("memory:") as conn:
        conn.transact(schema)
        carry_out(conn, plan(conn.db(), path, Options()))
        return conn.db()


@pytest.mark.parametrize("form", FORMATS)
@given(ROWS)
def test_an_import_of_an_export_into_the_same_schema_has_the_same_facts(folder: Path, form: str, rows: list[dict[str, Any]]) -> None:
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        db = conn.transact(rows).db_after
        path = folder / f"u.{form}"
        path.write_bytes(file_of(wide_table(db, "u"), form))
    assert facts(db, without=has_no_cell if form == "csv" else lambda name, value: False) == facts(imported(path))


EMPTY = [Symbol(""), Symbol("NA"), Symbol('#symbol ""'), Uri(""), Uri("NA"), Uri("#top"), Uri('#uri "x"'), b"", Symbol("true"), Symbol("[")]


@pytest.mark.parametrize("many", ["one", "many"])
@pytest.mark.parametrize("form", FORMATS)
def test_a_value_whose_text_means_something_else_is_imported(folder: Path, form: str, many: str) -> None:
    kinds = {Symbol: "symbol", Uri: "uri", bytes: "bytes"}
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        db = conn.transact([{f":u/{kinds[type(value)]}-{many}": value} for value in EMPTY]).db_after
    path = folder / f"u.{form}"
    path.write_bytes(file_of(wide_table(db, "u"), form))
    assert len(EMPTY) == len(facts(db))
    assert facts(db) == facts(imported(path))


def test_edn_declares_the_types_of_its_values(folder: Path) -> None:
    one = [form for form in SCHEMA if form[":db/ident"].endswith("-one") and "tuple" not in form[":db/valueType"]]
    texts = {"string": "2026-01-01T00:00:00Z", "keyword": Keyword(":a"), "symbol": Symbol("a"), "uri": Uri("a:b"), "uuid": UUID(int=1)}
    numbers = {"long": 1, "bigint": 1 << 64, "double": 1.0, "bigdec": Decimal("1.00")}
    kinds = {**texts, **numbers, "boolean": True, "instant": datetime(2026, 1, 1, tzinfo=UTC), "bytes": b"a"}
    assert {*KINDS} == {*kinds, "float"}
    values = {f":u/{kind}-one": value for kind, value in kinds.items()}
    with factstore.connect("memory:") as conn:
        conn.transact(one)
        db = conn.transact([values]).db_after
    path = folder / "u.edn"
    path.write_bytes(file_of(wide_table(db, "u"), "edn"))
    again = imported(path, [])
    assert {name: again.schema.attribute(name).value_type.name for name in values} == {name: name[3:-4] for name in values}
    assert facts(db) == facts(again)


@pytest.mark.parametrize("form", FORMATS)
def test_attributes_with_any_name_are_imported(tmp_path: Path, form: str) -> None:
    names = [":alone", ":u/-a", ":u/a-", ":u/5a", ":-u/b", ":a.b/c.d", ":=x/=y"]
    schema = [{**attribute("v", "string", "one"), ":db/ident": name} for name in names]
    store = str(tmp_path / "s.facts")
    with factstore.connect(store, sync="none") as conn:
        conn.transact(schema)
        conn.transact([dict.fromkeys(names, "x")])
    assert 0 == CliRunner().invoke(main, ["export", str(tmp_path / "all"), "-s", store, "--format", form]).exit_code
    with factstore.connect("memory:") as conn:
        conn.transact(schema)
        for path in sorted((tmp_path / "all").iterdir()):
            carry_out(conn, plan(conn.db(), path, Options()))
        assert [1] * len(names) == [len(list(conn.db().datoms("aevt", name))) for name in names]


def test_files_may_begin_with_a_byte_order_mark(folder: Path) -> None:
    for name, text in (("u.edn", "{:u/v 1}"), ("u.ndjson", '{"v": 1}'), ("u.csv", "v\n1\n")):
        (folder / name).write_text(text, encoding="utf-8-sig")
        assert [1] == one_value(folder / name)


FORMULAS = ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1", "\uff0d1", "\uff201"]


def test_csv_for_spreadsheets_has_no_text_that_one_runs(folder: Path) -> None:
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        rows = [
            {":u/string-one": text, ":u/long-one": -5, ":u/double-one": -0.5, ":u/bigdec-one": Decimal("-0.50")}
            for text in [*FORMULAS, "a;=1", "'=1", "x"]
        ]
        table = wide_table(conn.transact([*rows, {":u/symbol-one": Symbol("=1"), ":u/uri-one": Uri("+1")}]).db_after, "u")
    safe, exact = (
        list(csv.reader(StringIO(file_of(table, "csv", for_spreadsheets=is_safe).decode(), newline=""))) for is_safe in (True, False)
    )
    assert [[f"'{cell}" if cell.startswith(tuple(FORMULAS)) else cell for cell in row] for row in exact] != safe
    column = safe[0].index("string-one")
    assert {*(f"'{text}" for text in FORMULAS), "a;=1", "'=1", "x", ""} == {row[column] for row in safe[1:]}
    assert {*FORMULAS, "a;=1", "'=1", "x", ""} == {row[column] for row in exact[1:]}
    assert {"-5", ""} == {row[safe[0].index("long-one")] for row in safe[1:]}
    assert {"-0.5", ""} == {row[safe[0].index("double-one")] for row in safe[1:]}
    assert {"-0.50", ""} == {row[safe[0].index("bigdec-one")] for row in safe[1:]}, "it is in the sum of its column"
    assert {"'=1", ""} == {row[safe[0].index("symbol-one")] for row in safe[1:]}
    assert b'"a;=1"' in file_of(table, "csv", for_spreadsheets=True), "it stays one cell where semicolons separate cells"


@pytest.mark.parametrize("many", ["one", "many"])
@pytest.mark.parametrize("form", ["csv", "ndjson"])
def test_a_text_of_any_length_is_imported(folder: Path, form: str, many: str) -> None:
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        db = conn.transact([{f":u/string-{many}": "x" * 200_000}]).db_after
    path = folder / f"u.{form}"
    path.write_bytes(file_of(wide_table(db, "u"), form))
    assert facts(db) == facts(imported(path))


def one_value(path: Path, schema: Any = ()) -> list[Any]:
    db = imported(path, schema)
    return [datom.v for datom in db.datoms("eavt") if str(db.ident(datom.a)) == ":u/v"]


@pytest.mark.parametrize(
    ("name", "text", "values"),
    [
        ("u.ndjson", '{"v": true}\n{"v": 1}\n{"v": [1, null, "x"]}\n{"v": 0.5}', ["true", "1", "1", "x", "0.5"]),
        ("u.ndjson", '{"v": [[1, "a"], [true]]}', ['[1, "a"]', "[true]"]),
        ("u.edn", "{} {:u/v (0.5 2.5)} {:u/v [1.0]} {:u/v #{}}", [0.5, 2.5, 1.0]),
        ("u.ndjson", '{"v": 1e400}\n{"v": "-inf"}', [float("inf"), float("-inf")]),
        ("u.ndjson", '{"v": "inf"}', [float("inf")]),
        ("u.csv", "v,w\ninf,\n0.30000000000000004,\n5e-324,\n", [float("inf"), 0.30000000000000004, 5e-324]),
        ("u.csv", "v,w\n1e400,\n", ["1e400"]),
        ("u.csv", "v,w\nTrue,\nfalse,\n", [True, False]),
        ("u.csv", "v;w\n1;2\n", [1]),
        ("u.csv", "v\tw\n1\t2\n", [1]),
    ],
)
def test_a_new_attribute_has_the_values_of_the_file(folder: Path, name: str, text: str, values: list[Any]) -> None:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    found = one_value(path, [attribute("v", "string", "many")] if "null" in text else ())
    assert sorted(map(repr, values)) == sorted(map(repr, found))


TAGS = [attribute("v", "string", "many"), attribute("links", "uri", "many")]


def test_a_cell_without_brackets_is_one_value_of_many(folder: Path) -> None:
    path = folder / "u.csv"
    path.write_text('v,links\n[draft] a,http://x\n"[""b"" ""[c]""]","[""http://y"" #uri ""z""]"\n', encoding="utf-8")
    assert ["[c]", "[draft] a", "b"] == sorted(one_value(path, TAGS))


@pytest.mark.parametrize("cell", ["[draft]", "[a b]", "[1]", '["a"]]', "[https://x]", '["a" 1]'])
def test_a_cell_that_may_be_a_text_or_several_is_rejected(folder: Path, cell: str) -> None:
    path = folder / "u.csv"
    path.write_text('v\n"[]"\n"{}"\n'.format(cell.replace('"', '""')), encoding="utf-8")
    with pytest.raises(TransactError, match="expected an EDN vector") as raised:
        one_value(path, TAGS)
    assert (":db.error/invalid-load", "v", 2) == (raised.value.code, raised.value.column, raised.value.row)
    assert os.path.realpath(path) not in {os.path.realpath(each) for each in Path("/proc/self/fd").iterdir()}


def test_references_and_lists_are_imported_from_one_table(folder: Path) -> None:
    schema = [attribute("id", "string", "one", unique=":db.unique/identity"), attribute("friend", "ref", "many"), *TAGS]
    path = folder / "u.csv"
    path.write_text('id,friend,v\na,"[""b"" ""a""]","[""x"" ""y""]"\nb,a,z\n', encoding="utf-8")
    with factstore.connect("memory:") as conn:
        conn.transact(schema)
        carry_out(conn, plan(conn.db(), path, Options(identity=("id",), refs={"friend": ":u/id"})))
        found = conn.db().q("[:find ?a ?b (count ?v) :where [?x :u/id ?a] [?x :u/friend ?y] [?y :u/id ?b] [?x :u/v ?v]]")
    assert {("a", "a", 2), ("a", "b", 2), ("b", "a", 1)} == set(found)


def sqlite_file(*statements: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        path.unlink(missing_ok=True)
        with closing(sqlite3.connect(path)) as db:
            db.executescript(";".join(statements))

    return make


def parquet_file(make_table: Callable[[], pyarrow.Table]) -> Callable[[Path], None]:
    return lambda path: parquet.write_table(make_table(), path)


def far() -> pyarrow.Table:
    return pyarrow.table({"v": pyarrow.array([1 << 55, 1], pyarrow.timestamp("ms"))})


def nanoseconds() -> pyarrow.Table:
    return pyarrow.table({"v": pyarrow.array([1], pyarrow.timestamp("ns", "Nowhere/Land"))})


def twice() -> pyarrow.Table:
    return pyarrow.Table.from_arrays([pyarrow.array([1]), pyarrow.array([2])], ["v", "v"])


def not_utf8() -> pyarrow.Table:
    return pyarrow.table({"v": pyarrow.Array.from_buffers(pyarrow.string(), 1, pyarrow.array([b"\xff"]).buffers())})


def damaged(path: Path) -> None:
    parquet.write_table(pyarrow.table({"v": ["text" * 100, "other"] * 100}), path, compression="snappy")
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(60) + content[64:])


@pytest.mark.parametrize(
    ("name", "make", "code", "part"),
    [
        ("u.sqlite", sqlite_file("create table t(v)", "insert into t values (cast(x'ff' as text))"), "invalid-load", "table t: "),
        ("u.sqlite", sqlite_file("create table t(v)", "insert into t values ('x'), (x'ff')"), "cannot-infer", "declare :t/v"),
        ("u.parquet", parquet_file(far), "invalid-load", "u.parquet"),
        ("u.parquet", parquet_file(nanoseconds), "invalid-load", "u.parquet"),
        ("u.parquet", parquet_file(twice), "invalid-load", "a column is twice in the file: v"),
        ("u.parquet", parquet_file(not_utf8), "invalid-load", "u.parquet"),
        ("u.parquet", damaged, "invalid-load", "u.parquet"),
        ("u.csv", lambda path: path.write_bytes(b"v\n\xff\n"), "invalid-load", "u.csv"),
        ("u.edn", lambda path: path.write_bytes(b"\xff"), "invalid-load", "u.edn"),
        ("u.ndjson", lambda path: path.write_text('{"v": ' + "[" * 100_000), "invalid-load", "expected a JSON object per line"),
        ("u.ndjson", lambda path: path.write_text('{"v": ' + "9" * 5_000 + "}"), "invalid-load", "expected a JSON object per line"),
        ("folder.csv", lambda path: path.mkdir(), "file-unavailable", "folder.csv: it is a directory"),
        ("folder.parquet", lambda path: path.mkdir(), "file-unavailable", "folder.parquet: it is a directory"),
        ("pipe.csv", os.mkfifo, "file-unavailable", "pipe.csv: it is a named pipe"),
        ("none.parquet", lambda path: None, "file-unavailable", "none.parquet: No such file"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_with_a_code(
    folder: Path, name: str, make: Callable[[Path], Any], code: str, part: str
) -> None:
    make(folder / name)
    with pytest.raises(FactStoreError) as raised:
        imported(folder / name, ())
    assert f":db.error/{code}" == raised.value.code
    assert part in str(raised.value)


def test_an_export_to_a_full_disk_is_an_error_with_a_code_and_the_path(folder: Path) -> None:
    store = str(folder / "s.facts")
    with factstore.connect(store, sync="none") as conn:
        conn.transact(SCHEMA[:1])
    for target in ("/dev/full", str(folder / "none" / "u.csv"), str(folder)):
        done = CliRunner().invoke(main, ["export", target, "-s", store, "--namespace", "u", "--format", "csv"])
        assert EXIT_UNAVAILABLE == done.exit_code
        assert f":db.error/file-unavailable: {target}: " in done.stderr


def test_an_export_of_booleans_has_the_texts_of_json(folder: Path) -> None:
    with factstore.connect("memory:") as conn:
        conn.transact([attribute("v", "boolean", "one")])
        db = conn.transact([{":u/v": True}, {":u/v": False}]).db_after
    assert ["true", "false"] == [line.split(",")[1] for line in file_of(wide_table(db, "u"), "csv").decode().splitlines()[1:]]
    assert [True, False] == [edn.read(line)[":u/v"] for line in file_of(wide_table(db, "u"), "edn").decode().splitlines()]
