"""Compare and swap."""

from __future__ import annotations

import pytest

from factstore import CasFailed, t_to_tx
from tests.factstore.tx import ANN, BEN, assert_datoms, people, refused, value


@pytest.mark.parametrize("op", [":db/cas", ":db.fn/cas"])
def test_the_expected_value_is_swapped(op):
    conn = people()
    assert_datoms(conn.transact([[op, ANN, ":u/age", 30, 31]]), "[[?ann :u/age 30 ?tx false] [?ann :u/age 31 ?tx true]]")


def test_another_value_than_the_expected_is_refused_with_both():
    error = refused(people(), [[":db/cas", ANN, ":u/age", 29, 31], [":db/add", BEN, ":u/age", 99]], ":db.error/cas-failed")
    assert isinstance(error, CasFailed)
    assert 29 == error.expected
    assert 30 == error.found
    assert "conflict" == error.category
    assert "tx-data[0]" == error.path
    assert "since t=2" in error.message
    assert (30, t_to_tx(2), True) == error.datom[2:]


def test_none_expects_the_attribute_to_be_absent():
    conn = people()
    conn.transact([[":db/cas", ANN, ":u/mail", None, "ann@x"]])
    assert "ann@x" == value(conn.db(), ANN, ":u/mail")
    assert "absent" in str(refused(conn, [[":db/cas", ANN, ":u/mail", None, "b"]], ":db.error/cas-failed"))
    assert "absent" in str(refused(conn, [[":db/cas", BEN, ":u/name", "x", "y"]], ":db.error/cas-failed"))


def test_false_is_not_absent():
    conn = people()
    conn.transact([[":db/cas", ANN, ":u/ok", None, False]])
    refused(conn, [[":db/cas", ANN, ":u/ok", None, True]], ":db.error/cas-failed")
    conn.transact([[":db/cas", ANN, ":u/ok", False, True]])
    assert value(conn.db(), ANN, ":u/ok") is True


def test_swapping_for_the_same_value_adds_nothing():
    assert_datoms(people().transact([[":db/cas", ANN, ":u/age", 30, 30]]), "[]")


def test_references_are_compared_as_entities():
    conn = people()
    conn.transact([[":db/cas", BEN, ":u/boss", ANN, BEN]])
    assert conn.db().entid(BEN) == value(conn.db(), BEN, ":u/boss")


def test_every_cas_reads_the_database_before():
    conn = people()
    refused(conn, [[":db/cas", ANN, ":u/age", 30, 31], [":db/cas", ANN, ":u/age", 31, 32]], ":db.error/cas-failed")
    refused(conn, [[":db/cas", ANN, ":u/age", 30, 31], [":db/cas", ANN, ":u/age", 30, 32]], ":db.error/datoms-conflict")
    conn.transact([[":db/cas", ANN, ":u/age", 30, 31], [":db/cas", ANN, ":u/age", 30, 31]])
    assert 31 == value(conn.db(), ANN, ":u/age")


def test_a_cas_that_cannot_mean_anything_is_refused():
    conn = people()
    refused(conn, [[":db/cas", ANN, ":u/age", 30, None]], ":db.error/nil-value")
    refused(conn, [[":db/cas", ANN, ":u/age", 30, "x"]], ":db.error/wrong-type-for-attribute")
    refused(conn, [[":db/cas", ANN, ":u/age", "x", 30]], ":db.error/wrong-type-for-attribute")
    refused(conn, [[":db/cas", ANN, ":u/nick", "a1", "a3"]], ":db.error/invalid-cas-many")
    refused(conn, [[":db/cas", [":u/login", "nobody"], ":u/age", None, 1]], ":db.error/not-an-entity")
