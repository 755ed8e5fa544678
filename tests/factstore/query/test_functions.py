"""Predicates and function clauses: what is built in, what is registered, what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from factstore import Keyword, q, register
from factstore.errors import QueryError


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("(+ 1 2 3)", 6),
        ("(- 5)", -5),
        ("(/ 12 4)", 3),
        ("(/ 1 4)", 0.25),
        ("(quot -7 3)", -2),
        ("(rem -7 3)", -1),
        ("(mod -7 3)", 2),
        ("(max 1 3.5 2)", 3.5),
        ('(str "a" 1 :k nil true)', "a1:ktrue"),
        ('(subs "hello" 1 3)', "el"),
        ('(keyword "a" "b")', Keyword(":a/b")),
        ("(name :a/b)", "b"),
        ("(namespace :a/b)", "a"),
        ('(clojure.string/upper-case "ab")', "AB"),
        ('(clojure.string/split "a,b" ",")', ("a", "b")),
        ('(re-find "(a)(b)?" "xab")', ("ab", "a", "b")),
        ("(vector 1 [2])", (1, (2,))),
        ("(count [1 2])", 2),
        ("(get {:k 5} :k)", 5),
        ("(get [1 2] 7 :none)", Keyword(":none")),
        ("(compare 1 2)", -1),
        ("(and 1 nil 2)", None),
        ("(or nil false 3)", 3),
        ("(clojure.core/inc 1)", 2),
        ('(like "hello" "h%o")', True),
        ("(in 2 [1 2])", True),
    ],
)
def test_built_in_functions_are_those_of_clojure(call: str, expected: Any) -> None:
    got = q(f"[:find ?x . :where [{call} ?x]]", [])
    assert type(expected) is type(got)
    assert expected == got


@pytest.mark.parametrize(
    ("predicate", "expected"),
    [
        ("(= ?x 1)", [1]),
        ("(== ?x 1)", [1, 1.0]),
        ("(not= ?x 1)", [1.0, 2]),
        ("(< 0 ?x 2)", [1, 1.0]),
        ("(>= ?x 2)", [2]),
        ("(contains? #{1 2} ?x)", [1, 2]),
        ("(+ ?x 0)", [1, 1.0, 2]),
    ],
)
def test_a_predicate_keeps_what_it_holds_for(predicate: str, expected: list[Any]) -> None:
    got = q(f"[:find [?x ...] :in [?x ...] :where [{predicate}]]", [1, 1.0, 2])
    assert [(type(x), x) for x in expected] == [(type(x), x) for x in got]


@pytest.mark.parametrize("operator", ["<", "<=", ">", ">=", "=", "not=", "=="])
@pytest.mark.parametrize("other", [3, 3.0, 2.5])
def test_many_rows_are_compared_as_few_are(operator: str, other: Any) -> None:
    for values in (range(300), [n / 2 for n in range(300)]):
        query = f"[:find [?x ...] :in [?x ...] ?y :where [({operator} ?x ?y)]]"
        many = set(q(query, list(values), other))
        one_by_one = {x for x in values if q(query, [x], other)}
        assert one_by_one == many


def test_bindings_take_results_apart() -> None:
    register("test.functions/divmod", lambda a, b: list(divmod(a, b)))
    assert (3, 2) == q("[:find [?q ?r] :in ?a :where [(test.functions/divmod ?a 5) [?q ?r]]]", 17)
    assert {(2,), (3,)} == q("[:find ?x :where [(ground [2 3]) [?x ...]]]", [])
    assert {(1, 2)} == q("[:find ?a ?b :where [(ground [[1 2] [1 2]]) [[?a ?b]]]]", [])
    assert {(1,)} == q("[:find ?a :where [(ground [[1 1] [1 2]]) [[?a ?a]]]]", [])


def test_a_result_that_is_bound_already_must_agree() -> None:
    assert {(2,)} == q("[:find ?y :in [?x ...] [?y ...] :where [(inc ?x) ?y]]", [1, 5], [2, 3])
    assert set() == q("[:find ?x :where [(inc 1) ?x] [(dec 1) ?x]]", [])


def test_none_drops_the_row_and_false_is_bound() -> None:
    assert {(2, False)} == q("[:find ?x ?b :in [?x ...] ?f :where [(?f ?x) ?b]]", [1, 2], lambda x: None if x == 1 else False)


def test_a_function_is_not_called_when_no_row_reaches_it() -> None:
    calls: list[Any] = []
    assert set() == q("[:find ?y :in [?x ...] ?f :where [(?f ?x) ?y]]", [], calls.append)
    assert [] == calls


def test_a_callable_may_be_an_input() -> None:
    assert {(2,)} == q("[:find ?x :in [?x ...] ?even :where [(?even ?x)]]", [1, 2, 3], lambda x: x % 2 == 0)
    with pytest.raises(QueryError, match=r"the input for \?f must be a callable, got 5"):
        q("[:find ?x :in [?x ...] ?f :where [(?f ?x)]]", [1], 5)


def test_query_text_reaches_nothing_that_is_not_registered() -> None:
    for name in ("os/system", "eval", "builtins/open", "__import__"):
        with pytest.raises(QueryError) as raised:
            q(f'[:find ?x :where [({name} "x") ?x]]', [])
        assert ":db.error/unknown-function" == raised.value.code


def test_a_function_with_a_typo_is_answered_with_near_names() -> None:
    with pytest.raises(QueryError, match=re.escape("clojure.string/starts-with?")):
        q('[:find ?x :where [(clojure.string/start-with? "a" "b") ?x]]', [])


@pytest.mark.parametrize("call", ['(+ "a" 1)', "(/ 1 0)", '(< "a" 1)', "(inc true)", '(subs "a" 5)', "(even? 1.0)", "(contains? 5 1)"])
def test_a_function_that_fails_fails_the_query_and_points_at_the_clause(call: str) -> None:
    with pytest.raises(QueryError) as raised:
        q(f"[:find ?x :where [{call} ?x]]", [])
    assert ":db.error/function-failed" == raised.value.code
    assert call in raised.value.message


def test_a_function_may_query() -> None:
    rows = [(1, 5), (2, 9)]
    assert {(9,)} == q("[:find ?m :where [(q [:find (max ?v) . :where [_ ?v]] $) ?m]]", rows)


@pytest.mark.parametrize("call", ["(> ?y 1)", "(inc ?y) ?x"])
def test_an_argument_that_nothing_binds_is_refused(call: str) -> None:
    with pytest.raises(QueryError, match=r"nothing binds \?y") as raised:
        q(f"[:find ?x :in [?x ...] :where [{call}]]", [1])
    assert ":db.error/insufficient-binding" == raised.value.code


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ([("ground", [":clay", ":sand"]), ["?x", "..."]], {Keyword(":clay"), Keyword(":sand")}),
        ([("ground", [[":clay", 1]]), [["?x", "_"]]], {Keyword(":clay")}),
        ([("get", {":a": ":b"}, ":a"), "?x"], {Keyword(":b")}),
        ([("str", ":) ", ": no", ":"), "?x"], {":) : no:"}),
    ],
)
def test_in_python_data_what_reads_as_a_keyword_is_one_in_collections_too(clause: Any, expected: set[Any]) -> None:
    found = q([":find", ["?x", "..."], ":in", ":where", clause])
    assert expected == set(found)
    assert set(map(type, expected)) == set(map(type, found))


def test_a_string_in_text_is_never_a_keyword() -> None:
    assert [":clay"] == q('[:find [?x ...] :in :where [(ground [":clay"]) [?x ...]] [(string? ?x)]]')


def test_a_rule_in_the_place_of_a_function_is_pointed_out() -> None:
    with pytest.raises(QueryError, match=r"near is a rule, not a function: write \(near \?x\) without the vector") as raised:
        q("[:find ?x :in $ % :where [?x] [(near ?x)]]", [(1,)], "[[(near ?x) [(= ?x 1)]]]")
    assert ":db.error/unknown-function" == raised.value.code


def test_a_function_in_the_place_of_a_rule_is_pointed_out() -> None:
    with pytest.raises(QueryError, match=r"< is a function, whose call needs a vector around it, \[\(< \?x 2\)\]") as raised:
        q("[:find ?x :where [?x] (< ?x 2)]", [(1,)])
    assert ":db.error/unknown-rule" == raised.value.code
