"""A faulty storage fails as it was told to, and the store above it keeps its promises."""

from __future__ import annotations

from contextlib import suppress
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import maintain
from factstore.errors import Corrupt, FactStoreError, StorageError, Unavailable, UnknownOutcome
from factstore.testing import Died, FakeClock, Fault, FaultyStorage
from factstore.testing import strategies as fs

SCHEMA = "[{:db/ident :n/n :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}]"
NAMES = count()


@pytest.fixture
def pair():
    """A faulty connection, and another one to the same store."""
    uri = f"memory:faults {next(NAMES)}"
    with factstore.connect(uri) as other:
        other.transact(SCHEMA)
        faulty = FaultyStorage(uri)
        with faulty.connect() as conn:
            conn.db()
            yield faulty, conn, other
            faulty.arm(None)
            faulty.dead = False


def numbers(conn):
    return sorted(d.v for d in conn.db().datoms("aevt", ":n/n"))


@pytest.mark.parametrize(("after", "expected"), [(0, []), (2, [0, 1])])
def test_a_refused_append_was_not_applied(pair, after, expected):
    faulty, conn, other = pair
    faulty.arm(Fault("refused", "append", after))
    with pytest.raises(Unavailable):
        for n in range(after + 1):
            conn.transact([{":n/n": n}])
    assert expected == numbers(other) == numbers(conn)
    conn.transact([{":n/n": 9}])
    assert [*expected, 9] == numbers(other)


@pytest.mark.parametrize("kind", ["unanswered", "unsent"])
def test_a_lost_answer_of_an_append_is_found_out(pair, kind):
    faulty, conn, other = pair
    faulty.arm(Fault(kind, "append"))
    conn.transact([{":n/n": 1}])
    assert [1] == numbers(other) == numbers(conn)


@pytest.mark.parametrize(
    ("kind", "error", "expected"), [("dies before", Died, []), ("dies after", Died, [1]), ("dies unanswered", StorageError, [1])]
)
def test_a_process_that_dies_has_no_further_effect(pair, kind, error, expected):
    faulty, conn, other = pair
    faulty.arm(Fault(kind, "append"))
    with pytest.raises(error):
        conn.transact([{":n/n": 1}])
    with pytest.raises(StorageError):
        conn.transact([{":n/n": 2}])
    assert faulty.dead
    assert expected == numbers(other)


def test_a_slow_verb_moves_a_fake_clock_instead_of_waiting():
    clock = FakeClock()
    begin = clock()
    faulty = FaultyStorage("memory:", sleep=clock.advance)
    with faulty.connect(clock=clock) as conn:
        faulty.arm(Fault("slow", "append", seconds=30))
        conn.transact(SCHEMA)
        assert 30 == (clock() - begin).total_seconds()
        assert 1 == conn.db().basis_t


def test_another_process_can_act_between_the_read_and_the_commit(pair):
    faulty, conn, other = pair
    e = other.transact([{":db/id": "e", ":n/n": 1}]).tempids["e"]
    conn.db()
    faulty.before("append", lambda: other.transact([[":db/add", e, ":n/n", 2]]))
    with pytest.raises(factstore.CasFailed):
        conn.transact([[":db/cas", e, ":n/n", 1, 3]])
    assert [2] == numbers(conn)


@given(at=st.integers(0, 400))
def test_a_record_that_is_torn_at_any_byte_is_found_damaged(at):
    uri = f"memory:torn {next(NAMES)}"
    with factstore.connect(uri) as other:
        other.transact(SCHEMA)
        faulty = FaultyStorage(uri)
        conn = faulty.connect()
        faulty.arm(Fault("torn", "append", at=at))
        with pytest.raises(StorageError):
            conn.transact([{":n/n": n} for n in range(10)])
        faulty.close()
        with suppress(Corrupt):
            assert list(range(10)) == numbers(other)  # nothing was cut off


@given(fault=fs.faults(), data=st.data())
def test_any_fault_raises_nothing_but_errors_of_the_family_and_loses_no_acknowledged_transaction(fault, data):
    uri, acknowledged = f"memory:any {next(NAMES)}", []
    with factstore.connect(uri) as other:
        other.transact(SCHEMA)
        faulty = FaultyStorage(uri, sleep=lambda _seconds: None)
        faulty.arm(fault)
        try:
            conn = faulty.connect()
            for n in range(data.draw(st.integers(0, 6))):
                conn.transact([{":n/n": n}])
                acknowledged.append(n)
            maintain.reindex(conn)
            conn.transact([{":n/n": 7}])
            acknowledged.append(7)
            maintain.collect(conn)
        except FactStoreError:
            pass
        faulty.close()
        if fault.kind != "torn":
            assert set(acknowledged) <= set(numbers(other))
            assert [] == maintain.check(other).problems


def test_the_verbs_that_were_called_are_listed(pair):
    faulty, conn, _ = pair
    faulty.calls.clear()
    conn.transact([{":n/n": 1}])
    assert "append" in faulty.calls


def test_an_unanswered_rewrite_has_an_unknown_outcome(pair):
    faulty, conn, other = pair
    e = conn.transact([{":db/id": "e", ":n/n": 1}]).tempids["e"]
    faulty.arm(Fault("unanswered", "rewrite"))
    with suppress(UnknownOutcome):
        conn.excise(e)
    assert [] == numbers(other)


@pytest.mark.parametrize("fault", [Fault("refuse"), Fault("refused", "apend")])
def test_a_fault_that_does_not_exist_is_rejected(fault: Fault) -> None:
    faulty = FaultyStorage("memory:")
    with pytest.raises(FactStoreError) as caught:
        faulty.arm(fault)
    assert ":db.error/invalid-fault" == caught.value.code
