"""The clock of a store: where the times of transactions come from, and who may know them."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

import factstore
from factstore import DatabaseError, TransactError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


class Clock:
    def __init__(self):
        self.now = NOON

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def conn(clock):
    with factstore.connect("memory:", clock=clock) as conn:
        conn.transact([{":db/ident": ":at", ":db/valueType": ":db.type/instant", ":db/cardinality": ":db.cardinality/one"}])
        yield conn


def instants(conn):
    return sorted(datom.v for datom in conn.db().datoms("aevt", ":db/txInstant"))


def test_transactions_are_stamped_by_the_clock_that_was_given(conn, clock):
    clock.now += timedelta(hours=1)
    conn.transact([{":db/doc": "later"}])
    assert [NOON, NOON + timedelta(hours=1)] == instants(conn)[-2:]


def test_instants_never_go_back_and_now_goes_by_the_clock(conn, clock):
    assert conn.now() == NOON
    clock.now -= timedelta(days=1)
    assert conn.now() == NOON - timedelta(days=1)
    conn.transact([{":db/doc": "not earlier"}])
    conn.transact_async([{":db/doc": "nor in the background"}]).result(10)
    with conn.transaction() as tx:
        tx.transact([{":db/doc": "nor in steps"}])
    assert [NOON] * 3 == instants(conn)[-3:]
    clock.now += timedelta(days=1, seconds=1)
    conn.transact([{":db/doc": "later"}])
    assert NOON + timedelta(seconds=1) == instants(conn)[-1]


def commits(conn):
    """Give each way to commit tx-data."""

    def in_steps(tx_data):
        with conn.transaction() as tx:
            tx.transact(tx_data)
        return tx.report

    return {"transact": conn.transact, "transact_async": lambda tx_data: conn.transact_async(tx_data).result(10), "steps": in_steps}


@pytest.mark.parametrize("way", ["transact", "transact_async", "steps"])
@pytest.mark.parametrize("simple", [True, False], ids=["short way", "whole way"])
def test_an_instant_ahead_of_the_clock_holds_up_the_instant_of_a_transaction_and_not_its_clock(conn, clock, way, simple):
    asked = []
    e = conn.transact([{":db/id": "e", ":at": NOON}]).tempids["e"]
    factstore.register(
        "clock-test/ask", lambda db: [asked.append((factstore.tx_instant(), factstore.tx_clock())), [":db/add", e, ":at", NOON]][1:]
    )
    clock.now -= timedelta(hours=1)
    more = [] if simple else [{":db/id": "x", ":db/doc": "a map"}]
    for n in range(2):
        clock.now += timedelta(seconds=n)
        report = commits(conn)[way]([["clock-test/ask"], [":db/add", e, ":db/doc", f"{way} {n}"], *more])
        assert [NOON] == [datom.v for datom in report.datoms_of(":db/txInstant")]
    hour_ago = NOON - timedelta(hours=1)
    assert {(NOON, hour_ago), (NOON, hour_ago + timedelta(seconds=1))} == set(asked)


def test_that_the_newest_instant_is_ahead_is_logged_once_until_the_clock_has_caught_up(conn, clock, caplog):
    def said():
        return [record.getMessage() for record in caplog.records if "ahead of this process's clock" in record.getMessage()]

    clock.now -= timedelta(milliseconds=900)
    conn.transact([{":db/doc": "clocks of processes differ by as much"}])
    assert [] == said()
    clock.now -= timedelta(hours=2)
    for way in commits(conn).values():
        way([{":db/doc": "once"}])
    assert ["by 2:00:00.900000" in text for text in said()] == [True]
    clock.now += timedelta(hours=5)
    conn.transact([{":db/doc": "right again"}])
    clock.now -= timedelta(hours=1)
    conn.transact([{":db/doc": "wrong again"}])
    assert "by 1:00:00:" in said()[1]


OTHER = """
import sys
from datetime import UTC, datetime, timedelta
import factstore
with factstore.connect(sys.argv[1], clock=lambda: datetime.now(UTC) + timedelta(seconds=float(sys.argv[2]))) as conn:
    conn.transact([{":db/doc": "by a clock that is ahead"}])
"""


def test_a_process_whose_clock_is_a_year_ahead_does_not_stop_the_clock_of_the_others(tmp_path):
    path, year = tmp_path / "s.facts", timedelta(days=365)
    with factstore.connect(path) as conn:
        subprocess.run([sys.executable, "-c", OTHER, path, str(year.total_seconds())], check=True, timeout=60)
        before = datetime.now(UTC)
        assert before <= conn.now() <= datetime.now(UTC)
        first, second = (conn.transact([{":db/doc": f"{n}"}]).db_after for n in range(2))
        assert first.instant_of(first.basis_t) == second.instant_of(second.basis_t) > before + year - timedelta(days=1)


def test_now_is_the_machines_where_no_clock_was_given():
    with factstore.connect("memory:") as conn:
        before = datetime.now(UTC)
        assert before <= conn.now() <= datetime.now(UTC)


def test_a_transaction_function_knows_the_time_of_its_transaction(conn, clock):
    factstore.register("clock-test/stamp", lambda db, e: [[":db/add", e, ":at", factstore.tx_instant()]])
    clock.now += timedelta(minutes=5)
    report = conn.transact([["clock-test/stamp", "new"]])
    assert {clock.now} == {datom.v for datom in report.tx_data}


def test_with_and_groups_of_transactions_know_it_too(conn, clock):
    factstore.register("clock-test/stamp", lambda db, e: [[":db/add", e, ":at", factstore.tx_instant()]])
    reports = [future.result() for future in [conn.transact_async([["clock-test/stamp", "new"]]) for _ in range(5)]]
    assert all(len({datom.v for datom in report.tx_data}) == 1 for report in reports)
    imagined = factstore.with_(conn.db(), [["clock-test/stamp", "new"]])
    assert 1 == len({datom.v for datom in imagined.tx_data})


def test_outside_of_transaction_functions_the_time_of_a_transaction_is_refused(conn):
    with pytest.raises(DatabaseError, match="no transaction is being prepared"):
        factstore.tx_instant()
    factstore.register("clock-test/boom", lambda db: 1 / 0)
    with pytest.raises(TransactError):
        conn.transact([["clock-test/boom"]])
    with pytest.raises(DatabaseError):
        factstore.tx_instant()


def test_the_uri_of_a_connection_opens_the_same_store_again(tmp_path):
    with factstore.connect(str(tmp_path / "s.facts")) as conn:
        conn.transact([{":db/ident": ":here"}])
        with factstore.connect(conn.uri, create=False) as again:
            assert again.db().entid(":here") is not None


@pytest.mark.parametrize("wrong", [lambda: datetime(2026, 1, 1), lambda: 5, 7, lambda: None])
def test_a_clock_that_tells_no_aware_time_is_refused_before_the_store_is_used(wrong):
    with pytest.raises(DatabaseError, match="aware datetimes") as refused:
        factstore.connect("memory:", clock=wrong)
    assert ":db.error/invalid-clock" == refused.value.code


def test_a_clock_that_breaks_later_writes_nothing(conn, clock):
    before = conn.db().basis_t
    clock.now = datetime(2026, 1, 2)
    with pytest.raises(DatabaseError, match="aware datetimes"):
        conn.transact([{":db/doc": "when?"}])
    with pytest.raises(DatabaseError):
        conn.transact_async([{":db/doc": "when?"}]).result(10)
    clock.now = NOON + timedelta(days=2)
    conn.transact([{":db/doc": "now"}])
    assert before + 1 == conn.db().basis_t
