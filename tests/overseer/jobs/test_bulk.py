"""Moves of many jobs in one transaction: each job changes as if it was moved alone, and the transaction can be taken back."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from overseer import graph_txns, install, job_txn, status, unique
from overseer.errors import OverseerError
from overseer.jobs import lookup
from overseer.jobs.graph import Graph
from overseer.jobs.store import JobStore, bulk
from overseer.reverting import changed, moved_on, revert
from overseer.testing import drain
from tests.overseer.by_hand import moved

LEASE = timedelta(minutes=1)


def states(db):
    return {id: lookup.status(db, eid).name for id, eid in factstore.q("[:find ?id ?j :where [?j :job/id ?id]]", db)}


@st.composite
def stores(draw):
    """Draw graphs of up to eight jobs with a status each, in a store of its own, and some of the jobs."""
    names = [f"j{n}" for n in range(draw(st.integers(1, 8)))]
    deps = {name: tuple(draw(st.sets(st.sampled_from(names[:n]), max_size=2))) if n else () for n, name in enumerate(names)}
    ends = {name: draw(st.sampled_from(["unstarted", "finished", "failed", "aborted"])) for name in names}
    return names, deps, ends, draw(st.lists(st.sampled_from(names), unique=True))


def filled(names, deps, ends):
    conn = factstore.connect("memory:")
    install(conn)
    conn.transact(
        graph_txns(Graph({name: {":job/id": name, ":job/type": ":load", ":job/status": ":job.status/unstarted"} for name in names}, deps))
    )
    conn.transact([moved(conn.db(), name, f":job.status/{end}") for name, end in ends.items() if end != "unstarted"])
    return conn


@settings(max_examples=60)
@given(stores(), st.sampled_from(["abort", "retry"]), st.randoms(use_true_random=False))
def test_jobs_end_as_if_each_was_moved_alone_and_go_back_together(drawn, kind, random):
    names, deps, ends, chosen = drawn
    with filled(names, deps, ends) as conn, filled(names, deps, ends) as other:
        before = states(conn.db())
        build = {"abort": lambda db: bulk.abort(db, chosen, "stop", by="ann"), "retry": lambda db: bulk.retry(db, chosen, by="ann")}[kind]
        move, report = bulk.committed(conn, build)
        alone = JobStore(other, worker="ann")
        for id in [*chosen] if kind == "abort" else names:  # a job can run again only after its parents
            if id in chosen:
                try:
                    alone.abort(id, "stop") if kind == "abort" else alone.retry(id)
                except factstore.TransactError as error:
                    assert ":job.error/parent-lost" == error.code and id in move.left
        assert states(other.db()) == states(conn.db())
        assert sorted(chosen) == sorted([*move.moved, *move.left])
        assert {id for id, state in states(conn.db()).items() if state != before[id]} == {*move.moved, *move.others}
        if report is None:
            assert () == move.moved
        else:
            assert {*move.moved, *move.others} == changed(conn.db(), report.t)
            conn.transact(revert(conn.db(), report.t))
            assert before == states(conn.db())


def test_a_thousand_jobs_are_aborted_and_taken_back_whole(conn):
    ids = [f"{n}" for n in range(1000)]
    conn.transact([job_txn("load", id=id) for id in ids])
    before = conn.db()
    move, report = bulk.committed(conn, lambda db: bulk.abort(db, ids, "stop", by="ann"))
    assert 1000 == len(move.moved) == status.counts(conn.db())[":job.status/aborted"]
    assert set() == moved_on(conn.db(), report.t)
    conn.transact(revert(conn.db(), report.t))
    db = conn.db()
    jobs = {db.entid([":job/id", id]) for id in ids}
    assert [] == [datom for datom in factstore.diff(before, db) if datom.e in jobs]


def test_a_job_whose_key_is_taken_is_not_retried(conn):
    conn.transact([unique("k", job_txn("load", id="1"))])
    conn.transact([moved(conn.db(), "1", ":job.status/failed")])
    conn.transact([unique("k", job_txn("load", id="2"))])
    move, report = bulk.committed(conn, lambda db: bulk.retry(db, ["1"], by="ann"))
    assert ("1",) == move.left and report is None


def test_queue_and_priority_change_only_of_jobs_that_have_not_started(conn):
    conn.transact([job_txn("load", id=id, queue="a", priority=1) for id in "123"])
    JobStore(conn, worker="w").claim([conn.db().entid([":job/id", "1"])], lease=LEASE)
    move, _ = bulk.committed(conn, lambda db: bulk.change(db, "123", queue="b", priority=None, by="ann"))
    assert (("2", "3"), ("1",)) == (move.moved, move.left)
    assert {"2", "3"} == {job.id for job in status.jobs(conn.db(), queue="b")}
    assert [] == list(factstore.q("[:find ?j :where [?j :job/queue :b] [?j :job/priority]]", conn.db()))
    with pytest.raises(OverseerError, match="whole number"):
        bulk.change(conn.db(), ["2"], priority="high", by="ann")
    assert ([], ()) == bulk.change(conn.db(), ["2"], queue="b", by="ann")[:2]


def test_a_repeated_job_has_the_arguments_but_not_the_history(conn):
    conn.transact([{**job_txn("load", id="1", queue="a"), ":org/id": 7}])
    drain(conn, {"load": lambda job: None})
    with_ids = [bulk.committed(conn, lambda db: bulk.repeat(db, ["1"], by="ann", ids=lambda old: f"{old}-again")) for _ in range(2)]
    assert ("1",) == with_ids[0][0].moved
    about = lookup.attributes(conn.db(), conn.db().entid([":job/id", "1-again"]))
    assert {":org/id": 7, ":job/queue": ":a", ":job/status": ":job.status/unstarted", ":job/type": ":load", ":job/id": "1-again"} == about
    assert 2 == sum(status.counts(conn.db()).values())


def test_an_unknown_job_is_an_error(conn):
    with pytest.raises(OverseerError, match="there is no job 'x'"):
        bulk.abort(conn.db(), ["x"], "stop", by="ann")
