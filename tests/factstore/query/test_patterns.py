"""Data patterns over databases: every place bound or free, names that stand for entities, time, and types."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import factstore
from factstore import Database, Keyword, q
from factstore.datom import tx_of
from factstore.errors import QueryError

SCHEMA = [
    {
        ":db/ident": ":p/name",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
        ":db/unique": ":db.unique/identity",
    },
    {":db/ident": ":p/age", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":p/score", ":db/valueType": ":db.type/double", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":p/born", ":db/valueType": ":db.type/instant", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":p/color", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":p/tag", ":db/valueType": ":db.type/keyword", ":db/cardinality": ":db.cardinality/many"},
    {":db/ident": ":p/pals", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/many"},
    {
        ":db/ident": ":p/when",
        ":db/valueType": ":db.type/tuple",
        ":db/cardinality": ":db.cardinality/one",
        ":db/tupleTypes": [":db.type/keyword", ":db.type/instant"],
    },
]
BORN = datetime(1990, 5, 1, tzinfo=UTC)


class World:
    """A small store and the ids of what is in it."""

    def __init__(self, conn: factstore.Connection) -> None:
        conn.transact(SCHEMA)
        conn.transact([{":db/ident": ":color/red"}, {":db/ident": ":color/blue"}])
        self.first = conn.transact(
            [
                {":db/id": "ann", ":p/name": "Ann", ":p/age": 31, ":p/born": BORN, ":p/color": ":color/red", ":p/tag": [":a", ":b"]},
                {":db/id": "bo", ":p/name": "Bo", ":p/age": 17, ":p/score": 31.0, ":p/pals": ["ann", "bo"], ":p/color": ":color/blue"},
                {":db/id": "cy", ":p/name": "Cy", ":p/age": 31, ":p/when": [":x", BORN]},
            ]
        )
        self.ids = self.first.tempids
        self.second = conn.transact([[":db/add", self.ids["bo"], ":p/age", 18]])
        self.db: Database = conn.db()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with factstore.connect("memory:") as conn:
        yield World(conn)


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("[?e :p/name ?n] [?e :p/age 31]", {"Ann", "Cy"}),
        ('[[:p/name "Ann"] :p/tag _] [[:p/name "Ann"] :p/name ?n]', {"Ann"}),
        ("[?e :p/color :color/red] [?e :p/name ?n]", {"Ann"}),
        ("[?e :p/color ?c] [?c :db/ident :color/blue] [?e :p/name ?n]", {"Bo"}),
        ('[?e :p/pals [:p/name "Ann"]] [?e :p/name ?n]', {"Bo"}),
        ("[?e :p/pals ?e] [?e :p/name ?n]", {"Bo"}),
        ('[?x :p/name "Ann"] [?e _ ?x] [?e :p/name ?n]', {"Bo"}),
        ('[?e :p/born #inst "1990-05-01"] [?e :p/name ?n]', {"Ann"}),
        ('[?e :p/when [:x #inst "1990-05-01"]] [?e :p/name ?n]', {"Cy"}),
        ("[?e :p/tag :a] [?e :p/tag :b] [?e :p/name ?n]", {"Ann"}),
        ("[?e :p/age ?v] [?e :p/score ?v] [?e :p/name ?n]", set()),
        ("[?e :p/name ?n] [?e :p/age 31.0]", set()),
        ('[?e :p/name ?n] [?e :p/age "31"]', set()),
        ("[:color/none :p/name ?n]", set()),
        ('[[:p/name "Nobody"] :p/name ?n]', set()),
    ],
)
def test_a_pattern_matches_what_its_places_say(world: World, where: str, expected: set[str]) -> None:
    assert expected == set(q(f"[:find [?n ...] :where {where}]", world.db))


def test_instants_come_out_as_datetimes_and_never_join_with_numbers(world: World) -> None:
    assert BORN == q("[:find ?b . :where [_ :p/born ?b]]", world.db)
    assert (Keyword(":x"), BORN) == q("[:find ?w . :where [_ :p/when ?w]]", world.db)
    micros = 641_520_000_000_000
    assert set() == q("[:find ?e :in $ ?v :where [?e :p/born ?v]]", world.db, micros)
    assert set() == q("[:find ?e :in $ [?v ...] :where [?e :p/born ?v]]", world.db, [micros, 1])
    assert {(world.ids["ann"],)} == q("[:find ?e :in $ [?v ...] :where [?e :p/born ?v]]", world.db, [BORN, 5])


def test_an_attribute_variable_binds_the_attribute(world: World) -> None:
    names = q('[:find [?i ...] :where [[:p/name "Bo"] ?a] [?a :db/ident ?i]]', world.db)
    assert {":p/name", ":p/age", ":p/score", ":p/pals", ":p/color"} == set(names)
    assert {31, 18} == set(q("[:find [?v ...] :in $ ?a :where [_ ?a ?v]]", world.db, ":p/age"))
    by_id = world.db.entid(":p/age")
    assert {31, 18} == set(q("[:find [?v ...] :in $ [?a ...] :where [_ ?a ?v]]", world.db, [by_id, ":p/none"]))


@pytest.mark.parametrize("given", [["Ann"], ("Cy", "Ann"), {"Ann"}])
def test_an_input_that_stands_for_an_entity_is_resolved_where_an_entity_stands(world: World, given: Any) -> None:
    refs = [[":p/name", name] for name in given]
    ages = q("[:find [?a ...] :in $ [?e ...] :where [?e :p/age ?a]]", world.db, refs)
    assert [31] == ages
    assert ("Bo",) == q("[:find [?n] :in $ ?pal :where [?e :p/pals ?pal] [?e :p/name ?n]]", world.db, [":p/name", "Ann"])
    assert "Ann" == q("[:find ?n . :in $ ?c :where [?e :p/color ?c] [?e :p/name ?n]]", world.db, ":color/red")
    assert world.ids["bo"] == q("[:find ?e . :in $ ?n :where [?e :p/name ?n]]", world.db, "Bo")


def test_a_string_with_a_colon_is_a_keyword_for_a_keyword_attribute_only(world: World) -> None:
    for given in (":a", Keyword(":a"), [":a", ":zzz"]):
        binding = "[?t ...]" if isinstance(given, list) else "?t"
        assert "Ann" == q(f"[:find ?n . :in $ {binding} :where [?e :p/tag ?t] [?e :p/name ?n]]", world.db, given)


def test_the_transaction_and_the_operation_are_places_too(world: World) -> None:
    first, second = tx_of(world.first.db_after.basis_t), tx_of(world.second.db_after.basis_t)
    bo = world.ids["bo"]
    assert {(18, second)} == q("[:find ?a ?tx :in $ ?e :where [?e :p/age ?a ?tx]]", world.db, bo)
    expected = {(17, first, True), (17, second, False), (18, second, True)}
    assert expected == q("[:find ?a ?tx ?op :in $ ?e :where [?e :p/age ?a ?tx ?op]]", world.db.history(), bo)
    assert {(17,)} == q("[:find ?a :in $ ?e :where [?e :p/age ?a _ false]]", world.db.history(), bo)
    assert {("Bo",)} == q(
        "[:find ?n :where [?e :p/age _ ?tx] [?e :p/name ?n] [?tx :db/txInstant ?t] [(> ?tx 0)] (not [?e :p/name _ ?tx])]", world.db
    )
    assert {(18,)} == q("[:find ?a :in $ ?tx :where [_ :p/age ?a ?tx]]", world.db, second)
    assert set() == q("[:find ?a :in $ ?tx :where [_ :p/age ?a ?tx]]", world.db, bo)


def test_rows_that_share_a_transaction_join_on_it(world: World) -> None:
    rows = q("[:find ?n ?a :where [?e :p/name ?n ?tx] [?e :p/age ?a ?tx]]", world.db)
    assert {("Ann", 31), ("Cy", 31)} == rows


def test_two_databases_are_two_sources(world: World) -> None:
    before = world.db.as_of(world.first.db_after.basis_t)
    query = "[:find ?n ?old ?new :in $ $then :where [?e :p/name ?n] [?e :p/age ?new] [$then ?e :p/age ?old] [(not= ?old ?new)]]"
    assert {("Bo", 17, 18)} == q(query, world.db, before)


@pytest.mark.parametrize(
    "where", ["[?e :p/nmae ?n]", "[?e :p/name ?n] (not [?e :p/nmae _])", "[(ground 1) ?n] [(get-else $ ?n :p/nmae 1) _]"]
)
def test_an_attribute_that_nobody_declared_is_refused_with_near_names(world: World, where: str) -> None:
    with pytest.raises(QueryError, match="did you mean :p/name") as raised:
        q(f"[:find ?n :where {where}]", world.db)
    assert ":db.error/unknown-attribute" == raised.value.code


def test_more_than_five_places_are_refused(world: World) -> None:
    with pytest.raises(QueryError, match="at most five places"):
        q("[:find ?e :where [?e _ _ _ _ _]]", world.db)


def test_a_range_of_values_is_read_as_one(world: World) -> None:
    step = factstore.explain("[:find ?e ?a :where [?e :p/age ?a] [(< 20 ?a)] [(<= ?a 31)]]", world.db).data[0]
    assert "rows with values in the range" == step.access
    assert 2 == step.rows_out
    assert "[(< 20 ?a)]" in step.clause


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("(get-else $ ?e :p/score -1.0)", {("Ann", -1.0), ("Bo", 31.0), ("Cy", -1.0)}),
        ("(get-else $ ?e ?a 0)", {("Ann", 31), ("Bo", 18), ("Cy", 31)}),
    ],
)
def test_get_else_gives_the_value_or_the_default(world: World, call: str, expected: set[Any]) -> None:
    assert expected == q(f"[:find ?n ?v :in $ ?a :where [?e :p/name ?n] [{call} ?v]]", world.db, ":p/age")


def test_get_else_and_get_some_give_the_first_value_of_a_history_in_the_order_of_the_index() -> None:
    with factstore.connect("memory:") as conn:
        conn.transact([{":db/ident": ":n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}])
        eid = conn.transact([{":db/id": "e", ":n": 2}]).tempids["e"]
        for n in (1, 3):
            conn.transact([[":db/add", eid, ":n", n]])
        history = conn.db().history()
        assert 1 == q("[:find ?v . :in $ ?e :where [(get-else $ ?e :n 0) ?v]]", history, eid)
        assert 1 == q("[:find ?v . :in $ ?e :where [(get-some $ ?e :n) [_ ?v]]]", history, eid)


def test_get_some_and_missing_look_at_attributes(world: World) -> None:
    db = world.db
    assert {("Bo", 31.0), ("Cy", 31), ("Ann", 31)} == q("[:find ?n ?v :where [?e :p/name ?n] [(get-some $ ?e :p/score :p/age) [_ ?v]]]", db)
    assert {"Ann", "Cy"} == set(q("[:find [?n ...] :where [?e :p/name ?n] [(missing? $ ?e :p/score)]]", db))
    assert {"Cy"} == set(q("[:find [?n ...] :where [?e :p/name ?n] [(missing? $ ?e :p/_pals)]]", db))


def test_pulls_in_find_come_as_a_list(world: World) -> None:
    rows = q("[:find ?a (pull ?e [:p/name]) :where [?e :p/age ?a] [(< ?a 20)]]", world.db)
    assert [(18, {":p/name": "Bo"})] == rows
    assert {":p/name": "Bo"} == q("[:find (pull ?e ?p) . :in $ ?p :where [?e :p/age 18]]", world.db, [":p/name"])


def test_the_log_is_read_by_functions() -> None:
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        report = conn.transact([{":p/name": "Ann"}])
        tx = tx_of(report.db_after.basis_t)
        assert [tx] == q("[:find [?tx ...] :in ?log ?t :where [(tx-ids ?log ?t nil) [?tx ...]]]", conn.log(), tx)
        query = "[:find ?v :in $ ?log ?tx :where [(tx-data ?log ?tx) [[_ ?a ?v _ ?op]]] [(true? ?op)] [?a :db/ident :p/name]]"
        assert {("Ann",)} == q(query, conn.db(), conn.log(), tx)


@pytest.mark.parametrize(
    ("where", "access"),
    [
        ('[?e :p/age "x"]', 'never: "x" is no long'),
        ("[?e :p/color :color/none]", "never: :color/none stands for no entity"),
        ("[?e :p/age 3000]", "one fact"),
    ],
)
def test_a_constant_that_can_never_match_is_told_by_explain(world: World, where: str, access: str) -> None:
    assert access == factstore.explain(f"[:find ?e :where {where}]", world.db).data[0].access
