"""Exports, imports and SQL: the facts come back, a dry run writes nothing, and a wrong file is one line."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore.cli import main
from factstore.testing import strategies
from factstore.upkeep.imports import Options, carry_out, plan
from factstore.upkeep.imports.guess import guessed
from factstore.upkeep.sql_views import run as sql_run
from factstore.upkeep.sql_views import views
from factstore.upkeep.wide_tables import FORMATS, ID, namespaces, wide_table

CSV = "email,name,born,boss,code,seen\nann@x,Ann,1970,,007,2026-01-02\nbo@x,日本,NA,ann@x,008,2026-01-03T04:05:06Z\n"
PEOPLE = ["import", "person.csv", "--identity", "email", "--ref", "boss=:person/email"]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FACTSTORE", "s.facts")
    Path("person.csv").write_text(CSV, encoding="utf-8")
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def ok(*arguments: str) -> str:
    done = run(*arguments)
    assert 0 == done.exit_code, done.output
    return done.stdout


def kinds(text: str) -> dict[str, str]:
    return {str(form[":db/ident"]): str(form[":db/valueType"]).removeprefix(":db.type/") for form in factstore.edn.read(text)}


def test_a_dry_run_shows_the_schema_and_writes_nothing(home: Path) -> None:
    text = ok(*PEOPLE, "--dry-run")
    expected = {"email": "string", "name": "string", "born": "long", "boss": "ref", "code": "string", "seen": "instant"}
    assert {f":person/{name}": kind for name, kind in expected.items()} == kinds(text)
    assert ";; person: 2 rows\n;; person: references, in a second pass\n" in text
    assert ["person.csv"] == [path.name for path in home.iterdir()]


def test_a_csv_file_is_imported_with_identities_and_references_and_again_changes_nothing() -> None:
    assert "2 rows" in ok(*PEOPLE)
    ok(*PEOPLE)
    found = ok(
        "q",
        "[:find ?name ?boss ?code :where [?p :person/name ?name] [?p :person/code ?code] [?p :person/boss ?b] [?b :person/name ?boss]]",
        "--json",
    )
    assert [{"name": "日本", "boss": "Ann", "code": "008"}] == [json.loads(line) for line in found.splitlines()]
    assert 2 == len(ok("q", "[:find ?p :where [?p :person/email]]", "--json").splitlines())


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_exported_is_imported_with_the_same_types(form: str) -> None:
    ok(*PEOPLE)
    ok("export", f"person.{form}", "--namespace", "person")
    done = run("import", f"person.{form}", "-s", "other.facts")
    assert "person: not imported: db/id, because entities get new ids; `dump` and `undump` keep the ids" in done.stderr
    query = "[:find ?n ?c ?s :where [?p :person/name ?n] [?p :person/code ?c] [?p :person/seen ?s]]"
    assert ok("q", query) == ok("q", query, "-s", "other.facts")


def test_all_namespaces_are_exported_into_a_folder_and_one_to_stdout_as_edn() -> None:
    ok(*PEOPLE)
    ok("export", "out")
    assert ["person.csv"] == [path.name for path in Path("out").iterdir()]
    maps = factstore.edn.read_all(ok("export", "-", "--namespace", "person", "--format", "edn"))
    assert ["Ann", "日本"] == [row[":person/name"] for row in maps]
    assert "Ann" not in ok("export", "-", "--namespace", "person", "--format", "csv", "--as-of", "1")


def test_an_export_for_spreadsheets_escapes_formulas_and_the_usual_one_is_exact() -> None:
    ok(*PEOPLE)
    ok("transact", '[{:person/email "ann@x" :person/name "=1+1"}]')
    assert ",=1+1," in ok("export", "-", "--namespace", "person", "--format", "csv")
    assert ',"\'=1+1",' in ok("export", "-", "--namespace", "person", "--format", "csv", "--for-spreadsheets")
    ok("export", "out", "--for-spreadsheets")
    assert ',"\'=1+1",' in Path("out/person.csv").read_text(encoding="utf-8")
    done = run("export", "x.ndjson", "--namespace", "person", "--for-spreadsheets")
    assert (2, True) == (done.exit_code, "--for-spreadsheets is an option of CSV" in done.stderr)


def test_edn_is_imported_with_identities_and_the_namespaces_of_its_attributes() -> None:
    Path("x.edn").write_text(
        ';; people\n{:person/email "a" :person/tags #{:x :y}}\n#:person{:email "a" :age 3.0}\n{:db/id 5 :city/name "O"}'
    )
    ok("import", "x.edn", "--identity", ":person/email")
    found = ok("q", '[:find ?a ?t ?c :where [?p :person/email "a"] [?p :person/age ?a] [?p :person/tags ?t] [_ :city/name ?c]]', "--json")
    assert [{"a": 3.0, "t": tag, "c": "O"} for tag in (":x", ":y")] == sorted(map(json.loads, found.splitlines()), key=str)


def test_objects_and_lists_of_json_become_components_and_many_values() -> None:
    Path("order.ndjson").write_text('{"id":1,"tags":["a","b"],"lines":[{"n":1,"price":2},{"n":2,"price":2.5}]}\n{"id":2}\n')
    ok("import", "order.ndjson")
    [row, _] = ok(
        "q", "[:find (pull ?o [:order/id :order/tags {:order/lines [:lines/n :lines/price]}]) :where [?o :order/id]]", "--json"
    ).splitlines()
    lines = [{":lines/n": 1, ":lines/price": 2.0}, {":lines/n": 2, ":lines/price": 2.5}]
    assert {":order/id": 1, ":order/tags": ["a", "b"], ":order/lines": lines} == json.loads(row)["(pull ?o)"]


def test_tables_of_sqlite_keep_their_keys_and_references() -> None:
    with closing(sqlite3.connect("shop.sqlite")) as db:
        db.executescript(
            """create table customer (id integer primary key, name text, parent integer references customer(id));
               create table line (n integer, customer integer references customer, price real);
               insert into customer values (1, 'Ann', 2), (2, 'Bo', 1); insert into line values (1, 2, 9.5), (2, 1, 3)"""
        )
    ok("import", "shop.sqlite")
    ok("import", "shop.sqlite", "--dry-run")
    query = "[:find ?n ?name ?parent :where [?l :line/n ?n] [?l :line/customer ?c] [?c :customer/name ?name] [?c :customer/parent ?p] [?p :customer/name ?parent]]"
    assert [{"n": 1, "name": "Bo", "parent": "Ann"}, {"n": 2, "name": "Ann", "parent": "Bo"}] == sorted(
        map(json.loads, ok("q", query, "--json").splitlines()), key=str
    )


def test_a_printed_database_of_datascript_is_imported() -> None:
    Path("ds.edn").write_text(
        "#datascript/DB {:schema {:name {:db/unique :db.unique/identity} :friend {:db/valueType :db.type/ref, :db/cardinality :db.cardinality/many}}, "
        ':datoms [[1 :age 44 536870913] [1 :friend 2 536870913] [1 :name "Ivan" 536870913] [2 :name "Petr" 536870914]]}'
    )
    assert {":name": "string", ":friend": "ref", ":age": "long"} == kinds(ok("import", "ds.edn", "--dry-run"))
    ok("import", "ds.edn")
    assert [{":name": "Ivan", ":age": 44, ":friend": [{":name": "Petr"}]}] == list(
        map(json.loads, ok("pull", "[:name :age {:friend [:name]}]", ":name=Ivan", "--json").splitlines())
    )


def test_sql_reads_views_of_namespaces_as_of_a_moment() -> None:
    ok(*PEOPLE)
    ok("transact", '[{:person/email "ann@x" :person/name "Anne"}]')
    query = "select p.name, b.name as boss from person p left join person b on p.boss = b.db_id order by p.code"
    rows = [json.loads(line) for line in ok("sql", query, "--json").splitlines()]
    assert [{"name": "Anne", "boss": None}, {"name": "日本", "boss": "Anne"}] == rows
    assert [{"n": 2}] == [
        json.loads(line)
        for line in ok("sql", "select count(*) n from person where name = 'Ann' or code = '008'", "--as-of", "3", "--json").splitlines()
    ]
    assert {"view": "person", "column": "seen", "type": "instant"} in [json.loads(line) for line in ok("sql", "--json").splitlines()]
    for write in ("insert into person values (1)", " UPDATE person set name = 'x'", "delete from person", "drop table person"):
        assert "the views are read-only" in run("sql", write).stderr
    done = run("sql", "select nothing from person")
    assert (1, 1) == (done.exit_code, len(done.stderr.splitlines()))


NAMES = st.sampled_from(["x", "X", "X_1", "x_1", "x-1", "db_id", "DB-ID", "a.b", "a-b", "A_b", "n"])


@given(st.lists(st.tuples(st.sampled_from(["p", "P", "p_1", "q-r", "q.r"]), NAMES), min_size=1, max_size=7, unique=True))
def test_the_listed_views_and_columns_are_those_of_a_query(names: list[tuple[str, str]]) -> None:
    with factstore.connect("memory:") as conn:
        conn.transact(
            [
                {":db/ident": f":{namespace}/{name}", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}
                for namespace, name in names
            ]
        )
        db = conn.transact([{f":{namespace}/{name}": f"{namespace}/{name}" for namespace, name in names}]).db_after
    listed: dict[str, list[str]] = {}
    for view, column, _ in views(db):
        listed.setdefault(view, []).append(column)
    found = []
    for view, listed_columns in listed.items():
        columns, [(_, *values)] = sql_run(db, f'select * from "{view}"')
        assert columns == listed_columns
        found += values
    assert sorted(f"{namespace}/{name}" for namespace, name in names) == sorted(found)


@pytest.mark.parametrize(
    ("arguments", "text", "code", "part"),
    [
        (["import", "none.csv"], "", 3, "none.csv: No such file or directory"),
        (["export", "out.csv"], "", 2, "TARGET is a folder"),
        (
            ["import", "x.doc"],
            "",
            1,
            "x.doc has the suffix of no format; give one of csv, tsv, ndjson, parquet, sqlite, edn. `factstore undump`",
        ),
        (["import", "x.csv"], "a,b\n1\n", 1, "a row has fewer values than the header"),
        (["import", "x.csv"], "a,b\n1,2,3\n", 1, "a row has more values than the header"),
        (["import", "x.csv"], "a,a\n1,2\n", 1, "a column is twice"),
        (["import", "x.csv", "--identity", "b"], "a\n1\n", 1, "there is no column 'b'"),
        (["import", "x.csv", "--ref", "a"], "a\n1\n", 2, "--ref is COLUMN=ATTRIBUTE"),
        (["import", "x.ndjson"], "{", 1, "expected a JSON object per line"),
        (["import", "x.ndjson"], "1", 1, "expected a JSON object, got 1"),
        (["import", "x.parquet"], "text", 1, "x.parquet"),
        (["import", "x.sqlite"], "text of no database", 1, "file is not a database"),
        (["import", "x.edn"], "{:schema {}}", 1, "expected #datascript/DB"),
        (["import", "x.edn", "--format", "datascript"], "{:a 1}", 1, "expected #datascript/DB"),
        (["import", "x.edn"], '[{:person/name "Ann"}]', 1, "`load` commits transaction data"),
        (["import", "x.edn"], "{1 2}", 1, 'expected a map for each entity, such as {:person/name "Ann"}, got {1: 2}, as value 1'),
        (["import", "x.edn"], "{:a/b 1", 1, "invalid-edn"),
        (["import", "x.edn", "--identity", "b"], "{:a/b 1}", 1, "there is no column 'b'; there are :a/b"),
        (["import", "x.edn"], '#datascript/DB {:datoms [[1 :a 1 1] [2 :a "x" 1]]}', 1, "has values of"),
        (["export", "x.csv", "--namespace", "person", "-s", "none.facts"], "", 3, "there is no store at"),
        (["sql", "select 1", "-s", "none.facts"], "", 3, "there is no store at"),
    ],
)
def test_a_wrong_file_is_an_error_in_one_line_and_creates_no_store(
    home: Path, arguments: list[str], text: str, code: int, part: str
) -> None:
    if text or "x.doc" in arguments:
        Path(arguments[1]).write_text(text, encoding="utf-8")
    done = run(*arguments)
    assert code == done.exit_code, done.output
    assert part in done.stderr
    assert [] == [path.name for path in home.iterdir() if "facts" in path.name]


TEXTS = st.sampled_from(
    ["1", "-5", "007", "1.5", "1e5", "true", "NA", "", "x", "2026-01-02", "2026-02-30", str(1 << 70), "9" * 30, "0.1", "1_0", "٣"]
)


def test_a_column_identifies_rows_only_if_its_attribute_is_a_unique_identity(conn: factstore.Connection, tmp_path: Path) -> None:
    path = tmp_path / "person.csv"
    path.write_text("email,name\na@x.org,Ann\n", encoding="utf-8")
    carry_out(conn, plan(conn.db(), path, Options()))
    before = conn.db()
    with pytest.raises(factstore.DatabaseError, match=":db/add :person/email :db/unique") as caught:
        plan(conn.db(), path, Options(identity=("email",)))
    assert (factstore.Keyword(":person/email"), "email") == (caught.value.attribute, caught.value.column)
    conn.transact([[":db/add", ":person/email", ":db/unique", ":db.unique/identity"]])
    carry_out(conn, plan(conn.db(), path, Options(identity=("email",))))
    assert 1 == before.q("[:find (count ?e) . :where [?e :person/name]]") == conn.db().q("[:find (count ?e) . :where [?e :person/name]]")


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_every_text_of_a_column_is_read_by_the_guessed_type_and_no_digit_is_lost(texts: list[str]) -> None:
    rows = [{"v": text} for text in texts]
    guesses, count = guessed(rows, is_text=True)
    assert len(texts) == count
    path = Path("column.csv")
    path.write_text("n,v\n" + "".join(f"{n},{text}\n" for n, text in enumerate(texts)), encoding="utf-8")
    with factstore.connect("memory:") as conn:
        carry_out(conn, plan(conn.db(), path, Options()))
        if guesses["v"].kind in (None, "instant"):
            return
        stored = dict(conn.db().q("[:find ?n ?v :where [?e :column/n ?n] [?e :column/v ?v]]"))
        for n, text in enumerate(texts):
            value = stored.get(n)
            same = (
                value is None
                if text in ("", "NA")
                else value == (text if isinstance(value, str) else text == "true" if isinstance(value, bool) else type(value)(text))
            )
            assert same


SCHEMA = [
    {":db/ident": f":{name}", ":db/valueType": f":db.type/{kind}", ":db/cardinality": f":db.cardinality/{many}"}
    for name, kind, many in [("a/one", "string", "one"), ("a/many", "long", "many"), ("b/ref", "ref", "many"), ("b/at", "instant", "one")]
]


@given(strategies.databases(SCHEMA))
def test_wide_tables_have_each_fact_once(db: factstore.Database) -> None:
    expected = {(d.e, db.ident(d.a), str(d.v)) for d in db.datoms("eavt") if str(db.ident(d.a))[:3] in (":a/", ":b/")}
    found = []
    for namespace in namespaces(db):
        table = wide_table(db, namespace)
        for row in table.rows():
            for (name, attribute), cell in zip(table.attributes.items(), row[1:], strict=True):
                found += [(row[0], attribute.ident, str(v)) for v in (cell if isinstance(cell, list) else [] if cell is None else [cell])]
                assert name in table.columns
        assert sorted(table.columns[ID]) == table.columns[ID]
    assert sorted(expected) == sorted(found)
