"""What a transaction or an index costs follows the size of the change, not how much an entity or the schema has already.

Costs are counted: lines of this package that run, and bytes at the peak. So the tests say the same on any machine.
"""

from __future__ import annotations

import sys
import tracemalloc

import pytest

import factstore

MANY = [{":db/ident": ":u/many", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/many"}]
WORDS = [{":db/ident": ":u/many", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/many"}]

BYTES_A_VALUE = 2_000  # far more than rows take, far less than 6,000 pairs of rows do


def steps(run):
    """Return how many lines of the package a call runs."""
    count = 0

    def trace(frame, event, _):
        nonlocal count
        if "factstore" not in frame.f_code.co_filename:
            return None
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


def peak(run):
    """Return how many bytes a call holds at most."""
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def holder(n, *, indexed=False, words=False):
    """Return a connection, and an entity with n values of one attribute."""
    conn = factstore.connect("memory:")
    conn.transact(WORDS if words else MANY)
    e = conn.transact([{":db/id": "e", ":u/many": [str(i) if words else i for i in range(n)]}]).tempids["e"]
    if indexed:
        conn._committer.index()
    return conn, e


CHANGES = {
    "a new value": lambda e: [[":db/add", e, ":u/many", -1]],
    "a known value": lambda e: [[":db/add", e, ":u/many", 7]],
    "a retraction": lambda e: [[":db/retract", e, ":u/many", 8]],
    "a retraction of what is not there": lambda e: [[":db/retract", e, ":u/many", -2]],
    "a map": lambda e: [{":db/id": e, ":u/many": [-3, 9]}],
}


@pytest.mark.parametrize("indexed", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_costs_the_same_however_many_values_the_entity_has(change, indexed):
    def cost(n):
        conn, e = holder(n, indexed=indexed)
        conn.transact([[":db/retract", e, ":u/many", 0]])
        conn.transact([[":db/add", e, ":u/many", -4]])  # what is made once is made now
        return steps(lambda: conn.transact(CHANGES[change](e)))

    assert cost(10_000) == cost(1_000)


@pytest.mark.parametrize("indexed", [False, True])
def test_a_change_of_one_of_many_values_gives_the_right_datoms(indexed):
    conn, e = holder(10_000, indexed=indexed)
    forms = [
        [":db/add", e, ":u/many", 5],
        [":db/add", e, ":u/many", -1],
        [":db/retract", e, ":u/many", 6],
        [":db/retract", e, ":u/many", -2],
    ]
    report = conn.transact(forms)
    assert [(d.e, d.v, d.added) for d in report.tx_data][1:] == [(e, 6, False), (e, -1, True)]
    assert {d.v for d in conn.db().datoms("eavt", e, ":u/many")} == {-1, *range(10_000)} - {6}


@pytest.mark.parametrize("indexed", [False, True])
def test_retracting_half_of_the_values_grows_with_their_number(indexed):
    def cost(n):
        conn, e = holder(n, indexed=indexed)
        return steps(lambda: conn.transact([[":db/retract", e, ":u/many", v] for v in range(n // 2)]))

    assert cost(4_000) < 2.1 * cost(2_000)


def test_exactly_these_values_of_many_entities_grows_with_their_number():
    def cost(n):
        conn = factstore.connect("memory:")
        conn.transact(MANY)
        conn.transact([{":db/id": f"e{i}", ":u/many": [i, i + 1]} for i in range(n)])
        es = sorted({d.e for d in conn.db().datoms("aevt", ":u/many")})
        return steps(lambda: conn.transact([factstore.set_exactly(e, ":u/many", [1, 2]) for e in es]))

    assert cost(800) < 2.1 * cost(400)


@pytest.mark.parametrize("words", [False, True])
def test_indexing_many_retractions_on_one_entity_takes_memory_by_their_number(words):
    def cost(n):
        conn, e = holder(n, indexed=True, words=words)
        conn.transact([[":db/retractEntity", e]])
        return peak(conn._committer.index)

    assert cost(6_000) < 6_000 * BYTES_A_VALUE


@pytest.mark.parametrize("words", [False, True])
def test_reading_a_column_after_many_retractions_takes_memory_by_their_number(words):
    def cost(n):
        conn, e = holder(n, indexed=True, words=words)
        conn.transact([[":db/retractEntity", e]])
        db = conn.db()
        return peak(lambda: factstore.q("[:find (count ?v) . :where [_ :u/many ?v]]", db))

    assert cost(6_000) < 6_000 * BYTES_A_VALUE


DECLARATIONS = {
    "an ident": lambda i: {":db/ident": f":late/i{i}"},
    "an attribute": lambda i: {":db/ident": f":late/i{i}", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
    "a reference": lambda i: {":db/ident": f":late/i{i}", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/one"},
}


@pytest.mark.parametrize("declaration", DECLARATIONS)
def test_a_declaration_costs_the_same_however_many_there_are(declaration):
    declare = DECLARATIONS[declaration]

    def cost(n):
        conn = factstore.connect("memory:")
        conn.transact([{":db/ident": f":early/i{i}"} for i in range(n)])
        conn.transact([DECLARATIONS["an attribute"](i) | {":db/ident": f":early/a{i}"} for i in range(n)])
        conn.transact([declare(0)])
        return steps(lambda: conn.transact([declare(1)]))

    assert cost(1_000) < 2 * cost(200)  # not the same: names may share a bucket of a map, by the hashes of this process


def test_opening_grows_with_the_number_of_idents_declared_one_by_one(tmp_path):
    def cost(n):
        path = str(tmp_path / f"{n}.facts")
        with factstore.connect(path, sync="none") as conn:
            for i in range(n):
                conn.transact([DECLARATIONS["an attribute"](i)])
            conn._committer.index()
        opened = []
        try:
            return steps(lambda: opened.append(factstore.connect(path)))
        finally:
            opened[0].close()

    assert cost(400) < 2.1 * cost(200)


QUERIES = {
    "pairs": "[:find (count ?v) . :in $ [[?e ?v]] _ :where [?e :u/many ?v]]",
    "pairs with their transaction": "[:find (count ?v) . :in $ [[?e ?v]] _ :where [?e :u/many ?v ?t] [(> ?t 5)]]",
    "pairs that are not there": "[:find (count ?v) . :in $ [[?e ?v]] _ :where (not [?e :u/many ?v]) [?e :u/many]]",
    "the same pattern twice": "[:find (count ?v) . :in $ _ _ :where [?e :u/many ?v] [?e :u/many ?v]]",
    "one value of an entity that many refer to": "[:find (count ?r) . :in $ _ ?w :where [?r :u/of ?e] [?e :u/many ?w]]",
    "any value of an entity that many refer to": "[:find (count ?r) . :in $ _ _ :where [?r :u/of ?e] [?e :u/many]]",
}


@pytest.mark.parametrize("words", [False, True])
@pytest.mark.parametrize("query", QUERIES)
def test_a_query_about_many_values_of_one_entity_takes_memory_by_their_number(query, words):
    n = 3_000
    conn, e = holder(n, words=words)
    conn.transact([{":db/ident": ":u/of", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/one"}])
    conn.transact([{":u/of": e} for _ in range(n)])
    values = [d.v for d in conn.db().datoms("eavt", e, ":u/many")]
    gone = values[0]
    conn.transact([[":db/retract", e, ":u/many", gone]])
    db, counts = conn.db(), []
    pairs = [[e, v] for v in values]
    bytes_held = peak(lambda: counts.append(factstore.q(QUERIES[query], db, pairs, values[1])))
    expected = 1 if "not there" in query else n if "refer" in query else n - 1
    assert counts == [expected]
    assert bytes_held < n * 2 * BYTES_A_VALUE


def test_a_read_of_the_past_costs_the_same_however_often_the_value_changed_later():
    def cost(n):
        conn = factstore.connect("memory:")
        conn.transact([{":db/ident": ":u/n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}])
        first = conn.transact([{":db/id": "e", ":u/n": 0}])
        e = first.tempids["e"]
        for i in range(1, n):
            conn.transact([[":db/add", e, ":u/n", i]])
        db = conn.db()
        for i in (0, 99):
            assert factstore.pull(db.as_of(first.t + i), [":u/n"], e) == {":u/n": i}
        return steps(lambda: factstore.pull(db.as_of(first.t + 50), [":u/n"], e))

    assert cost(2_000) == cost(400)
