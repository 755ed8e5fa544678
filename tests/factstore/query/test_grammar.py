"""Queries in every form that Datomic's grammar allows, as text and as Python data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import factstore
from factstore import Database, Keyword, Symbol, q
from factstore.errors import QueryError

SCHEMA = """
[{:db/ident :x/id :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :x/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one}
 {:db/ident :x/age :db/valueType :db.type/long :db/cardinality :db.cardinality/one}
 {:db/ident :x/symbol :db/valueType :db.type/symbol :db/cardinality :db.cardinality/one}
 {:db/ident :x/boss :db/valueType :db.type/ref :db/cardinality :db.cardinality/one}
 {:db/ident :x/tags :db/valueType :db.type/keyword :db/cardinality :db.cardinality/many}
 {:db/ident :x/pair :db/valueType :db.type/tuple :db/cardinality :db.cardinality/one :db/tupleTypes [:db.type/long :db.type/string]}]
"""


@pytest.fixture
def db() -> Iterator[Database]:
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        conn.transact(
            """[{:db/id "a" :x/id 1 :x/name "Ann" :x/age 50 :x/symbol s/t :x/pair [1 "a"] :x/tags [:t1 :t2]}
                {:db/id "b" :x/id 2 :x/name "Bob" :x/age 30 :x/symbol u :x/pair [2 nil] :x/boss "a"}
                {:db/id "c" :x/id 3 :x/name "Cy" :x/age 20 :x/pair [2 "zz"] :x/boss "b"}]"""
        )
        yield conn.db()


ANN = [Keyword(":x/name")]


@pytest.mark.parametrize(
    ("query", "inputs"),
    [
        ("[:find (pull ?e pattern) . :in $ pattern :where [?e :x/id 1]]", ("$", ANN)),
        ("[:find (pull ?e pattern) . :in pattern $ :where [?e :x/id 1]]", (ANN, "$")),
        ("[:find (pull $ ?e shape) . :in $ ?e shape]", ("$", [":x/id", 1], ANN)),
        ("{:find [[(pull ?e pattern) ...]] :in [$ pattern] :where [[?e :x/id 1]]}", ("$", ANN)),
        ("[:find (pull ?e ?pattern) . :in $ ?pattern :where [?e :x/id 1]]", ("$", ANN)),
        ("[:find (pull ?e (quote [:x/name])) . :where [?e :x/id 1]]", ("$",)),
        ("[:find (pull ?e '[:x/name]) . :where [?e :x/id 1]]", ("$",)),
        ("'[:find (pull ?e [:x/name]) . :where [?e :x/id 1]]", ("$",)),
        ([":find", ["pull", "?e", "pattern"], ".", ":in", "$", "pattern", ":where", ["?e", ":x/id", 1]], ("$", ANN)),
        ([":find", ["pull", "?e", "[:x/name]"], ".", ":where", ["?e", ":x/id", 1]], ("$",)),
    ],
)
def test_a_pattern_is_written_in_place_or_named_by_an_input(db: Database, query: Any, inputs: tuple[Any, ...]) -> None:
    found = q(query, *(db if each == "$" else each for each in inputs))
    assert {":x/name": "Ann"} == (found[0] if isinstance(found, list) else found)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("[:find ?e :in $ pattern :where [?e :x/id 1]]", "expected a binding such as"),
        ("[:find (pull ?e pattern) :where [?e :x/id 1]]", "pattern must be an input of one value"),
        ("[:find ?e :where [?e :x/name n]]", "no fact can have the symbol n in this place; a variable begins with a question mark"),
        ("[:find ?n :where [?e :x/boss b] [?e :x/name ?n]]", "no fact can have the symbol b"),
        ("[:find ?e :where [?e :x/symbol ?s] [(= ?s u)]]", "a symbol as a value is quoted, 'u"),
        ("[:find ?x . :where [(inc (inc 1)) ?x]]", "a call cannot be an argument, got (inc 1)"),
        ("[:find ?n :where [_ :x/age ?n] [(< (inc ?n) 5)]]", "a call cannot be an argument, got (inc ?n)"),
        ("[:find ?v :where [_ :x/age ?n] [(count [?n 1]) ?v]]", "a variable cannot be inside an argument, got [?n 1]"),
        ([":find", "?n", ":where", ["_", ":x/age", "?n"], [("<", ("inc", "?n"), 5)]], "a call cannot be an argument"),
    ],
)
def test_what_is_no_query_is_refused_with_the_reason(db: Database, query: Any, message: str) -> None:
    with pytest.raises(QueryError) as raised:
        q(query, db, *([ANN] if "$ pattern" in str(query) else []))
    assert ":db.error/invalid-query" == raised.value.code
    assert message in raised.value.message


@pytest.mark.parametrize(
    "query",
    [
        "[:find ?n . :where [(q '[:find (max ?a) . :where [_ :x/age ?a]] $) ?n]]",
        "[:find ?n . :where [(q (quote [:find (max ?a) . :where [_ :x/age ?a]]) $) ?n]]",
        "[:find ?n . :where [(datomic.api/q '[:find (max ?a) . :where [_ :x/age ?a]] $) ?n]]",
        "[:find ?n . :where [(datomic.api/q '[:find (max ?a) :where [_ :x/age ?a]] $) [[?n]]]]",
        "[:find ?n . :where [(q [:find (max ?a) . :where [_ :x/age ?a]] $) ?n]]",
        "[:find ?n . :where [(q '[:find (max ?a) . :in $ % :where (r ?a)] $ '[[(r ?a) [_ :x/age ?a]]]) ?n]]",
    ],
)
def test_a_query_inside_a_query_may_be_quoted(db: Database, query: str) -> None:
    assert 50 == q(query, db)


def test_rules_may_be_quoted(db: Database) -> None:
    assert {(50,), (30,), (20,)} == q("[:find ?a :in $ % :where (r ?a)]", db, "'[[(r ?a) [_ :x/age ?a]]]")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("[:find ?x . :where [(clojure.core/inc 1) ?x]]", 2),
        ("[:find ?x . :where [_ :x/age ?x] [(clojure.core/< ?x 30)]]", 20),
        ("[:find (clojure.core/count ?x) . :where [_ :x/age ?x]]", 3),
        ("[:find (clojure.core/set ?x) . :where [_ :x/age ?x]]", frozenset({50, 30, 20})),
        ('[:find (clojure.string/join "," ?x) . :where [?e :x/id 1] [?e :x/name ?x]]', "Ann"),
    ],
)
def test_functions_are_known_by_their_full_names_too(db: Database, query: str, expected: Any) -> None:
    assert expected == q(query, db)


@pytest.mark.parametrize("xform", ["clojure.core/count", "count"])
def test_an_xform_is_known_by_its_full_name_too(db: Database, xform: str) -> None:
    assert {":x/tags": 2} == factstore.pull(db, f"[(:x/tags :xform {xform})]", [":x/id", 1])


@pytest.mark.parametrize(
    ("rules", "call", "expected"),
    [
        ("[[(same ?e ?e) [?e :x/age 50]]]", "(same ?a ?b)", {(1, 1)}),
        ("[[(same ?e ?e) [?e :x/age]]]", "[?a :x/id 2] (same ?a ?b)", {(2, 2)}),
        ("[[(same ?e ?e) [?e :x/age]]]", "[?b :x/id 2] (same ?a ?b)", {(2, 2)}),
        ("[[(same [?e] ?e) [?e :x/age]]]", "[?a :x/id 2] (same ?a ?b)", {(2, 2)}),
        ("[[(same ?e ?e) [?e :x/age]]]", "[?a :x/id 2] [?b :x/id 3] (same ?a ?b)", set()),
        ("[[(up ?e ?e) [?e :x/age 50]] [(up ?e ?f) [?e :x/boss ?f]]]", "(up ?a ?b)", {(1, 1), (2, 1), (3, 2)}),
    ],
)
def test_a_variable_twice_in_the_head_of_a_rule_is_one_value(db: Database, rules: str, call: str, expected: set[Any]) -> None:
    assert expected == q(f"[:find ?i ?j :in $ % :where {call} [?a :x/id ?i] [?b :x/id ?j]]", db, rules)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("[?e :x/symbol u]", {2}),
        ("[?e :x/symbol s/t]", {1}),
        ("[?e :x/symbol 'u]", {2}),
        ("[?e _ u]", {2}),
        ("[?e :x/symbol ?s] [(= ?s 'u)]", {2}),
        ("[(ground ['u 's/t]) [?s ...]] [?e :x/symbol ?s]", {1, 2}),
        ("[?e ?a u] [?a :db/ident :x/symbol]", {2}),
    ],
)
def test_a_symbol_is_a_value(db: Database, where: str, expected: set[int]) -> None:
    assert expected == set(q(f"[:find [?i ...] :where {where} [?e :x/id ?i]]", db))


def test_a_symbol_is_a_value_in_a_collection_too() -> None:
    assert {(1,)} == q("[:find ?x :where [?x a]]", [(1, Symbol("a")), (2, "a")])


@pytest.mark.parametrize(
    ("call", "holder", "expected"),
    [
        ("(:a ?m)", {":a": 1}, 1),
        ("(:a ?m)", {Keyword(":a"): False}, False),
        ("(:b ?m 7)", {":a": 1}, 7),
        ("(:b ?m)", {":a": 1}, None),
        ("(:a ?m)", {Keyword(":a")}, Keyword(":a")),
        ("(:a ?m)", 5, None),
        ("(:a {:a 4})", 5, 4),
    ],
)
def test_a_keyword_is_called_as_a_function(call: str, holder: Any, expected: Any) -> None:
    assert expected == q(f"[:find ?v . :in ?m :where [{call} ?v]]", holder)


def test_a_keyword_that_is_called_is_told_from_a_lookup_ref(db: Database) -> None:
    assert {(1,)} == q("[:find ?x :in ?x ?m :where [(:a ?m)]]", 1, {":a": 1})
    assert 1 == q([":find", "?v", ".", ":in", "?m", ":where", [(":a", "?m"), "?v"]], {":a": 1})
    assert "Ann" == q([":find", "?n", ".", ":where", [(":x/id", 1), ":x/name", "?n"]], db)


@pytest.mark.parametrize(
    ("predicate", "value", "expected"),
    [
        ("(< ?p ?v)", [2, "z"], {1, 2}),
        ("(> ?p ?v)", [2, None], {3}),
        ("(<= ?p ?v)", (2, None), {1, 2}),
        ("(= ?p ?v)", [1, "a"], {1}),
        ("(not= ?p ?v)", [1, "a"], {2, 3}),
        ("(< ?p [2])", 0, {1}),
        ('(< [1 "a"] ?p)', 0, {2, 3}),
    ],
)
def test_a_tuple_is_compared_with_a_vector_slot_by_slot(db: Database, predicate: str, value: Any, expected: set[int]) -> None:
    assert expected == set(q(f"[:find [?i ...] :in $ ?v :where [?e :x/pair ?p] [{predicate}] [?e :x/id ?i]]", db, value))


@pytest.mark.parametrize(
    ("call", "expected"), [("(compare nil 1)", -1), ("(compare [1 2] [1])", 1), ("(compare [1 nil] [1 nil])", 0), ("(< nil 1)", True)]
)
def test_nil_is_less_than_anything_and_a_beginning_than_the_whole(call: str, expected: Any) -> None:
    assert expected == q(f"[:find ?a . :where [{call} ?a]]")


def test_a_query_that_reads_no_source_needs_no_input(db: Database) -> None:
    assert 3 == q("[:find ?x . :where [(+ 1 2) ?x]]")
    assert 3 == q("[:find ?x . :where [(+ 1 2) ?x]]", db)
    with pytest.raises(QueryError, match=r"takes 1 input .*, got 0"):
        q("[:find ?x . :where [?x :x/id]]")
