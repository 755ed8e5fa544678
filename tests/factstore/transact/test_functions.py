"""Transaction functions: registered callables, called by name with the database before."""

from __future__ import annotations

import pytest

import factstore
from factstore import Symbol, TransactError
from factstore.transact import Cancelled, cancel, prepare
from tests.factstore.tx import ANN, BEN, people, refused, value, values


@pytest.fixture(autouse=True)
def _functions():
    def birthday(db, who, years):
        return [[":db/add", who, ":u/age", value(db, who, ":u/age") + years]]

    def party(db, *guests):
        return [["tests/birthday", guest, 1] for guest in guests] + [{":db/id": "datomic.tx", ":u/name": "party"}]

    def refuse(db, reason):
        cancel("not today", category="conflict", reason=reason)

    factstore.register("tests/birthday", birthday)
    factstore.register("tests/party", party)
    factstore.register("tests/refuse", refuse)
    factstore.register("tests/nothing", lambda db: None)
    factstore.register("tests/text", lambda db: '[{:u/login "text"}]')
    factstore.register("tests/again", lambda db: [["tests/again"]])
    factstore.register("tests/broken", lambda db: 1 // 0)
    factstore.register("tests/number", lambda db: 5)
    factstore.register("tests/wrong", lambda db: [{":u/login": "x", ":u/bags": [{":u/age": "old"}]}])


def test_a_function_reads_the_database_before_and_returns_forms():
    conn = people()
    conn.transact([["tests/birthday", ANN, 3], [":db/add", BEN, ":u/age", 50]])
    assert 33 == value(conn.db(), ANN, ":u/age")
    assert 50 == value(conn.db(), BEN, ":u/age")


def test_a_function_does_not_see_the_other_forms():
    conn = people()
    refused(conn, [["tests/birthday", ANN, 1], ["tests/birthday", ANN, 2]], ":db.error/datoms-conflict")
    conn.transact([["tests/birthday", ANN, 1], ["tests/birthday", ANN, 1]])
    assert 31 == value(conn.db(), ANN, ":u/age")


@pytest.mark.parametrize("name", ["tests/party", ":tests/party", Symbol("tests/party")])
def test_functions_call_functions(name):
    conn = people()
    report = conn.transact([[name, ANN, BEN]])
    assert 31 == value(conn.db(), ANN, ":u/age")
    assert 18 == value(conn.db(), BEN, ":u/age")
    assert "party" == value(conn.db(), report.tx_data[0].tx, ":u/name")


def test_a_function_may_return_nothing_or_text():
    conn = people()
    conn.transact([["tests/nothing"], ["tests/text"]])
    assert conn.db().entid([":u/login", "text"]) is not None


def test_tempids_of_a_function_are_those_of_the_transaction():
    factstore.register("tests/friend", lambda db, name: [{":db/id": name, ":u/age": 1}])
    conn = people()
    ids = conn.transact([["tests/friend", "f"], {":u/login": "ann", ":u/pals": "f"}]).tempids
    assert {ids["f"]} == values(conn.db(), ANN, ":u/pals")


def test_an_unknown_function_is_refused_with_what_is_near():
    error = refused(people(), [[Symbol("tests/birthdya"), ANN, 3]], ":db.error/unknown-tx-function")
    assert "tests/birthday" in error.nearest


def test_a_function_that_fails_refuses_the_transaction():
    conn = people()
    assert "ZeroDivisionError" in str(refused(conn, [["tests/broken"]], ":db.error/tx-function-failed"))
    refused(conn, [["tests/number"]], ":db.error/tx-function-failed")
    with pytest.raises(TransactError) as caught:
        conn.transact([["tests/broken"]])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_function_that_calls_itself_without_end_is_stopped():
    assert "at most 100 nested calls" in str(refused(people(), [["tests/again"]], ":db.error/invalid-tx-form"))


def test_a_function_that_calls_itself_twice_is_stopped_at_the_first_call_that_is_too_deep():
    calls = []

    def twice(db, depth):
        calls.append(depth)
        return [["tests/twice", depth + 1]] * 2 if depth < stop else []

    registered = {"tests/twice": twice}.get
    for stop, expected in [(10**6, "at most 100 nested calls"), (20, "at most 100,000 calls")]:
        calls.clear()
        with pytest.raises(TransactError, match=expected) as caught:
            prepare(people().db(), [["tests/twice", 0]], now=0, functions=registered)
        assert ":db.error/invalid-tx-form" == caught.value.code
        assert len(calls) <= 2 * (100 if stop > 20 else 100_001)  # the direct way, and then the stages
    stop = 0
    prepare(people().db(), [["tests/twice", 0]] * 100_001, now=0, functions=registered)  # calls by the caller have no limit


def test_a_function_can_cancel_with_data():
    error = refused(people(), [["tests/refuse", "rain"]], ":db.error/cancelled")
    assert isinstance(error, Cancelled)
    assert "conflict" == error.category
    assert "rain" == error.reason
    assert "conflict" == error.to_dict()["category"]
    with pytest.raises(ValueError, match="busy"):
        cancel("no", category="busy")


def test_what_is_wrong_in_the_result_of_a_function_is_named_by_its_path():
    error = refused(people(), [[":db/add", ANN, ":u/age", 1], ["tests/wrong"]], ":db.error/wrong-type-for-attribute")
    assert "tx-data[1] → tests/wrong[0][':u/bags'][0][':u/age']" == error.path
