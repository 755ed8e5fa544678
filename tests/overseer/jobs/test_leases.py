"""Leases: only elapsed time decides that a worker is dead, and only time in which it could have renewed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from overseer import JobStore, cron, install, job_txn, status
from overseer.events import Listeners
from overseer.jobs.leases import Watch, next_leases, standing
from overseer.jobs.states import FINISHED, STARTED, UNSTARTED, Outcome, Standing
from overseer.testing import FakeClock
from overseer.worker.monitor import Monitor
from overseer.worker.scheduler import Scheduler

LEASE = timedelta(seconds=30)


def eid(conn, id):
    return conn.db().entid([":job/id", id])


def claimed(conn, *ids, lease=LEASE):
    return JobStore(conn, worker="w").claim([eid(conn, id) for id in ids], lease=lease)


# -- what stands in the facts


def token_of(seconds):
    job = {":db/id": 1, ":job/id": "j", ":job/type": ":a"}
    return next_leases([job], worker="w", lasts=timedelta(seconds=seconds))[0].token


def test_a_token_names_how_long_its_lease_lasts():
    assert (30.0, 0.2, 0.001) == tuple(Standing(1, token_of(s), None).seconds(9) for s in (30, 0.2, 0.0001))
    assert [9, 9, 9, 9] == [Standing(1, token, None).seconds(9) for token in (None, "", "f00", "f00-x")]


@pytest.mark.parametrize("step", [0, 1, -3600, 3600, -30])
def test_every_renewal_changes_what_others_see_whatever_the_clock_does(conn, clock, step):
    conn.transact([job_txn(":a", id="j")])
    [job] = claimed(conn, "j")
    seen = [standing(conn.db())[job.eid]]
    for _ in range(3):
        clock.advance(step)
        assert [] == JobStore(conn, worker="w").beat([job.lease], lease=LEASE)
        seen.append(standing(conn.db())[job.eid])
        assert seen[-1] != seen[-2]
        assert abs(seen[-1].expires - clock() - LEASE) <= timedelta(microseconds=1)


def test_an_instant_that_is_a_year_ahead_does_not_move_the_end_of_a_lease():
    clock = FakeClock()
    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        clock.advance(365 * 86400)
        conn.transact([job_txn(":a", id="j")])
        clock.advance(-365 * 86400)
        [job] = claimed(conn, "j")
        assert clock() + LEASE == standing(conn.db())[job.eid].expires


# -- how long they were seen

JOB, OTHER = 7, 8


def lease(renewals, seconds=10):
    return Standing(1, f"f00-{seconds * 1000}", FakeClock()() + timedelta(seconds=renewals))


def watch(clock):
    return Watch(5.0, clock=lambda: clock[0])


@given(st.lists(st.tuples(st.floats(0.1, 4), st.booleans()), max_size=30), st.integers(1, 20))
def test_a_lease_is_ripe_once_it_was_seen_without_a_renewal_for_as_long_as_it_lasts(looks, seconds):
    clock, renewals, unrenewed = [0.0], 0, 0.0
    seen = watch(clock)
    seen.look({JOB: lease(0, seconds)}, planned=9.0)
    for passed, is_renewed in looks:
        clock[0] += passed
        renewals += is_renewed
        unrenewed = 0.0 if is_renewed else unrenewed + passed
        seen.look({JOB: lease(renewals, seconds)}, planned=9.0)
        assert (unrenewed >= seconds) == (JOB in seen.ripe()) or unrenewed == pytest.approx(seconds)
        assert seen.next_ripe() == pytest.approx(seconds - unrenewed)


def test_time_in_which_the_monitor_itself_was_held_up_does_not_count():
    """A process that was stopped, or a machine that slept, did not see what the others did meanwhile."""
    clock = [0.0]
    seen = watch(clock)
    seen.look({JOB: lease(0)}, planned=2.0)
    clock[0] += 3600
    seen.look({JOB: lease(0)}, planned=2.0)
    assert {} == seen.ripe()
    assert 8.0 == seen.next_ripe()


def test_a_lease_is_watched_by_its_own_length_and_one_that_names_none_by_the_observers():
    clock = [0.0]
    seen = watch(clock)
    for _ in range(6):
        seen.look({JOB: lease(0, 3600), OTHER: Standing(None, None, None)}, planned=1.0)
        clock[0] += 1
    assert {OTHER} == set(seen.ripe())
    assert 5.0 == seen.shortest()


# -- the monitor


def looking(monitor):
    """Let a monitor look once, on a thread, and return the thread and what it gives."""
    given = []
    thread = threading.Thread(target=lambda: given.append(monitor.look()))
    thread.start()
    return thread, given


def monitor_of(conn, lease):
    return Monitor(JobStore(conn, worker="other"), lease=lease, max_crashes=3, random=Random(0), listeners=Listeners())


def until_suspect(monitor):
    """Let a monitor look until what it sees makes it ask for the writer's turn with its next look."""
    deadline = time.monotonic() + 30
    while not monitor._watch.ripe(0.5):
        assert time.monotonic() < deadline
        assert 0 == monitor.look()
        threading.Event().wait(0.02)


def test_a_worker_that_could_not_renew_because_somebody_kept_the_writers_turn_keeps_its_job(tmp_path):
    """Whether they commit something in the end or not; and its beat, which waited too, comes before the monitor counts anew."""
    path, lasts = tmp_path / "s.facts", timedelta(seconds=1)
    with ExitStack() as stack:
        ours, theirs, third = (stack.enter_context(factstore.connect(path)) for _ in range(3))
        install(ours)
        ours.transact([job_txn(":a", id="j")])
        [job] = claimed(ours, "j", lease=lasts)
        monitor = monitor_of(theirs, 1.0)
        for says in ([], [{":db/doc": "x"}]):
            monitor._watch.forget()
            until_suspect(monitor)
            with third.transaction() as tx:
                if says:
                    tx.transact(says)
                thread, given = looking(monitor)
                thread.join(1.2)  # longer than the lease
                assert thread.is_alive()
            thread.join()
            assert [0] == given
            assert {} == monitor._watch.ripe(0.1)
            assert STARTED == next(ours.db().datoms("eavt", job.eid, ":job/status")).v


def test_a_monitor_commits_nothing_while_another_worker_does(conn):
    """Its commits would only be in the way of theirs."""
    conn.transact([job_txn(":a", id=id) for id in ("silent", "alive")])
    _, alive = claimed(conn, "silent", "alive", lease=timedelta(seconds=30))
    monitor = monitor_of(conn, 30.0)
    monitor.look()
    monitor._watch._seen = {job: (lease, 20.0) for job, (lease, _) in monitor._watch._seen.items()}
    assert [] == JobStore(conn, worker="w").beat([alive.lease], lease=LEASE)
    before = conn.db().basis_t
    assert 0 == monitor.look()
    assert before == conn.db().basis_t
    assert 0 == monitor.look()
    assert before + 1 == conn.db().basis_t


def test_a_job_whose_worker_is_dead_is_taken_after_the_store_was_busy_too(tmp_path):
    with factstore.connect(tmp_path / "s.facts") as conn:
        install(conn)
        conn.transact([job_txn(":a", id="j")])
        claimed(conn, "j", lease=timedelta(seconds=0.4))
        monitor, deadline = monitor_of(conn, 0.4), time.monotonic() + 30
        monitor._watch.forget()
        while not monitor.look():
            assert time.monotonic() < deadline
            threading.Event().wait(0.02)
        assert {"j"} == status.jobs_unstarted(conn.db())


def test_a_started_job_that_has_no_lease_is_taken_like_one_whose_worker_died(conn):
    conn.transact([job_txn(":a", {":job/status": STARTED}, id="j")])
    monitor, deadline = monitor_of(conn, 0.2), time.monotonic() + 30
    while not monitor.look():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    assert UNSTARTED == next(conn.db().datoms("eavt", eid(conn, "j"), ":job/status")).v


def test_a_thousand_jobs_of_a_dead_worker_are_taken_in_a_few_transactions(conn, clock):
    conn.transact([job_txn(":a", id=f"j{n}") for n in range(1000)])
    claimed(conn, *(f"j{n}" for n in range(1000)))
    before = conn.db().basis_t
    clock.advance(31)
    assert 1000 == len(JobStore(conn, worker="rescuer").rescue(max_crashes=3))
    assert 2 == conn.db().basis_t - before


class Held:
    """Somebody who keeps the writer's turn, in another thread, until told to give it back."""

    def __init__(self, conn):
        self._free, self._has = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, args=(conn._storage,))

    def _hold(self, storage):
        with storage.turn(doing="a long write"):
            self._has.set()
            assert self._free.wait(60)

    def __enter__(self):
        self._thread.start()
        assert self._has.wait(10)
        return self

    def free(self):
        self._free.set()

    def __exit__(self, *error):
        self.free()
        self._thread.join()


def test_what_a_worker_writes_waits_for_a_store_that_is_busy_for_longer_than_a_write_waits(tmp_path, caplog):
    """Beats and claims come to nothing, and are tried again later; a result is written as soon as it can be; nothing ends the worker."""
    path = tmp_path / "s.facts"
    with factstore.connect(path, busy_timeout=0.1) as ours, factstore.connect(path) as theirs:
        install(ours)
        ours.transact([{":db/ident": ":made/by", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}])
        ours.transact([job_txn(":a", id=f"j{n}") for n in range(4)] + [cron.schedule("s", "* * * * *", "a")])
        store = JobStore(ours, worker="w")
        jobs = [job.lease for job in claimed(ours, "j0", "j1", "j2")]
        outcomes = [(lease, Outcome(FINISHED, facts=[{":made/by": lease.id}] if n else [])) for n, lease in enumerate(jobs)]
        scheduler = Scheduler(ours, clock=lambda: ours.now() + timedelta(hours=1), random=Random(0))
        with Held(theirs) as held:
            assert [] == store.beat(jobs, lease=LEASE)
            assert [] == store.claim([eid(ours, "j3")], lease=LEASE)
            assert None is store.rescue({jobs[0].job: standing(ours.db())[jobs[0].job]}, max_crashes=3)
            assert [] == scheduler.look()
            settled = []
            settling = threading.Thread(target=lambda: settled.append(store.settle(outcomes)))
            settling.start()
            deadline = time.monotonic() + 30
            while caplog.text.count("the store is busy") < 8:
                assert time.monotonic() < deadline
                threading.Event().wait(0.02)
            held.free()
            settling.join(30)
        assert [[]] == settled
        assert 3 == status.counts(ours.db())[FINISHED]
        assert 1 == status.counts(ours.db())[UNSTARTED]
        assert {"j1", "j2"} == {datom.v for datom in ours.db().datoms("aevt", ":made/by")}
        scheduler.close()


# -- processes with clocks of their own

WORKER = """
import sys, time
from datetime import UTC, datetime, timedelta
import factstore, overseer
path, off, name = sys.argv[1], timedelta(seconds=float(sys.argv[2])), sys.argv[3]
def work(job):
    print(name, job.id, job.attempt, flush=True)
    time.sleep(600 if name == "dies" else 1.2)  # two leases
conn = factstore.connect(path, clock=lambda: datetime.now(UTC) + off)
overseer.Worker(conn, {"work": work}, {"heartbeat": {"sleep-time": 200, "tolerance": 3}}).run(until_idle=True)
"""


def worker(path, off, name):
    return subprocess.Popen([sys.executable, "-c", WORKER, path, str(off), name], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("ahead", "first", "second"), [(0, 3600, 0), (0, 0, 3600), (365 * 86400, 0, 0), (0, 0, -3600), (3600, -3600, 3600)]
)
def test_workers_with_clocks_that_differ_take_the_jobs_of_the_dead_and_no_others(tmp_path, ahead, first, second):
    """One commit by a clock that is ahead; a worker that dies, and two that live and work for longer than their leases."""
    path = tmp_path / "s.facts"
    with factstore.connect(path, clock=lambda: datetime.now(UTC) + timedelta(seconds=ahead)) as conn:
        install(conn)
        conn.transact([job_txn("work", id="orphan")])
    dies = worker(path, first, "dies")
    assert "dies orphan 1\n" == dies.stdout.readline()
    dies.kill()
    dies.communicate()
    with factstore.connect(path) as conn:
        conn.transact([job_txn("work", id=f"j{n}") for n in range(2)])
        living = [worker(path, off, "lives") for off in (first, second)]
        lines = [line for process in living for line in process.communicate(timeout=60)[0].splitlines()]
        assert {"lives orphan 2", "lives j0 1", "lives j1 1"} == set(lines)
        assert 3 == len(lines)
