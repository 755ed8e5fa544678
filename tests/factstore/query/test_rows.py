"""Rows: the answer of a query as columns, and as whatever tables other packages make of them."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pytest

import factstore
from factstore import Keyword, Rows, Uri, q, rows
from factstore.errors import QueryError
from factstore.query.relations.relation import Column, Dictionary

AT = datetime(2024, 2, 29, 12, 30, 0, 250_000, tzinfo=UTC)
PEOPLE = [("Bo", 17, 1.5, True, AT), ("Ann", 31, -2.0, False, AT)]
ALL = "[:find ?name ?age ?score ?on ?at :in [[?name ?age ?score ?on ?at]] :order-by ?age]"
TABLES = ["arrow", "pandas", "polars"]


def records(table: Any) -> list[dict[str, Any]]:
    """Return the rows of a table of whatever package, as dicts of Python values."""
    if hasattr(table, "to_pylist"):
        return table.to_pylist()
    if hasattr(table, "to_dicts"):
        return table.to_dicts()
    return [{**row, **({"at": row["at"].to_pydatetime()} if "at" in row else {})} for row in table.to_dict("records")]


def test_rows_are_what_q_returns() -> None:
    found = rows(ALL, PEOPLE)
    assert PEOPLE == list(found) == found.tuples() == q(ALL, PEOPLE)
    assert 2 == len(found)
    assert ("name", "age", "score", "on", "at") == found.columns
    assert PEOPLE[1] == found[1]
    assert PEOPLE[-1] == found[-1]
    assert [17, 31] == found["age"]
    assert [PEOPLE[1]] == list(found[1:])
    assert {"name": "Bo", "age": 17, "score": 1.5, "on": True, "at": AT} == found.dicts()[0]
    assert PEOPLE[0] in found


@pytest.mark.parametrize(
    ("find", "rest", "expected"),
    [
        ("?a ?b", "", ("a", "b")),
        ("[?a ...]", "", ("a",)),
        ("(max ?a) .", "", ("(max ?a)",)),
        ("[?a (sum ?b)]", "", ("a", "(sum ?b)")),
        ("?a (as (min 2 ?b) ?least)", "", ("a", "least")),
        ("?a ?b", ":keys x y", ("x", "y")),
        ("?a ?b", ":strs x/y y", ("x/y", "y")),
        ("?a ?a", "", ("a", "a_2")),
    ],
)
def test_columns_are_called_by_keys_aliases_or_variables(find: str, rest: str, expected: tuple[str, ...]) -> None:
    for data in ([(1, 2)], []):
        assert expected == rows(f"[:find {find} :in [[?a ?b]] {rest}]", data).columns


@pytest.mark.parametrize("form", TABLES)
def test_a_table_has_the_values_and_types_of_the_columns(form: str) -> None:
    table = getattr(rows(ALL, PEOPLE), form)()
    assert [dict(zip(("name", "age", "score", "on", "at"), row, strict=True)) for row in PEOPLE] == records(table)


@pytest.mark.parametrize("find", ["[?a ?b]", "?a ."])
def test_where_q_finds_one_tuple_or_value_there_is_one_row(find: str) -> None:
    query = f"[:find {find} :in [[?a ?b]]]"
    data = [(i, i) for i in range(300)]
    assert 1 == len(rows(query, data))
    assert 1 == len(list(factstore.qseq(query, data)))
    assert 1 == factstore.explain(query, data).rows
    assert 0 == len(rows(query.replace("]]]", "]] :limit 0]"), data))


def test_numpy_has_the_columns_as_arrays() -> None:
    found = rows(ALL, PEOPLE).numpy()
    assert ["O", "i", "f", "b", "M"] == [array.dtype.kind for array in found.values()]
    assert [17, 31] == found["age"].tolist()
    assert AT.replace(tzinfo=None) == found["at"][0].item()


@pytest.mark.parametrize("form", TABLES)
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([Keyword(":a"), Keyword(":b")], [":a", ":b"]),
        ([Uri("http://a"), Uri("http://b")], ["http://a", "http://b"]),
        ([UUID(int=1), UUID(int=2)], [str(UUID(int=1)), str(UUID(int=2))]),
        ([b"x", b"y"], [b"x", b"y"]),
        ([Decimal("1.5"), Decimal("2.5")], [Decimal("1.5"), Decimal("2.5")]),
        ([(1, 2), (3, 4)], [[1, 2], [3, 4]]),
        ([frozenset((1,)), frozenset((2,))], [[1], [2]]),
    ],
    ids=lambda values: type(values[0]).__name__,
)
def test_what_other_packages_do_not_know_becomes_text_or_lists(form: str, values: list[Any], expected: list[Any]) -> None:
    table = getattr(rows("[:find ?i ?x :in [[?i ?x]] :order-by ?i]", list(enumerate(values))), form)()
    assert expected == [row["x"] for row in records(table)]


@pytest.mark.parametrize("form", TABLES)
def test_texts_kept_as_numbers_of_a_dictionary_come_out_as_texts(form: str) -> None:
    texts = [f"n{i % 3}" for i in range(600)]
    column = Column(str, np.array([i % 3 for i in range(600)]), Dictionary({"n0": 0, "n1": 1, "n2": 2}))
    assert texts == [row["n"] for row in records(getattr(Rows(("n",), [column]), form)())]


def test_pulled_maps_are_structs() -> None:
    with factstore.connect("memory:") as conn:
        conn.transact([{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}])
        conn.transact([{":n": 1}, {":n": 2}])
        found = rows("[:find ?n (as (pull ?e [:n]) ?map) :where [?e :n ?n] :order-by ?n]", conn.db())
    assert (
        [{"n": 1, "map": {":n": 1}}, {"n": 2, "map": {":n": 2}}] == found.dicts() == found.arrow().to_pylist() == found.polars().to_dicts()
    )


def test_what_takes_a_stream_of_arrow_takes_rows() -> None:
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    found = rows(ALL, PEOPLE)
    assert found.polars().equals(polars.DataFrame(found))
    assert found.arrow().equals(pyarrow.table(found))


@pytest.mark.parametrize("form", TABLES)
def test_no_rows_are_a_table_with_columns(form: str) -> None:
    table = getattr(rows(ALL, []), form)()
    assert ["name", "age", "score", "on", "at"] == list(table.column_names if form == "arrow" else table.columns)
    assert [] == records(table)


@pytest.mark.parametrize("form", ["arrow", "polars"])
def test_values_of_several_types_are_no_column_of_a_table(form: str) -> None:
    with pytest.raises(QueryError, match="column x cannot be of one type, it holds int, str") as raised:
        getattr(rows("[:find ?x :in [?x ...]]", [1, "a"]), form)()
    assert ":db.error/unsupported" == raised.value.code


@pytest.mark.parametrize(("form", "package"), [("arrow", "pyarrow"), ("pandas", "pandas"), ("polars", "polars")])
def test_a_package_that_is_missing_is_named(form: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(QueryError, match=rf"pip install 'factstore\[{package}\]'"):
        getattr(rows(ALL, PEOPLE), form)()


def test_the_text_is_a_table_of_the_first_rows() -> None:
    found = rows("[:find ?n ?t :in [[?n ?t]] :order-by ?n]", [(i, f"<{i}>") for i in range(1000)])
    lines = repr(found).splitlines()
    assert ["n   t", "0   '<0>'", "1,000 rows, the first 20 shown", 22] == [*lines[:2], lines[-1], len(lines)]
    assert "1 row" == repr(found[:1]).splitlines()[-1]


def test_a_notebook_shows_a_table_with_values_escaped() -> None:
    html = rows("[:find ?t :in ?t]", "<b>")._repr_html_()
    assert "<caption>1 row</caption>" in html
    assert "<td>&lt;b&gt;</td>" in html


def test_stats_come_with_the_rows_when_asked_for() -> None:
    assert rows(ALL, PEOPLE).explanation is None
    found = rows("[:find ?a :where [?a ?b] [(< ?b 2)]]", [(1, 1), (2, 2)], stats=True)
    assert found.explanation is not None
    assert [("[?a ?b]", 1, 2), ("[(< ?b 2)]", 2, 1)] == [(step.clause, step.rows_in, step.rows_out) for step in found.explanation.data]
    assert 1 == found.explanation.rows
    assert [(1,)] == list(found)


def test_rows_take_the_limits_that_q_takes() -> None:
    with pytest.raises(factstore.QueryStopped):
        rows(ALL, PEOPLE, max_rows=1)
    assert isinstance(rows(ALL, PEOPLE, max_rows=2, timeout=60), Rows)


@pytest.mark.parametrize("key", ["nope", 2, -3])
def test_a_row_or_column_that_is_not_there_is_an_error_of_python(key: Any) -> None:
    with pytest.raises(ValueError if isinstance(key, str) else IndexError):
        rows(ALL, PEOPLE)[key]
