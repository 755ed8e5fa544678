"""An idempotency key: a transaction is made once, whoever asks for it again and however often."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

import factstore

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
    with factstore.connect("memory:") as conn, pytest.raises(ValueError, match="a key is a string"):
        conn.transact([], key=key)
