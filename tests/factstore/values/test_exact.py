"""Answers and sets in which Python's equality merges nothing: rows that differ only by type are different rows."""

from __future__ import annotations

import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import AnswerCache, Keyword, Symbol, Uri, edn, q, rows
from factstore.errors import QueryError
from factstore.values.exact import ExactRow, ExactSet, set_of, strict

ALIKE = [1, 1.0, Decimal(1), True]
TEXTS = ["a", Symbol("a"), Uri("a"), ":a", Keyword(":a")]
VALUES = st.sampled_from([0, 1, 2, 0.0, 1.0, 0.5, False, True, Decimal(0), Decimal(1), "a", ":a", Keyword(":a"), Symbol("a"), None])


def exactly(found: Any) -> list[Any]:
    return sorted(map(repr, map(strict, found)))


# -- answers


@pytest.mark.parametrize("values", [ALIKE, TEXTS, [0, 0.0, False, Decimal(0), -1], [(1, "a"), (1.0, "a"), (True, "a"), (1, Symbol("a"))]])
def test_rows_that_differ_only_by_type_are_all_in_the_answer(values: list[Any]) -> None:
    found = q("[:find ?v :in [?v ...]]", values)
    assert isinstance(found, set)
    assert exactly((value,) for value in values) == exactly(found)
    assert exactly((value, 7) for value in values) == exactly(q("[:find ?v ?x :in [?v ...] ?x]", values, 7))
    assert exactly(values) == exactly(q("[:find [?v ...] :in [?v ...]]", values))
    assert exactly((value,) for value in values) == exactly(rows("[:find ?v :in [?v ...]]", values))


@given(st.lists(st.tuples(VALUES.filter(lambda value: value is not None), VALUES.filter(lambda value: value is not None))))
def test_an_answer_holds_each_row_of_its_relation_once_by_type_and_value(relation: list[tuple[Any, Any]]) -> None:
    found = q("[:find ?a ?b :in [[?a ?b]]]", relation)
    assert {strict(row) for row in relation} == {strict(row) for row in found}
    assert len(found) == len({strict(row) for row in relation})
    assert all(row in found for row in relation)


def test_facts_of_several_attributes_keep_their_types() -> None:
    with factstore.connect("memory:") as conn:
        conn.transact(
            [
                {":db/ident": f":x/{name}", ":db/valueType": f":db.type/{name}", ":db/cardinality": ":db.cardinality/one"}
                for name in ("long", "double", "boolean", "bigdec", "string", "symbol")
            ]
        )
        values = {":x/long": 0, ":x/double": 0.0, ":x/boolean": False, ":x/bigdec": Decimal(0), ":x/string": "a", ":x/symbol": Symbol("a")}
        e = conn.transact([{":db/id": "e", **values}]).tempids["e"]
        assert exactly((value,) for value in values.values()) == exactly(q("[:find ?v :in $ ?e :where [?e _ ?v]]", conn.db(), e))


def test_only_rows_that_python_would_merge_are_exact_rows() -> None:
    found = q("[:find ?v :in [?v ...]]", [1, 1.0, 2])
    assert {ExactRow, tuple} == set(map(type, found))
    assert all(type(row) is tuple for row in q("[:find ?v :in [?v ...]]", [1, 2.0, True and 3]))
    assert (1,) in found and (1.0,) in found and (2,) in found and (True,) not in found
    assert {(2,), ExactRow((1,))} == found - {(1.0,)}


@pytest.mark.parametrize("count", [10, 5_000, 40_000])
def test_long_answers_merge_nothing_either(count: int) -> None:
    found = q("[:find ?v :in [?v ...]]", [*range(count), *map(float, range(0, count, 2))])
    assert count + count // 2 == len(found)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("[:find ?v ?n :in $ [?v ...] :where [?v ?n]]", [(1, "long"), (1.0, "double")]),
        ("[:find ?v ?n :in $ [?v ...] :where (or [?v ?n])]", [(1, "long"), (1.0, "double")]),
        ("[:find ?v :in $ [?v ...] :where (not [?v _])]", [(True,), (Decimal(1),)]),
        ("[:find ?v :in $ [?v ...] :where [(= ?v 1)]]", [(1,)]),
        ("[:find ?v :in $ [?v ...] :where [(identity ?v) 1]]", None),
        ("[:find ?v (count ?n) :in [[?v ?n]] _]", [(1, 1), (1.0, 1)]),
    ],
)
def test_joins_groups_and_comparisons_keep_types_apart(query: str, expected: list[Any] | None) -> None:
    if expected is None:
        with pytest.raises(QueryError):
            q(query, [(1, "long"), (1.0, "double")], ALIKE)
        return
    assert exactly(expected) == exactly(q(query, [(1, "long"), (1.0, "double")], ALIKE))


@pytest.mark.parametrize(
    ("find", "where", "expected"),
    [
        ("(count ?v) .", "", 4),
        ("(count-distinct ?v) .", "", 4),
        ("?n .", "[(set ?l) ?s] [(count ?s) ?n]", 4),
        ("[?x ...]", "[(set ?l) [?x ...]]", ALIKE),
        ("[?v ...]", "[(ground #{1 1.0}) ?s] [(contains? ?s ?v)]", [1, 1.0]),
        ("[?v ...]", "[(in ?v [1 1.0])]", [1, 1.0]),
        ("[?v ...]", "[(contains? {1 :a} ?v)]", [1]),
        ("[?v ...]", "[(get {1.0 :a} ?v)]", [1.0]),
    ],
)
def test_functions_and_aggregates_keep_types_apart(find: str, where: str, expected: Any) -> None:
    found = q(f"[:find {find} :in [?v ...] ?l :where {where}]", ALIKE, ALIKE)
    assert expected == found if isinstance(expected, int) else exactly(expected) == exactly(found)


@pytest.mark.parametrize("aggregate", ["distinct", "set"])
def test_a_set_of_an_aggregate_is_a_frozenset_unless_python_would_merge(aggregate: str) -> None:
    query = f"[:find ({aggregate} ?v) . :in [?v ...]]"
    assert frozenset({1, 2.5}) == q(query, [1, 2.5])
    assert frozenset is type(q(query, [1, 2.5]))
    assert ExactSet(ALIKE) == q(query, ALIKE)


def test_the_cache_of_answers_tells_types_and_scales_apart() -> None:
    cache = AnswerCache()
    for _ in range(2):
        for value in (*ALIKE, Decimal("1.0"), 0.0, -0.0, *TEXTS):
            assert (type(value), str(value)) == (type(found := q("[:find ?v . :in ?v]", value, cache=cache)), str(found))
        assert exactly((value,) for value in ALIKE) == exactly(q("[:find ?v :in [?v ...]]", ALIKE, cache=cache))
    assert 13 == cache.hits


def test_bigdecs_of_two_scales_are_one_value_and_each_entity_keeps_its_own() -> None:
    with factstore.connect("memory:") as conn:
        conn.transact([{":db/ident": ":x/price", ":db/valueType": ":db.type/bigdec", ":db/cardinality": ":db.cardinality/one"}])
        for scale in ("2.5", "2.50"):
            conn.transact([{":x/price": Decimal(scale)} for _ in range(3000)])
        db = conn.db()
        for _ in range(3):
            assert {"2.5": 3000, "2.50": 3000} == {
                scale: sum(str(value) == scale for value in q("[:find [?v ...] :with ?e :where [?e :x/price ?v]]", db))
                for scale in ("2.5", "2.50")
            }
        assert 1 == len(q("[:find ?v :where [_ :x/price ?v]]", db))


# -- bags


AGES = [("ann", 30), ("bob", 30), ("cy", 5)]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("[:find ?a :with ?n :where [?n ?a]]", [(5,), (30,), (30,)]),
        ("[:find ?a :with ?n :where [?n ?a] [(> ?a 99)]]", []),
        ("[:find [?a ...] :with ?n :where [?n ?a]]", [5, 30, 30]),
        ("[:find ?a :keys age :with ?n :where [?n ?a]]", [{":age": 5}, {":age": 30}, {":age": 30}]),
        ("[:find ?a :with ?n :where [?n ?a] :order-by ?a :desc :limit 2]", [(30,), (30,)]),
        ("[:find ?a :with ?n :where [?n ?a] :having [(> ?a 10)]]", [(30,), (30,)]),
    ],
)
def test_with_and_no_aggregate_gives_equal_rows_as_often_as_they_come(query: str, expected: list[Any]) -> None:
    found = q(query, AGES)
    assert isinstance(found, list)

    def age(row: Any) -> int:
        return int(row[":age"] if isinstance(row, dict) else row[0] if isinstance(row, tuple) else row)

    assert expected == (found if ":order-by" in query else sorted(found, key=age))


@pytest.mark.parametrize("query", ["?a :with ?a", "?a :with ?n ?n", "(count ?a) :with ?a", "?n ?a :with ?n"])
def test_with_takes_no_variable_that_the_query_has_already(query: str) -> None:
    with pytest.raises(QueryError, match="occurs twice") as raised:
        q(f"[:find {query} :where [?n ?a]]", AGES)
    assert ":db.error/invalid-query" == raised.value.code


# -- sets


@given(st.lists(VALUES))
def test_a_set_holds_each_element_once_by_type_and_value(elements: list[Any]) -> None:
    found = set_of(elements)
    assert {strict(element) for element in elements} == {strict(element) for element in found}
    assert all(element in found for element in elements)
    assert (type(found) is frozenset) == (len(frozenset(elements)) == len(found))


@given(st.lists(VALUES), st.lists(VALUES))
def test_the_operations_of_exact_sets_are_those_of_sets_of_strict_keys(left: list[Any], right: list[Any]) -> None:
    a, b = ExactSet(left), ExactSet(right)
    keys, others = set(map(strict, left)), set(map(strict, right))
    for found, expected in ((a | b, keys | others), (a & b, keys & others), (a - b, keys - others), (a ^ b, keys ^ others)):
        assert expected == set(map(strict, found))
    assert (keys <= others) == (a <= b)
    assert (keys < others) == (a < b)
    assert (keys == others) == (a == b)
    assert a != b or hash(a) == hash(b)


def test_an_exact_set_is_compared_with_plain_sets_by_type() -> None:
    found = ExactSet([1, 1.0, 2])
    assert exactly([1, 2]) == exactly(found - {1.0})
    assert not found <= {1, 2}
    assert ExactSet([1, 2]) == {1, 2} and ExactSet([1, 2]) != {1.0, 2}


def test_exact_sets_and_rows_are_copied_and_written() -> None:
    found, row = ExactSet([1, 1.0, True]), ExactRow((1, "a"))
    assert found == pickle.loads(pickle.dumps(found)) and row == pickle.loads(pickle.dumps(row))
    assert found == edn.read(edn.write(found))
    assert "#{1 1.0 true}" == edn.write(found)
    assert '(1 "a")' == edn.write(row)
    assert ExactRow((1,)) != ExactRow((1.0,)) and ExactRow((1,)) != 1


def test_a_set_of_text_with_the_same_element_twice_is_still_refused() -> None:
    with pytest.raises(factstore.ReadError, match="holds 1 twice"):
        edn.read("#{1 1.0 1}")
