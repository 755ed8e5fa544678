"""Bulk loading: whatever the source, the facts are those that transacting the rows would give."""

from __future__ import annotations

import csv
import math
from collections import Counter
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import Into

SCHEMA = [
    {
        ":db/ident": ":air/code",
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
        ":db/unique": ":db.unique/identity",
    },
    {":db/ident": ":air/height", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":air/lat", ":db/valueType": ":db.type/double", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":air/open", ":db/valueType": ":db.type/instant", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":air/hub", ":db/valueType": ":db.type/ref", ":db/cardinality": ":db.cardinality/one"},
]
MAPPING = {"code": ":air/code", "height": ":air/height", "lat": ":air/lat"}
CODE_AND_HEIGHT = {"code": ":air/code", "height": ":air/height"}


@pytest.fixture
def conn():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        yield conn


def pulled(conn, code):
    found = factstore.pull(conn.db(), "[*]", [":air/code", code])
    return {key: value for key, value in found.items() if key != ":db/id"}


def test_rows_of_mappings_become_entities(conn):
    report = conn.load([{"code": "LGA", "height": 22, "lat": 40.7}, {"code": "JFK", "height": 13, "lat": None}], MAPPING)
    assert (2, 6, 1) == report[:3]
    assert {":air/code": "LGA", ":air/height": 22, ":air/lat": 40.7} == pulled(conn, "LGA")
    assert {":air/code": "JFK", ":air/height": 13} == pulled(conn, "JFK")


def test_a_csv_file_is_read_by_the_types_of_its_attributes(conn, tmp_path):
    path = tmp_path / "airports.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [["code", "height", "lat", "open"], ["LGA", "22", "40.7", "1939-12-02T00:00:00+00:00"], ["JFK", "NA", "", ""]]
        )
    conn.load(path, {**MAPPING, "open": ":air/open"})
    assert {":air/code": "LGA", ":air/height": 22, ":air/lat": 40.7, ":air/open": datetime(1939, 12, 2, tzinfo=UTC)} == pulled(conn, "LGA")
    assert {":air/code": "JFK"} == pulled(conn, "JFK")


def test_columns_of_numpy_and_frames_are_taken_whole(conn):
    pandas = pytest.importorskip("pandas")
    conn.load({"code": ["A", "B"], "height": np.array([1, 2]), "lat": np.array([1.5, np.nan])}, MAPPING)
    conn.load(pandas.DataFrame({"code": ["C"], "height": [3], "lat": [2.5]}), MAPPING)
    assert {("A", 1), ("B", 2), ("C", 3)} == factstore.q("[:find ?c ?h :where [?e :air/code ?c] [?e :air/height ?h]]", conn.db())
    assert {("A", 1.5), ("C", 2.5)} == factstore.q("[:find ?c ?l :where [?e :air/code ?c] [?e :air/lat ?l]]", conn.db())


def test_a_reference_is_found_by_the_unique_attribute_named(conn):
    conn.load([{"code": "ORD"}], {"code": ":air/code"})
    conn.load([{"code": "MDW", "hub": "ORD"}], {"code": ":air/code", "hub": Into(":air/hub", lookup=":air/code")})
    assert [("MDW", "ORD")] == list(factstore.q("[:find ?c ?h :where [?e :air/hub ?x] [?e :air/code ?c] [?x :air/code ?h]]", conn.db()))


def test_a_row_whose_identity_is_known_is_added_to_that_entity(conn):
    conn.transact([{":air/code": "LGA", ":air/height": 20}])
    conn.load([{"code": "LGA", "height": 22}, {"code": "JFK", "height": 13}, {"code": "JFK", "height": 13}], CODE_AND_HEIGHT)
    assert {("LGA", 22), ("JFK", 13)} == factstore.q("[:find ?c ?h :where [?e :air/code ?c] [?e :air/height ?h]]", conn.db())


def test_loading_twice_changes_nothing(conn):
    rows = [{"code": str(i), "height": i} for i in range(20)]
    conn.load(rows, CODE_AND_HEIGHT, batch_rows=7)
    before = set(conn.db().datoms("aevt", ":air/height"))
    conn.load(rows, CODE_AND_HEIGHT, batch_rows=7)
    assert before == set(conn.db().datoms("aevt", ":air/height"))


@pytest.mark.parametrize(
    ("rows", "mapping", "code", "part"),
    [
        ([{"code": 7}], {"code": ":air/code"}, ":db.error/wrong-type-for-attribute", "column 'code', row 1"),
        (
            [{"code": "A", "hub": "nowhere"}],
            {"code": ":air/code", "hub": Into(":air/hub", lookup=":air/code")},
            ":db.error/not-an-entity",
            "nowhere",
        ),
        ([{"code": "A"}], {"code": ":air/cod"}, ":db.error/not-an-attribute", ":air/code"),
        ([{"hub": "A"}], {"hub": ":air/hub"}, ":db.error/invalid-load", "needs a `lookup`"),
        ([{"code": "A"}], {"code": Into(":air/code", lookup=":air/code")}, ":db.error/invalid-load", "no reference"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(conn, rows, mapping, code, part):
    before = conn.db().basis_t
    with pytest.raises(factstore.FactStoreError) as caught:
        conn.load(rows, mapping)
    assert code == caught.value.code
    assert part in str(caught.value)
    assert before == conn.db().basis_t


def test_progress_is_told_after_each_batch(conn):
    told = []
    conn.load([{"code": str(i)} for i in range(5)], {"code": ":air/code"}, batch_rows=2, progress=lambda rows, _: told.append(rows))
    assert [2, 4, 5] == told


def test_the_log_holds_every_fact_that_was_loaded(conn):
    t = conn.load([{"code": "LGA", "height": 22}], CODE_AND_HEIGHT).basis_t
    (logged,) = conn.log().tx_range(t)
    db = conn.db()
    assert {(":db/txInstant", logged.data[0].v), (":air/code", "LGA"), (":air/height", 22)} == {(db.ident(d.a), d.v) for d in logged.data}


ROWS = st.lists(
    st.fixed_dictionaries(
        {"code": st.sampled_from("abcdef"), "height": st.none() | st.integers(-5, 5), "lat": st.none() | st.floats(-1, 1)}
    ),
    unique_by=lambda row: row["code"],
    max_size=6,
)


@given(ROWS, ROWS, st.integers(1, 4), st.booleans())
@settings(max_examples=60)
def test_loading_gives_the_facts_that_transacting_maps_gives(rows, more, batch_rows, indexed):
    with factstore.connect("memory:") as loaded, factstore.connect("memory:") as transacted:
        for conn in (loaded, transacted):
            conn.transact([*SCHEMA, {":db/ident": ":a/x"}])
            conn.transact([{":air/code": "a", ":air/height": 0}])
        for table in (rows, more):
            loaded.load(table, MAPPING, batch_rows=batch_rows)
            transacted.transact([{MAPPING[k]: v for k, v in row.items() if v is not None} for row in table])
            if indexed:
                loaded._committer.index()
        assert facts(transacted) == facts(loaded)
        assert events(transacted) == events(loaded)


def events(conn):
    """What ever happened to which airport, whenever."""
    db = conn.db()
    code = {d.e: d.v for d in db.datoms("aevt", ":air/code")}
    return Counter((code[d.e], a, d.v, d.added) for a in MAPPING.values() for d in db.history().datoms("aevt", a))


def facts(conn):
    db = conn.db()
    code = {d.e: d.v for d in db.datoms("aevt", ":air/code")}
    return {(code[d.e], a, d.v) for a in MAPPING.values() for d in db.datoms("aevt", a)}


@pytest.mark.parametrize("package", ["pyarrow", "polars"])
def test_tables_of_arrow_and_polars_are_read_by_column(conn, package):
    frames = pytest.importorskip(package)
    make = frames.table if package == "pyarrow" else frames.DataFrame
    conn.load(
        make({"code": ["C", "D"], "height": [3, None], "lat": [2.5, 1.5], "open": [datetime(2020, 1, 1, tzinfo=UTC), None]}),
        {**MAPPING, "open": ":air/open"},
    )
    assert {":air/code": "C", ":air/height": 3, ":air/lat": 2.5, ":air/open": datetime(2020, 1, 1, tzinfo=UTC)} == pulled(conn, "C")
    assert {":air/code": "D", ":air/lat": 1.5} == pulled(conn, "D")


def test_text_that_is_read_as_not_a_number_is_no_value(conn, tmp_path):
    path = tmp_path / "airports.csv"
    path.write_text("code,lat\nA,nan\nB,1.5\n")
    conn.load(path, {"code": ":air/code", "lat": ":air/lat"})
    conn.load({"lat": np.array([1.0, np.nan, 2.0])}, {"lat": Into(":air/lat", convert=lambda v: v if v > 1 else math.nan)})
    assert [1.5, 2.0] == [d.v for d in conn.db().datoms("aevt", ":air/lat")]


@pytest.mark.parametrize("column", [[0.1, None], np.array([0.1, np.nan]), np.array([0.1])])
def test_floats_of_32_bits_are_rounded_whatever_they_come_in(conn, column):
    conn.transact([{":db/ident": ":air/small", ":db/valueType": ":db.type/float", ":db/cardinality": ":db.cardinality/one"}])
    conn.transact([{":air/small": 0.1}])
    conn.load({"small": column}, {"small": ":air/small"})
    assert [float(np.float32(0.1))] * 2 == [d.v for d in conn.db().datoms("aevt", ":air/small")]


def test_two_columns_are_refused_for_one_value_and_taken_for_many(conn):
    with pytest.raises(factstore.TransactError, match="'low' and 'high' both go there") as caught:
        conn.load({"low": [1], "high": [2]}, {"low": ":air/height", "high": ":air/height"})
    assert ":db.error/invalid-load" == caught.value.code
    conn.transact([{":db/ident": ":air/runway", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/many"}])
    conn.transact([{":air/code": "known"}])
    conn.load({"c": ["known", "new"], "x": [1, 1], "y": [2, 2]}, {"c": ":air/code", "x": ":air/runway", "y": ":air/runway"})
    found = factstore.q("[:find ?c ?n :where [?e :air/code ?c] [?e :air/runway ?n]]", conn.db())
    assert {("known", 1), ("known", 2), ("new", 1), ("new", 2)} == found


def test_what_others_commit_before_a_batch_gets_its_turn_is_seen():
    """Another connection moves a code to another airport, and frees the old one, while the batch is being read."""
    with factstore.connect("memory:load-turn") as conn, factstore.connect("memory:load-turn") as other:
        conn.transact(SCHEMA)
        old, new = (conn.transact([{":db/id": "a", ":air/height": height}]).tempids["a"] for height in (1, 2))
        conn.transact([[":db/add", old, ":air/code", "HUB"]])

        def convert(code):
            if other.db().entid([":air/code", "HUB"]) == old:
                other.transact([[":db/retract", old, ":air/code", "HUB"], [":db/add", new, ":air/code", "HUB"]])
            return code

        rows = [{"code": "X", "hub": "HUB"}]
        conn.load(rows, {"code": ":air/code", "hub": Into(":air/hub", lookup=":air/code", convert=convert)})
        assert [new] == [datom.v for datom in conn.db().datoms(":aevt", ":air/hub")]


def test_an_attribute_that_others_alter_before_a_batch_gets_its_turn_is_loaded_as_it_is_then():
    with factstore.connect("memory:load-alter") as conn, factstore.connect("memory:load-alter") as other:
        conn.transact(SCHEMA)
        conn.transact([{":air/code": "X", ":air/height": 5}])

        def convert(height):
            if other.db().attribute(":air/height").unique is None:
                other.transact([{":db/id": ":air/height", ":db/unique": ":db.unique/value"}])
            return height

        with pytest.raises(factstore.UniqueConflict):
            conn.load([{"height": 5}], {"height": Into(":air/height", convert=convert)})
