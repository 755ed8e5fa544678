"""Values of functions, predicates and arrays: what Python programs calculate with, numpy above all, counts as the value it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import factstore
from factstore import Connection, FactStoreError, q, with_
from tests.factstore.odd_values import NOON, ODD, TYPES, of_packages

NANOS = int(NOON.timestamp()) * 10**9


@pytest.fixture
def conn() -> Iterator[Connection]:
    one = ":db.cardinality/one"
    with factstore.connect("memory:") as conn:
        conn.transact([{":db/ident": f":one/{kind}", ":db/valueType": f":db.type/{kind}", ":db/cardinality": one} for kind in TYPES])
        yield conn


# -- predicates


def test_the_predicate_of_a_filter_is_given_each_value_as_it_is_kept(conn: Connection) -> None:
    for odd in (*ODD, *of_packages()):
        for kind, kept in odd.kept.items():
            seen: list[Any] = []
            db = with_(conn.db(), [{f":one/{kind}": kept}]).db_after.filter(lambda _, datom, seen=seen: seen.append(datom.v) or True)
            assert 1 == len(q(f"[:find ?e :in $ ?v :where [?e :one/{kind} ?v]]", db, kept)), (odd.name, kind)
            assert any(type(kept) is type(v) and kept == v for v in seen), (odd.name, kind)


ANSWERS = (
    *((True, True), (False, False), (np.True_, True), (np.False_, False), (np.bool_(1), True)),
    *((None, False), (np.ma.masked, False), (np.datetime64("NaT"), False)),
)


@pytest.mark.parametrize("rows", [1, 3, 300])
@pytest.mark.parametrize(("answer", "is_true"), ANSWERS)
def test_what_a_predicate_answers_counts_alike_in_filters_and_queries(conn: Connection, answer: Any, is_true: bool, rows: int) -> None:
    factstore.register("odd/answer", lambda *_: answer)
    db = conn.transact([{":one/long": n} for n in range(rows)]).db_after
    expected = set(range(rows)) if is_true else set()
    assert expected == {datom.v for datom in db.filter(lambda *_: answer).datoms("aevt", ":one/long")}
    assert expected == set(q("[:find [?v ...] :where [_ :one/long ?v]]", db.filter(lambda *_: answer)))
    assert expected == set(q("[:find [?v ...] :where [_ :one/long ?v] [(odd/answer ?v)]]", db))
    assert expected == set(q("[:find [?v ...] :where [_ :one/long ?v] :having [(odd/answer ?v)]]", db))


@pytest.mark.parametrize("answer", [np.array([True, False]), np.array([])])
def test_an_array_as_the_answer_of_a_filters_predicate_is_rejected(conn: Connection, answer: Any) -> None:
    db = conn.transact([{":one/long": 1}]).db_after.filter(lambda *_: answer)
    for read in (lambda: list(db.datoms("aevt", ":one/long")), lambda: q("[:find ?v :where [_ :one/long ?v]]", db)):
        with pytest.raises(FactStoreError, match="the predicate of a filter returns true or false, got array") as caught:
            read()
        assert ":db.error/invalid-filter" == caught.value.code


@pytest.mark.parametrize("rows", [1, 3, 300])
def test_a_function_that_returns_arrays_binds_them(rows: int) -> None:
    factstore.register("odd/pair", lambda n: np.array([n, n + 1]))
    inputs = list(range(rows))
    assert {(n, n, n + 1) for n in inputs} == q("[:find ?n ?a ?b :in [?n ...] :where [(odd/pair ?n) [?a ?b]]]", inputs)
    found = q("[:find [?p ...] :in [?n ...] :where [(odd/pair ?n) ?p]]", inputs)
    assert {(n, n + 1) for n in inputs} == {tuple(pair) for pair in found}


# -- arrays of two dimensions


@pytest.mark.parametrize("kind", ["int8", "int64", "uint8", "uint64", "float32", "float64", "bool", "U3", "S3", "object"])
@pytest.mark.parametrize("size", [1, 40, 300])
def test_an_array_of_rows_is_what_its_list_is(kind: str, size: int) -> None:
    rows = (np.arange(2 * size).reshape(size, 2) % 100).astype(kind)
    for binding in ("[[?a ?b]]", "[?a ...]", "?a", "[[?a _]]", "[[?a ?a]]") + (("[?a ?b]", "[[?a ?b]]") if size > 1 else ()):
        names = "?a ?b" if "?b" in binding else "?a"
        query = f"[:find {names} :in {binding}]"
        assert q(query, rows.tolist()) == q(query, rows), binding
    assert q("[:find ?a ?b :where [?a ?b]]", rows.tolist()) == q("[:find ?a ?b :where [?a ?b]]", rows)


def test_what_is_masked_in_an_array_is_not_there() -> None:
    rows = np.ma.array([[1, 2]] * 300 + [[3, 4]], mask=[[True, False]] * 300 + [[False, True]])
    assert {(None, 2), (3, None)} == q("[:find ?a ?b :in [[?a ?b]]]", rows)
    assert {(3,)} == q("[:find ?a :in [[?a _]] [?a ...]]", rows, [1, 3])
    assert {((None, 2),), ((3, None),)} == q("[:find ?a :in [?a ...]]", rows)
    with pytest.raises(FactStoreError, match="is nil"):
        q("[:find ?a :in ?a]", np.ma.masked)


def test_an_instant_of_a_polars_frame_with_nanoseconds_is_no_input() -> None:
    pl = pytest.importorskip("polars")
    frame = pl.DataFrame({"t": pl.Series([NANOS, NANOS + 1]).cast(pl.Datetime("ns", "UTC"))})
    with pytest.raises(FactStoreError, match="row 2 has an instant with nanoseconds"):
        q("[:find ?t :in [[?t]]]", frame)
    assert {(NOON,)} == q("[:find ?t :in [[?t]]]", frame.head(1))
