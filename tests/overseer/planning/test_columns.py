"""Laws: plans and backlogs by columns are those that are computed job by job."""

from __future__ import annotations

from datetime import timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import Keyword
from overseer import install, job_txn, plan, queue, status
from overseer.jobs import lookup
from overseer.jobs.dependency_rules import DOOMED, READY, RULES
from overseer.jobs.states import ABORTED, FAILED, FINISHED, STARTED, UNSTARTED
from overseer.planning.columns import LiveJobs
from overseer.testing import FakeClock
from tests.overseer.planning import naive

SECONDS = {Keyword(":a"): 10.0, Keyword(":b"): 0.0}


def drawn(random, n):
    """Draw a job that depends on some of the n before it; most can run some day, so that plans are not empty."""
    return {
        "type": random.choice(["a", "b"] * 5 + [None]),
        "status": random.choice([UNSTARTED] * 9 + [FINISHED] * 3 + [STARTED] * 2 + [FAILED, ABORTED]),
        "deps": {random.randrange(n) + 1 for _ in range(random.choice([0, 0, 1, 2, 3]) if n else 0)}
        | ({0} if random.random() < 0.03 else set()),
        "rule": random.choice([None] * 4 + [":job.rule/any"] * 3 + [*RULES, ":job.rule/unknown"]),
        "run_at": random.choice([None] * 5 + [-5, 0, 7, 1000]),
        "priority": random.choice([None, 0, 1, -(2**63)]),
        "queue": random.choice([None] * 5 + ["open", "other", "other", "paused"]),
        "ends": random.random() < 0.7,
        "lease": random.choice([None, -1, 30]),
        "has_id": random.random() > 0.04,
    }


JOBS = st.builds(
    lambda random, count: [drawn(random, n) for n in range(count)], st.builds(Random, st.integers(0, 2**32)), st.integers(0, 25)
)


def inserted(conn, clock, jobs):
    """Insert jobs of any status, each a second after the one before; some depend on an entity that is no job."""
    conn.transact([queue("open", limit=3), queue("paused", paused=True), {":db/id": "thing", ":db/doc": "no job"}])
    thing = max(datom.e for datom in conn.db().datoms("aevt", ":db/doc"))
    eids = [thing]
    for n, job in enumerate(jobs):
        clock.advance(1)
        options = {
            ":job/status": job["status"],
            ":job/rule": None if job["rule"] is None else Keyword(job["rule"]),
            ":job/run-at": None if job["run_at"] is None else clock.now + timedelta(seconds=job["run_at"]),
            ":job/lease-expires": None if job["lease"] is None else clock.now + timedelta(seconds=job["lease"]),
            ":job/priority": job["priority"],
            ":job/queue": None if job["queue"] is None else Keyword(f":{job['queue']}"),
            ":job/dep": sorted(eids[dep] for dep in job["deps"] if dep < len(eids)),
        }
        form = job_txn(job["type"] or "a", {name: value for name, value in options.items() if value not in (None, [])}, id=f"{n % 5}-{n}")
        form = {name: value for name, value in form.items() if name != ":job/type" or job["type"] is not None}
        if not job["has_id"]:
            del form[":job/id"]
        eids.append(conn.transact([form]).tempids[form[":db/id"]])
    for job, eid in zip(jobs, eids[1:], strict=True):
        if job["status"] == STARTED and job["ends"]:  # after the jobs that wait for it were inserted
            clock.advance(1)
            conn.transact([[":db/cas", eid, ":job/status", STARTED, FINISHED]])


@given(JOBS, st.integers(1, 4), st.integers(-20, 20))
@settings(max_examples=150, deadline=None)
def test_plans_and_backlogs_by_columns_are_those_computed_job_by_job(jobs, workers, later):
    clock = FakeClock()
    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        inserted(conn, clock, jobs)
        now = clock.now + timedelta(seconds=later)
        for db in (conn.db(), conn.db().as_of(max(1, conn.db().basis_t - 3))):
            expected = naive.plan(db, now=now, workers=workers, seconds=SECONDS, unless_known=2.5)
            assert expected == plan(db, now=now, workers=workers, seconds=SECONDS, unless_known=2.5)
            backlogs = status.backlog(db, at=now)
            assert naive.backlog(db, at=now) == {name: of._replace(oldest=None) for name, of in backlogs.items()}
            for of in backlogs.values():
                assert (of.oldest is None) == (of.since is None)
                if of.oldest is not None:
                    assert of.since == naive.timing.ready_since(db, lookup.named(db, of.oldest))


@given(JOBS)
@settings(max_examples=50, deadline=None)
def test_the_states_of_live_jobs_are_those_of_each_one(jobs):
    clock = FakeClock()
    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        inserted(conn, clock, jobs)
        live = LiveJobs(conn.db())
        states = [lookup.readiness(conn.db(), job) for job in live.jobs.tolist()]
        assert ([state == READY for state in states], [state == DOOMED for state in states]) == tuple(mask.tolist() for mask in live.states)
