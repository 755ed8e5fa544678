"""List forms, the shape of tx-data, and the report."""

from __future__ import annotations

import pytest

import factstore
from factstore import Keyword, TransactError
from tests.factstore.tx import ANN, BEN, assert_datoms, changes, people, refused, value, values


def test_the_order_of_forms_means_nothing():
    conn = people()
    forms = [[":db/add", "k", ":u/boss", "m"], {":db/id": "m", ":u/login": "mo"}, {":db/id": "k", ":u/login": "kid"}]
    for tx_data in (forms, forms[::-1]):
        after = factstore.with_(conn.db(), tx_data).db_after
        assert after.entid([":u/login", "mo"]) == value(after, [":u/login", "kid"], ":u/boss")


def test_edn_text_and_python_data_say_the_same():
    conn = people()
    text = factstore.with_(conn.db(), '[[:db/add [:u/login "ann"] :u/age 31]]')
    data = factstore.with_(conn.db(), [(":db/add", (":u/login", "ann"), Keyword(":u/age"), 31)])
    assert changes(text) == changes(data)


def test_any_iterable_of_forms_is_tx_data():
    conn = people()
    conn.transact([":db/add", ANN, ":u/nick", nick] for nick in ("x", "y"))
    assert {"a1", "a2", "x", "y"} == values(conn.db(), ANN, ":u/nick")


@pytest.mark.parametrize("tx_data", [{":u/login": "x"}, 5, b"[]", "{:u/login 1}"])
def test_tx_data_that_is_no_list_of_forms_is_refused(tx_data):
    error = refused(people(), tx_data, ":db.error/invalid-tx-data")
    assert "list of forms" in str(error)


@pytest.mark.parametrize(
    "form",
    [
        *(42, "x", None, [], [{":u/login": "x"}], [":db/upsert", "n", ":u/age", 1], [None]),
        *([":db/add"], [":db/add", "x", ":u/age"], [":db/add", "x", ":u/age", 1, 2], [":db/retract", "x"], [":db/retractEntity"]),
        *([":db/cas", ANN, ":u/age", 30], [":db/add", 1.5, ":u/age", 1], [":db/add", None, ":u/age", 1], [":db/add", True, ":u/age", 1]),
    ],
)
def test_a_form_of_another_shape_is_refused_and_named(form):
    error = refused(people(), [[":db/add", ANN, ":u/age", 5], form], ":db.error/invalid-tx-form")
    assert "tx-data[1]" == error.path
    assert "expected" in error.message


def test_a_redundant_assertion_adds_nothing_and_keeps_its_transaction():
    conn = people()
    before = {d.v: d.tx for d in conn.db().datoms(":eavt", ANN)}
    report = conn.transact([[":db/add", ANN, ":u/age", 30], {":u/login": "ann", ":u/nick": ["a1"]}])
    assert_datoms(report, "[]")
    assert before == {d.v: d.tx for d in conn.db().datoms(":eavt", ANN)}


def test_an_empty_transaction_is_one_with_its_instant():
    report = people().transact([])
    assert [":db/txInstant"] == [report.db_after.ident(d.a) for d in report.tx_data]


def test_replacing_a_value_of_cardinality_one_retracts_the_old_one():
    conn = people()
    assert_datoms(conn.transact([[":db/add", ANN, ":u/age", 31]]), "[[?ann :u/age 30 ?tx false] [?ann :u/age 31 ?tx true]]")


def test_equal_forms_are_one():
    conn = people()
    assert 1 == len(changes(conn.transact([[":db/add", ANN, ":u/nick", "n"]] * 3)))


def test_false_is_a_value():
    conn = people()
    conn.transact([[":db/add", ANN, ":u/ok", False]])
    assert value(conn.db(), ANN, ":u/ok") is False


def test_facts_about_the_transaction_itself_go_to_its_entity():
    conn = people()
    report = conn.transact([{":db/id": "datomic.tx", ":u/name": "import", ":u/boss": ANN}, [":db/add", BEN, ":u/boss", "datomic.tx"]])
    tx = report.tx_data[0].tx
    assert "import" == value(conn.db(), tx, ":u/name")
    assert tx == value(conn.db(), BEN, ":u/boss")


def test_tempids_that_begin_with_datomic_are_reserved():
    assert "datomic.tx" in str(refused(people(), [[":db/add", "datomic.db", ":u/age", 1]], ":db.error/invalid-tempid"))


def test_an_id_that_was_never_given_out_is_refused():
    conn = people()
    for eid in (499999999, 77, conn.db().entid(ANN) + 1000, 4398046511104 + 999):
        error = refused(conn, [[":db/add", eid, ":u/age", 1]], ":db.error/invalid-entity-id")
        assert str(eid) in str(error)
        refused(conn, [[":db/add", ANN, ":u/boss", eid]], ":db.error/invalid-entity-id")


def test_the_report_has_both_databases_and_never_changes():
    conn = people()
    report = conn.transact([[":db/add", ANN, ":u/age", 31]])
    assert 30 == value(report.db_before, ANN, ":u/age")
    assert 31 == value(report.db_after, ANN, ":u/age")
    assert report.tx_data is report.tx_data
    with pytest.raises(AttributeError):
        report.tempids = {}


def test_what_is_wrong_in_one_stage_is_told_at_once():
    error = refused(
        people(),
        [{":u/nope": 1}, [":db/add", "x", ":u/age", "old"], [":db/add", [":u/login", "nobody"], ":u/age", 1]],
        ":db.error/not-an-entity",
    )
    assert [":db.error/not-an-entity", ":db.error/wrong-type-for-attribute", ":db.error/not-an-entity"] == [
        p["code"] for p in error.problems
    ]
    assert ["tx-data[0][':u/nope']", "tx-data[1]", "tx-data[2]"] == [p["path"] for p in error.problems]
    assert "2 more problems" in error.message


def test_every_error_can_be_written_down():
    error = refused(people(), [{":u/age": "old"}], ":db.error/wrong-type-for-attribute")
    told = error.to_dict()
    assert ":db.error/wrong-type-for-attribute" == told["code"]
    assert "incorrect" == told["category"]
    assert ":u/age" == told["attribute"]
    assert "old" == told["got"]
    assert isinstance(error, TransactError)
