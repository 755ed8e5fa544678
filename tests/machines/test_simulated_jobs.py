"""The laws of jobs at every database value, for any graph, limits and schedule: the job layer under its own simulator.

`test_job_lifecycle.py` compares single moves, also those of operators, with a model. Here whole workers run: what they do follows
from the graph, and only the schedule is chosen.
"""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from overseer import Retry, abort, install, job_txn, once, queue, unique
from overseer.jobs import lookup, txns
from overseer.jobs.queues import running
from overseer.jobs.states import FINISHED, LIVE, MOVES, STARTED
from overseer.jobs.store import settlements
from overseer.testing import Violation, schedules, simulate

LIMIT = 1
ENDS = ("finish", "fail", "abort", "retry", "insert")
DONE = {":db/ident": ":done/by", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/many"}


def handle(job):
    end = job[":job/partition"]  # how this job shall end, which no other attribute says
    job.transact([{":db/id": job.eid, ":done/by": f"began {job.attempt}"}])
    if end == "fail" or (end == "retry" and job.attempt == 1):
        raise ValueError(job.id)
    if end == "abort":
        abort("enough")
    more = [once(job_txn(":work", {":job/partition": "finish"}, id=f"{job.id}+"))] if end == "insert" else []
    return [{":db/id": job.eid, ":done/by": f"ended {job.attempt}"}, *more]


HANDLERS = {":work": {"process": handle, "retry": Retry(max_attempts=3)}}


def values(db, attribute):
    return [(datom.e, datom.v) for datom in db.datoms("aevt", attribute)]


def a_status_moves_along_the_table(db):
    moves = factstore.q("[:find ?old ?new ?j ?tx :where [?j :job/status ?old ?tx false] [?j :job/status ?new ?tx true]]", db.history())
    assert [] == [(old, new) for old, new, _, _ in moves if new not in MOVES[old]]


def one_attempt_ends_a_job_and_only_the_last(db):
    ended = [(job, text) for job, text in values(db, ":done/by") if text.startswith("ended")]
    attempt, status = dict(values(db, ":job/attempt")), dict(values(db, ":job/status"))
    assert [(job, f"ended {attempt[job]}") for job, _ in ended] == ended
    assert {job for job, _ in ended} == {job for job, now in status.items() if now == FINISHED}


def a_job_starts_after_its_parents(db):
    status = dict(values(db, ":job/status"))
    begun = {job for job, now in status.items() if now in (STARTED, FINISHED)}
    assert [] == [(job, parent) for job, parent in values(db, ":job/dep") if job in begun and status[parent] != FINISHED]


def a_queue_runs_as_many_as_it_may(db):
    assert all(count <= LIMIT for (_, partition), count in running(db).items() if partition is None)


def a_key_has_one_live_job(db):
    status = dict(values(db, ":job/status"))
    live = Counter(job for _, job in values(db, ":unique/job") if status[job] in LIVE)
    assert all(count == 1 for count in live.values())


LAWS = [
    a_status_moves_along_the_table,
    one_attempt_ends_a_job_and_only_the_last,
    a_job_starts_after_its_parents,
    a_queue_runs_as_many_as_it_may,
    a_key_has_one_live_job,
]

JOBS = st.lists(
    st.tuples(st.sampled_from(ENDS), st.sets(st.integers(0, 3), max_size=2), st.booleans(), st.booleans()), min_size=1, max_size=4
)


def store(jobs):
    """Return a store with jobs: how each ends, the earlier jobs that it depends on, whether it is in the queue, whether it has a key."""
    conn = factstore.connect("memory:")
    install(conn)
    conn.transact([DONE, queue("q", limit=LIMIT)])
    for n, (end, deps, is_limited, has_key) in enumerate(jobs):
        parents = {":job/dep": [[":job/id", f"j{dep}"] for dep in sorted(deps) if dep < n]}
        attributes = {":job/partition": end, **(parents if parents[":job/dep"] else {})}
        job = job_txn(":work", attributes, id=f"j{n}", queue="q" if is_limited else None)
        conn.transact([unique(f"key {n}", job) if has_key else job])
    return conn


@settings(deadline=None)
@given(JOBS, schedules(most=5, most_step=40), st.integers(1, 3))
def test_the_laws_hold_for_any_graph_under_any_schedule(jobs, schedule, workers):
    simulate(store(jobs), HANDLERS, schedule=schedule, workers=workers, invariants=LAWS)


@pytest.mark.parametrize("workers", [2, 3])
def test_the_laws_hold_for_a_small_graph_under_the_simplest_schedules(workers):
    jobs = [("finish", {}, True, True), ("retry", {0}, True, False), ("insert", {0}, False, False)]
    assert 80 == simulate(store(jobs), HANDLERS, workers=workers, invariants=LAWS, schedules=80).runs


def test_a_worker_that_is_not_fenced_is_found(monkeypatch):
    """So the laws are checked where it matters: without attempt numbers, a worker that returns ends or renews the attempt of another."""
    monkeypatch.setattr(txns, "fence", lambda lease: [])
    monkeypatch.setattr(settlements, "holds", lambda db, lease: lookup.status(db, lease.job) == STARTED)
    with pytest.raises(Violation, match=r"one_attempt_ends_a_job_and_only_the_last does not hold|the run did not end") as caught:
        simulate(store([("finish", {}, False, False)]), HANDLERS, invariants=LAWS)
    assert 2 == len(caught.value.run.schedule)
