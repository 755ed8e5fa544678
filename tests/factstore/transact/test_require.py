""":db/require: what must be true of the database after a transaction, for it to be made."""

from __future__ import annotations

import factstore
from factstore import q, register
from tests.factstore.tx import ANN, BEN, people, refused, value

OLDEST = "[:find (max ?age) . :where [_ :u/age ?age]]"
register("require/oldest-below", lambda db, limit: q(OLDEST, db) < limit)
register("require/something", lambda db: 1)
register("require/broken", lambda db: 1 // 0)


def test_a_requirement_that_holds_leaves_no_trace():
    conn = people()
    report = conn.transact([[":db/add", BEN, ":u/age", 18], [":db/require", "require/oldest-below", 31]])
    assert [":db/txInstant", ":u/age", ":u/age"] == [str(report.db_after.ident(d.a)) for d in report.tx_data]


def test_a_requirement_is_asked_of_the_database_after():
    conn = people()
    forms = [[":db/require", "require/oldest-below", 31], [":db/add", BEN, ":u/age", 40]]
    error = refused(conn, forms, ":db.error/requirement-failed")
    assert "require/oldest-below" == error.predicate
    assert (31,) == error.arguments
    assert error.pred_return is False
    assert "tx-data[0]" == error.path
    conn.transact([[":db/retract", ANN, ":u/age"], [":db/require", ":require/oldest-below", 18]])
    assert value(conn.db(), ANN, ":u/age") is None


def test_a_requirement_may_be_a_function():
    conn = people()
    conn.transact([[":db/add", BEN, ":u/age", 18], [":db/require", lambda db: q(OLDEST, db) == 30]])
    refused(conn, [[":db/add", BEN, ":u/age", 31], [":db/require", lambda db: q(OLDEST, db) == 30]], ":db.error/requirement-failed")


def test_only_true_fulfils_a_requirement():
    conn = people()
    assert 1 == refused(conn, [[":db/require", "require/something"]], ":db.error/requirement-failed").pred_return
    assert "ZeroDivisionError" in str(refused(conn, [[":db/require", "require/broken"]], ":db.error/requirement-failed"))
    assert "not registered" in str(refused(conn, [[":db/require", "require/nothing"]], ":db.error/requirement-failed"))


def test_all_requirements_that_fail_are_told():
    error = refused(
        people(), [[":db/require", "require/oldest-below", 3], [":db/require", "require/something"]], ":db.error/requirement-failed"
    )
    assert ["tx-data[0]", "tx-data[1]"] == [problem["path"] for problem in error.problems]


def test_a_transaction_function_may_require():
    register("require/age", lambda db, who, age: [[":db/add", who, ":u/age", age], [":db/require", "require/oldest-below", 100]])
    conn = people()
    assert "require/age" in refused(conn, [["require/age", BEN, 100]], ":db.error/requirement-failed").path
    conn.transact([["require/age", BEN, 99]])


def test_what_is_no_predicate_is_refused():
    for form in ([":db/require"], [":db/require", "plain"], [":db/require", 3]):
        refused(people(), [form], ":db.error/invalid-tx-form")


def test_with_requires_too():
    db = people().db()
    assert 18 == value(factstore.with_(db, [[":db/add", BEN, ":u/age", 18], [":db/require", lambda db: True]]).db_after, BEN, ":u/age")
