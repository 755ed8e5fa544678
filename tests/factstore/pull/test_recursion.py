"""Pulls that go down by themselves: recursion, cycles, components in circles."""

from __future__ import annotations

import pytest

import factstore
from factstore import pull, pull_many

SCHEMA = """
[{:db/ident :n/id    :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :n/next  :db/valueType :db.type/ref  :db/cardinality :db.cardinality/one}
 {:db/ident :n/other :db/valueType :db.type/ref  :db/cardinality :db.cardinality/one}
 {:db/ident :n/kid   :db/valueType :db.type/ref  :db/cardinality :db.cardinality/many}
 {:db/ident :n/part  :db/valueType :db.type/ref  :db/cardinality :db.cardinality/many :db/isComponent true}]
"""


@pytest.fixture
def conn():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        yield conn


def graph(conn, *edges):
    """A database of numbered nodes and their ids; an edge is (from, attribute, to)."""
    nodes = sorted({node for start, _, end in edges for node in (start, end)})
    forms = [{":db/id": str(node), ":n/id": node} for node in nodes]
    forms += [[":db/add", str(start), f":n/{name}", str(end)] for start, name, end in edges]
    report = conn.transact(forms)
    return report.db_after, {node: report.tempids[str(node)] for node in nodes}


def test_a_recursion_goes_down_as_many_levels_as_it_says(conn):
    db, _ = graph(conn, (1, "next", 2), (2, "next", 3), (3, "next", 4))
    assert {":n/id": 1, ":n/next": {":n/id": 2}} == pull(db, "[:n/id {:n/next 1}]", [":n/id", 1])
    assert {":n/id": 1, ":n/next": {":n/id": 2, ":n/next": {":n/id": 3}}} == pull(db, "[:n/id {:n/next 2}]", [":n/id", 1])
    whole = {":n/id": 1, ":n/next": {":n/id": 2, ":n/next": {":n/id": 3, ":n/next": {":n/id": 4}}}}
    assert whole == pull(db, "[:n/id {:n/next ...}]", [":n/id", 1])
    assert whole == pull(db, "[:n/id {:n/next 9}]", [":n/id", 1])


def test_a_recursion_shows_what_it_has_met_on_its_way_once_more(conn):
    db, ids = graph(conn, (1, "next", 2), (2, "next", 3), (3, "next", 2))
    assert {":n/id": 1, ":n/next": {":n/id": 2, ":n/next": {":n/id": 3, ":n/next": {":n/id": 2}}}} == pull(
        db, "[:n/id {:n/next ...}]", [":n/id", 1]
    )
    two = {":n/id": 2, ":db/id": ids[2], ":n/next": {":db/id": ids[3]}}
    assert {":n/next": {":n/next": two}} == {
        ":n/next": {":n/next": pull(db, "[:n/id :db/id {:n/next ...}]", [":n/id", 3])[":n/next"][":n/next"][":n/next"]}
    }
    assert pull(db, "[{:n/next ...}]", [":n/id", 1]) is None


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[:n/id {:n/next 1}]", {":n/id": 1, ":n/next": {":n/id": 2}}),
        ("[:n/id {:n/next 2}]", {":n/id": 1, ":n/next": {":n/id": 2, ":n/next": {":n/id": 3}}}),
        ("[:n/id {:n/next 3}]", {":n/id": 1, ":n/next": {":n/id": 2, ":n/next": {":n/id": 3, ":n/next": {":n/id": 2}}}}),
        ("[:n/id {(:n/next :as :to) 2}]", {":n/id": 1, ":to": {":n/id": 2, ":to": {":n/id": 3}}}),
        ("[:n/id {[:n/next :default 0] 1}]", {":n/id": 1, ":n/next": {":n/id": 2, ":n/next": 0}}),
        ("[{:n/next [:n/id {:n/next ...}]}]", {":n/next": {":n/id": 2, ":n/next": {":n/id": 3, ":n/next": {":n/id": 2}}}}),
    ],
)
def test_a_limit_counts_on_a_cycle_too(conn, pattern, expected):
    db, _ = graph(conn, (1, "next", 2), (2, "next", 3), (3, "next", 2))
    assert expected == pull(db, pattern, [":n/id", 1])


def test_the_last_level_shows_ids_where_the_pattern_asks_for_them(conn):
    db, ids = graph(conn, (1, "next", 2), (2, "next", 3))
    assert {":db/id": ids[1], ":n/next": {":db/id": ids[2], ":n/next": {":db/id": ids[3]}}} == pull(
        db, "[:db/id {:n/next 1}]", [":n/id", 1]
    )


def test_everything_of_a_component_is_shown_though_a_recursion_has_met_it(conn):
    db, ids = graph(conn, (1, "part", 2), (3, "kid", 2))
    whole = {":db/id": ids[1], ":n/id": 1, ":n/part": [{":db/id": ids[2], ":n/id": 2}]}
    assert {":n/id": 3, ":n/kid": [{":n/id": 2, ":n/_part": whole}]} == pull(db, "[:n/id {:n/kid 1} {:n/_part [*]}]", [":n/id", 3])


def test_a_loop_of_one_ends(conn):
    db, _ = graph(conn, (1, "kid", 1))
    assert {":n/id": 1, ":n/kid": [{":n/id": 1, ":n/kid": [{":n/id": 1}]}]} == pull(db, "[:n/id {:n/kid ...}]", [":n/id", 1])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[{:n/_kid [:n/id]} {:n/_kid 2}]", None),
        ("[{:n/_kid [:n/id]} {:n/_kid ...}]", None),
        ("[:n/id :n/_kid {:n/_kid 1}]", {":n/id": 1, ":n/_kid": [{":n/id": 1}]}),
        ("[{:n/_kid 2} {:n/_kid [:n/id]}]", {":n/_kid": [{":n/id": 1}]}),
    ],
)
def test_a_spec_that_a_later_one_replaces_does_not_come_back_where_a_recursion_ends(conn, pattern, expected):
    db, ids = graph(conn, (1, "kid", 1))
    assert expected == pull(db, pattern, [":n/id", 1])
    assert [expected] * 50 == pull_many(db, pattern, [ids[1]] * 50)


def test_a_recursion_is_a_fallback_for_the_attribute_before_it_under_the_same_key(conn):
    db, _ = graph(conn, (1, "kid", 2), (2, "kid", 3))
    pattern = "[{[:n/_kid :as :up] ...} [:n/id :as :up]]"
    assert {":up": 1} == pull(db, pattern, [":n/id", 1])
    assert {":up": [{":up": [{":up": 1}]}]} == pull(db, pattern, [":n/id", 3])
    assert {":up": 3} == pull(db, "[[:n/id :as :up] {[:n/_kid :as :up] ...}]", [":n/id", 3])


def test_what_was_seen_on_another_way_is_pulled_again(conn):
    db, _ = graph(conn, (1, "kid", 2), (1, "kid", 3), (2, "kid", 4), (3, "kid", 4))
    four = {":n/kid": [{":n/id": 4}]}
    assert {":n/id": 1, ":n/kid": [{":n/id": 2, **four}, {":n/id": 3, **four}]} == pull(db, "[:n/id {:n/kid ...}]", [":n/id", 1])


def test_two_recursions_of_one_pattern_count_their_levels_apart(conn):
    db, _ = graph(conn, (1, "next", 2), (2, "other", 3), (3, "next", 4), (4, "other", 5))
    three = {":n/id": 2, ":n/other": {":n/id": 3, ":n/next": {":n/id": 4}}}
    assert {":n/id": 1, ":n/next": three} == pull(db, "[:n/id {:n/next 2 :n/other 1}]", [":n/id", 1])
    assert {":n/id": 1, ":n/next": {":n/id": 2, ":n/other": {":n/id": 3}}} == pull(db, "[:n/id {:n/next 1 :n/other 1}]", [":n/id", 1])


def test_a_recursion_belongs_to_the_pattern_it_stands_in(conn):
    db, _ = graph(conn, (1, "kid", 2), (2, "next", 3), (3, "next", 4))
    assert {":n/kid": [{":n/id": 2, ":n/next": {":n/id": 3, ":n/next": {":n/id": 4}}}]} == pull(
        db, "[{:n/kid [:n/id {:n/next ...}]}]", [":n/id", 1]
    )


def test_a_recursion_goes_backwards_and_takes_options(conn):
    db, _ = graph(conn, (3, "kid", 1), (2, "kid", 1), (4, "kid", 2))
    assert {":n/id": 1, "up": [{":n/id": 2, "up": [{":n/id": 4}]}]} == pull(db, '[:n/id {[:n/_kid :as "up" :limit 1] ...}]', [":n/id", 1])


def test_nothing_but_the_recursion_is_nothing(conn):
    db, _ = graph(conn, (1, "next", 2))
    assert pull(db, "[{:n/next ...}]", [":n/id", 1]) is None


def test_components_in_a_circle_end(conn):
    db, ids = graph(conn, (1, "part", 2), (2, "part", 1))
    one = {":db/id": ids[1], ":n/id": 1, ":n/part": [{":db/id": ids[2]}]}
    assert {":n/part": [{":db/id": ids[2], ":n/id": 2, ":n/part": [one]}]} == pull(db, "[:n/part]", [":n/id", 1])


def test_a_depth_overrides_the_expansion_of_components(conn):
    db, _ = graph(conn, (1, "part", 2), (2, "part", 3))
    assert {":n/id": 1, ":n/part": [{":n/id": 2}]} == pull(db, "[:n/id {:n/part 1}]", [":n/id", 1])


@pytest.mark.parametrize("pattern", ["[:n/id {:n/next ...}]", "[:n/id {:n/part ...}]", "[:n/id :n/part]"])
def test_a_chain_of_five_thousand_is_pulled_whole(conn, pattern):
    name = "next" if "next" in pattern else "part"
    db, _ = graph(conn, *[(n, name, n + 1) for n in range(5000)])
    here, depth = pull(db, pattern, [":n/id", 0]), 0
    while f":n/{name}" in here:
        here = here[f":n/{name}"]
        here = here[0] if isinstance(here, list) else here
        depth += 1
    assert 5000 == depth
    assert 5000 == here[":n/id"]


def test_recursions_of_many_entities_do_not_meet(conn):
    edges = [(n, "next", (n + 1) % 60) for n in range(60)]
    db, ids = graph(conn, *edges)
    pattern = "[:n/id {:n/next ...}]"
    assert [pull(db, pattern, ids[n]) for n in ids] == pull_many(db, pattern, ids.values())
