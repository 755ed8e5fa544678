"""The order in which clauses are written: it changes neither the answer nor, to speak of, the work."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, permutations
from typing import Any

import pytest

import factstore
from benchmarks.people import ATTRIBUTES, SCHEMA, people

NAME, AGE, SEX = '[?e :name "Ivan"]', "[?e :age ?a]", '[?e :sex "male"]'
LAST, SALARY = "[?e :last ?l]", "[?e :salary ?s]"
QUERIES = {
    "q2": ("?e ?a", [NAME, AGE]),
    "q3": ("?e ?a", [NAME, AGE, SEX]),
    "q4": ("?e ?l ?a", [NAME, LAST, AGE, SEX]),
    "q5": ("?e1 ?l ?a", [NAME, AGE, "[?e1 :age ?a]", "[?e1 :last ?l]"]),
    "qpred1": ("?e ?s", [SALARY, "[(> ?s 50000)]"]),
    "two ranges": ("?e ?s", [SALARY, "[(> ?s 90000)]", AGE, "[(< ?a 10)]"]),
    "not": ("?e ?s", [NAME, SALARY, '(not [?e :sex "male"])']),
    "or": ("?e ?s", [NAME, SALARY, '(or [?e :sex "male"] [?e :last "Petrov"])']),
    "function": ("?e ?d", [NAME, SALARY, "[(* ?s 2) ?d]", "[(> ?d 100000)]"]),
    "get-else": ("?e ?l", [NAME, SALARY, '[(get-else $ ?e :last "none") ?l]']),
    "both sides": ("?e ?f", [NAME, AGE, '[?f :name "Petr"]', "[?f :age ?a]"]),
    "two shared": ("?e ?f", [AGE, "[?f :age ?a]", SALARY, "[?f :salary ?s]"]),
    "rule": ("?e ?f", [NAME, "(peer ?e ?f)", '[?f :name "Petr"]']),
    "rule, range": ("?e ?f", [SALARY, "[(< ?s 1000)]", "(peer ?e ?f)"]),
}
PEERS = "[[(peer ?x ?y) [?x :age ?a] [?y :age ?a] [?x :last ?l] [?y :last ?l]]]"
EDGES = [(n, ":to", n + 1) for n in range(60)]
BODIES = [
    (["[?a :to ?m]", "(go ?m ?b)"], "[(go ?a ?b) [?a :to ?b]]", "(go ?a ?b)"),
    (["(go ?a ?m)", "[?m :to ?b]"], "[(go ?a ?b) [?a :to ?b]]", "(go ?a ?b)"),
    (["[?a :to ?m]", "[(inc ?m) ?n]", "[(dec ?n) ?k]", "(go ?k ?b)"], "[(go ?a ?b) [?a :to ?b]]", "(go ?a ?b)"),
    (["[?p :to ?a]", "[?q :to ?b]", "(go ?p ?q)"], "[(go ?a ?b) [?p :to ?a] [?p :to ?b]]", "(go ?a ?b)"),
]


@pytest.fixture(scope="module")
def db() -> Iterator[factstore.Database]:
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        conn.transact([dict(zip(ATTRIBUTES, person, strict=True)) for person in people(2000)])
        yield conn.db()


def work(query: str, *inputs: Any) -> int:
    """Return the rows that the steps of a query took in and gave out."""
    return sum(step.rows_in + step.rows_out for step in factstore.explain(query, *inputs).data)


@pytest.mark.parametrize("name", QUERIES)
def test_the_order_of_clauses_changes_neither_answer_nor_work(db: factstore.Database, name: str) -> None:
    find, clauses = QUERIES[name]
    queries = [f"[:find {find} :in $ % :where {' '.join(order)}]" for order in permutations(clauses)]
    rows = [work(query, db, PEERS) for query in queries]
    assert max(rows) <= 1.3 * min(rows)
    answers = [factstore.q(query, db, PEERS) for query in islice(queries, 6)]
    assert answers[:1] * len(answers) == answers
    assert answers[0]


@pytest.mark.parametrize(("body", "base", "head"), BODIES)
@pytest.mark.parametrize(
    "query", ["[:find ?b :in $ % :where (go 3 ?b)]", "[:find ?a :in $ % :where (go ?a 40)]", "[:find ?a ?b :in $ % :where (go ?a ?b)]"]
)
def test_the_order_of_a_rules_body_changes_neither_answer_nor_work(body: list[str], base: str, head: str, query: str) -> None:
    rules = [f"[{base} [{head} {' '.join(order)}]]" for order in permutations(body)]
    rows = [work(query, EDGES, each) for each in rules]
    assert max(rows) <= 1.3 * min(rows)
    answers = [factstore.q(query, EDGES, each) for each in rules]
    assert answers[:1] * len(answers) == answers
