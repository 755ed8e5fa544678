"""Workers as entities, progress, and attempts that come back too late: facts for people, in real processes where that matters."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta

import pytest

import factstore
from factstore import Keyword
from overseer import Config, JobStore, OverseerError, Worker, install, job_txn, start, status
from overseer.jobs.crashes import crash_outcome
from overseer.jobs.states import Outcome
from overseer.jobs.store.presence import running
from tests.stopping import stop

LEASE = timedelta(seconds=30)


def facts_of(conn, attribute):
    return [datom.v for datom in conn.db().datoms("aevt", attribute)]


def test_a_worker_describes_itself_while_it_runs(conn):
    conn.transact([job_txn("a", id="j", queue="q")])
    seen = []
    worker = Worker(conn, {"a": lambda job: seen.append(status.workers(job.conn.db())), "b": print}, Config(queues=["q"]))
    worker.run(until_idle=True)
    [[info]] = seen
    assert (worker.name, os.getpid(), (":a", ":b"), (":q",), 1) == (info.name, info.pid, info.handlers, info.queues, info.slots)
    assert (("j",), None) == (info.jobs, info.ended)
    assert [] == status.workers(conn.db())
    [ended] = status.workers(conn.db(), ended=True)
    assert ended.began <= ended.ended
    assert () == ended.jobs


def test_an_idle_worker_writes_when_it_starts_and_when_it_ends(conn):
    t = conn.db().basis_t
    Worker(conn, {"a": print}).run(until_idle=True)
    assert t + 2 == conn.db().basis_t


def test_the_past_lists_the_workers_that_ran_then(conn):
    Worker(conn, {"a": print}).run(until_idle=True)
    [ended] = status.workers(conn.db(), ended=True)
    [then] = status.workers(conn.db().as_of(conn.db().basis_t - 1))
    assert ended._replace(ended=None) == then


def test_a_store_without_workers_has_none():
    with factstore.connect("memory:") as conn:
        assert [] == status.workers(conn.db())


def test_a_worker_that_begins_counts_those_that_run_jobs_of_its_types(conn):
    def count(*types):
        return running(conn.db(), map(Keyword, types))

    presences = [JobStore(conn, worker=f"w{n}").presence for n in range(2)]
    for presence in presences:
        presence.begin(handlers=[Keyword(":a"), Keyword(":b")], queues=None, slots=1)
    assert (2, 2, 0, 0) == (count(":a"), count(":b", ":a"), count(":c"), count())
    presences[0].end()
    assert 1 == count(":a")


def test_progress_and_beat_are_part_of_the_renewal_of_leases(conn, clock):
    conn.transact([job_txn("a", id="j")])
    store = JobStore(conn, worker="w")
    store.presence.begin(handlers=[], queues=None, slots=1)
    [job] = store.claim([conn.db().entid([":job/id", "j"])], lease=LEASE)
    reports = {}
    job.watched(lambda lease: True, reports.__setitem__)
    job.progress(1, 4, "first")
    job.progress(2, 4, "half")
    t = conn.db().basis_t
    assert None is status.progress(conn.db(), "j")
    clock.advance(3)
    assert [] == store.beat([job.lease], lease=LEASE, reports=reports)
    assert t + 1 == conn.db().basis_t
    assert (2, 4, "half", 0.5) == (*status.progress(conn.db(), "j")[1:], status.progress(conn.db(), "j").part)
    assert [clock()] == facts_of(conn, ":worker/beat")
    store.settle([(job.lease, Outcome(factstore.Keyword(":job.status/finished")))])
    assert None is status.progress(conn.db(), "j")


def test_progress_belongs_to_one_attempt(conn, clock):
    conn.transact([job_txn("a", id="j")])
    eid = conn.db().entid([":job/id", "j"])
    store = JobStore(conn, worker="w")
    [job] = store.claim([eid], lease=LEASE)
    job.progress(3)
    assert status.progress(conn.db(), "j") is not None
    store.release([job.lease])
    store.claim([eid], lease=LEASE)
    assert None is status.progress(conn.db(), "j")


def test_without_a_heartbeat_progress_is_committed_at_most_every_few_seconds(conn):
    conn.transact([job_txn("a", id="j")])
    [job] = JobStore(conn, worker="w").claim([conn.db().entid([":job/id", "j"])], lease=LEASE)
    t = conn.db().basis_t
    for n in range(100):
        job.progress(n, 100)
    assert conn.db().basis_t - t in (1, 2)  # a second one only if the loop took more than five seconds


@pytest.mark.parametrize("wrong", [(None,), ("half",), (float("nan"),), (1, float("inf")), (True,), (2**80,)])
def test_progress_is_a_finite_number(conn, wrong):
    conn.transact([job_txn("a", id="j")])
    [job] = JobStore(conn, worker="w").claim([conn.db().entid([":job/id", "j"])], lease=LEASE)
    t = conn.db().basis_t
    with pytest.raises(OverseerError) as raised:
        job.progress(*wrong)
    assert (":job.error/bad-argument", t) == (raised.value.code, conn.db().basis_t)


STALE = """
import sys, overseer
def hang(job):
    print("began", flush=True)
    sys.stdin.readline()
overseer.start({"store": sys.argv[1], "heartbeat_sleep_time": 300, "heartbeat_tolerance": 2, "executor": "threads"}, {"a": hang}).join()
"""


def wait_for(conn, holds):
    """Wait for commits until a condition of the database holds."""
    db = conn.db()
    while not holds(db):
        db = conn.wait(db.basis_t, 60)


def test_a_worker_that_comes_back_too_late_leaves_a_fact(tmp_path):
    store = str(tmp_path / "jobs.facts")
    with factstore.connect(store) as conn:
        install(conn)
        conn.transact([job_txn("a", id="j")])
        stale = subprocess.Popen([sys.executable, "-c", STALE, store], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert "began\n" == stale.stdout.readline()
            stop(conn, stale.pid)
            settings = {"store": store, "heartbeat_sleep_time": 300, "heartbeat_tolerance": 2}
            with start(settings, {"a": lambda job: None}):
                wait_for(conn, lambda db: "j" in status.jobs_with_status(db, "finished"))
            stale.stdin.write("\n")
            stale.stdin.flush()
            os.kill(stale.pid, signal.SIGCONT)
            wait_for(conn, lambda db: status.attempts(db, "j")[0].refused)
            first, second = status.attempts(conn.db(), "j")
            assert (1, 2, None) == (first.number, second.number, second.refused)
            assert "too late" in status.explain(conn.db(), "j").why
            [by] = factstore.q("[:find [?by ...] :where [_ :job/refused _ ?tx] [?tx :overseer/by ?by]]", conn.db())
            assert first.by == by
            assert "runs" == next(each.state for each in status.workers(conn.db()) if each.name == by)
        finally:
            stale.kill()
            stale.wait()
            stale.stdin.close()
            stale.stdout.close()


def test_a_killed_worker_is_listed_until_its_end_is_asserted(tmp_path):
    store = str(tmp_path / "jobs.facts")
    with factstore.connect(store) as conn:
        install(conn)
        conn.transact([job_txn("a", id="j")])
        killed = subprocess.Popen([sys.executable, "-c", STALE, store], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert "began\n" == killed.stdout.readline()
        killed.kill()
        killed.wait()
        killed.stdin.close()
        killed.stdout.close()
        conn.sync()
        [info] = status.workers(conn.db())
        assert (killed.pid, ("j",), "runs") == (info.pid, info.jobs, info.state)
        [info] = status.workers(conn.db(), at=conn.now() + timedelta(minutes=1))
        assert (killed.pid, ("j",), "silent") == (info.pid, info.jobs, info.state)


def begun(conn, name):
    store = JobStore(conn, worker=name)
    store.presence.begin(handlers=[], queues=None, slots=2)
    return store


def states(conn, **options):
    return {each.name: each.state for each in status.workers(conn.db(), at=conn.now(), **options)}


def test_a_worker_stays_silent_after_its_jobs_were_taken_until_it_commits(conn, clock):
    conn.transact([job_txn("a", id="j"), job_txn("a", id="k")])
    j, k = (conn.db().entid([":job/id", id]) for id in "jk")
    dead, other = begun(conn, "dead"), begun(conn, "other")
    dead.claim([j], lease=LEASE)
    assert {"dead": "runs", "other": "runs"} == states(conn)
    clock.advance(31)
    assert {"dead": "silent", "other": "runs"} == states(conn)
    other.rescue(max_crashes=5)
    assert {"dead": "silent", "other": "runs"} == states(conn)
    [taken] = other.claim([j], lease=LEASE)
    other.settle([(taken.lease, Outcome(factstore.Keyword(":job.status/finished")))])
    t = conn.db().basis_t
    assert {"dead": "silent", "other": "runs"} == states(conn)
    dead.claim([k], lease=LEASE)  # it was only suspended
    assert {"dead": "runs", "other": "runs"} == states(conn)
    dead.presence.end()
    assert {"dead": "ended", "other": "runs"} == states(conn, ended=True)
    [then] = [each for each in status.workers(conn.db().as_of(t)) if each.name == "dead"]
    assert ("silent", ()) == (then.state, then.jobs)


def test_a_worker_that_claims_the_job_again_that_was_taken_from_it_runs(conn, clock):
    conn.transact([job_txn("a", id="j")])
    j = conn.db().entid([":job/id", "j"])
    late, other = begun(conn, "late"), begun(conn, "other")
    for expected in ("silent", "silent"):
        late.claim([j], lease=LEASE)
        assert "runs" == states(conn)["late"]
        clock.advance(100)
        other.rescue(max_crashes=5)
        assert expected == states(conn)["late"]
        clock.advance(1000)


def test_a_worker_whose_own_process_for_a_handler_died_runs(conn, clock):
    conn.transact([job_txn("a", id="j")])
    store = begun(conn, "w")
    [job] = store.claim([conn.db().entid([":job/id", "j"])], lease=LEASE)
    store.settle([(job.lease, crash_outcome(1, max_crashes=5, now=conn.now(), why="exit code -9"))])
    assert {"w": "runs"} == states(conn)
