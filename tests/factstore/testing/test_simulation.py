"""Simulated processes: mistakes that need a certain schedule are found by the default settings, with the schedule."""

from __future__ import annotations

import pytest
from hypothesis import given

import factstore
from factstore import maintain
from factstore.errors import Corrupt, FactStoreError
from factstore.storage.memory import MemoryStorage
from factstore.testing import Schedule, check_interleavings, check_kills, publish_index, simulate
from factstore.testing import strategies as fs
from factstore.testing.simulation.scheduler import Deadlock, Process, Scheduler, SimulatedStorage

SCHEMA = """
[{:db/ident :account/id      :db/valueType :db.type/long :db/cardinality :db.cardinality/one :db/unique :db.unique/identity}
 {:db/ident :account/balance :db/valueType :db.type/long :db/cardinality :db.cardinality/one}]
"""
ACCOUNT = [":account/id", 1]


def setup(conn):
    conn.transact(SCHEMA)
    conn.transact([{":account/id": 1, ":account/balance": 0}])


def balance(db):
    return factstore.q("[:find ?b . :where [_ :account/balance ?b]]", db)


def careless(conn):
    conn.transact([[":db/add", ACCOUNT, ":account/balance", balance(conn.db()) + 5]])


def careful(conn):
    while True:
        before = balance(conn.db())
        try:
            return conn.transact([[":db/cas", ACCOUNT, ":account/balance", before, before + 5]])
        except factstore.CasFailed:
            continue


def has_both_deposits(conn):
    assert 10 == balance(conn.db())


def turns_of(error):
    (note,) = error.__notes__
    return note.splitlines()[1:]


def test_a_lost_update_is_found_with_its_schedule():
    with pytest.raises(AssertionError) as raised:
        check_interleavings(careless, careless, setup=setup, check=has_both_deposits)
    turns = turns_of(raised.value)
    assert 3 == len(turns), turns
    first, between, last = (turn.split(":")[0].strip() for turn in turns)
    assert first == last != between
    assert "append" in turns[-1]


def test_an_update_by_compare_and_swap_is_correct_in_every_schedule():
    assert 10 < check_interleavings(careful, careful, setup=setup, check=has_both_deposits)


@given(fs.schedules())
def test_three_processes_are_correct_in_random_schedules(schedule):
    simulate(careful, publish_index, careful, setup=setup, check=has_both_deposits, schedule=schedule)


MAINTENANCE = {"index": publish_index, "reindex": maintain.reindex, "collect": maintain.collect}


@pytest.mark.parametrize("name", MAINTENANCE)
def test_maintenance_beside_a_writer_keeps_the_laws(name):
    assert 5 < check_interleavings(careful, MAINTENANCE[name], setup=setup, preemptions=1)


def test_an_excision_beside_a_reader_keeps_the_laws():
    def excise(conn):
        conn.excise(ACCOUNT)

    def read(conn):
        assert balance(conn.db()) in (0, None)
        balance(conn.db())

    assert 5 < check_interleavings(excise, read, setup=setup, preemptions=1)


def test_a_garbage_collection_that_ignores_readers_is_found(monkeypatch):
    def indexed(conn):
        setup(conn)
        publish_index(conn)

    def read_late(conn):
        old = conn.db()
        before = balance(old)
        conn.transact([{":account/id": 2}])
        assert before == balance(old)

    def write_and_collect(conn):
        careful(conn)
        publish_index(conn)
        maintain.collect(conn)

    assert 10 < check_interleavings(read_late, write_and_collect, setup=indexed, preemptions=1)
    monkeypatch.setattr(MemoryStorage, "held", lambda storage: set())
    with pytest.raises((Corrupt, AssertionError)) as raised:
        check_interleavings(read_late, write_and_collect, setup=indexed)
    assert len(turns_of(raised.value)) <= 3


def test_a_process_killed_at_any_verb_loses_nothing_that_it_was_told_is_committed():
    assert 2 == check_kills(careful, careful, setup=setup, check=lambda conn: balance(conn.db()) in (5, 10))


def test_an_append_that_compares_nothing_is_found(monkeypatch):
    append = MemoryStorage.append
    monkeypatch.setattr(
        MemoryStorage, "append", lambda storage, records, *, expected_t, topics=None: append(storage, records, expected_t=storage.head())
    )
    with pytest.raises((AssertionError, FactStoreError)) as raised:
        check_interleavings(careful, careful, setup=setup, check=has_both_deposits)
    assert 3 == len(turns_of(raised.value))


def test_an_exception_of_a_script_comes_with_its_schedule():
    def fails(conn):
        raise KeyError("mine")

    with pytest.raises(KeyError) as raised:
        simulate(careful, fails, setup=setup)
    assert turns_of(raised.value)[0].strip().startswith("careful 1: ")


def test_processes_that_wait_for_each_other_are_a_deadlock():
    scheduler = Scheduler()

    def cross(first, second):
        def script(process):
            one, two = (SimulatedStorage(scheduler, process, MemoryStorage(name)) for name in (first, second))
            with one.turn(), two.turn():
                pass

        return script

    processes = [Process("one", cross("dead a", "dead b")), Process("two", cross("dead b", "dead a"))]
    switch = Schedule(((2, 1),)).chooser()
    with pytest.raises(Deadlock, match="one waits for the turn of memory:dead b"):
        scheduler.run(processes, switch)


@given(fs.schedules())
def test_a_schedule_repeats_a_run(schedule):
    first, second = (simulate(careless, careful, setup=setup, schedule=schedule) for _ in range(2))
    assert first == second


@pytest.mark.parametrize("run", [check_interleavings, check_kills, simulate])
def test_a_check_that_returns_false_fails(run):
    def never(conn):
        return False

    with pytest.raises(AssertionError, match="never returned False"):
        run(careful, careful, setup=setup, check=never)
