"""What `:find` asks for: shapes, keys, order, and that an answer is a set before it is anything else."""

from __future__ import annotations

from typing import Any

import pytest

from factstore import Keyword, Symbol, q, register
from factstore.errors import QueryError

PEOPLE = [("Ann", 31, "blue"), ("Bo", 17, "red"), ("Cy", 31, "red"), ("Di", 4, "blue")]
ROWS = "[:find {} :in [[?name ?age ?team]] {}]"


def ask(find: str, rest: str = "") -> Any:
    return q(ROWS.format(find, rest), PEOPLE)


@pytest.mark.parametrize(
    ("find", "expected"),
    [
        ("?age", {(31,), (17,), (4,)}),
        ("?team ?team", {("blue", "blue"), ("red", "red")}),
        ("(count ?name) .", 4),
        ("(count ?age) .", 3),
        ("[(min ?age) (max ?age)]", (4, 31)),
        ("?team (count ?name)", {("blue", 2), ("red", 2)}),
    ],
)
def test_each_shape_of_find_has_its_python_type(find: str, expected: Any) -> None:
    assert expected == ask(find)


def test_a_collection_is_a_list_of_distinct_values() -> None:
    assert [4, 17, 31] == sorted(ask("[?age ...]"))


def test_nothing_found_is_an_empty_set_an_empty_list_or_none() -> None:
    for find, expected in (("?n", set()), ("[?n ...]", []), ("[?n ?n]", None), ("?n .", None)):
        assert expected == q(f"[:find {find} :in [?n ...]]", [])


def test_an_aggregate_over_nothing_has_no_row() -> None:
    assert set() == q("[:find (count ?n) :in [?n ...]]", [])
    assert q("[:find (sum ?n) . :in [?n ...]]", []) is None


def test_false_and_zero_are_values_of_a_scalar() -> None:
    assert q("[:find ?x . :in ?x]", False) is False
    assert 0 == q("[:find ?x . :in ?x]", 0)


def test_with_keeps_rows_apart_that_differ_only_in_its_variables() -> None:
    assert 52 == ask("(sum ?age) .")
    assert 83 == ask("(sum ?age) .", ":with ?name")


def test_keys_strs_and_syms_name_the_columns() -> None:
    for section, kind in ((":keys", Keyword), (":strs", str), (":syms", Symbol)):
        (row,) = q(f"[:find ?a ?b {section} x y :in [?a ?b]]", [1, 2])
        assert [kind, kind] == list(map(type, row))
        assert [1, 2] == list(row.values())
    assert {":x": 1, ":y": 2} == q("[:find [?a ?b] :keys x y :in [?a ?b]]", [1, 2])


def test_an_ordered_answer_is_a_list() -> None:
    expected = [("Di", 4), ("Bo", 17), ("Cy", 31), ("Ann", 31)]
    assert expected == ask("?name ?age", ":order-by [?age :asc ?name :desc]")
    assert expected == ask("?name ?age", ":order-by [[?age :asc] [?name :desc]]")
    assert list(reversed(expected)) == ask("?name ?age", ":order-by [?age :desc ?name :asc]")


def test_order_may_name_an_aggregate_or_a_place() -> None:
    assert [("blue", 35), ("red", 48)] == ask("?team (sum ?age)", ":with ?name :order-by [(sum ?age)]")
    assert [("red", 48), ("blue", 35)] == ask("?team (sum ?age)", ":with ?name :order-by [1 :desc]")


def test_limit_and_offset_cut_the_ordered_answer() -> None:
    assert [("Bo",), ("Cy",)] == ask("?name", ":order-by ?name :offset 1 :limit 2")
    assert 2 == len(ask("?name", ":limit 2"))
    assert set() == ask("?name", ":offset 9")


@pytest.mark.parametrize(
    ("find", "rest"),
    [
        ("?name ?age", ":keys one"),
        ("[?name ...]", ":keys one"),
        ("?name .", ":order-by ?name"),
        ("?name", ":order-by ?age"),
        ("?name", ":limit -1"),
        ("?name", ":limit 1 :limit 2"),
        ("?name", ":keys a :strs a"),
        ("?name . ?age", ""),
        ("", ""),
        ("(count 1)", ""),
        ("?name", ":were [(= ?name 1)]"),
    ],
)
def test_a_find_that_means_nothing_is_refused(find: str, rest: str) -> None:
    with pytest.raises(QueryError) as raised:
        ask(find, rest)
    assert ":db.error/invalid-query" == raised.value.code


def test_a_section_with_a_typo_is_answered_with_the_right_one() -> None:
    with pytest.raises(QueryError, match="did you mean :where"):
        ask("?name", ":were [(= ?name 1)]")


@pytest.mark.parametrize("names", ["?name ?nobody", "?nobody"])
def test_a_find_variable_that_nothing_binds_is_refused(names: str) -> None:
    with pytest.raises(QueryError, match=r"nothing binds \?nobody") as raised:
        ask(names)
    assert ":db.error/insufficient-binding" == raised.value.code


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        ("(avg ?x)", 2.5),
        ("(median ?x)", 2.5),
        ("(variance ?x)", 1.25),
        ("(min 2 ?x)", (1, 2)),
        ("(max 2 ?x)", (4, 3)),
        ("(distinct ?x)", frozenset({1, 2, 3, 4})),
        ("(count-distinct ?x)", 4),
        ("(sum ?x)", 10),
    ],
)
def test_built_in_aggregates(aggregate: str, expected: Any) -> None:
    assert expected == q(f"[:find {aggregate} . :in [?x ...]]", [4, 2, 1, 3])


def test_sample_and_rand_take_from_the_values() -> None:
    assert {1, 2, 3} == set(q("[:find (sample 9 ?x) . :in [?x ...]]", [1, 2, 3]))
    assert 5 == len(q("[:find (rand 5 ?x) . :in [?x ...]]", [1, 2, 3]))


def test_an_aggregate_of_many_rows_is_that_of_few() -> None:
    rows = [(i, i % 7, float(i)) for i in range(5000)]
    got = q("[:find ?k (count ?i) (sum ?i) (min ?v) (max ?v) (avg ?i) :in [[?i ?k ?v]]]", rows)
    groups = [[i for i in range(5000) if i % 7 == k] for k in range(7)]
    expected = {(k, len(g), sum(g), float(min(g)), float(max(g)), sum(g) / len(g)) for k, g in enumerate(groups)}
    assert expected == got


def test_a_sum_beyond_64_bits_is_exact() -> None:
    assert 300 * 2**62 == q("[:find (sum ?v) . :with ?i :in [[?i ?v]]]", [(i, 2**62) for i in range(300)])


def test_aggregates_come_from_the_registry_or_as_an_input() -> None:
    register("test.find/span", lambda values: max(values) - min(values))
    assert 27 == ask("(test.find/span ?age) .")
    assert 27 == q("[:find (aggregate ?f ?age) . :in ?f [[?name ?age ?team]]]", lambda values: max(values) - min(values), PEOPLE)
    assert (31, 17) == q("[:find (max ?n ?age) . :in ?n [[?name ?age ?team]]]", 2, PEOPLE)


def test_an_aggregate_that_fails_names_itself() -> None:
    with pytest.raises(QueryError, match="sum failed with TypeError") as raised:
        ask("(sum ?name) .")
    assert ":db.error/function-failed" == raised.value.code


def test_values_that_python_confuses_stay_apart_in_a_collection() -> None:
    assert [int, float, bool] == list(map(type, q("[:find [?x ...] :in [?x ...]]", [1, 1.0, True])))
