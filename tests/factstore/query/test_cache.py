"""The cache of answers: what `q` answers with it is what it answers without, and it never grows above its bound."""

from __future__ import annotations

import enum
import threading
from collections.abc import Callable, Hashable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pytest

import factstore
from factstore import AnswerCache, Database, Keyword, Uri, q, register, with_
from factstore.errors import QueryError

NAMES = "[:find ?n :where [?e :n ?n]]"
RULE = "[[(named ?e ?n) [?e :n ?n]]]"


@pytest.fixture
def conn() -> Iterator[factstore.Connection]:
    with factstore.connect("memory:") as conn:
        conn.transact([{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/many"}])
        conn.transact([{":n": [1, 2]}])
        yield conn


@pytest.fixture
def db(conn: factstore.Connection) -> Database:
    return conn.db()


@pytest.mark.parametrize(
    ("query", "inputs"),
    [
        (NAMES, ()),
        ("[:find [?n ...] :where [_ :n ?n] :order-by ?n]", ()),
        ("[:find ?n . :where [?e :n ?n]]", ()),
        ("[:find (sum ?n) (count ?n) :keys s c :where [?e :n ?n]]", ()),
        ({":find": ["?n"], ":in": ["$", "?least"], ":where": [["?e", ":n", "?n"], [(">", "?n", "?least")]]}, (1,)),
        ("[:find ?n :in $ % :where (named ?e ?n)]", (RULE,)),
        ("[:find ?n ?t :in $ $t :where [?e :n ?n] [$t ?n ?t]]", ([(1, "one")],)),
        ("[:find ?x ?n :in $ [?x ...] :where [?e :n ?n]]", ([Keyword(":a"), "a", 1, 1.0, True, datetime(2024, 1, 1, tzinfo=UTC)],)),
    ],
)
def test_the_second_time_the_answer_is_there(query: Any, inputs: tuple[Any, ...], db: Database) -> None:
    cache = AnswerCache()
    expected = q(query, db, *inputs)
    for hits in range(3):
        assert expected == q(query, db, *inputs, cache=cache)
        assert hits == cache.hits
    assert 1 == cache.misses
    assert 1 == len(cache)
    assert 0 == cache.passed


def test_a_newer_database_is_another(conn: factstore.Connection) -> None:
    cache, before = AnswerCache(), conn.db()
    assert {(1,), (2,)} == q(NAMES, before, cache=cache)
    conn.transact([{":n": 3}])
    assert {(1,), (2,), (3,)} == q(NAMES, conn.db(), cache=cache)
    assert {(1,), (2,)} == q(NAMES, before, cache=cache)
    assert 1 == cache.hits
    assert 2 == cache.misses


def test_the_same_cut_of_a_database_is_the_same_and_another_is_not(conn: factstore.Connection, db: Database) -> None:
    cache = AnswerCache()
    views = [db, db.as_of(1), db.since(1), db.history(), db.as_of(2).history()]
    assert [q(NAMES, view) for view in views] == [q(NAMES, view, cache=cache) for view in views]
    assert 0 == cache.hits
    assert 5 == cache.misses
    q(NAMES, conn.db().as_of(1), cache=cache)
    assert 1 == cache.hits


def test_databases_of_two_stores_are_told_apart(db: Database) -> None:
    cache = AnswerCache()
    q(NAMES, db, cache=cache)
    with factstore.connect("memory:") as other:
        other.transact([{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/many"}])
        other.transact([{":n": [8]}])
        assert {(8,)} == q(NAMES, other.db(), cache=cache)


def test_speculation_and_filters_are_not_kept(db: Database) -> None:
    cache = AnswerCache()
    for more in (3, 4):
        after = with_(db, [{":n": more}]).db_after
        assert {(1,), (2,), (more,)} == q(NAMES, after, cache=cache)
        assert {(more,)} == q(NAMES, after.filter(lambda _, datom, more=more: datom.v == more), cache=cache)
        assert {(1,)} == q(NAMES, db.filter(lambda _, datom: datom.v == 1), cache=cache)
    assert 0 == len(cache)
    assert 0 == cache.misses
    assert 6 == cache.passed


@pytest.mark.parametrize(
    ("query", "inputs"),
    [
        ("[:find (rand ?n) . :where [?e :n ?n]]", ()),
        ("[:find ?r :where [_ :n] [(rand-int 9) ?r]]", ()),
        ("[:find ?r :where [_ :n] [(clojure.core/rand) ?r]]", ()),
        ("[:find ?m :where [_ :n] [(hash-map :a 1) ?m]]", ()),
        ("[:find (sample 1 ?n) . :where [?e :n ?n]]", ()),
        ("[:find (pull ?e [:n]) :where [?e :n]]", ()),
        ("[:find ?n :in $ ?ok :where [?e :n ?n] [(?ok ?n)]]", (bool,)),
        ("[:find (aggregate ?f ?n) . :in $ ?f :where [?e :n ?n]]", (len,)),
        ("[:find ?n :where [?e :n ?n] [(cache-test/any ?n)]]", ()),
        ("[:find ?n :where (not [?e :n 7]) [?e :n ?n] (or [(cache-test/any ?n)] [(< ?n 0)])]", ()),
        ("[:find (cache-test/all ?n) . :where [?e :n ?n]]", ()),
        ("[:find ?n :in $ % :where (odd-one ?n)]", ("[[(odd-one ?n) [?e :n ?n] [(cache-test/any ?n)]]]",)),
        ("[:find ?x :in $ ?x :where [?e :n]]", (object(),)),
        ("[:find ?x :in $ [?x ...] :where [?e :n]]", ([object()],)),
        ("[:find ?r :in $ ?q :where [(q ?q $) [[?r]]]]", (NAMES,)),
    ],
)
def test_what_something_else_than_facts_decides_is_not_kept(query: str, inputs: tuple[Any, ...], db: Database) -> None:
    register("cache-test/any", lambda n: True)
    register("cache-test/all", len)
    cache = AnswerCache()
    q(query, db, *inputs, cache=cache)
    assert 0 == len(cache)
    assert 0 == cache.misses
    assert 1 == cache.passed


def test_values_of_different_types_are_different_inputs(db: Database) -> None:
    cache = AnswerCache()
    values: list[Any] = [1, 1.0, True, "a", Keyword(":a"), ":a"]
    assert values == [q("[:find ?x . :in $ ?x :where [?e :n]]", db, value, cache=cache) for value in values]
    assert [type(value) for value in values] == [
        type(q("[:find ?x . :in $ ?x :where [?e :n]]", db, value, cache=cache)) for value in values
    ]
    assert 6 == cache.misses
    assert 6 == cache.hits


def test_an_answer_that_somebody_changes_is_theirs_alone(db: Database) -> None:
    cache = AnswerCache()
    for query in (NAMES, "[:find [?n ...] :where [?e :n ?n]]", "[:find ?n :keys n :where [?e :n ?n]]"):
        expected = q(query, db)
        for _ in range(3):
            found = q(query, db, cache=cache)
            assert expected == found
            if isinstance(found, list) and isinstance(found[0], dict):
                found[0]["more"] = 1
            found.clear()


def test_the_cache_never_grows_above_its_bound(db: Database) -> None:
    cache = AnswerCache(max_bytes=20_000)
    for n in range(200):
        q("[:find ?x :in $ [?x ...] :where [?e :n]]", db, list(range(n)), cache=cache)
        assert cache.bytes <= 20_000
    assert 1 <= len(cache) < 200
    q("[:find ?x :in $ [?x ...] :where [?e :n]]", db, list(range(100_000)), cache=cache)
    assert 1 <= len(cache)  # too large to be kept, and nothing had to go for it
    small = AnswerCache(max_entries=3)
    for n in range(10):
        q("[:find ?x :in $ ?x :where [?e :n]]", db, n, cache=small)
    assert 3 == len(small)
    q("[:find ?x :in $ ?x :where [?e :n]]", db, 9, cache=small)
    assert 1 == small.hits
    assert 10 == small.misses


def test_the_least_recently_used_goes_first(db: Database) -> None:
    cache, query = AnswerCache(max_entries=2), "[:find ?x :in $ ?x :where [?e :n]]"
    for n in (1, 2, 1, 3, 1):
        q(query, db, n, cache=cache)
    assert 2 == cache.hits
    assert 3 == cache.misses


def test_clearing_forgets_everything(db: Database) -> None:
    cache = AnswerCache()
    q(NAMES, db, cache=cache)
    cache.clear()
    assert 0 == len(cache)
    assert 0 == cache.bytes
    assert {(1,), (2,)} == q(NAMES, db, cache=cache)


def test_threads_may_share_one(db: Database) -> None:
    cache, query = AnswerCache(max_entries=5), "[:find ?x . :in $ ?x :where [?e :n]]"
    wrong: list[Any] = []

    def ask(seed: int) -> None:
        wrong.extend((n, found) for n in range(seed, seed + 200) if (found := q(query, db, n % 11, cache=cache)) != n % 11)

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == wrong
    assert 800 == cache.hits + cache.misses
    assert (len(cache) <= 5) is True


@pytest.mark.parametrize("bad", [{"max_bytes": 0}, {"max_entries": -1}, {"max_bytes": 1.5}])
def test_a_bound_that_is_none_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(QueryError, match="whole number from 1"):
        AnswerCache(**bad)


def test_errors_are_not_kept_and_inputs_are_checked_as_without(db: Database) -> None:
    cache = AnswerCache()
    for _ in range(2):
        with pytest.raises(QueryError, match=r"takes 1 input .*, got 2"):
            q(NAMES, db, 1, cache=cache)
    assert 0 == len(cache)


class One(enum.IntEnum):
    ONE = 1


class Dec(Decimal):
    pass


class Clause(NamedTuple):
    e: Any
    a: Any
    v: Any


ALIKE = (  # to Python, those of a row are equal, or look alike
    (1, 1.0, True, Decimal(1), Decimal("1.0"), Dec("1.00"), One.ONE, np.int64(1), np.float32(1), np.True_, "1"),
    (0.0, -0.0, 0, False, Decimal(0), Decimal("-0"), np.float64(-0.0), np.float64(0.0), np.False_),
    (Keyword(":a"), ":a", Uri(":a"), b":a", bytearray(b":a"), np.str_(":a")),
    (datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))),
    ((1, 2), (1.0, 2), (True, 2), [1, 2], frozenset({1, 2}), frozenset({1.0, 2})),
)
QUERIES = (
    lambda value, cache: q("[:find ?x . :in ?x]", value, cache=cache),
    lambda value, cache: q("[:find [?x ...] :in [?x ...]]", [value], cache=cache),
    lambda value, cache: q("[:find ?x . :in [[?x ?y]]]", [[value, 1]], cache=cache),
    lambda value, cache: q("[:find ?x . :in $ :where [?x 1]]", [(value, 1)], cache=cache),
    lambda value, cache: q("[:find ?x . :in [[?x ?y]]]", {value if isinstance(value, Hashable) else 1: 1}, cache=cache),
    lambda value, cache: q([":find", "?x", ".", ":where", [("ground", value), "?x"]], cache=cache),
    lambda value, cache: q("[:find ?x . :in $ % :where (r ?x)]", [], [[["r", "?x"], [("ground", value), "?x"]]], cache=cache),
)


def _written_alike(one: Any, other: Any) -> bool:
    return type(one) is type(other) and repr(one) == repr(other)


@pytest.mark.parametrize("ask", QUERIES)
@pytest.mark.parametrize("values", ALIKE)
def test_inputs_that_only_python_takes_for_equal_have_answers_of_their_own(values: tuple[Any, ...], ask: Callable[..., Any]) -> None:
    cache = AnswerCache()
    for _ in range(2):
        for value in values:
            assert _written_alike(ask(value, None), ask(value, cache)), value


def test_a_constant_that_is_changed_afterwards_is_another_query(conn: factstore.Connection) -> None:
    held, cache = bytearray(b"ab"), AnswerCache()
    for keep in (None, cache):
        held[:] = b"ab"
        query = [":find", "?x", ".", ":where", [("ground", held), "?x"]]
        assert b"ab" == q(query, cache=keep)
        held[:] = b"cd"
        assert b"cd" == q(query, cache=keep)


@pytest.mark.parametrize("cached", [False, True])
def test_clauses_that_are_named_tuples_are_told_apart_by_the_types_of_their_values(conn: factstore.Connection, cached: bool) -> None:
    db, cache = conn.db(), AnswerCache() if cached else None
    for value, expected in ((1.0, 0), (True, 0), (1, 1)):
        assert expected == len(q([":find", "?e", ":where", Clause("?e", ":n", value)], db, cache=cache))


def test_what_becomes_of_an_answer_with_the_dict_of_an_input_is_not_kept() -> None:
    cache = AnswerCache()
    for query, given in (("[:find ?m . :in ?m]", {"a": 1}), ("[:find [?m ...] :in [?m ...]]", [{"a": 1}])):
        answer = q(query, given, cache=cache)
        (answer if isinstance(answer, dict) else answer[0])["b"] = 2
        assert given == q(query, given, cache=cache)
    assert 0 == len(cache)
    assert 4 == cache.passed
