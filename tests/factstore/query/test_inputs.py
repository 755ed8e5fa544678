"""What `:in` takes: bindings, sources, rules, and what does not fit them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from factstore import q
from factstore.errors import QueryError


@pytest.mark.parametrize(
    ("query", "inputs", "expected"),
    [
        ("[:find ?x . :in ?x]", [7], 7),
        ("[:find ?b . :in [_ ?b]]", [[1, 2, 3]], 2),
        ("[:find ?k ?v :in [[?k [?v ...]] ...]]", [[["a", [1, 2]], ["b", []]]], {("a", 1), ("a", 2)}),
        ("[:find ?k ?v :in [[?k ?v]]]", [{"a": 1, "b": 2}], {("a", 1), ("b", 2)}),
        ("[:find ?x :in _ ?x]", ["skipped", 1], {(1,)}),
        ("[:find ?a ?c :in [[?a ?b]] [[?b ?c]]]", [[[1, 2], [3, 4]], [[2, "x"], [5, "y"]]], {(1, "x")}),
        ("[:find ?x :in [?x ...]]", [(n for n in (1, 2))], {(1,), (2,)}),
        ("[:find ?x :in ?x]", [["a", ["b"]]], {(("a", ("b",)),)}),
    ],
)
def test_an_input_is_taken_apart_as_its_binding_says(query: str, inputs: list[Any], expected: Any) -> None:
    assert expected == q(query, *inputs)


@pytest.mark.parametrize(
    ("query", "inputs", "message"),
    [
        ("[:find ?x :in ?x]", [], r"takes 1 input \(\?x\), got 0: \?x is missing"),
        ("[:find ?x :in ?x]", [1, 2], r"takes 1 input \(\?x\), got 2$"),
        ("[:find ?x :in ?x $ [?y ...] %]", [1], r"takes 4 inputs \(\?x \$ \[\?y ...\] %\), got 1: \$, \[\?y ...\], % are missing"),
        ("[:find ?x :in ?x]", [None], r"the input for \?x is nil"),
        ("[:find ?a :in [?a ?b]]", [[1]], "expected 2 elements, got 1"),
        ("[:find ?a :in [?a ...]]", [5], "expected a collection, got 5"),
        ("[:find ?a :in [?a ...]]", ["text"], "expected a collection"),
        ("[:find ?a :in [[?a ?b]]]", [[1]], "expected a vector of 2, got 1"),
        ("[:find ?a :where [?a]]", [5], "a source is a database or a collection of tuples, got 5"),
        ("[:find ?a :where [?a]]", [[1]], "a collection of tuples, but holds 1"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(query: str, inputs: list[Any], message: str) -> None:
    with pytest.raises(QueryError, match=message) as raised:
        q(query, *inputs)
    assert ":db.error/invalid-inputs" == raised.value.code


def test_python_data_and_edn_text_are_one_query() -> None:
    rows = [(1, ":name", "a"), (1, ":age", 3), (2, ":name", "b"), (2, ":age", 4)]
    text = '[:find ?n :in $ ?min :where [?e :name ?n] [?e :age ?a] [(< ?min ?a)] (not [?e :name "z"])]'
    data = [":find", "?n", ":in", "$", "?min", ":where"]
    data += [["?e", ":name", "?n"], ["?e", ":age", "?a"], [("<", "?min", "?a")], ("not", ["?e", ":name", "z"])]
    as_map = {":find": ["?n"], ":in": ["$", "?min"], ":where": data[6:]}
    assert {("b",)} == q(text, rows, 3) == q(data, rows, 3) == q(as_map, rows, 3)


def test_a_string_in_edn_that_looks_like_a_symbol_is_a_string() -> None:
    assert {("?x",)} == q('[:find ?s :in [?s ...] :where [(= ?s "?x")]]', ["?x", "y"])


def test_collections_of_any_width_are_sources() -> None:
    assert {("u", "z")} == q("[:find ?a ?d :where [?a _ 1 ?d]]", [("u", 0, 1, "z"), ("v", 0, 2, "y"), ("short",)])
    assert {(1, 2)} == q("[:find ?k ?v :where [?k ?v]]", {1: 2})


def test_a_data_frame_is_a_source() -> None:
    class Frame:
        def iter_rows(self) -> Any:
            return iter([(1, "a"), (2, "b")])

    assert {("b",)} == q("[:find ?v :where [2 ?v]]", Frame())


def test_the_same_variable_twice_in_a_pattern_must_be_equal() -> None:
    assert {(1,)} == q("[:find ?x :where [?x _ ?x]]", [(1, 0, 1), (2, 0, 3), (1, 0, True)])


def test_types_keep_values_apart_when_sources_are_joined() -> None:
    left, right = [(1, "long"), (1.0, "double"), (True, "bool"), ("1", "text")], [(1,), ("1",)]
    assert {("long",), ("text",)} == q("[:find ?t :in $ $2 :where [?x ?t] [$2 ?x]]", left, right)


def test_instants_come_out_as_they_went_in() -> None:
    at = datetime(2024, 2, 29, 12, tzinfo=UTC)
    assert at == q("[:find ?t . :in [?t ...]]", [at])
    assert {(at,)} == q("[:find ?t :in $ ?t :where [_ ?t]]", [(1, at), (2, 5)], at)


def test_a_source_that_is_not_among_the_inputs_is_named() -> None:
    with pytest.raises(QueryError, match=r"no source \$x is among the inputs") as raised:
        q("[:find ?e :where [$x ?e]]", [])
    assert ":db.error/unknown-source" == raised.value.code


def test_text_that_is_not_edn_is_refused_with_its_place() -> None:
    with pytest.raises(QueryError) as raised:
        q("[:find ?x :where [?x :a", [])
    assert ":db.error/invalid-query" == raised.value.code
    assert 1 == raised.value.line


@pytest.mark.parametrize("clause", ["42", "[]", "{}", "[?e :a [?x :b]]", "(and [?e :a])", "[(inc ?e) ?x ?y]", "[(f _)]"])
def test_a_clause_that_is_none_is_refused(clause: str) -> None:
    with pytest.raises(QueryError) as raised:
        q(f"[:find ?e :where [?e :b] {clause}]", [])
    assert ":db.error/invalid-query" == raised.value.code


@pytest.mark.parametrize(("binding", "value"), [("[?x ?y]", [1]), ("[[?x _]]", [1]), ("[?x ...]", 5), ("[[?x ...] ?y]", [[1]])])
def test_an_input_that_does_not_fit_is_named_as_it_was_written(binding: str, value: Any) -> None:
    with pytest.raises(QueryError) as raised:
        q(f"[:find ?x :in {binding}]", value)
    assert ":db.error/invalid-inputs" == raised.value.code
    assert binding == raised.value.data["input"]
