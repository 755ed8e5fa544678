"""Rules: alternatives, scopes, recursion in every direction, and that it ends."""

from __future__ import annotations

from typing import Any

import pytest

import factstore
from factstore import q
from factstore.errors import QueryError

EDGES = [(1, ":to", 2), (2, ":to", 3), (3, ":to", 1), (5, ":to", 6), (1, ":w", 10), (3, ":w", 30)]
RIGHT = "[[(go ?a ?b) [?a :to ?b]] [(go ?a ?b) [?a :to ?c] (go ?c ?b)]]"
LEFT = "[[(go ?a ?b) [?a :to ?b]] [(go ?a ?b) (go ?a ?c) [?c :to ?b]]]"
DOUBLE = "[[(go ?a ?b) [?a :to ?b]] [(go ?a ?b) (go ?a ?c) (go ?c ?b)]]"
GUARDED = "[[(go ?a ?b) [?a :to ?b] [(> ?b 0)]] [(go ?a ?b) [?a :to ?c] [?c :to _] (go ?c ?b)]]"
THROUGH_OR = "[[(go ?a ?b) (or-join [?a ?b] [?a :to ?b] (and [?a :to ?c] (go ?c ?b)))]]"
MUTUAL = "[[(go ?a ?b) [?a :to ?b]] [(go ?a ?b) [?a :to ?c] (went ?c ?b)] [(went ?a ?b) (go ?a ?b)]]"
CIRCLE = {(a, b) for a in (1, 2, 3) for b in (1, 2, 3)} | {(5, 6)}


@pytest.mark.parametrize("rules", [RIGHT, LEFT, DOUBLE, GUARDED, THROUGH_OR, MUTUAL])
@pytest.mark.parametrize(
    ("call", "find", "expected"),
    [
        ("(go ?a ?b)", "?a ?b", CIRCLE),
        ("(go 1 ?b)", "?b", {(1,), (2,), (3,)}),
        ("(go ?a 6)", "?a", {(5,)}),
        ("(go ?a 3)", "?a", {(1,), (2,), (3,)}),
        ("[?a :w ?w] (go ?a ?b)", "?w ?b", {(w, b) for w in (10, 30) for b in (1, 2, 3)}),
        ("[?b :w ?w] (go ?a ?b)", "?a ?w", {(a, w) for w in (10, 30) for a in (1, 2, 3)}),
        ("[?a :w] [?b :to 6] (go ?a ?b)", "?a ?b", set()),
        ("(go ?a ?a)", "?a", {(1,), (2,), (3,)}),
        ("(go ?a _)", "?a", {(1,), (2,), (3,), (5,)}),
        ("[?a :to] (not (go ?a 1))", "?a", {(5,)}),
        ("(or (go 5 ?b) (go ?b 6))", "?b", {(6,), (5,)}),
    ],
)
def test_recursion_ends_on_circles_from_whichever_side_it_is_asked(rules: str, call: str, find: str, expected: Any) -> None:
    assert expected == q(f"[:find {find} :in $ % :where {call}]", EDGES, rules)


def test_variables_of_a_rule_are_its_own() -> None:
    rules = "[[(starts ?x) [?x :to ?y]]]"
    assert {(1, 10), (2, 10), (3, 10), (5, 10)} == q("[:find ?x ?y :in $ % :where [1 :w ?y] (starts ?x)]", EDGES, rules)


def test_definitions_of_one_name_are_alternatives() -> None:
    rules = "[[(r ?x) [?x :w 10]] [(r ?x) [?x :to 6]]]"
    assert {1, 5} == set(q("[:find [?x ...] :in $ % :where (r ?x)]", EDGES, rules))


def test_a_rule_may_need_what_its_caller_binds() -> None:
    rules = "[[(above [?min] ?x) [?x :w ?w] [(> ?w ?min)]]]"
    assert {(3,)} == q("[:find ?x :in $ % ?m :where (above ?m ?x)]", EDGES, rules, 15)
    with pytest.raises(QueryError) as raised:
        q("[:find ?x :in $ % :where (above ?m ?x)]", EDGES, rules)
    assert ":db.error/insufficient-binding" == raised.value.code
    assert ["?m", "?x"] == raised.value.variables


def test_a_predicate_of_the_callers_values_is_a_rule_too() -> None:
    assert {(3,), (4,)} == q("[:find ?y :in % ?x [?y ...] :where (over ?y ?x)]", "[[(over ?a ?b) [(> ?a ?b)]]]", 2, [1, 2, 3, 4])


def test_recursion_over_functions_ends_when_the_rules_say_so() -> None:
    rules = "[[(count-down ?n ?m) [(identity ?n) ?m]] [(count-down ?n ?m) [(> ?n 0)] [(dec ?n) ?k] (count-down ?k ?m)]]"
    assert set(range(6)) == set(q("[:find [?m ...] :in % :where (count-down 5 ?m)]", rules))


@pytest.mark.parametrize("rules", [RIGHT, LEFT, DOUBLE])
def test_a_chain_longer_than_pythons_stack_is_followed_to_its_end(rules: str) -> None:
    chain = [(n, ":to", n + 1) for n in range(3000)]
    assert 3000 == q("[:find (count ?b) . :in $ % :where (go 0 ?b)]", chain, rules)


def test_rounds_do_not_stand_on_pythons_stack() -> None:
    chain = [(n + 1, ":to", n) for n in range(1200)]
    assert 1200 == q("[:find (count ?a) . :in $ % :where (go ?a 0)]", chain, MUTUAL)


def test_a_closure_over_strings_and_over_mixed_values() -> None:
    edges = [("a", ":to", "b"), ("b", ":to", 1), (1, ":to", True), (True, ":to", "a")]
    assert 16 == len(q("[:find [?b ...] :with ?a :in $ % :where (go ?a ?b)]", edges, RIGHT))
    assert {"b", "c"} == set(q('[:find [?b ...] :in $ % :where (go "a" ?b)]', [("a", ":to", "b"), ("b", ":to", "c")], RIGHT))


def test_rules_are_text_or_data() -> None:
    data = [[("starts", "?x"), ["?x", ":to", "?y"], [(">", "?y", 2)]]]
    assert {(2,), (5,)} == q([":find", "?x", ":in", "$", "%", ":where", ("starts", "?x")], EDGES, data)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ("[[(r ?x ?y) [?x :w 1]]]", r"no clause of the rule uses \?y, which its head lists"),
        ("[[(r ?x)]]", "at least one clause"),
        ("[[(r 1) [?x :w 1]]]", "expected a vector of variables"),
        ("[[(r ?x) [?x :w 1]] [(r ?x ?y) [?x :w ?y]]]", "different parameters"),
        ("[[(r ?x) [?x :w _] (not (r ?x))]]", "through not"),
        ("5", "expected a vector of rules"),
        ("[[(r", "not EDN"),
    ],
)
def test_rules_that_mean_nothing_are_refused(rules: str, message: str) -> None:
    with pytest.raises(QueryError, match=message) as raised:
        q("[:find ?x :in $ % :where (r ?x)]", EDGES, rules)
    assert ":db.error/invalid-query" == raised.value.code


def test_a_rule_with_a_typo_is_answered_with_the_right_one() -> None:
    with pytest.raises(QueryError, match="no rule got/2 is among the rules of the query; did you mean go") as raised:
        q("[:find ?x :in $ % :where (got 1 ?x)]", EDGES, RIGHT)
    assert ":db.error/unknown-rule" == raised.value.code
    with pytest.raises(QueryError, match="rule go takes 2 arguments, got 1"):
        q("[:find ?x :in $ % :where (go ?x)]", EDGES, RIGHT)


def test_a_closure_is_walked_and_not_joined_in_rounds() -> None:
    """A chain of a thousand has half a million pairs; from one end it takes a thousand steps."""
    steps = factstore.explain("[:find ?b :in $ % :where (go 0 ?b)]", [(n, ":to", n + 1) for n in range(1000)], RIGHT).data
    assert len(steps) < 20
    assert 1000 == steps[0].rows_out
