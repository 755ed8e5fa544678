"""`:having`: conditions over the columns of the answer, after aggregates and before order."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore import Keyword, Symbol, explain, q
from factstore.errors import QueryError

FLIGHTS = [(1, "AA", 10), (2, "AA", 20), (3, "UA", 0), (4, "B6", 7), (5, "B6", 8), (6, "B6", 9)]


def ask(find: str, having: str, *inputs: Any, rest: str = "", names: str = "") -> Any:
    return q(f"[:find {find} :in $ {names} :where [?f ?c ?d] :having {having} {rest}]", FLIGHTS, *inputs)


@pytest.mark.parametrize(
    ("find", "having", "expected"),
    [
        ("?c (count ?f)", "[(> (count ?f) 1)]", {("AA", 2), ("B6", 3)}),
        ("?c (count ?f)", '[(> (count ?f) 1)] [(!= ?c "AA")]', {("B6", 3)}),
        ("?c (as (count ?f) ?n)", "[(= ?n 3)]", {("B6", 3)}),
        ("?c (as (count ?f) ?n)", "(= ?n 3)", {("B6", 3)}),
        ("(as ?c ?d) (count ?f)", '[(= ?d "UA")]', {("UA", 1)}),
        ("?c (sum ?d) (count ?f)", "[(/ (sum ?d) (count ?f)) ?mean] [(< ?mean 9)]", {("UA", 0, 1), ("B6", 24, 3)}),
        ("?c (min 2 ?d)", "[(count (min 2 ?d)) ?n] [(< ?n 2)]", {("UA", (0,))}),
        ("?c (count ?f)", '(not (or (= ?c "AA") (< (count ?f) 2)))', {("B6", 3)}),
        ("?c (count ?f)", '(or (and [(+ (count ?f) 1) ?m] [(= ?m 2)]) [(= ?c "AA")])', {("UA", 1), ("AA", 2)}),
        ("[?c ...]", '[(> ?c "AA")]', ["B6", "UA"]),
    ],
)
def test_a_condition_names_what_find_has_or_its_alias(find: str, having: str, expected: Any) -> None:
    found = ask(find, having)
    assert expected == (sorted(found) if isinstance(found, list) else found)


def test_an_input_may_stand_in_a_condition() -> None:
    assert {("AA", 30), ("B6", 24)} == ask("?c (sum ?d)", "[(> (sum ?d) ?least)]", 20, names="?least")
    with pytest.raises(QueryError, match="nothing binds"):
        ask("?c (sum ?d)", "[(> (sum ?d) ?least)]", [20, 30], names="[?least ...]")


def test_text_and_python_data_mean_the_same() -> None:
    text = '[:find ?c (as (sum ?d) ?total) :where [?f ?c ?d] :having [(> ?total 20)] (not (= ?c "AA"))]'
    data = {
        ":find": ["?c", ["as", ["sum", "?d"], "?total"]],
        ":where": [["?f", "?c", "?d"]],
        ":having": [[[">", "?total", 20]], ["not", ["=", "?c", "AA"]]],
    }
    assert {("B6", 24)} == q(text, FLIGHTS) == q(data, FLIGHTS)


def test_an_alias_orders_and_equal_rows_of_a_bag_all_stay() -> None:
    assert [("UA", 0), ("B6", 24), ("AA", 30)] == ask("?c (as (sum ?d) ?total)", "[(>= ?total 0)]", rest=":order-by ?total")
    assert ["AA", "AA"] == q('[:find [?c ...] :with ?f :where [?f ?c] :having [(= ?c "AA")]]', FLIGHTS)


def test_limit_counts_the_rows_that_the_conditions_leave() -> None:
    assert [("B6", 3)] == ask("?c (as (count ?f) ?n)", "[(< ?n 9)] [(> ?n 1)]", rest=":order-by ?n :desc :limit 1")


def test_nothing_left_is_an_empty_set() -> None:
    assert set() == ask("?c (count ?f)", "[(> (count ?f) 99)]")
    assert set() == q('[:find ?c :where [?f ?c 99] :having [(= ?c "AA")]]', FLIGHTS)


@pytest.mark.parametrize(
    ("find", "having", "message"),
    [
        ("?c", "[(> (sum ?d) 1)]", "takes elements of :find"),
        ("?c", "[(> ?z 1)]", "nothing binds [?]z"),
        ("?c", "[(nope ?c)]", "no function nope"),
        ("?c", "[?e ?c]", "predicates, functions, not and or"),
        ("?c", "7", "expected a condition"),
        ("?c .", "[(> ?c 1)]", "finds a scalar"),
        ("[?c ?d]", "[(> ?c 1)]", "finds a tuple"),
        ("?c (as ?d ?c)", "[(> ?c 1)]", "names two columns"),
        ("(as ?d ?c) ?c", "[(> ?c 1)]", "names two columns"),
        ("?c (as ?d 3)", "[(> ?c 1)]", "as element [?]name"),
        ("?c (as (sum ?d))", "[(> ?c 1)]", "as element [?]name"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(find: str, having: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as raised:
        q(f"[:find {find} :in $ :where [?f ?c ?d] :having {having}]", [])
    assert raised.value.code in (":db.error/invalid-query", ":db.error/insufficient-binding", ":db.error/unknown-function")


def test_explain_shows_the_conditions_as_steps() -> None:
    steps = explain("[:find ?c (as (count ?f) ?n) :where [?f ?c] :having [(> ?n 1)]]", FLIGHTS).data
    assert [("[?f ?c]", 1, 6), ("[(> ?n 1)]", 3, 2)] == [(step.clause, step.rows_in, step.rows_out) for step in steps]


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(-5, 5)), max_size=30),
    st.sampled_from(["<", ">", "=", "!="]),
    st.integers(-5, 9),
)
def test_having_is_a_filter_of_the_answer_without_it(rows: list[tuple[int, int]], op: str, bound: int) -> None:
    total = [Symbol("sum"), Symbol("?v")]
    query = {
        Keyword(":find"): [Symbol("?k"), total],
        Keyword(":with"): [Symbol("?i")],
        Keyword(":where"): [[Symbol("?i"), Symbol("?k"), Symbol("?v")]],
    }
    facts = [(i, k, v) for i, (k, v) in enumerate(rows)]
    is_kept = {"<": lambda n: n < bound, ">": lambda n: n > bound, "=": lambda n: n == bound, "!=": lambda n: n != bound}[op]
    having = {Keyword(":having"): [[[Symbol(op), total, bound]]]}
    assert {row for row in q(query, facts) if is_kept(row[1])} == q(query | having, facts)
