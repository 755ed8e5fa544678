"""Datoms as they are read: once through, in pieces, and as tables."""

from __future__ import annotations

from typing import Any

import pytest

import factstore
from factstore import Keyword

SCHEMA = """
[{:db/ident :i/n    :db/valueType :db.type/long    :db/cardinality :db.cardinality/one :db/index true}
 {:db/ident :i/tags :db/valueType :db.type/keyword :db/cardinality :db.cardinality/many}
 {:db/ident :i/when :db/valueType :db.type/instant :db/cardinality :db.cardinality/one}
 {:db/ident :i/pair :db/valueType :db.type/tuple   :db/cardinality :db.cardinality/one :db/tupleTypes [:db.type/long :db.type/string]}
 {:db/ident :i/big  :db/valueType :db.type/bigint  :db/cardinality :db.cardinality/one}
 {:db/ident :i/up   :db/valueType :db.type/ref     :db/cardinality :db.cardinality/one}]
"""


@pytest.fixture
def db() -> factstore.Database:
    conn = factstore.connect("memory:")
    conn.transact(SCHEMA)
    conn.transact([{":db/id": f"e{n}", ":i/n": n} for n in range(10)])
    first = next(conn.db().datoms("avet", ":i/n", 0)).e
    conn.transact([{":db/id": first, ":i/tags": [Keyword(":a"), Keyword(":b")], ":i/up": first, ":i/pair": [1, "x"], ":i/big": 1 << 80}])
    return conn.db()


@pytest.mark.parametrize(
    "read",
    [
        lambda db: db.datoms("avet", ":i/n"),
        lambda db: db.seek_datoms("avet", ":i/n", 3),
        lambda db: db.rseek_datoms("avet", ":i/n", 6),
        lambda db: db.index_range(":i/n", 2, 9),
        lambda db: db.datoms("aevt", ":i/n", [":db/ident", ":i/none"]),
    ],
)
@pytest.mark.parametrize(
    "at", [0, 2, -1, 99, -99, slice(2, 4), slice(None), slice(1, None, 2), slice(-2, None), slice(None, None, -1), slice(9, 3)]
)
def test_a_piece_is_that_of_the_list_of_all(db: factstore.Database, read: Any, at: Any) -> None:
    whole = list(read(db))
    datoms = read(db)
    next(datoms, None)
    try:
        expected = whole[at]
    except IndexError:
        with pytest.raises(IndexError):
            datoms[at]
    else:
        assert expected == datoms[at]
    assert len(whole) == datoms.count()
    assert whole[1:] == list(datoms)  # the iterator is where it was
    assert [] == list(datoms)


def test_a_piece_reads_no_further_than_its_end() -> None:
    conn = factstore.connect("memory:")
    conn.transact(SCHEMA)
    conn.transact([{":i/n": n} for n in range(100)])
    seen: list[int] = []
    db = conn.db()
    datoms = db.datoms("aevt", ":i/n")
    monkey = datoms._read
    datoms._read = lambda: (seen.append(fact[2]) or fact for fact in monkey())  # type: ignore[func-returns-value]
    assert [5, 6] == [datom.v for datom in datoms[5:7]]
    assert list(range(7)) == seen


def test_columns_of_one_type_are_values_and_of_several_are_edn(db: factstore.Database) -> None:
    numbers = db.datoms("aevt", ":i/n").columns()
    assert list(range(10)) == numbers["v"]
    assert {":i/n"} == set(numbers["a"])
    assert [d.tx for d in db.datoms("aevt", ":i/n")] == numbers["tx"]
    assert [":a", ":b"] == db.datoms("aevt", ":i/tags").columns()["v"]
    assert [str(1 << 80)] == db.datoms("aevt", ":i/big").columns()["v"]
    assert ['[1 "x"]'] == db.datoms("aevt", ":i/pair").columns()["v"]
    e = numbers["e"][0]
    assert {"0", ":a", ":b", str(e)} < set(db.datoms("eavt", e).columns()["v"])


@pytest.mark.parametrize("kind", ["arrow", "df", "polars"])
@pytest.mark.parametrize("attribute", [":i/n", ":i/tags", ":i/pair", ":i/big", ":i/when", ":i/up"])
def test_a_table_has_a_row_a_datom(db: factstore.Database, kind: str, attribute: str) -> None:
    pytest.importorskip({"arrow": "pyarrow", "df": "pandas", "polars": "polars"}[kind])
    datoms = db.datoms("aevt", attribute)
    table = getattr(datoms, kind)()
    columns = datoms.columns()
    rows = table.to_pydict() if kind == "arrow" else table.to_dict("list") if kind == "df" else table.to_dict(as_series=False)
    assert columns == rows


def test_a_history_as_a_table_says_what_was_retracted(db: factstore.Database) -> None:
    report = factstore.with_(db, [[":db/add", next(db.datoms("avet", ":i/n", 0)).e, ":i/n", 77]])
    columns = report.db_after.history().datoms("aevt", ":i/n").columns()
    assert {(0, True), (0, False), (77, True)} == {(v, op) for v, op in zip(columns["v"], columns["added"], strict=True) if v in (0, 77)}


def test_as_text_and_in_a_notebook_datoms_are_a_table(db: factstore.Database) -> None:
    datoms = db.datoms("avet", ":i/n")
    assert ["e", "a", "v", "tx", "added"] == str(datoms).splitlines()[0].split()
    assert 11 == len(str(datoms).splitlines())
    assert ":i/n" in datoms._repr_html_()
    assert "10 datoms" in datoms._repr_html_()
    assert repr(datoms).startswith("<Datoms Datom(e=")
    assert 10 == len(list(datoms))
