"""A job whose time has come, such as a retry, waits in a full queue like any other: no worker tries to claim it again and again."""

from __future__ import annotations

from datetime import timedelta

import pytest

from overseer import JobStore, Worker, job_txn, queue
from overseer.testing import drain


@pytest.fixture
def full(conn, clock):
    """A store in which another worker runs the one job that a queue allows, and a second job is due."""
    past = conn.now() - timedelta(seconds=1)
    conn.transact([queue("q", limit=1), job_txn(":a", id="first", queue="q")])
    assert JobStore(conn, worker="other").claim([conn.db().entid([":job/id", "first"])], lease=timedelta(seconds=30))
    conn.transact([job_txn(":a", id="second", queue="q", run_at=past)])
    return conn


def test_a_worker_does_not_choose_it(full):
    worker = Worker(full, {":a": lambda job: None})
    worker._ready.load(full.db())
    assert [] == worker._loop._pick(5)
    assert 1 == len(worker._ready)


def test_draining_ends(full):
    assert 0 == drain(full, {":a": lambda job: None})
