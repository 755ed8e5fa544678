"""The threads of a worker that has nothing to do: they rest until something is committed or a lease is held, and miss nothing."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from datetime import timedelta
from itertools import repeat
from math import inf
from queue import SimpleQueue

import pytest

import factstore
from factstore import Keyword
from overseer import JobStore, Running, Worker, install, job_txn, when
from overseer.cron import schedule
from overseer.jobs.states import Lease
from overseer.worker.heartbeat import Heartbeat, HeldLeases
from overseer.worker.lookout import Lookout
from tests.overseer.conftest import BUSINESS

LEASE = Lease(1, "a", Keyword(":a"), 1, "token-30000", "w")
TOTAL = "[:find ?v . :in $ ?n :where [?o :order/number ?n] [?o :order/total ?v]]"


class Rest(threading.Event):
    """An event that tells when a thread begins to wait for it without a limit."""

    def __init__(self) -> None:
        super().__init__()
        self.set()
        self.rests = threading.Event()

    def wait(self, timeout: float | None = None) -> bool:
        if not self.is_set():
            self.rests.set()
        return super().wait(timeout)


class Looks(Lookout):
    """Counts its looks, without a pause between them."""

    awaits_commit = True

    def __init__(self, rests=lambda: False) -> None:
        super().__init__("looks", rests)
        self.looks = SimpleQueue[None]()

    def look(self) -> None:
        self.looks.put(None)

    def pause(self) -> float:
        return 0.0


def test_a_lookout_that_awaits_a_commit_looks_once_for_each_time_it_is_stirred():
    lookout = Looks()
    lookout._stirred = Rest()
    lookout.start()
    for _ in range(100):
        lookout._stirred.rests.wait()
        lookout.looks.get()
        assert lookout.looks.empty()
        lookout._stirred.rests.clear()
        lookout.stir()
    lookout.stop()


def test_a_lookout_whose_work_another_worker_does_looks_when_that_ends_without_being_stirred():
    rests = iter([True] * 5)
    lookout = Looks(lambda: next(rests, False))
    lookout.start()
    lookout.looks.get()
    assert [] == list(rests)
    lookout.stop()


@pytest.mark.parametrize("awaits_commit", [True, False])
def test_a_lookout_that_rests_can_be_stopped(awaits_commit):
    lookout = Looks()
    lookout.awaits_commit = awaits_commit
    lookout.start()
    lookout.looks.get()
    lookout.stop()
    assert lookout.error is None


def test_a_lookout_that_is_stopped_just_before_it_looks_ends():
    """Its worker would wait for it without end."""
    stopping = []

    def rests():
        if not stopping:
            lookout._stirred.clear()
            stopping.append(threading.Thread(target=lookout.stop))
            stopping[0].start()
            lookout._stopped.wait()
            lookout._stirred.wait()
        return False

    lookout = Looks(rests)
    lookout.start()
    lookout.looks.get()
    lookout._thread.join(60)
    assert not lookout._thread.is_alive()
    stopping[0].join()


def test_a_heartbeat_without_leases_looks_again_when_the_first_is_held(conn):
    """Each lease is added after the look that found nothing, so that only the lease can end the wait."""
    leases, looks = HeldLeases(), SimpleQueue[bool]()

    def look() -> float:
        looks.put(bool(leases))
        return 600 if leases else inf

    heartbeat = Heartbeat(JobStore(conn, worker="w"), leases, every=600, lease=timedelta(hours=1), time_out=lambda lease: None, look=look)
    heartbeat.start()
    assert looks.get() is False
    leases.add()
    leases.add(LEASE)
    assert looks.get() is True
    assert looks.empty()
    heartbeat.stop()
    assert heartbeat.error is None


@pytest.mark.parametrize("is_added_first", [True, False])
def test_a_wait_without_leases_misses_none(is_added_first):
    for _ in repeat(None, 50):
        leases = HeldLeases()
        waiter = threading.Thread(target=leases.wait, args=(time.monotonic() + 600,), kwargs={"rests": True}, daemon=True)
        if is_added_first:
            leases.add(LEASE)
        waiter.start()
        leases.add(LEASE)
        waiter.join(60)
        assert not waiter.is_alive()


# -- with a worker


def test_an_idle_worker_enqueues_and_wakes_what_another_connection_commits(tmp_path):
    """Its scheduler and its waker rest when it is committed."""
    uri = str(tmp_path / "jobs.facts")
    with factstore.connect(uri, sync="none") as conn:
        install(conn)
        conn.transact(BUSINESS)
        handlers = {":scheduled": lambda job: None, ":waits": lambda job: job.wait(when(TOTAL, "x", within="1h")) and None}
        worker = Worker(factstore.connect(uri, sync="none"), handlers)
        lookouts = [worker._scheduler, worker._waker]
        for lookout in lookouts:
            lookout._stirred = Rest()
        with closing(worker._conn), Running(worker, worker._conn):
            rest(lookouts)
            conn.transact([job_txn(":waits", id="w")])
            wait_for(conn, '[:find ?j . :where [?j :job/id "w"] [?j :job/wait _]]')
            rest(lookouts)
            conn.transact([schedule("often", "* * * * * *", ":scheduled"), {":order/number": "x", ":order/total": 5}])
            wait_for(conn, "[:find ?j . :where [?j :job/type :waits] [?j :job/status :job.status/finished]]")
            wait_for(conn, "[:find ?j . :where [?j :job/type :scheduled] [?j :job/status :job.status/finished]]")


def rest(lookouts):
    """Wait until the lookouts have looked at all that was committed, and rest."""
    for lookout in lookouts:
        lookout._stirred.rests.clear()
        if lookout._stirred.is_set():
            lookout._stirred.rests.wait()


def wait_for(conn, query):
    db = conn.db()
    while not factstore.q(query, db):
        db = conn.wait(db.basis_t, 60)
