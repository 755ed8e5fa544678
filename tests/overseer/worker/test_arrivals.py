"""Lookouts that have nothing to do read nothing of what others commit, and miss nothing that concerns them."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

import factstore
from overseer import cron, install, job_txn
from overseer.jobs.store import JobStore
from overseer.worker.pacing.arrivals import Arrivals
from overseer.worker.scheduler import Scheduler
from overseer.worker.waker import Waker

SCHEMA = [
    {":db/ident": ":a/text", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":a/number", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
]


@pytest.fixture(params=["file", "memory:arrivals"])
def two(request, tmp_path):
    """Two connections to one store: a file that notes topics, and one that does not."""
    uri = str(tmp_path / "s.facts") if request.param == "file" else request.param
    with factstore.connect(uri) as conn, factstore.connect(uri) as other:
        install(conn)
        for _ in range(20):
            conn.transact([])
        yield conn, other


def note(conn, text):
    return conn.transact([{":db/id": "e", ":a/text": text}]).tempids["e"]


def test_an_assertion_has_arrived_once(two):
    conn, other = two
    arrivals = Arrivals(conn, ":a/text")
    assert arrivals.any()  # the attribute does not exist yet
    other.transact(SCHEMA)
    assert arrivals.any()
    eid = note(other, "one")
    assert arrivals.any()
    other.transact([[":db/add", eid, ":a/text", "two"]])
    assert arrivals.any()


def test_other_facts_do_not_arrive(tmp_path):
    with factstore.connect(str(tmp_path / "s.facts")) as conn, factstore.connect(str(tmp_path / "s.facts")) as other:
        conn.transact(SCHEMA)
        for _ in range(20):
            conn.transact([])
        arrivals = Arrivals(other, ":a/text")
        assert arrivals.any()
        eid = note(conn, "one")
        assert arrivals.any()
        assert not arrivals.any()
        conn.transact([[":db/add", eid, ":a/number", 1]])
        conn.transact([[":db/retract", eid, ":a/text", "one"]])
        assert not arrivals.any()


def test_a_scheduler_reads_nothing_until_a_schedule_comes(tmp_path):
    uri = str(tmp_path / "s.facts")
    now = datetime(2030, 1, 1, tzinfo=UTC)
    with factstore.connect(uri) as conn, factstore.connect(uri) as other:
        install(conn)
        for _ in range(20):
            conn.transact([])
        scheduler = Scheduler(other, clock=lambda: now, random=Random(0))
        waker = Waker(JobStore(other, worker="w"), random=Random(0))
        assert not scheduler.look()
        assert not waker.look()
        known = other._committer.newest.database.basis_t
        conn.transact([job_txn(":a") for _ in range(100)])
        assert not scheduler.look()
        assert not waker.look()
        assert other._committer.newest.database.basis_t == known
        conn.transact([cron.schedule("s", "* * * * *", ":a", missed="all")])
        now = conn.now().replace(year=conn.now().year + 1)
        assert scheduler.look()
        scheduler.close()


def test_a_waker_sees_a_job_that_waits(tmp_path):
    uri = str(tmp_path / "s.facts")
    with factstore.connect(uri) as conn, factstore.connect(uri) as other:
        install(conn)
        for _ in range(20):
            conn.transact([])
        waker = Waker(JobStore(other, worker="w"), random=Random(0))
        for _ in range(2):
            waker.look()
        job = conn.transact([{**job_txn(":a"), ":db/id": "job"}]).tempids["job"]
        forms = [{":db/id": "wait", ":db/doc": "a query"}, [":db/add", job, ":job/wait", "wait"]]
        t = conn.transact(forms).t
        waker.look()
        assert other._committer.newest.database.basis_t >= t
