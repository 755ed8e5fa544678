"""qseq: the answer row by row, made block by block while it is taken."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import QueryStopped, q, qseq
from factstore.errors import QueryError

EDGES = [(i % 11, ":to", (i * 7) % 13) for i in range(120)]
RULES = "[[(far ?a ?b) [?a :to ?b]] [(far ?a ?b) [?a :to ?m] (far ?m ?b)]]"
QUERIES = [
    "[:find ?a ?b :where [?a :to ?b]]",
    "[:find ?a ?c :where [?a :to ?b] [?b :to ?c]]",
    "[:find ?b :where [?a :to ?b] [?b :to ?c]]",
    "[:find ?c :where [?a :to ?b] [?b :to ?c]]",
    "[:find ?x ?c :in $ ?x :where [?a :to ?b] [?b :to ?c]]",
    "[:find ?x :in $ ?x :where [?a :to ?b] [?b :to ?c]]",
    "[:find ?a ?d :where [?a :to ?b] [?b :to ?c] [?c :to ?d] (not [?d :to ?a])]",
    "[:find ?a ?b :where [?a :to] [?b :to] [(< ?a ?b)]]",
    "[:find ?a ?b :in $ % :where [?a :to] (far ?a ?b)]",
    "[:find ?a ?b :where [?a :to ?m] (or-join [[?m ?a] ?b] [?a :to ?b] [?m :to ?b])]",
    "[:find ?a (count ?b) :where [?a :to ?b]]",
    "[:find ?a ?n :where [?a :to ?b] [(* ?a ?b) ?n]]",
    "[:find [?b ...] :where [?a :to ?b]]",
    "[:find ?a :where [?a :nothing ?b]]",
    "[:find ?a ?b :where [?a :to ?b] :having [(> ?b ?a)]]",
]


def inputs_of(query: str) -> list[Any]:
    return [EDGES, *([7] if "?x :where" in query else []), *([RULES] if "%" in query else [])]


@pytest.mark.parametrize("block", [1, 3, 50, 100_000])
@pytest.mark.parametrize("query", QUERIES)
def test_the_rows_of_all_blocks_are_the_answer_each_once(query: str, block: int) -> None:
    found = list(qseq(query, *inputs_of(query), block=block))
    expected = q(query, *inputs_of(query))
    assert sorted(expected if isinstance(expected, set) else [(each,) for each in expected]) == sorted(found)


@given(
    st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20),
    st.sampled_from(["?a ?d", "?a", "?d", "?b ?d", "?c"]),
    st.integers(1, 30),
)
def test_whatever_is_found_no_row_comes_twice(edges: set[tuple[int, int]], find: str, block: int) -> None:
    query = f"[:find {find} :where [?a ?b] [?b ?c] [?c ?d]]"
    found = list(qseq(query, list(edges), block=block))
    assert len(set(found)) == len(found)
    assert q(query, list(edges)) == set(found)


@pytest.mark.parametrize("block", [1, 4, 1000])
@pytest.mark.parametrize("cut", [":limit 7", ":offset 5", ":limit 3 :offset 4", ":limit 0", ":limit 9999", ":offset 9999"])
def test_limit_and_offset_count_over_all_blocks(cut: str, block: int) -> None:
    query = "[:find ?a ?c :where [?a :to ?b] [?b :to ?c] {}]"
    size = len(q(query.format(cut), EDGES))
    found = list(qseq(query.format(cut), EDGES, block=block))
    assert size == len(found)
    assert (set(found) <= q(query.format(""), EDGES)) is True


def test_an_ordered_answer_comes_in_order() -> None:
    query = "[:find ?a ?b :where [?a :to ?b] :order-by ?b :desc ?a :limit 20 :offset 2]"
    assert q(query, EDGES) == list(qseq(query, EDGES, block=3))


def test_blocks_are_rows_of_about_the_size_asked_for() -> None:
    blocks = list(qseq("[:find ?a ?b :in [?a ...] [?b ...]]", range(100), range(100), block=1000).blocks())
    assert {("a", "b")} == {each.columns for each in blocks}
    assert 10_000 == sum(map(len, blocks))
    assert 1000 == max(map(len, blocks))


def test_pulls_are_made_for_the_rows_that_are_taken() -> None:
    with factstore.connect("memory:") as conn:
        conn.transact([{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}])
        conn.transact([{":n": i} for i in range(100)])
        db = conn.db()
    query = "[:find ?n (pull ?e [:n]) :where [?e :n ?n]]"
    looks: list[int] = []

    class Looks:
        def is_set(self) -> bool:
            looks.append(1)
            return False

    rows = qseq(query, db, block=10, cancel=Looks())
    first = next(rows)
    taken = len(looks)
    assert {":n": first[0]} == first[1]
    assert 99 == len(list(rows))
    assert 9 == len(looks) - taken


def test_an_answer_larger_than_what_is_held_streams_in_bounded_memory() -> None:
    people = [(i,) for i in range(1000)]
    query = "[:find ?a ?b :in $a $b :where [$a ?a] [$b ?b]]"
    tracemalloc.start()
    try:
        size = sum(1 for _ in qseq(query, people, people, block=5000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 1_000_000 == size
    assert peak < 8 << 20  # as a set of tuples it takes more than 100 MiB


def test_what_is_wrong_is_said_at_once_and_limits_hold_later() -> None:
    with pytest.raises(QueryError, match="nothing binds"):
        qseq("[:find ?z :where [?a ?b]]", EDGES)
    some = [(i,) for i in range(200)]
    rows = qseq("[:find ?a ?b :in $a $b :where [$a ?a] [$b ?b]]", some, some, max_rows=20_000)
    with pytest.raises(QueryStopped):
        next(rows)
