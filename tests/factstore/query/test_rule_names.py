"""Names in rules: an ident or a lookup ref that reaches a recursive rule is the entity that it stands for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import factstore
from factstore import Database, Keyword, QueryError, q

LEFT = "[[(leads-to ?a ?b) [?a :x/next ?b]] [(leads-to ?a ?b) (leads-to ?a ?m) [?m :x/next ?b]]]"
RIGHT = "[[(leads-to ?a ?b) [?a :x/next ?b]] [(leads-to ?a ?b) [?a :x/next ?m] (leads-to ?m ?b)]]"
CALL_FIRST = "[[(leads-to ?a ?b) [?a :x/next ?b]] [(leads-to ?a ?b) (leads-to ?m ?b) [?a :x/next ?m]]]"
DOUBLE = "[[(leads-to ?a ?b) [?a :x/next ?b]] [(leads-to ?a ?b) (leads-to ?a ?m) (leads-to ?m ?b)]]"
MUTUAL = """[[(leads-to ?a ?b) [?a :x/next ?b]] [(leads-to ?a ?b) (steps ?a ?m) (leads-to ?m ?b)]
             [(steps ?a ?b) (leads-to ?a ?b)]]"""
BY_ATTRIBUTE = """[[(leads-to ?a ?b) (along :x/next ?a ?b)] [(along ?k ?a ?b) [?a ?k ?b]]
                   [(along ?k ?a ?b) [?a ?k ?m] (along ?k ?m ?b)]]"""
THROUGH_OR = "[[(leads-to ?a ?b) (or-join [?a ?b] [?a :x/next ?b] (and [?a :x/next ?m] (leads-to ?m ?b)))]]"
every_rule = pytest.mark.parametrize("rules", [LEFT, RIGHT, CALL_FIRST, DOUBLE, MUTUAL, BY_ATTRIBUTE, THROUGH_OR])
every_name = pytest.mark.parametrize("name", [[":x/no", 1], ":x/one", Keyword(":x/one")])


def chain(*numbers: int) -> Database:
    """Return a database of entities with these numbers, each leading to the next, and the last to the first."""
    conn = factstore.connect("memory:")
    conn.transact(
        [
            {
                ":db/ident": ":x/no",
                ":db/valueType": ":db.type/long",
                ":db/cardinality": ":db.cardinality/one",
                ":db/unique": ":db.unique/identity",
            },
            {":db/ident": ":x/next", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/many"},
        ]
    )
    others = [*numbers[1:], numbers[0]]
    conn.transact([{":db/id": str(n), ":x/no": n, ":x/next": str(m)} for n, m in zip(numbers, others, strict=True)])
    conn.transact([[":db/add", [":x/no", 1], ":db/ident", ":x/one"]])
    return conn.db()


@pytest.fixture(scope="module")
def db() -> Iterator[Database]:
    yield chain(1, 2, 3)


@every_rule
@every_name
@pytest.mark.parametrize(
    ("binding", "call"),
    [
        ("?from", "(leads-to ?from ?b) [?b :x/no ?n]"),
        ("?from", "(leads-to ?b ?from) [?b :x/no ?n]"),
        ("?from", "(leads-to ?from ?from) [_ :x/no ?n]"),
        ("[?from ...]", "(leads-to ?from ?b) [?b :x/no ?n]"),
        ("[[_ ?from]]", "(leads-to ?b ?from) [?b :x/no ?n]"),
        ("?from", "(or-join [?from ?n] (and (leads-to ?from ?b) [?b :x/no ?n]))"),
    ],
)
def test_a_name_leads_as_far_as_the_entity_it_stands_for(db: Database, rules: str, name: Any, binding: str, call: str) -> None:
    given = {"?from": name, "[?from ...]": [name, [":x/no", 2]], "[[_ ?from]]": [["first", name]]}[binding]
    assert [1, 2, 3] == sorted(q(f"[:find [?n ...] :in $ % {binding} :where {call}]", db, rules, given))


@every_rule
@every_name
def test_a_name_is_excluded_with_its_entity(db: Database, rules: str, name: Any) -> None:
    assert set() == q("[:find ?n :in $ % ?from :where [?b :x/no ?n] (not (leads-to ?from ?b))]", db, rules, name)


@every_rule
def test_a_name_written_into_a_call_is_its_entity(db: Database, rules: str) -> None:
    assert [1, 2, 3] == sorted(q("[:find [?n ...] :in $ % :where (leads-to :x/one ?b) [?b :x/no ?n]]", db, rules))


@every_rule
@every_name
def test_what_is_found_is_the_name_that_came_in(db: Database, rules: str, name: Any) -> None:
    expected = {(tuple(name) if isinstance(name, list) else name, n) for n in (1, 2, 3)}
    assert expected == q("[:find ?from ?n :in $ % ?from :where (leads-to ?from ?b) [?b :x/no ?n]]", db, rules, name)


def test_a_name_inside_a_recursive_definition_is_its_entity(db: Database) -> None:
    rules = "[[(near ?a) [?a :x/next :x/one]] [(near ?a) (near ?b) [?a :x/next ?b]] [(near ?a) [?b :x/next ?a] (near :x/one) (near ?b)]]"
    assert [1, 2, 3] == sorted(q("[:find [?n ...] :in $ % :where (near ?a) [?a :x/no ?n]]", db, rules))


@every_rule
def test_a_name_is_looked_up_in_the_source_that_the_rule_reads(db: Database, rules: str) -> None:
    other = chain(7, 1, 9, 8)
    query = "[:find [?n ...] :in $ $2 % ?from :where ($2 leads-to ?from ?b) [$2 ?b :x/no ?n]]"
    assert [1, 7, 8, 9] == sorted(q(query, db, other, rules, [":x/no", 1]))


@every_rule
def test_a_name_that_stands_for_nothing_leads_nowhere(db: Database, rules: str) -> None:
    assert set() == q("[:find ?b :in $ % ?from :where (leads-to ?from ?b)]", db, rules, [":x/no", 4])
    assert [2] == q("[:find [?b ...] :in $ % [?b ...] :where (not (leads-to ?b _))]", db, rules, [2, ":x/one"])


@every_rule
def test_a_lookup_ref_by_what_is_not_unique_is_refused(db: Database, rules: str) -> None:
    with pytest.raises(QueryError) as raised:
        q("[:find ?b :in $ % ?from :where (leads-to ?from ?b)]", db, rules, [":x/next", 4])
    assert ":db.error/lookup-ref-attr-not-unique" == raised.value.code


def test_a_recursive_call_may_go_to_another_source() -> None:
    rules = "[[(go ?a ?b) [?a :to ?b]] [(go ?a ?b) [?a :to ?m] ($2 go ?m ?b)]]"
    first, second = [(1, ":to", 2), (2, ":to", 3)], [(2, ":to", 9), (9, ":to", 10)]
    assert {(2,), (9,), (10,)} == q("[:find ?b :in $ $2 % :where (go 1 ?b)]", first, second, rules)
