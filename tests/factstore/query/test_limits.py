"""Limits: a query that takes too long, holds too many rows or is not wanted any more stops, wherever it is, with an error that says why."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import factstore
from factstore import QueryStopped, q
from factstore.errors import QueryError
from factstore.query import run
from factstore.query.language.dialect import check_nesting

MANY = [(i,) for i in range(3000)]
CROSS = "[:find (count ?a) . :with ?b ?c :in $a $b $c :where [$a ?a] [$b ?b] [$c ?c]]"
COUNTING = "[[(from ?n) [(ground 0) ?n]] [(from ?n) (from ?m) [(+ ?m 1) ?n]]]"
PAIRS = """[[(linked ?a ?b) [?a _ ?b]]
            [(linked ?a ?b) [?a _ ?m] (linked ?m ?b)]]"""
CLIQUE = [(i, ":to", j) for i in range(60) for j in range(60)]


class After:
    """An event that somebody else sets, as it looks to a query: when it is looked at for the nth time."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def is_set(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def slow(value: Any) -> bool:
    time.sleep(0.002)
    return True


@pytest.mark.parametrize(
    ("query", "inputs"),
    [
        (CROSS, (MANY, MANY, MANY)),
        ("[:find ?n :in % :where (from ?n)]", (COUNTING,)),
        ("[:find ?x :in [?x ...] ?slow :where [(?slow ?x)]]", (range(100_000), slow)),
        ("[:find (?slow ?x) . :in [?x ...] ?slow :where [(?slow ?x)]]", (range(100_000), slow)),
        ("[:find ?n :in $ % [?q ...] :where [(q ?q $) [[?n]]]]", (MANY, [], ["[:find ?a :where [?a] [?b] [?c] [(> ?a ?b ?c)]]"])),
    ],
    ids=["join", "rule", "function", "aggregate", "subquery"],
)
def test_a_query_ends_with_its_timeout_wherever_it_is(query: str, inputs: tuple[Any, ...]) -> None:
    started = time.monotonic()
    with pytest.raises(QueryStopped, match=r"within its timeout of 0\.05 s") as raised:
        q(query, *inputs, timeout=0.05)
    assert ":db.error/query-timeout" == raised.value.code
    assert "interrupted" == raised.value.category
    assert time.monotonic() - started < 10


def test_the_shorter_of_both_timeouts_counts() -> None:
    with pytest.raises(QueryStopped, match=r"within its timeout of 0\.02 s"):
        q(CROSS.replace(":where", ":timeout 20 :where"), MANY, MANY, MANY, timeout=60)
    assert {(1,)} == q("[:find ?x :in ?x :timeout 60000]", 1, timeout=60)


@pytest.mark.parametrize("looks", range(4))
def test_a_query_that_was_cancelled_stops_at_the_next_look(looks: int) -> None:
    event = After(looks)
    with pytest.raises(QueryStopped, match="cancelled") as raised:
        q(CROSS, MANY, MANY, MANY, cancel=event)
    assert ":db.error/query-cancelled" == raised.value.code
    assert "interrupted" == raised.value.category
    assert -1 == event.looks


def test_another_thread_can_cancel_a_query() -> None:
    cancel, running = threading.Event(), threading.Event()

    def report(_value: Any) -> bool:
        running.set()
        return True

    def stop() -> None:
        running.wait()
        cancel.set()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(QueryStopped, match="cancelled"):
        q("[:find ?n :in % ?report :where [(?report 0)] (from ?n)]", COUNTING, report, cancel=cancel, timeout=60)
    thread.join()


@pytest.mark.parametrize(
    ("query", "inputs", "most"),
    [
        ("[:find ?a :where [?a]]", (MANY,), 3000),
        ("[:find (count ?a) . :with ?b :in $a $b :where [$a ?a] [$b ?b] [(!= ?b 2)]]", (MANY[:300], MANY[:300]), 300 * 300),
        ("[:find ?a ?b :in $ % :where (linked ?a ?b)]", (CLIQUE, PAIRS), 3600),
        (
            "[:find ?a ?b :in $ % :where (linked ?a ?b)]",
            (CLIQUE, PAIRS.replace("[?a _ ?m] (linked ?m ?b)", "(linked ?a ?m) (linked ?m ?b)")),
            3600,
        ),
    ],
    ids=["answer", "step", "closure", "rounds"],
)
def test_rows_of_the_answer_and_of_every_step_are_limited(query: str, inputs: tuple[Any, ...], most: int) -> None:
    with pytest.raises(QueryStopped, match="max_rows is") as raised:
        q(query, *inputs, max_rows=most - 1)
    assert ":db.error/query-too-large" == raised.value.code
    assert most - 1 == raised.value.max_rows
    assert q(query, *inputs) == q(query, *inputs, max_rows=most)


def test_a_large_step_is_stopped_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "BLOCK", 10_000)
    with pytest.raises(QueryStopped) as raised:
        q(CROSS, MANY, MANY, MANY, max_rows=50_000)
    assert raised.value.rows < 3000 * 3000


def test_blocks_change_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(i % 7, ":k", i % 5) for i in range(200)]
    query = "[:find ?a ?b ?k :where [?a :k ?k] [?b :k ?k]]"
    expected = q(query, rows)
    monkeypatch.setattr(run, "BLOCK", 3)
    assert expected == q(query, rows, max_rows=10_000)


def test_pulls_of_many_entities_can_be_cancelled() -> None:
    with factstore.connect("memory:") as conn:
        conn.transact([{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}])
        conn.transact([{":n": i} for i in range(2000)])
        db = conn.db()
    looks = After(10_000)
    q("[:find (pull ?e [:n]) :where [?e :n]]", db, cancel=looks)
    with pytest.raises(QueryStopped):
        q("[:find (pull ?e [:n]) :where [?e :n]]", db, cancel=After(10_000 - looks.looks - 1))


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"timeout": -1}, "seconds from 0"),
        ({"timeout": "1"}, "seconds from 0"),
        ({"timeout": float("nan")}, "seconds from 0"),
        ({"timeout": True}, "seconds from 0"),
        ({"max_rows": -1}, "whole number from 0"),
        ({"max_rows": 1.5}, "whole number from 0"),
        ({"cancel": object()}, "a method is_set"),
    ],
)
def test_a_limit_that_is_none_is_refused(option: dict[str, Any], message: str) -> None:
    with pytest.raises(QueryError, match=message) as raised:
        q("[:find ?x :in ?x]", 1, **option)
    assert ":db.error/invalid-inputs" == raised.value.code


ENDLESS = {
    "closure": ("[[(up ?a ?b) [(+ ?a 1) ?b]] [(up ?a ?b) (up ?a ?c) [(+ ?c 1) ?b]]]", "[(ground 0) ?a] (up ?a ?n)"),
    "closure at its end": ("[[(up ?a ?b) [(+ ?a 1) ?b]] [(up ?a ?b) [(+ ?a 1) ?c] (up ?c ?b)]]", "[(ground 0) ?a] (up ?a ?n)"),
    "text": ('[[(x ?a ?b) [(identity ?a) ?b]] [(x ?a ?b) (x ?a ?c) [(str ?c "x") ?b]]]', '[(ground "") ?a] (x ?a ?n)'),
    "question": ("[[(w [?a]) [(> ?a 0)]] [(w [?a]) [(+ ?a 1) ?b] (w ?b)]]", "[(ground 0) ?n] (w ?n)"),
    "rounds": ("[[(from ?n) [(ground 0) ?n]] [(from ?n) (from ?m) [(+ ?m 1) ?n]]]", "(from ?n)"),
    "two rules": ("[[(ev ?a) [(ground 0) ?a]] [(ev ?a) (od ?b) [(+ ?b 1) ?a]] [(od ?a) (ev ?b) [(+ ?b 1) ?a]]]", "(ev ?n)"),
}


@pytest.mark.parametrize("limits", [{"max_rows": 50}, {"timeout": 0.05}, {"cancel": After(20)}], ids=["max_rows", "timeout", "cancel"])
@pytest.mark.parametrize("name", ENDLESS)
def test_a_rule_that_makes_rows_without_end_stops_at_each_limit(name: str, limits: Any) -> None:
    rules, where = ENDLESS[name]
    limits = {**limits, "cancel": After(20)} if "cancel" in limits else limits
    with pytest.raises(QueryStopped):
        q(f"[:find ?n :in % :where {where}]", rules, **limits)


COLLECTIONS = {
    "range": ("[:find (count ?x) . :where [(range 1000000000000) [?x ...]]]", ()),
    "function": ("[:find (count ?x) . :in ?f :where [(?f) [?x ...]]]", (lambda: range(1 << 60),)),
    "iterator": ("[:find (count ?x) . :in ?f :where [(?f) [?x ...]]]", (itertools.count,)),
    "relation": ("[:find (count ?x) . :in ?f :where [(?f) [[?x ?y]]]]", (lambda: ((n, n) for n in itertools.count()),)),
    "each row": ("[:find (count ?x) . :in ?f [?z ...] :where [(?f ?z) [?x ...]]]", (itertools.count, range(3))),
}


@pytest.mark.parametrize("limits", [{"max_rows": 50}, {"timeout": 0.05}], ids=["max_rows", "timeout"])
@pytest.mark.parametrize("name", COLLECTIONS)
def test_the_elements_of_a_result_are_counted_and_timed_while_they_are_taken(name: str, limits: Any) -> None:
    query, inputs = COLLECTIONS[name]
    with pytest.raises(QueryStopped):
        q(query, *inputs, **limits)


def test_an_input_with_more_rows_than_allowed_is_not_taken_apart() -> None:
    with pytest.raises(QueryStopped, match="an input of the query has 1000000000000 rows"):
        q("[:find (count ?x) . :in [?x ...]]", range(1_000_000_000_000), max_rows=50)


def test_the_product_of_the_inputs_is_counted_before_it_is_made() -> None:
    many = range(1_000_000)
    with pytest.raises(QueryStopped, match="the product of the inputs of the query has 1000000000000 rows"):
        q("[:find (count ?x) . :in [?x ...] [?y ...]]", many, many, max_rows=2_000_000)
    assert 12 == len(q("[:find ?x ?y :in [?x ...] [?y ...]]", range(3), range(4), max_rows=12))


def test_a_range_is_a_tuple_where_it_is_bound_as_one_value() -> None:
    assert {((0, 1, 2), 3)} == q("[:find ?r ?n :where [(range 3) ?r] [(count ?r) ?n]]")
    assert {((0,), 1), ((0, 1), 2)} == q("[:find ?r ?n :in [?n ...] :where [(range ?n) ?r]]", [1, 2])


def nested(make: Callable[[list[Any]], Any], levels: int) -> Any:
    value = make([1])
    for _ in range(levels - 1):
        value = make([value])
    return value


@pytest.fixture
def unlimited_recursion() -> Iterator[None]:
    """Let Python recurse until the stack of the thread overflows, which ends the process."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000_000)
    yield
    sys.setrecursionlimit(limit)


NESTED = {
    "an input": lambda value: q("[:find ?x . :in ?x]", value),
    "an input with a cache": lambda value: q("[:find ?x . :in ?x]", value, cache=factstore.AnswerCache()),
    "an element": lambda value: q("[:find [?x ...] :in [?x ...]]", [value, 1]),
    "a tuple of a source": lambda value: q("[:find [?y ...] :where [_ ?y]]", [[1, value], [2, 3]]),
    "compared": lambda value: q("[:find ?x . :in ?f :where [(?f) ?x] [(= ?x ?x)]]", lambda: value),
    "a result": lambda value: q("[:find ?x . :in ?f :where [(?f) ?x]]", lambda: value),
    "one of many results": lambda value: q("[:find [?x ...] :in ?f [?y ...] :where [(?f ?y) ?x]]", lambda _: value, [1, 2]),
}


@pytest.mark.usefixtures("unlimited_recursion")
@pytest.mark.parametrize("make", [list, tuple, frozenset])
@pytest.mark.parametrize("where", NESTED)
def test_nesting_of_values_is_limited_whatever_the_recursion_limit_is(where: str, make: Callable[[list[Any]], Any]) -> None:
    assert NESTED[where](nested(make, 200))
    for levels in (201, 100_000):
        with pytest.raises(QueryError) as caught:
            NESTED[where](nested(make, levels))
        assert caught.value.code in (":db.error/invalid-query", ":db.error/function-failed")
        assert "more than 200 nested collections" in str(caught.value)


def test_a_form_that_repeats_its_parts_has_as_many_brackets_as_it_would_be_written_with() -> None:
    """The parts are visited once each: 19 of them stand for half a million brackets."""
    form: list[Any] = []
    for _ in range(19):
        form = [form, form]
    check_nesting(form, "a query")
    itself: list[Any] = []
    itself += [itself, itself]
    for too_large in ([form, form], itself):
        with pytest.raises(QueryError, match="nested at most 100 levels deep") as raised:
            check_nesting(too_large, "a query")
        assert ":db.error/invalid-query" == raised.value.code
