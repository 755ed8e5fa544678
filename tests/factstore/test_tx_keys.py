"""An idempotency key: a transaction is made once, whoever asks for it again and however often."""

from __future__ import annotations

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
        assert (first.t, first.tempids, first.tx_data) == (again.t, again.tempids, again.tx_data)
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


def test_a_repeated_key_with_other_forms_changes_nothing_and_knows_no_tempids():
    conn = people()
    first = conn.transact(FORMS, key="k")
    again = conn.transact([{":db/id": "other", ":u/name": "Other"}], key="k")
    assert (first.tx_data, {}) == (again.tx_data, again.tempids)
    assert {} == conn.transact([{":db/id": "x", ":no/such": 1}], key="k").tempids


def test_the_very_first_transaction_may_have_a_key():
    with factstore.connect("memory:") as conn:
        forms = [{":db/id": "x", ":db/doc": "first"}]
        first, again = (conn.transact(forms, key="schema") for _ in range(2))
        assert (1, first.tempids, first.tx_data) == (conn.db().basis_t, again.tempids, again.tx_data)
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
