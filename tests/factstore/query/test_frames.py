"""Data frames and tables of other packages as sources and inputs of queries, beside tuples and dicts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from factstore import q
from factstore.errors import QueryError

AT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
NAMES = ("name", "age", "score", "on", "at")
PEOPLE = [("Ann", 31, 1.5, True, AT), ("Bo", 17, -2.0, False, AT), ("Cy", 31, 0.0, True, AT)]


def arrow(rows: list[tuple[Any, ...]]) -> Any:
    return pytest.importorskip("pyarrow").Table.from_pylist([dict(zip(NAMES, row, strict=False)) for row in rows])


def pandas(rows: list[tuple[Any, ...]]) -> Any:
    return pytest.importorskip("pandas").DataFrame([dict(zip(NAMES, row, strict=False)) for row in rows])


def polars(rows: list[tuple[Any, ...]]) -> Any:
    return pytest.importorskip("polars").DataFrame([dict(zip(NAMES, row, strict=False)) for row in rows])


def each_make(function: Callable[..., None]) -> Any:
    return pytest.mark.parametrize("make", [arrow, pandas, polars], ids=lambda make: make.__name__)(function)


@each_make
@pytest.mark.parametrize(
    "query",
    [
        "[:find ?n ?a ?s ?on ?at :where [?n ?a ?s ?on ?at]]",
        "[:find ?n :where [?n 31]]",
        "[:find ?n :where [?n _ _ true]]",
        "[:find ?a (count ?n) :where [?n ?a]]",
        "[:find ?n ?m :where [?n ?a] [?m ?a] [(!= ?n ?m)]]",
        "[:find ?n ?s :where [?n ?a ?s] [(< ?s 1.0)] (not [?n 17])]",
        "[:find ?n :in [[?n ?a]] :where [(> ?a 20)]]",
        "[:find ?n ?at :in [[?n _ _ _ ?at]]]",
        "[:find ?a :in $ [[?n _]] :where [?n ?a]]",
    ],
)
def test_a_frame_answers_as_the_list_of_its_rows_does(make: Callable[..., Any], query: str) -> None:
    inputs = 2 if ":in $" in query else 1
    assert q(query, *[PEOPLE] * inputs) == q(query, *[make(PEOPLE)] * inputs) == q(query, *[PEOPLE, make(PEOPLE)][:inputs])


@each_make
def test_a_frame_is_joined_with_a_database_and_with_tuples(make: Callable[..., Any]) -> None:
    query = "[:find ?n ?team :in $ $teams :where [?n ?a] [$teams ?a ?team]]"
    assert {("Ann", "blue"), ("Cy", "blue")} == q(query, make(PEOPLE), [(31, "blue"), (32, "red")])


@each_make
def test_what_is_missing_is_none(make: Callable[..., Any]) -> None:
    rows = [("Ann", "x"), (None, "y")]
    assert {("Ann", "x"), (None, "y")} == q("[:find ?n ?x :where [?n ?x]]", make(rows))


@each_make
def test_an_empty_frame_has_no_rows(make: Callable[..., Any]) -> None:
    assert set() == q("[:find ?n :where [?n ?a]]", make(PEOPLE)[:0])


@each_make
def test_a_pattern_wider_than_a_frame_matches_nothing_as_with_tuples(make: Callable[..., Any]) -> None:
    assert set() == q("[:find ?n :where [?n _ _ _ _ ?more]]", PEOPLE) == q("[:find ?n :where [?n _ _ _ _ ?more]]", make(PEOPLE))


@each_make
def test_an_input_of_tuples_wider_than_a_frame_is_an_error_as_with_tuples(make: Callable[..., Any]) -> None:
    with pytest.raises(QueryError, match="expected 6 elements, got 5"):
        q("[:find ?n :in [[?n _ _ _ _ ?more]]]", make(PEOPLE))


@each_make
def test_a_column_is_a_collection(make: Callable[..., Any]) -> None:
    assert {(31,), (17,)} == q("[:find ?a :in [?a ...]]", make(PEOPLE)["age"])


def test_a_numpy_array_is_a_collection_and_a_source() -> None:
    numpy = pytest.importorskip("numpy")
    assert {(1,), (2,)} == q("[:find ?a :in [?a ...]]", numpy.array([1, 2]))
    assert {(2,)} == q("[:find ?b :where [1 ?b]]", numpy.array([[1, 2], [3, 4]]).tolist())


def test_a_dict_is_a_source_of_its_items() -> None:
    assert {("b",)} == q("[:find ?v :where [2 ?v]]", {1: "a", 2: "b"})
