"""Names that need no database."""

from __future__ import annotations

import pytest

import factstore
from factstore import DatabaseError, Keyword, part, resolve_tempid, t_to_tx, tempid, tx_to_t
from tests.factstore.tx import ANN, people


def test_t_and_the_entity_of_its_transaction_name_each_other():
    report = people().transact([])
    assert report.tx_data[0].tx == t_to_tx(report.t)
    assert report.t == tx_to_t(report.tx_data[0].tx)
    assert report.t == tx_to_t(report.t)


def test_every_entity_lies_in_a_partition():
    conn = people()
    db = conn.db()
    ids = [db.entid(":u/age"), conn.transact([]).tx_data[0].e, db.entid(ANN)]
    assert [Keyword(f":db.part/{name}") for name in ("db", "tx", "user")] == [part(eid) for eid in ids]
    for eid in (-1, 9 << 42, True, "x"):
        with pytest.raises(DatabaseError):
            part(eid)


def test_tempids_are_told_apart_and_resolved():
    one, other = tempid(), tempid()
    report = people().transact([{":db/id": one, ":u/age": 1}, {":db/id": other, ":u/boss": one}])
    e = resolve_tempid(report.tempids, one)
    assert {e} == {d.v for d in report.datoms_of(":u/boss")}
    assert (e != resolve_tempid(report.tempids, other)) is True
    assert resolve_tempid(report.tempids, "nobody") is None


def test_the_next_t_is_the_next_transactions():
    conn = people()
    db = conn.db()
    assert db.next_t == conn.transact([]).t
    assert db.next_t == factstore.with_(db, []).t
