"""Clocks that jump, go back, or are ahead: pauses, due times and keys go on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

import pytest

import factstore
from factstore import TransactError
from overseer import Config, JobStore, Retry, Worker, fault, install, job_txn, snooze, status, unique
from overseer.events import Retried
from overseer.jobs.states import FINISHED, UNSTARTED, Outcome, Reason
from overseer.testing import FakeClock, drain
from overseer.worker.ready import ReadySet

HOUR = timedelta(hours=1)
LEASE = timedelta(seconds=30)


class Machine:
    """The machine's clock, which can be set back."""

    def __init__(self):
        self.behind = timedelta(0)

    def __call__(self):
        return datetime.now(UTC) - self.behind


def eid(conn, id):
    return conn.db().entid([":job/id", id])


def paused(conn, clock, seconds):
    """Put a job back for some seconds, and return it."""
    conn.transact([job_txn(":a", id="j")])
    store = JobStore(conn, worker="w")
    [held] = store.claim([eid(conn, "j")], lease=LEASE)
    store.settle([(held.lease, Outcome(UNSTARTED, reason=Reason.SNOOZE, run_at=clock() + timedelta(seconds=seconds)))])
    return eid(conn, "j")


def picked(ready, now):
    return ready.pick(9, now=now, random=Random(0))


# -- pauses


@pytest.mark.parametrize("ends", ["retry", "snooze", "fault"])
def test_a_pause_ends_in_time_when_the_clock_is_set_back_meanwhile(ends):
    clock, ran = Machine(), []

    def handler(job):
        ran.append(job.id)
        if len(ran) == 1:
            if ends == "retry":
                raise ValueError("once")
            snooze(0.2) if ends == "snooze" else fault("again")

    def set_back(event):
        if isinstance(event, Retried):
            clock.behind = HOUR

    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        conn.transact([job_txn(":a", id="j")])
        handlers = {":a": {"process": handler, "retry": Retry(3, lambda failed: 0.2)}}
        Worker(conn, handlers, Config(listeners=[set_back])).run(until_idle=True)
        assert ["j", "j"] == ran
        assert 1 == status.counts(conn.db())[FINISHED]


def test_a_pause_ends_by_elapsed_time_from_when_a_worker_first_saw_it():
    """Whether it saw the pause begin, began to look later, or reads many jobs at once."""
    clock, elapsed = FakeClock(), [0.0]
    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        conn.transact([job_txn(":a", id="due later", run_at=clock() + timedelta(seconds=60))])
        ready = [ReadySet(elapsed=lambda: elapsed[0], many=many) for many in (50, 1, 50)]
        ready[0].load(conn.db())
        with conn.tx_reports() as reports:
            job = paused(conn, clock, 60)
            while (report := reports.get(0.0)) is not None:
                ready[0].absorb(report.db_after, report.tx_data)
        clock.advance(-3600)
        ready[1].load(conn.db())
        ready[2].look(conn.db(), job)
        for at, expected in ((59.9, []), (60.1, [job])):
            elapsed[0] = at
            assert [expected] * 3 == [picked(each, clock()) for each in ready]
            assert all((each.next_pause() <= 0.11) == (not expected) for each in ready)


def test_a_time_that_somebody_sets_after_a_pause_is_kept_by_the_clock():
    clock, elapsed = FakeClock(), [0.0]
    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        job = paused(conn, clock, 1)
        conn.transact([[":db/add", job, ":job/run-at", clock() + HOUR]])
        ready = ReadySet(elapsed=lambda: elapsed[0])
        ready.load(conn.db())
        elapsed[0] = 60.0
        assert [] == picked(ready, clock())
        assert float("inf") == ready.next_pause()
        assert [job] == picked(ready, clock() + HOUR)


def test_an_instant_that_is_a_year_ahead_holds_up_no_pause_and_no_due_time(conn, clock):
    clock.advance(365 * 86400)
    conn.transact([{":db/doc": "by a clock that was wrong"}])
    clock.advance(-365 * 86400)
    ran = []

    def again(job):
        ran.append(job.id)
        if len(ran) == 1:
            snooze(60)

    conn.transact([job_txn(":a", id="pauses"), job_txn(":b", id="due", run_at=clock() + timedelta(seconds=30))])
    assert 3 == drain(conn, {":a": again, ":b": lambda job: ran.append(job.id)}, wait=True)
    assert ["pauses", "due", "pauses"] == ran


# -- what people are shown


def test_a_worker_whose_clock_is_behind_does_not_look_dead(conn, clock):
    """Nobody can tell by the clock whether it lives; who beats by the right clock and falls silent is shown as before."""
    conn.transact([job_txn(":a", id="behind"), job_txn(":a", id="right")])
    clock.advance(-3600)
    JobStore(conn, worker="behind").claim([eid(conn, "behind")], lease=LEASE)
    clock.advance(3600)
    JobStore(conn, worker="right").claim([eid(conn, "right")], lease=LEASE)
    clock.advance(60)
    assert {"right"} == status.jobs_dead(conn.db(), at=clock())
    assert "behind runs attempt 1" in status.explain(conn.db(), "behind", at=clock()).why
    assert "right went silent" in status.explain(conn.db(), "right", at=clock()).why


# -- unique keys


def insert(conn, id, **options):
    conn.transact([unique("key", job_txn(":a", id=id), period=timedelta(seconds=60), **options)])
    return eid(conn, id) is not None


def test_the_period_of_a_key_goes_by_the_clock_while_the_newest_instant_is_ahead(conn, clock):
    clock.advance(3600)
    conn.transact([{":db/doc": "by a clock that was wrong"}])
    clock.advance(-3600)
    assert insert(conn, "first")
    drain(conn, {":a": lambda job: None})
    clock.advance(59)
    assert not insert(conn, "too early")
    with pytest.raises(TransactError) as refused:
        insert(conn, "too early", refuse=True)
    assert ":job.error/duplicate" == refused.value.code
    clock.advance(2)
    assert insert(conn, "second")


def test_a_key_that_was_taken_by_a_clock_ahead_is_free_a_period_after_it_is_asked_for(conn, clock):
    clock.advance(365 * 86400)
    assert insert(conn, "first")
    drain(conn, {":a": lambda job: None})
    clock.advance(-365 * 86400)
    assert not insert(conn, "too early")
    clock.advance(59)
    assert not insert(conn, "too early")
    clock.advance(2)
    assert insert(conn, "second")
