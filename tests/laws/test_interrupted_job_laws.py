"""The law of a job's moves: after an exception at any line, a claim or a settlement was made once or not at all, and the caller can tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import factstore
import overseer
from factstore import Connection, UnknownOutcome
from overseer import JobStore, job_txn
from overseer.jobs import lookup
from overseer.jobs.states import Outcome
from tests.laws.interrupts import At, at_every_line

# Raised in a finalizer that runs at that moment, the exception reaches nobody.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

LEASE = timedelta(hours=1)
NUMBER = [{":db/ident": ":k/n", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}]
AT_ONCE = 25  # jobs of one store

Opening = Callable[[], Connection]


@pytest.fixture(params=["memory", "disk"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opening]:
    """Open a store that is new, in the place of the one that was opened last."""
    conns: list[Connection] = []

    def another() -> Connection:
        for conn in conns:
            conn.close()
        path = tmp_path / f"{len(conns)}.facts"
        conns.append(factstore.connect(f"memory:{path}" if request.param == "memory" else str(path), sync="none"))
        overseer.install(conns[-1])
        conns[-1].transact(NUMBER)
        return conns[-1]

    yield another
    for conn in conns:
        conn.close()


def insert(conn: Connection, n: int) -> int:
    job = conn.transact([job_txn(":foo", id=f"{n}")]).db_after.entid([":job/id", f"{n}"])
    assert job is not None
    return job


def statuses(conn: Connection, job: int) -> list[object]:
    """Return all statuses that a job ever had."""
    datoms = conn.db().history().datoms("eavt", job, ":job/status")
    return [datom.v for datom in sorted(datoms, key=lambda datom: datom.tx) if datom.added]


def test_an_exception_at_any_line_of_a_claim_leaves_the_job_claimed_once_or_not_at_all(opened: Opening) -> None:
    conn, job, outcome = opened(), 0, None

    def call(at: At) -> None:
        nonlocal conn, job, outcome
        if not at.n % AT_ONCE:
            conn = opened()
        job = insert(conn, at.n)
        outcome = None
        try:
            with at.here():
                JobStore(conn, worker="first").claim([job], lease=LEASE)
        except BaseException as error:
            outcome = error

    for at in at_every_line(call):
        made = outcome is None or isinstance(outcome, UnknownOutcome)
        assert [":job.status/unstarted", ":job.status/started"][: 1 + made] == statuses(conn, job), at.where
        assert (not made) == bool(JobStore(conn, worker="second").claim([job], lease=LEASE)), at.where


def test_an_exception_at_any_line_of_a_settlement_leaves_the_job_ended_once_or_not_at_all(opened: Opening) -> None:
    conn, job, outcome, rejected = opened(), 0, None, []

    def call(at: At) -> None:
        nonlocal conn, job, outcome, rejected
        if not at.n % AT_ONCE:
            conn = opened()
        job = insert(conn, at.n)
        store = JobStore(conn, worker="first")
        (mine,) = store.claim([job], lease=LEASE)
        outcome, rejected = None, []
        try:
            with at.here():
                rejected = store.settle([(mine.lease, Outcome(":job.status/finished", facts=[[":db/add", job, ":k/n", at.n]]))])
        except BaseException as error:
            outcome = error

    for at in at_every_line(call):
        made = lookup.status(conn.db(), job) == ":job.status/finished"
        assert [":job.status/unstarted", ":job.status/started", ":job.status/finished"][: 2 + made] == statuses(conn, job), at.where
        assert ([at.n] if made else []) == [datom.v for datom in conn.db().datoms("eavt", job, ":k/n")], at.where
        # An error of the facts comes back as a rejection: the worker fails the job with it.
        assert made == (isinstance(outcome, UnknownOutcome) or (outcome is None and not rejected)), (at.where, outcome)
