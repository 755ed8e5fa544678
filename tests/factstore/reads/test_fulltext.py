"""Searching for words: `[(fulltext $ :attr "words") [[?e ?v ?tx ?score]]]`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import factstore
from factstore import QueryError, q, with_
from tests.factstore.tx import world

SCHEMA = """
[{:db/ident :d/name :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :d/text :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/fulltext true}
 {:db/ident :d/tags :db/valueType :db.type/string :db/cardinality :db.cardinality/many :db/fulltext true}
 {:db/ident :d/beat :db/valueType :db.type/string :db/cardinality :db.cardinality/one :db/fulltext true :db/noHistory true}]
"""
FOX, DOG = [":d/name", "fox"], [":d/name", "dog"]
TEXTS = [
    {":d/name": "fox", ":d/text": "The quick brown fox", ":d/tags": ["red fur", "clever"]},
    {":d/name": "dog", ":d/text": "A lazy dog sleeps; the dog dreams", ":d/tags": ["brown fur"]},
]
QUERY = "[:find [?name ...] :in $ ?words :where [(fulltext $ :d/text ?words) [[?e]]] [?e :d/name ?name]]"


def found(db: Any, words: str) -> set[str]:
    return set(q(QUERY, db, words) or ())


def library() -> factstore.Connection:
    return world(TEXTS, schema=SCHEMA)


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("fox", {"fox"}),
        ("FOX quick", {"fox"}),
        ("fox lazy", set()),
        ("fox OR lazy", {"fox", "dog"}),
        ("the NOT dog", {"fox"}),
        ('"brown fox"', {"fox"}),
        ('"fox brown"', set()),
        ("sle*", {"dog"}),
        ("nothing", set()),
    ],
)
def test_what_has_the_words_is_found(words: str, names: set[str]) -> None:
    assert names == found(library().db(), words)


def test_a_search_binds_entity_value_transaction_and_score() -> None:
    conn = library()
    db = conn.db()
    rows = q('[:find ?e ?v ?tx ?score :where [(fulltext $ :d/text "dog") [[?e ?v ?tx ?score]]]]', db)
    ((e, v, tx, score),) = rows
    assert db.entid(DOG) == e
    assert "A lazy dog sleeps; the dog dreams" == v
    assert (1 << 42) + db.basis_t == tx
    assert score > 0


def test_what_fits_better_scores_higher() -> None:
    db = world([{":d/text": f"word {'x ' * n}"} for n in (1, 30)] + [{":d/text": f"other {n}"} for n in range(5)], schema=SCHEMA).db()
    scores = dict(q('[:find ?v ?score :where [(fulltext $ :d/text "word") [[_ ?v _ ?score]]]]', db))
    assert max(scores, key=scores.__getitem__) == min(scores, key=len)


def test_entities_that_share_a_text_are_all_found() -> None:
    conn = library()
    conn.transact([{":d/name": "fox 2", ":d/text": "The quick brown fox"}])
    assert {"fox", "fox 2"} == found(conn.db(), "quick")


def test_a_value_among_many_is_found_alone() -> None:
    rows = q('[:find ?name ?v :where [(fulltext $ :d/tags "fur") [[?e ?v]]] [?e :d/name ?name]]', library().db())
    assert {("fox", "red fur"), ("dog", "brown fur")} == rows


def test_what_is_committed_later_is_found_and_what_is_gone_is_not() -> None:
    conn = library()
    before = conn.db()
    assert {"fox"} == found(before, "quick")
    conn.transact([[":db/add", FOX, ":d/text", "slow"], [":db/add", DOG, ":d/text", "quick now"]])
    assert {"dog"} == found(conn.db(), "quick")
    conn._committer.index()
    assert {"fox"} == found(conn.db(), "slow")
    assert {"fox"} == found(before, "quick")
    assert {"fox"} == found(conn.db().as_of(before.basis_t), "quick")
    assert {"dog"} == {
        q("[:find ?n . :in $ ?e :where [?e :d/name ?n]]", before, e) for e in entities(conn.db().since(before.basis_t), "quick")
    }


def entities(db: Any, words: str) -> list[int]:
    return list(q("[:find [?e ...] :in $ ?w :where [(fulltext $ :d/text ?w) [[?e]]]]", db, words) or ())


def test_a_search_that_first_comes_late_finds_the_past_too() -> None:
    conn = library()
    t = conn.db().basis_t
    conn.transact([[":db/retractEntity", FOX]])
    conn._committer.index()
    assert set() == found(conn.db(), "quick")
    assert {"fox"} == found(conn.db().as_of(t), "quick")
    assert 1 == len(entities(conn.db().history(), "quick"))


def test_a_speculation_finds_its_own_texts_and_nobody_else_does() -> None:
    db = library().db()
    after = with_(db, [{":d/name": "cat", ":d/text": "a purring cat"}, [":db/retract", DOG, ":d/text", TEXTS[1][":d/text"]]]).db_after
    assert {"cat"} == found(after, "purring OR dog")
    assert {"dog"} == found(db, "purring OR dog")
    assert {"cat"} == found(with_(after, [{":d/name": "x"}]).db_after, "cat")


def test_a_filter_hides_what_it_hides_from_everybody() -> None:
    db = library().db()
    fox = db.entid(FOX)
    assert {"dog"} == found(db.filter(lambda _, datom: datom.e != fox), "fox OR dog")


def test_an_old_database_still_finds_what_was_forgotten_since() -> None:
    conn = world([{":d/name": "x", ":d/beat": "first beat"}], schema=SCHEMA)
    early = conn.db()
    conn.transact([{":d/name": "x", ":d/beat": "second beat"}])
    conn._committer.index()
    query = '[:find ?v . :where [(fulltext $ :d/beat "beat") [[_ ?v]]]]'
    assert "second beat" == q(query, conn.db())
    assert "first beat" == q(query, early)
    assert "second beat" == q(query, conn.db())


def test_words_and_attributes_may_come_from_rows() -> None:
    query = "[:find ?w ?v :in $ [?w ...] :where [(fulltext $ :d/text ?w) [[_ ?v]]]]"
    assert {("fox", TEXTS[0][":d/text"]), ("lazy", TEXTS[1][":d/text"])} == q(query, library().db(), ["fox", "lazy", "none"])


@pytest.mark.parametrize(
    ("attribute", "words", "code"),
    [
        (":d/name", "fox", ":db.error/attribute-not-fulltext"),
        (":d/text", '"open', ":db.error/invalid-fulltext-search"),
        (":d/text", 5, ":db.error/invalid-fulltext-search"),
        (":d/none", "fox", ":db.error/unknown-attribute"),
    ],
)
def test_a_search_that_cannot_mean_anything_is_refused(attribute: str, words: Any, code: str) -> None:
    with pytest.raises(QueryError) as caught:
        q("[:find ?e :in $ ?a ?w :where [(fulltext $ ?a ?w) [[?e]]]]", library().db(), attribute, words)
    assert code == caught.value.code


def test_threads_that_search_while_others_commit_find_what_their_database_has() -> None:
    conn = library()

    def work(n: int) -> bool:
        db = conn.transact([{":d/name": f"n{n}", ":d/text": f"word{n} shared"}]).db_after
        return found(db, f"word{n}") == {f"n{n}"} and f"n{n}" in found(db, "shared")

    with ThreadPoolExecutor(4) as pool:
        assert [True] * 40 == list(pool.map(work, range(40)))
