"""Databases of other times: as_of, since, history, filter and what they are together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

import factstore
from factstore.datom import Fact
from factstore.errors import DatabaseError
from factstore.index import view
from factstore.index.novelty import Chain
from factstore.index.view import _oldest_first

SCHEMA = """
[{:db/ident :a/id   :db/valueType :db.type/string  :db/cardinality :db.cardinality/one  :db/unique :db.unique/identity}
 {:db/ident :a/bal  :db/valueType :db.type/long    :db/cardinality :db.cardinality/one}
 {:db/ident :a/tag  :db/valueType :db.type/keyword :db/cardinality :db.cardinality/many}
 {:db/ident :tx/why :db/valueType :db.type/string  :db/cardinality :db.cardinality/one}]
"""
A, B = [":a/id", "A"], [":a/id", "B"]
T0 = datetime(2020, 1, 1, tzinfo=UTC)


def day(n):
    return T0 + timedelta(days=n)


class Account:
    """t=1 the schema, t=2 A and B, t=3 and t=4 changes of A, t=5 B is gone; a day between any two."""

    def __init__(self, conn):
        self.conn = conn
        changes = [
            SCHEMA,
            [{":db/id": "a", ":a/id": "A", ":a/bal": 10, ":a/tag": [":x"]}, {":db/id": "b", ":a/id": "B", ":a/bal": 5}],
            [[":db/add", A, ":a/bal", 20], [":db/add", A, ":a/tag", ":y"], [":db/add", "datomic.tx", ":tx/why", "raise"]],
            [[":db/retract", A, ":a/tag", ":x"]],
            [[":db/retractEntity", B], [":db/add", A, ":a/bal", 10]],
        ]
        for n, change in enumerate(changes, 1):
            forms = factstore.edn.read(change) if isinstance(change, str) else change
            report = conn.transact([*forms, [":db/add", "datomic.tx", ":db/txInstant", day(n)]])
            if n == 2:
                self.a, self.b = report.tempids["a"], report.tempids["b"]
        self.db = conn.db()


@pytest.fixture(scope="module")
def account():
    with factstore.connect("memory:") as conn:
        yield Account(conn)


def shown(datoms):
    return {(datom.e, datom.v, datom.tx & 0xFF, datom.added) for datom in datoms}


def values(db, attribute):
    return sorted(datom.v for datom in db.datoms("aevt", attribute))


AS_OF = [(0, [], []), (1, [], []), (2, [5, 10], [":x"]), (3, [5, 20], [":x", ":y"]), (4, [5, 20], [":y"]), (5, [10], [":y"])]
SINCE = [(1, [10], [":y"]), (2, [10], [":y"]), (3, [10], []), (4, [10], []), (5, [], [])]


@pytest.mark.parametrize(("t", "balances", "tags"), AS_OF)
def test_as_of_includes_the_point(account, t, balances, tags):
    for point in (t, (1 << 42) | t, day(t), day(t) + timedelta(hours=23)):
        then = account.db.as_of(point)
        assert balances == values(then, ":a/bal")
        assert tags == values(then, ":a/tag")
        assert t == then.as_of_t


@pytest.mark.parametrize(("t", "balances", "tags"), SINCE)
def test_since_excludes_the_point(account, t, balances, tags):
    for point in (t, (1 << 42) | t, day(t), day(t) + timedelta(hours=23)):
        after = account.db.since(point)
        assert balances == values(after, ":a/bal")
        assert tags == values(after, ":a/tag")
        assert t == after.since_t


def test_before_the_first_transaction_there_is_the_system_only(account):
    nothing = account.db.as_of(datetime(1999, 1, 1, tzinfo=UTC))
    assert [] == list(nothing.datoms("aevt", ":db/txInstant"))
    assert 10 == nothing.entid(":db/ident")


def test_a_point_beyond_the_newest_transaction_is_the_present(account):
    for point in (99, day(99)):
        assert values(account.db, ":a/bal") == values(account.db.as_of(point), ":a/bal")
        assert [] == values(account.db.since(point), ":a/bal")


def test_as_of_and_since_are_a_window_in_either_order(account):
    for window in (account.db.as_of(3).since(2), account.db.since(2).as_of(3)):
        assert {(account.a, 20, 3, True)} == shown(window.datoms("aevt", ":a/bal"))
    assert [] == values(account.db.as_of(2).since(2), ":a/bal")


def test_repeated_limits_only_narrow(account):
    assert 2 == account.db.as_of(2).as_of(4).as_of_t
    assert 4 == account.db.since(4).since(2).since_t


def test_history_has_every_assertion_and_retraction(account):
    a, b = account.a, account.b
    assert {
        (a, 10, 2, True), (b, 5, 2, True), (a, 10, 3, False), (a, 20, 3, True),
        (a, 20, 5, False), (a, 10, 5, True), (b, 5, 5, False),
    } == shown(account.db.history().datoms("aevt", ":a/bal"))  # fmt: skip


def test_history_is_cut_by_as_of_and_since_in_any_order(account):
    a = account.a
    expected = {(a, 10, 3, False), (a, 20, 3, True)}
    db = account.db
    for window in (db.history().as_of(4).since(2), db.as_of(4).since(2).history(), db.since(2).history().as_of(4)):
        assert expected == shown(window.datoms("aevt", ":a/bal"))
        assert window.is_history


def test_in_history_the_newest_event_of_a_fact_comes_first(account):
    assert [(10, 5, True), (10, 3, False), (10, 2, True), (20, 5, False), (20, 3, True)] == [
        (datom.v, datom.tx & 0xFF, datom.added) for datom in account.db.history().datoms("eavt", account.a, ":a/bal")
    ]


def test_a_name_asserted_earlier_does_not_resolve_since_then(account):
    assert account.a == account.db.entid(A)
    assert account.db.since(2).entid(A) is None
    assert account.b == account.db.as_of(4).entid(B)
    assert account.db.entid(B) is None


def test_filters_see_the_unfiltered_database_and_add_up(account):
    a = account.a
    only_a = account.db.filter(lambda db, datom: datom.e == a and db.is_filtered is False)
    assert only_a.is_filtered
    assert [10] == values(only_a, ":a/bal")
    assert [] == values(only_a.filter(lambda _, datom: datom.v != 10), ":a/bal")
    assert [20] == values(only_a.as_of(3), ":a/bal")
    assert only_a.entid(A) == a
    assert account.db.filter(lambda _, datom: datom.e != a).entid(A) is None


def test_a_database_never_changes():
    with factstore.connect("memory:") as conn:
        account = Account(conn)
        before = [values(account.db, ":a/bal"), list(account.db.history().datoms("eavt"))]
        for balance in range(50):
            conn.transact([[":db/add", A, ":a/bal", balance], {":a/id": f"new{balance}", ":a/bal": balance}])
        assert before == [values(account.db, ":a/bal"), list(account.db.history().datoms("eavt"))]
        assert 5 == account.db.basis_t


def test_the_schema_is_of_the_present_in_every_time(account):
    assert [] == list(account.db.as_of(1).datoms("aevt", ":a/bal"))
    with factstore.connect("memory:") as conn:
        old = Account(conn)
        db = conn.transact("[{:db/ident :a/new :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]").db_after
        assert [] == list(db.as_of(old.db.basis_t).datoms("aevt", ":a/new"))


def test_several_transactions_may_share_an_instant():
    with factstore.connect("memory:") as conn:
        conn.transact([*factstore.edn.read(SCHEMA), [":db/add", "datomic.tx", ":db/txInstant", day(1)]])
        for balance in (1, 2, 3):
            conn.transact([{":a/id": "A", ":a/bal": balance}, [":db/add", "datomic.tx", ":db/txInstant", day(2)]])
        db = conn.db()
        assert [3] == values(db.as_of(day(2)), ":a/bal")
        assert [2] == values(db.as_of(3), ":a/bal")
        assert [] == values(db.since(day(2)), ":a/bal")


@pytest.mark.parametrize("point", [-1, "2020-01", "-1", 1.5, None, True, 2 << 42, datetime(2020, 1, 1)])
def test_what_is_no_point_in_time_is_refused(account, point):
    for read in (account.db.as_of, account.db.since):
        with pytest.raises(DatabaseError) as caught:
            read(point)
        assert ":db.error/invalid-point" == caught.value.code


def test_speculation_on_a_view_of_the_past_is_seen_through_no_other_database(account):
    report = factstore.with_(account.db, [[":db/add", A, ":a/bal", 77]])
    assert [77] == values(report.db_after, ":a/bal")
    assert [10] == values(report.db_after.as_of(account.db.basis_t), ":a/bal")
    assert [10] == values(account.db, ":a/bal")
    assert [77] == values(report.db_after.since(account.db.basis_t), ":a/bal")


def test_speculation_chains_to_any_depth(account):
    db = account.db
    for balance in range(200):
        db = factstore.with_(db, [[":db/add", A, ":a/bal", 100 + balance], {":a/id": f"s{balance}"}]).db_after
    assert [299] == values(db, ":a/bal")
    assert 201 == len(values(db, ":a/id"))
    assert account.db.basis_t + 200 == db.basis_t
    assert [149] == values(db.as_of(account.db.basis_t + 50), ":a/bal")
    assert 7 + 2 * 200 == len(list(db.history().datoms("aevt", ":a/bal")))


def test_a_filtered_database_can_be_speculated_on_with_new_attributes(account):
    filtered = account.db.filter(lambda _, datom: True)
    added = factstore.with_(filtered, "[{:db/ident :a/new :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]").db_after
    db = factstore.with_(added, [{":a/id": "N", ":a/new": 1}]).db_after
    assert [1] == values(db, ":a/new")


# -- the log


def test_the_log_is_cut_at_its_start_and_before_its_end(account):
    log = account.conn.log()
    assert [1, 2, 3, 4, 5] == [tx.t for tx in log.tx_range()]
    assert [3, 4] == [tx.t for tx in log.tx_range(3, 5)]
    assert [3, 4] == [tx.t for tx in log.tx_range((1 << 42) | 3, (1 << 42) | 5)]
    assert [3, 4] == [tx.t for tx in log.tx_range(day(3), day(5))]
    assert [4, 5] == [tx.t for tx in log.tx_range(day(3) + timedelta(hours=1))]
    assert [] == list(log.tx_range(3, 3))
    assert [] == list(log.tx_range(9))


def test_a_logged_transaction_has_all_its_datoms_and_its_instant(account):
    (third,) = account.conn.log().tx_range(3, 4)
    tx = (1 << 42) | 3
    ident = account.db.ident
    assert {
        (tx, ":db/txInstant", day(3), True),
        (tx, ":tx/why", "raise", True),
        (account.a, ":a/bal", 10, False),
        (account.a, ":a/bal", 20, True),
        (account.a, ":a/tag", ":y", True),
    } == {(datom.e, ident(datom.a), datom.v, datom.added) for datom in third.data}
    assert {tx} == {datom.tx for datom in third.data}


def test_a_log_is_fixed_when_it_is_fetched():
    with factstore.connect("memory:") as conn:
        account = Account(conn)
        log = conn.log()
        conn.transact([[":db/add", A, ":a/bal", 1]])
        assert [5] == [tx.t for tx in log.tx_range(5)]
        assert account.db.basis_t == log.basis_t


def test_a_transaction_without_effect_is_in_the_log_and_one_that_failed_is_not():
    with factstore.connect("memory:") as conn:
        Account(conn)
        with pytest.raises(factstore.TransactError):
            conn.transact([[":db/add", A, ":a/none", 1]])
        conn.transact([[":db/add", A, ":a/bal", 10]])
        (only,) = conn.log().tx_range(6)
        assert [":db/txInstant"] == [conn.db().ident(datom.a) for datom in only.data]


def test_reading_entity_by_entity_gives_the_same_before_and_after_the_column_is_kept():
    with factstore.connect("memory:") as conn:
        conn.transact("[{:db/ident :k/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}"
                      " {:db/ident :k/tags :db/valueType :db.type/string :db/cardinality :db.cardinality/many}]")  # fmt: skip
        made = conn.transact([{":db/id": f"{i}", ":k/n": i, ":k/tags": ["a", f"b{i}"]} for i in range(400)]).tempids
        ids = [made[f"{i}"] for i in range(400)]
        conn._committer.index()
        db = conn.db()
        n, tags = db.attribute(":k/n").id, db.attribute(":k/tags").id
        for _ in range(3):
            assert [(i,) for i in range(400)] == [db.view.values_of(e, n) for e in ids]
            assert [{"a", f"b{i}"} for i in range(400)] == [set(db.view.values_of(e, tags)) for e in ids]
            assert () == db.view.values_of(ids[-1] + 1, n)
            assert () == db.view.values_of(ids[0] - 1, n)
        assert n in db.view._memory.lookups
        later = conn.transact([[":db/add", ids[7], ":k/n", -7]]).db_after
        assert (-7,) == later.view.values_of(ids[7], n)
        assert (7,) == db.view.values_of(ids[7], n)
        assert 3 == len(later.history().view.facts_of(ids[7], n))


def test_t_transaction_and_instant_lead_to_one_another(account):
    db = account.db
    tx = factstore.t_to_tx(db.basis_t)
    assert db.basis_t == factstore.tx_to_t(tx) == db.t_at(tx) == db.t_at(db.instant_of(tx))
    assert db.instant_of(tx) == db.instant_of(db.basis_t)
    assert db.basis_t + 1 == db.next_t


def test_an_entity_of_users_is_no_point_in_the_log(account):
    with pytest.raises(factstore.DatabaseError, match="expected t"):
        list(account.conn.log().tx_range(2 << 42, None))


def test_a_database_that_is_held_is_read_without_looking_at_later_events(monkeypatch: pytest.MonkeyPatch) -> None:
    with factstore.connect("memory:") as conn:
        conn.transact(
            "[{:db/ident :k/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one}"
            " {:db/ident :k/m :db/valueType :db.type/long :db/cardinality :db.cardinality/many}]"
        )
        e = conn.transact([{":db/id": "e", ":k/n": 0, ":k/m": [1, 2]}]).tempids["e"]
        held = [conn.db()]
        for n in range(1, 301):
            conn.transact([[":db/add", e, ":k/n", n], [":db/add", e, ":k/m", n], [":db/retract", e, ":k/m", n - 1]])
            held.append(conn.db())
        expected = [factstore.pull(db, ["*"], e) for db in held]
        walked: list[int] = []

        def oldest_first(chain: Chain, upto: int) -> list[Fact]:
            facts = _oldest_first(chain, upto)
            walked.append(len(facts))
            return facts

        monkeypatch.setattr(view, "_oldest_first", oldest_first)
        for n in (0, 1, 150, 299):
            assert n == factstore.pull(held[n], [":k/n"], e)[":k/n"]
            assert expected[n] == factstore.pull(conn.db().as_of(held[n].basis_t), ["*"], e) == factstore.pull(held[n], ["*"], e)
        assert {":k/n": 300} == factstore.pull(conn.db(), [":k/n"], e)
        assert [] == walked
        assert expected[300] == factstore.pull(conn.db(), ["*"], e)
