"""Uniqueness, in the database after the transaction."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from factstore import UniqueConflict, tx_to_t
from tests.factstore.tx import ANN, BEN, assert_datoms, changes, people, refused, value, world


def test_a_unique_value_of_another_entity_is_refused_with_both():
    conn = people()
    error = refused(conn, [[":db/add", ANN, ":u/mail", "ben@x"]], ":db.error/unique-conflict")
    assert isinstance(error, UniqueConflict)
    ann, ben = conn.db().entid(ANN), conn.db().entid(BEN)
    assert "conflict" == error.category
    assert "ben@x" == error.value
    assert (ann, ben) == error.entities
    assert [(ann, ":u/mail", "ben@x"), (ben, ":u/mail", "ben@x")] == [datom[:3] for datom in error.datoms]
    assert "tx-data[0]" == error.path
    assert ("since t=2" in error.message) is True


def test_unique_value_does_not_upsert():
    refused(people(), [{":db/id": "new", ":u/mail": "ben@x", ":u/age": 4}], ":db.error/unique-conflict")


def test_saying_again_what_an_entity_has_is_no_conflict():
    assert_datoms(people().transact([[":db/add", BEN, ":u/mail", "ben@x"]]), "[]")


def test_one_unique_value_for_two_entities_of_one_transaction_is_refused():
    error = refused(people(), [{":u/login": "a", ":u/mail": "m"}, {":u/login": "b", ":u/mail": "m"}], ":db.error/unique-conflict")
    assert "in this very transaction" in error.message


def test_a_unique_value_can_move_within_a_transaction():
    conn = people()
    conn.transact([[":db/add", ANN, ":u/mail", "ben@x"], [":db/retract", BEN, ":u/mail", "ben@x"]])
    assert "ben@x" == value(conn.db(), ANN, ":u/mail")
    assert value(conn.db(), BEN, ":u/mail") is None


def test_unique_values_can_be_exchanged_by_replacing_them():
    conn = people()
    conn.transact([[":db/add", ANN, ":u/mail", "ann@x"]])
    conn.transact([[":db/add", ANN, ":u/mail", "ben@x"], [":db/add", BEN, ":u/mail", "ann@x"]])
    assert "ben@x" == value(conn.db(), ANN, ":u/mail")
    assert "ann@x" == value(conn.db(), BEN, ":u/mail")


def test_a_freed_value_can_be_taken():
    conn = people()
    conn.transact([[":db/retract", BEN, ":u/mail"]])
    conn.transact([[":db/add", ANN, ":u/mail", "ben@x"]])
    assert "ben@x" == value(conn.db(), ANN, ":u/mail")


def test_each_value_of_a_unique_attribute_of_many_is_unique_and_upserts():
    schema = """[{:db/ident :t/code :db/valueType :db.type/string :db/cardinality :db.cardinality/many :db/unique :db.unique/identity}
                 {:db/ident :t/k :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]"""
    conn = world([{":db/id": "e", ":t/code": ["p", "q"]}, {":t/code": "r"}], schema=schema)
    conn.transact([{":t/code": "q", ":t/k": 7}])
    assert 7 == value(conn.db(), [":t/code", "p"], ":t/k")
    refused(conn, [{":t/code": ["q", "r"]}], ":db.error/upsert-conflict")
    refused(conn, [[":db/add", [":t/code", "p"], ":t/code", "r"]], ":db.error/unique-conflict")
    conn.transact([{":t/code": ["q", "s"]}])
    assert conn.db().entid([":t/code", "p"]) == conn.db().entid([":t/code", "s"])


def test_many_unique_values_at_once_are_checked_like_few():
    conn = people()
    conn.transact([{":u/login": f"n{i}", ":u/mail": f"m{i}"} for i in range(300)])
    report = conn.transact([{":u/login": f"n{i}", ":u/age": i} for i in range(300)])
    assert 300 == len(changes(report))
    assert conn.db().next_n == report.db_before.next_n
    forms = [{":u/login": f"o{i}", ":u/mail": f"m{i}"} for i in range(300)]
    assert 300 == len(refused(conn, forms, ":db.error/unique-conflict").problems)


def test_a_conflict_tells_both_datoms_and_their_transactions():
    conn = people()
    error = refused(conn, [{":db/id": ANN, ":u/mail": "ben@x"}], ":db.error/unique-conflict")
    known = next(conn.db().datoms(":aevt", ":u/mail"))
    assert [conn.db().next_t, tx_to_t(known.tx)] == [tx_to_t(datom[3]) for datom in error.datoms]
    conn.transact([{":acct/owner": ANN, ":acct/sum": 1}])
    error = refused(conn, [{":u/login": "ben", ":acct/owner": ANN}], ":db.error/upsert-conflict")
    assert {
        (d.e, str(conn.db().ident(d.a)), d.v, d.tx, True) for a in (":u/login", ":acct/owner") for d in conn.db().datoms(":aevt", a)
    } >= set(error.datoms)


@given(st.permutations(range(12)), st.integers(1, 12))
def test_each_of_many_conflicts_names_its_own_place(order, taken):
    conn = people()
    conn.transact([{":u/login": f"n{i}", ":u/mail": f"m{i}"} for i in range(taken)])
    forms = [{":u/login": f"o{i}", ":u/mail": f"m{i}"} for i in order]
    problems = refused(conn, forms, ":db.error/unique-conflict").problems
    assert {f"m{i}" for i in range(taken)} == {problem["value"] for problem in problems}
    assert all(f"m{order[int(problem['path'].split('[')[1].split(']')[0])]}" == problem["value"] for problem in problems)
