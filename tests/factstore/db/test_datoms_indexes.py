"""Reading datoms in the order of an index."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest

import factstore
from factstore import Datom
from factstore.errors import DatabaseError
from factstore.reads.pull.along import index_pull

SCHEMA = """
[{:db/ident :i/code :db/valueType :db.type/string  :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :i/note :db/valueType :db.type/string  :db/cardinality :db.cardinality/one}
 {:db/ident :i/size :db/valueType :db.type/long    :db/cardinality :db.cardinality/one  :db/index true}
 {:db/ident :i/when :db/valueType :db.type/instant :db/cardinality :db.cardinality/one  :db/index true}
 {:db/ident :i/flag :db/valueType :db.type/boolean :db/cardinality :db.cardinality/one  :db/index true}
 {:db/ident :i/tag  :db/valueType :db.type/keyword :db/cardinality :db.cardinality/many :db/index true}
 {:db/ident :i/of   :db/valueType :db.type/ref     :db/cardinality :db.cardinality/many}]
"""
ITEMS = """
[{:db/id "a" :i/code "A" :i/size 5 :i/tag [:x :y] :i/flag false :i/when #inst "2020-01-01"}
 {:db/id "b" :i/code "B" :i/size 3 :i/tag [:x]    :i/flag true  :i/of ["a"]}
 {:db/id "c" :i/code "C" :i/size -1 :i/of ["a" "b"] :i/note "n"}]
"""


class Items:
    def __init__(self, conn):
        self.conn = conn
        conn.transact(SCHEMA)
        report = conn.transact(ITEMS)
        self.db, self.ids = report.db_after, report.tempids
        self.names = {eid: name for name, eid in self.ids.items()}

    def show(self, datoms):
        """Datoms as (entity, attribute, value) with the entities' tempids."""
        shown = []
        for datom in datoms:
            value = self.names.get(datom.v, datom.v) if type(datom.v) is int else datom.v
            shown.append((self.names.get(datom.e, datom.e), str(self.db.ident(datom.a)), value))
        return shown


@pytest.fixture(scope="module")
def items():
    with factstore.connect("memory:") as conn:
        yield Items(conn)


def test_a_datom_is_a_tuple_of_five_with_names(items):
    (datom,) = items.db.datoms("avet", ":i/code", "A")
    assert Datom(items.ids["a"], items.db.entid(":i/code"), "A", (1 << 42) | 2, True) == datom
    assert (datom.e, datom.a, datom.v, datom.tx, datom.added) == tuple(datom)


def test_eavt_is_everything_about_an_entity_by_attribute(items):
    expected = [("b", ":i/code", "B"), ("b", ":i/size", 3), ("b", ":i/flag", True), ("b", ":i/tag", ":x"), ("b", ":i/of", "a")]
    assert expected == items.show(items.db.datoms("eavt", items.ids["b"]))
    assert expected[1:2] == items.show(items.db.datoms("eavt", [":i/code", "B"], ":i/size"))
    assert [("c", ":i/of", "b")] == items.show(items.db.datoms("eavt", items.ids["c"], ":i/of", [":i/code", "B"]))
    assert [] == list(items.db.datoms("eavt", items.ids["c"], ":i/of", items.ids["c"]))


def test_aevt_is_an_attribute_by_entity(items):
    assert [("a", ":i/size", 5), ("b", ":i/size", 3), ("c", ":i/size", -1)] == items.show(items.db.datoms("aevt", ":i/size"))
    assert [("a", ":i/tag", ":x"), ("a", ":i/tag", ":y")] == items.show(items.db.datoms(":aevt", ":i/tag", items.ids["a"]))


def test_avet_is_an_attribute_by_value(items):
    assert [("c", ":i/size", -1), ("b", ":i/size", 3), ("a", ":i/size", 5)] == items.show(items.db.datoms("avet", ":i/size"))
    assert [("a", ":i/tag", ":x"), ("b", ":i/tag", ":x")] == items.show(items.db.datoms("avet", ":i/tag", ":x"))
    assert [("a", ":i/tag", ":x")] == items.show(items.db.datoms("avet", ":i/tag", ":x", items.ids["a"]))
    assert [("a", ":i/flag", False)] == items.show(items.db.datoms("avet", ":i/flag", False))
    assert [("a", ":i/when", datetime(2020, 1, 1, tzinfo=UTC))] == items.show(items.db.datoms("avet", ":i/when"))


def test_a_value_of_another_type_is_no_value_of_the_attribute(items):
    for value in (5.0, "5", True, None):
        assert [] == list(items.db.datoms("avet", ":i/size", value))
    assert [] == list(items.db.datoms("avet", ":i/flag", 0))


def test_vaet_is_who_refers_to_an_entity(items):
    assert [("b", ":i/of", "a"), ("c", ":i/of", "a")] == items.show(items.db.datoms("vaet", items.ids["a"]))
    assert [("c", ":i/of", "b")] == items.show(items.db.datoms("vaet", [":i/code", "B"], ":i/of"))


def test_a_transaction_can_be_the_last_component(items):
    tx = (1 << 42) | 2
    assert 1 == len(list(items.db.datoms("eavt", items.ids["b"], ":i/size", 3, tx)))
    assert [] == list(items.db.datoms("eavt", items.ids["b"], ":i/size", 3, (1 << 42) | 1))


@pytest.mark.parametrize("index", ["eavt", "aevt", "avet", "vaet"])
def test_an_index_without_components_is_all_of_it_in_order(items, index):
    datoms = list(items.db.datoms(index))
    first = [{"eavt": datom.e, "vaet": datom.v}.get(index, datom.a) for datom in datoms]
    assert first == sorted(first)
    shown = items.show(datoms)
    assert [index != "vaet", index != "avet", index in ("eavt", "aevt")] == [
        fact in shown for fact in (("a", ":i/size", 5), ("b", ":i/of", "a"), ("c", ":i/note", "n"))
    ]


def test_seeking_starts_at_or_after_and_runs_to_the_end_of_the_index(items):
    found = items.show(items.db.seek_datoms("avet", ":i/size", 0))
    assert [("b", ":i/size", 3), ("a", ":i/size", 5), ("a", ":i/when", datetime(2020, 1, 1, tzinfo=UTC))] == found[:3]
    assert ("a", ":i/flag", False) == found[3]
    assert [("c", ":i/note", "n")] == items.show(islice(items.db.seek_datoms("aevt", ":i/note", items.ids["a"]), 1))
    assert [("b", ":i/size", 3)] == items.show(islice(items.db.seek_datoms("eavt", items.ids["b"], ":i/note"), 1))
    assert ("a", ":i/tag", ":y") == items.show(items.db.seek_datoms("avet", ":i/tag", ":y"))[0]


def test_seeking_backwards_starts_at_or_before_and_runs_to_the_start(items):
    found = items.show(items.db.rseek_datoms("avet", ":i/size", 4))
    assert [("b", ":i/size", 3), ("c", ":i/size", -1), ("c", ":i/code", "C")] == found[:3]
    assert list(reversed(list(items.db.datoms("aevt")))) == list(items.db.rseek_datoms("aevt"))


def test_an_index_range_includes_its_start_and_excludes_its_end(items):
    assert [("c", ":i/size", -1), ("b", ":i/size", 3)] == items.show(items.db.index_range(":i/size", -1, 5))
    assert [("b", ":i/size", 3), ("a", ":i/size", 5)] == items.show(items.db.index_range(":i/size", 0))
    assert [("c", ":i/size", -1)] == items.show(items.db.index_range(":i/size", None, 3))
    assert 3 == len(list(items.db.index_range(":i/size")))
    assert [] == list(items.db.index_range(":i/size", 5, -1))
    assert [("B")] == [datom.v for datom in items.db.index_range(":i/code", "Aa", "C")]


def test_reads_are_lazy_and_stay_valid_after_newer_transactions():
    with factstore.connect("memory:") as conn:
        items = Items(conn)
        reading = items.db.datoms("aevt", ":i/size")
        first = next(reading)
        conn.transact([[":db/add", items.ids["b"], ":i/size", 99], [":db/retractEntity", items.ids["c"]]])
        assert [5, 3, -1] == [datom.v for datom in (first, *reading)]


def test_a_retracted_fact_is_in_no_index_of_the_present():
    with factstore.connect("memory:") as conn:
        items = Items(conn)
        db = conn.transact([[":db/retractEntity", items.ids["a"]]]).db_after
        gone = items.ids["a"]
        for index in ("eavt", "aevt", "avet", "vaet"):
            assert not [datom for datom in db.datoms(index) if gone in (datom.e, datom.v) and type(datom.v) is int]
        history = [(datom.v, datom.added) for datom in db.history().datoms("eavt", gone, ":i/size")]
        assert [(5, False), (5, True)] == history


@pytest.mark.parametrize(
    ("code", "read"),
    [
        (":db.error/unknown-index", lambda db: db.datoms("vtea")),
        (":db.error/not-an-attribute", lambda db: db.datoms("aevt", ":i/sise")),
        (":db.error/not-an-attribute", lambda db: db.datoms("eavt", 1, ":i/sise")),
        (":db.error/attribute-not-indexed", lambda db: db.datoms("avet", ":i/note")),
        (":db.error/attribute-not-indexed", lambda db: db.seek_datoms("avet", ":i/note", "a")),
        (":db.error/attribute-not-indexed", lambda db: db.index_range(":i/note", "a", "b")),
        (":db.error/not-an-attribute", lambda db: db.index_range(":i/sise")),
        (":db.error/wrong-type-for-attribute", lambda db: db.index_range(":i/size", "a")),
        (":db.error/lookup-ref-attr-not-unique", lambda db: db.datoms("eavt", [":i/size", 5])),
        (":db.error/invalid-components", lambda db: db.seek_datoms("eavt", [":i/code", "Z"])),
        (":db.error/invalid-components", lambda db: db.seek_datoms("avet", ":i/size", "a")),
        (":db.error/invalid-components", lambda db: db.rseek_datoms("eavt", ":no/body")),
    ],
)
def test_a_read_that_means_nothing_is_refused_before_the_first_datom(items, code, read):
    with pytest.raises(DatabaseError) as caught:
        read(items.db)
    assert code == caught.value.code


def test_an_unknown_entity_has_no_datoms(items):
    assert [] == list(items.db.datoms("eavt", 1 << 43))
    assert [] == list(items.db.datoms("eavt", [":i/code", "Z"]))
    assert [] == list(items.db.datoms("eavt", ":no/ident"))


def test_names_resolve_or_are_none(items):
    db, ids = items.db, items.ids
    assert ids["a"] == db.entid(ids["a"])
    assert ids["a"] == db.entid((":i/code", "A"))
    assert db.entid(":no/ident") is None
    assert db.entid([":i/code", "Z"]) is None
    assert ":i/code" == db.ident(db.entid(":i/code"))
    assert db.ident(ids["a"]) is None


# -- pulling along an index


def test_an_index_pull_along_values_is_a_pull_of_each_entity_in_their_order(items):
    found = index_pull(items.db, index="avet", selector="[:i/code]", start=[":i/size"])
    assert ["C", "B", "A"] == [item[":i/code"] for item in found]
    found = index_pull(items.db, index=":avet", selector=[":i/code"], start=[":i/size", 3])
    assert ["B", "A"] == [item[":i/code"] for item in found]
    found = index_pull(items.db, index="avet", selector="[:i/code]", start=[":i/size", 3], reverse=True)
    assert ["B", "C"] == [item[":i/code"] for item in found]
    found = index_pull(items.db, index="avet", selector="[:i/code]", start=[":i/size"], offset=1, limit=1)
    assert ["B"] == [item[":i/code"] for item in found]


def test_an_index_pull_along_references_is_a_pull_of_what_is_referred_to(items):
    found = index_pull(items.db, index="aevt", selector="[:i/code]", start=[":i/of", items.ids["c"]])
    assert ["A", "B"] == [item[":i/code"] for item in found]


def test_an_index_pull_reads_no_further_than_it_is_asked_to():
    with factstore.connect("memory:") as conn:
        Items(conn)
        db = conn.transact([{":i/code": f"{n:04}", ":i/size": n} for n in range(10, 1000)]).db_after
        pulled = []

        def kept(_, datom):
            if datom.a == db.entid(":i/code"):
                pulled.append(datom.e)
            return True

        assert 11 == next(index_pull(db.filter(kept), index="avet", selector="[:i/size]", start=[":i/size", 11]))[":i/size"]
        assert 200 > len(pulled)


@pytest.mark.parametrize(("index", "start"), [("eavt", [":i/size"]), ("avet", []), ("aevt", [":i/size"])])
def test_an_index_pull_along_nothing_is_refused(items, index, start):
    with pytest.raises(factstore.PullError) as caught:
        index_pull(items.db, index=index, selector="[*]", start=start)
    assert ":db.error/invalid-index-pull" == caught.value.code


def test_a_database_from_before_an_attribute_was_declared_reads_as_ever():
    with factstore.connect("memory:") as conn:
        db = conn.db()
        expected = {index: list(db.datoms(index)) for index in ("eavt", "aevt", "avet", "vaet")}
        conn.transact(SCHEMA)
        conn.transact(ITEMS)
        assert expected == {index: list(db.datoms(index)) for index in expected}


def test_datoms_are_counted_and_a_whole_attribute_without_going_through_it(items):
    assert [1, 3, 3, 0] == [
        items.db.datoms("avet", ":i/size", 5).count(),
        items.db.datoms("aevt", ":i/size").count(),
        items.db.datoms("avet", ":i/size").count(),
        items.db.datoms("eavt", [":i/code", "Z"]).count(),
    ]
    assert items.db.index_range(":i/size", 3, 5).count() == len(list(items.db.index_range(":i/size", 3, 5)))


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("index", ["eavt", "aevt", "avet", "vaet"])
def test_seeking_from_any_datom_is_the_rest_of_the_index(items, index, backwards):
    whole = list(items.db.datoms(index))
    places = {"eavt": "eav", "aevt": "aev", "avet": "ave", "vaet": "vae"}[index]
    for i, datom in enumerate(whole[::7]):
        start = [getattr(datom, place) for place in places]
        seek = items.db.rseek_datoms if backwards else items.db.seek_datoms
        assert (whole[: 7 * i + 1][::-1] if backwards else whole[7 * i :]) == list(seek(index, *start))
