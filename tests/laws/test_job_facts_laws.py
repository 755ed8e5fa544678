"""Law: whatever facts somebody asserts about jobs, queues and schedules, no part of the job layer fails for them, and other jobs run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import Keyword, TransactError
from overseer import JobStore, cron, install, job_txn, plan, retention, status
from overseer.jobs.states import ENDED, FINISHED, LIVE, STATUSES
from overseer.schema import ATTRIBUTES
from overseer.testing import FakeClock, drain
from overseer.worker.scheduler import Scheduler

START = datetime(2026, 3, 1, tzinfo=UTC)
RULES = [":job.rule/any", ":job.rule/all-done", ":job.rule/none-failed"]
WORDS = [":x", ":q", ":none-such", ":schedule.missed/all", ":schedule.missed/skip", *RULES, *STATUSES]
VALUES = {
    "string": ["", "x", "{", "[1]", "{:a 1}", "{:job/priority 1}", "UTC", "* * * * *", "*/5 * * * * *", "0 0 30 2 *", "a-5", "\x00"],
    "keyword": list(map(Keyword, WORDS)),
    "long": [0, 1, -1, 3, 1000, 2**62, 2**63 - 1, -(2**63)],
    "instant": [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), START],
    "boolean": [True, False],
    "ref": ["j0", "j1", "j2", "s", "q", "k"],
}
FAMILIES = {"j0": "job", "j1": "job", "j2": "job", "s": "schedule", "q": "queue", "k": "unique"}
NAMED = {
    **{id: {":job/id": id, ":job/type": ":x", ":job/status": ":job.status/unstarted"} for id in ("j0", "j1", "j2")},
    "s": {":schedule/id": "s", ":schedule/cron": "* * * * *", ":schedule/type": ":x"},
    "q": {":queue/name": ":q"},
    "k": {":unique/key": "k"},
}
NAMES = {":job/id", ":schedule/id", ":queue/name", ":unique/key"}


def facts_of(family):
    """Return a strategy of facts about an entity, a few of its attributes at a time."""
    of_family = [a for a in ATTRIBUTES if a[":db/ident"].startswith(f":{family}/") and a[":db/ident"] not in NAMES]
    values = {a[":db/ident"]: st.sampled_from(VALUES[a[":db/valueType"].split("/")[1]]) for a in of_family}
    return st.lists(st.sampled_from(sorted(values)), max_size=5, unique=True).flatmap(
        lambda chosen: st.fixed_dictionaries({name: values[name] for name in chosen})
    )


@given(st.fixed_dictionaries({id: facts_of(family) for id, family in FAMILIES.items()}))
@settings(max_examples=150, deadline=None)
def test_no_facts_stop_the_others(facts):
    clock = FakeClock(START)
    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        conn.transact([{":db/id": id, **NAMED[id], **about} for id, about in facts.items()])
        conn.transact([job_txn("good", id="good"), cron.schedule("good", "* * * * *", "tick")])
        asked_about(conn.db())
        drain(conn, {"x": lambda job: (job.results, None)[1], "good": lambda job: None}, most=1000)
        assert FINISHED == statuses(conn)["good"]
        clock.advance(3600)
        JobStore(conn, worker="monitor").rescue(max_crashes=2)
        Scheduler(conn, clock=clock, random=Random(0)).look()
        assert any(id.startswith("good@") for id in statuses(conn))
        an_operator_ends_all(conn)


def asked_about(db):
    """Ask every question there is; each has an answer."""
    for id in ("j0", "j1", "j2"):
        assert status.explain(db, id).why
        status.history(db, id)
        status.blockers(db, id)
    status.backlog(db)
    status.counts_by_type(db)
    plan(db, now=START)
    cron.problems(db)
    retention.prunable(db, retention.Rule(timedelta(0)), START)


def an_operator_ends_all(conn):
    """Whatever its state, each job can be put back or is live or finished, and can then be aborted."""
    store = JobStore(conn, worker="operator")
    for id in ("j0", "j1", "j2"):
        try:
            store.retry(id)
        except TransactError as error:
            assert error.code in (":job.error/parent-lost", ":job.error/duplicate")
        else:
            assert statuses(conn)[id] in (*LIVE, FINISHED)
        store.abort(id, "over")
        assert statuses(conn)[id] in ENDED


def statuses(conn):
    return dict(factstore.q("[:find ?id ?s :where [?j :job/id ?id] [?j :job/status ?s]]", conn.db()))
