"""An idempotency key: a transaction is made once, whoever asks for it again and however often."""

from __future__ import annotations

import enum
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import factstore
from tests.factstore.tx import ANN, PEOPLE, changes, people

FORMS = [{":db/id": "new", ":u/name": "New", ":u/nick": ["a", "b"]}]
AGAIN = """
import sys, factstore
with factstore.connect(sys.argv[1]) as conn:
    report = conn.transact([{":db/id": "new", ":u/name": "New", ":u/nick": ["a", "b"]}], key="k")
    print(report.t, report.tempids["new"], conn.db().basis_t)
"""
SCHEMA = [
    {":db/ident": ":k/name", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":k/n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "keys.facts")


def test_a_repeated_key_commits_nothing_and_gives_the_first_report():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        first = conn.transact([{":db/id": "x", ":k/name": "a"}], key="order-17")
        conn.transact([{":k/name": "between"}])
        again = conn.transact([{":db/id": "x", ":k/name": "a"}], key="order-17")
        assert first.t == again.t
        assert first.tempids == again.tempids
        assert first.tx_data == again.tx_data
        assert 3 == conn.db().basis_t
        assert 1 == factstore.q('[:find (count ?e) . :where [?e :k/name "a"]]', again.db_after)


def test_another_key_is_another_transaction():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        assert conn.transact([{":k/n": 1}], key="a").t < conn.transact([{":k/n": 1}], key="b").t


def test_the_key_is_known_after_reopening_and_to_other_connections(path):
    with factstore.connect(path) as conn:
        conn.transact(SCHEMA)
        t = conn.transact([{":k/n": 1}], key="once").t
    with factstore.connect(path) as one, factstore.connect(path) as other:
        assert t == one.transact([{":k/n": 1}], key="once").t == other.transact([{":k/n": 1}], key="once").t
        assert t == one.db().basis_t


def test_many_threads_with_one_key_make_one_transaction(path):
    with factstore.connect(path, sync="none") as conn, factstore.connect(path, sync="none") as other, ThreadPoolExecutor(8) as pool:
        conn.transact(SCHEMA)
        made = list(pool.map(lambda i: (conn, other)[i % 2].transact([{":k/n": 1}], key="race").t, range(32)))
        assert {2} == set(made)
        assert 2 == conn.db().basis_t


def test_a_future_of_a_repeated_key_gives_the_first_report():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        futures = [conn.transact_async([{":k/n": 1}], key="later") for _ in range(3)]
        assert {2} == {future.result().t for future in futures}


def test_a_rejected_transaction_does_not_use_up_its_key():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        with pytest.raises(factstore.TransactError):
            conn.transact([{":k/n": "one"}], key="again")
        assert 2 == conn.transact([{":k/n": 1}], key="again").t


@pytest.mark.parametrize("key", ["", 7])
def test_a_key_is_a_string_that_is_not_empty(key):
    with factstore.connect("memory:") as conn, pytest.raises(factstore.TransactError, match="a key is a string") as caught:
        conn.transact([], key=key)
    assert ":db.error/invalid-option" == caught.value.code


OTHERS = {
    "another value": [{":db/id": "new", ":u/name": "Other", ":u/nick": ["a", "b"]}],
    "less": [{":db/id": "new", ":u/name": "New", ":u/nick": ["a"]}],
    "more": [*FORMS, {":u/name": "Another"}],
    "another entity": [{":db/id": ANN, ":u/name": "New", ":u/nick": ["a", "b"]}],
    "nothing": [],
    "forms that are rejected": [{":db/id": "x", ":no/such": 1}],
    "no forms at all": 7,
    "a comparison that does not hold": [[":db/cas", ANN, ":u/age", 29, 31]],
}


@pytest.mark.parametrize("other", OTHERS)
def test_a_key_used_again_with_other_forms_is_an_error_and_changes_nothing(other):
    conn = people()
    first = conn.transact(FORMS, key="k")
    with pytest.raises(factstore.TransactError, match="the key 'k' belongs to transaction t=") as error:
        conn.transact(OTHERS[other], key="k")
    assert ":db.error/key-reused" == error.value.code
    assert "conflict" == error.value.category
    assert "k" == error.value.key
    assert first.t == error.value.t
    assert isinstance(conn.transact_async(OTHERS[other], key="k").exception(60), factstore.TransactError)
    assert first.t == conn.db().basis_t


SAME = {
    "in another order": [{":u/name": "B", ":u/boss": "a"}, {":db/id": "a", ":u/name": "A"}],
    "by other tempids": [{":db/id": "z", ":u/name": "A"}, {":u/name": "B", ":u/boss": "z"}],
    "as lists": [[":db/add", "q", ":u/name", "B"], [":db/add", "q", ":u/boss", "r"], [":db/add", "r", ":u/name", "A"]],
    "nested": [{":u/name": "B", ":u/boss": {":db/id": "a", ":u/name": "A"}}],
}


@pytest.mark.parametrize("same", SAME)
def test_forms_that_say_the_same_are_the_same_forms(same):
    conn = people()
    first = conn.transact([{":db/id": "a", ":u/name": "A"}, {":db/id": "b", ":u/name": "B", ":u/boss": "a"}], key="k")
    assert first.tx_data == conn.transact(SAME[same], key="k").tx_data


def test_new_entities_that_refer_to_each_other_the_other_way_round_are_other_forms():
    conn = people()
    conn.transact([{":db/id": "a", ":u/name": "A"}, {":db/id": "b", ":u/name": "B", ":u/boss": "a"}], key="k")
    with pytest.raises(factstore.TransactError, match="made of other forms"):
        conn.transact([{":db/id": "a", ":u/name": "A", ":u/boss": "b"}, {":db/id": "b", ":u/name": "B"}], key="k")


def test_a_uuid_that_names_a_new_entity_may_be_another_one_each_time():
    conn = people()
    made = lambda: conn.transact([{":u/login": str(factstore.squuid()), ":u/name": "A"}], key="k")  # noqa: E731
    assert made().t == made().t
    with pytest.raises(factstore.TransactError, match="made of other forms"):
        conn.transact([{":u/login": "a name", ":u/name": "A"}], key="k")


@pytest.mark.parametrize(
    "meanwhile",
    [
        lambda conn, report: conn.excise(report.tempids["new"]),
        lambda conn, report: conn.transact([{":db/id": ":u/nick", ":db/ident": ":u/alias"}, {":db/id": ":u/name", ":db/noHistory": True}]),
        lambda conn, report: conn.transact([{":db/ident": ":u/made", ":db/valueType": ":db.type/instant", ":db/stamp": ":db.stamp/created",
                                             ":db/cardinality": ":db.cardinality/one"}]),
    ],
    ids=["an excision", "a renamed attribute", "a stamp"],
)  # fmt: skip
def test_what_was_done_to_the_store_since_is_not_held_against_a_repeat(meanwhile):
    conn = people()
    first = conn.transact(FORMS, key="k")
    meanwhile(conn, first)
    assert first.t == conn.transact(FORMS, key="k").t


def test_the_very_first_transaction_may_have_a_key():
    with factstore.connect("memory:") as conn:
        forms = [{":db/id": "x", ":db/doc": "first"}]
        first, again = (conn.transact(forms, key="schema") for _ in range(2))
        assert 1 == conn.db().basis_t
        assert first.tempids == again.tempids
        assert first.tx_data == again.tx_data
        assert [] == [datom for datom in again.db_before.datoms(":eavt") if datom.e in again.tempids.values()]


def test_a_condition_that_no_longer_holds_does_not_matter_once_it_was_made():
    conn = people()
    t = conn.db().basis_t
    forms = [[":db/cas", ANN, ":u/age", 30, 31]]
    first, again = (conn.transact(forms, key="k", if_unchanged_since=t) for _ in range(2))
    assert first.tx_data == again.tx_data


def test_a_key_leaves_the_schema_as_it_is():
    conn = people()
    assert conn.db().schema is conn.transact(FORMS, key="k").db_after.schema


def test_another_process_knows_the_key(tmp_path):
    path = str(tmp_path / "store")
    with factstore.connect(path) as conn:
        conn.transact(PEOPLE)
        first = conn.transact(FORMS, key="k")
        said = subprocess.run([sys.executable, "-c", AGAIN, path], capture_output=True, text=True, timeout=60, check=True).stdout
        assert [first.t, first.tempids["new"], conn.db().basis_t] == list(map(int, said.split()))


def test_a_key_survives_indexing_and_opening_again(tmp_path):
    path = str(tmp_path / "store")
    with factstore.connect(path) as conn:
        conn.transact(PEOPLE)
        first = changes(conn.transact(FORMS, key="k"))
        conn._committer.index()
    with factstore.connect(path) as conn:
        assert first == changes(conn.transact(FORMS, key="k"))
        assert 2 == conn.db().basis_t


class Names(enum.StrEnum):
    MONDAY = "monday"


def test_a_key_is_kept_as_the_text_that_it_is():
    with factstore.connect("memory:") as conn:
        conn.transact(SCHEMA)
        first = conn.transact([{":k/n": 1}], key=Names.MONDAY)
        assert first.t == conn.transact([{":k/n": 1}], key="monday").t == conn.transact([{":k/n": 1}], key=Names.MONDAY).t
        assert ["monday"] == [datom.v for datom in conn.db().datoms("aevt", ":db.tx/key")]
        for key in ("\ud800", b"k", True, 1.5, ["k"], factstore.Keyword(":k")):
            with pytest.raises(factstore.TransactError, match="a key is a string that is not empty") as caught:
                conn.transact([], key=key)
            assert ":db.error/invalid-option" == caught.value.code


def test_forms_that_come_once_are_committed_also_after_a_lost_race():
    with factstore.connect("memory:tx-key-race") as conn, factstore.connect("memory:tx-key-race") as other:
        conn.transact(SCHEMA)

        def lose(_db):
            if not other.db().view.holders_of(other.db().attribute(":k/n").id, 99):
                other.transact([{":k/n": 99}])
            return []

        factstore.register("race/lose", lose)
        for key in ("a", None):
            report = conn.transact((form for form in [["race/lose"], {":k/n": 1}]), key=key, if_unchanged_since=None)
            assert [1] == [datom.v for datom in report.datoms_of(":k/n")]
