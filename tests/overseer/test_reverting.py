"""Taking back what a transaction did to jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import TransactError
from overseer import Result, graph_txns, install, job_txn, questions, revert, status, unique
from overseer.jobs.states import STATUSES
from overseer.jobs.store import JobStore
from overseer.retention import Rule, prune
from overseer.reverting import moved_on
from overseer.testing import drain
from tests.overseer.by_hand import moved


def facts(db, *, of_jobs=True):
    """What is said of jobs and their waits and steps, or of all others but transactions, by attributes that keep history."""
    jobs = {d.e for name in (":job/id", ":wait/key", ":step/key") for d in db.datoms("aevt", name)}
    system = {db.entid(":db/txInstant"), db.entid(":overseer/by"), db.entid(":overseer/reverts")}
    kept = [attribute for attribute in db.schema.attributes if not attribute.no_history and attribute.id not in system]
    return {(d.e, d.a, d.v) for attribute in kept for d in db.datoms("aevt", attribute.ident) if (d.e in jobs) == of_jobs}


def abort_all(conn, *ids):
    return conn.transact([moved(conn.db(), id, ":job.status/aborted") for id in ids]).db_after.basis_t


def test_a_mass_abort_is_taken_back_but_for_jobs_that_moved_on(conn):
    ids = [f"{n}" for n in range(10)]
    conn.transact([job_txn("load", id=id) for id in ids])
    t = abort_all(conn, *ids)
    JobStore(conn, worker="operator").retry("3")
    drain(conn, {"load": lambda job: None})
    assert {"3"} == moved_on(conn.db(), t)
    conn.transact(revert(conn.db(), t, by="operator"))
    assert set(ids) - {"3"} == status.jobs_unstarted(conn.db())
    assert {"3"} == status.jobs_with_status(conn.db(), "finished")


def test_the_transaction_says_which_one_it_takes_back_and_who_did(conn):
    conn.transact([job_txn("load", id="1")])
    t = abort_all(conn, "1")
    db = conn.transact(revert(conn.db(), t, by="ann")).db_after
    found = factstore.q("[:find ?of ?by :where [?tx :overseer/reverts ?of] [?tx :overseer/by ?by]]", db)
    assert [(t, "ann")] == [(db.t_at(of), by) for of, by in found]


def test_aborting_by_hand_a_job_and_what_waits_for_it_is_taken_back_whole(conn):
    conn.transact(graph_txns({"a": [], "b": ["a"], "c": ["b"]}))
    before = facts(conn.db())
    (first,) = status.jobs_ready(conn.db())
    JobStore(conn, worker="operator").abort(first, "by mistake")
    assert 3 == status.counts(conn.db())[":job.status/aborted"]
    conn.transact(revert(conn.db(), conn.db().basis_t))
    assert before == facts(conn.db())
    assert 3 == drain(conn, dict.fromkeys("abc", lambda job: None))


def test_a_job_that_was_started_is_unstarted_and_its_attempt_stays_lost(conn):
    conn.transact([{**job_txn("load", id="1"), ":job/status": ":job.status/started", ":job/attempt": 1}])
    t = abort_all(conn, "1")
    conn.transact(revert(conn.db(), t))
    assert {"1"} == status.jobs_unstarted(conn.db())


def test_other_facts_of_the_transaction_stay(conn):
    t = conn.transact([{":order/number": "A-1", ":order/total": 3}, job_txn("load", id="1")]).db_after.basis_t
    conn.transact(revert(conn.db(), t))
    assert conn.db().entid([":job/id", "1"]) is None
    assert 3 == factstore.entity(conn.db(), [":order/number", "A-1"])[":order/total"]


def test_pruning_is_taken_back_too(conn):
    conn.transact([{**job_txn("load", id=id), ":job/status": ":job.status/finished"} for id in "123"])
    before = facts(conn.db())
    prune(conn, Rule(timedelta(0)), now=datetime.now(UTC) + timedelta(hours=1))
    conn.transact(revert(conn.db(), conn.db().basis_t))
    assert before == facts(conn.db())


def asks(job):
    return Result([job.once("a", lambda: 1), job.ask("Which?", within="1h")])


def begin(conn):
    drain(conn, {"load": asks})


def answer(conn):
    begin(conn)
    conn.transact(questions.answer("1", "yes", by="ann"))


def wake(conn):
    answer(conn)
    assert JobStore(conn, worker="waker").wake()


def abort(conn):
    begin(conn)
    JobStore(conn, worker="ann").abort("1", "no")


def retry(conn):
    abort(conn)
    JobStore(conn, worker="ann").retry("1")


def prune_it(conn):
    wake(conn)
    drain(conn, {"load": asks})
    prune(conn, Rule(timedelta(0)), now=datetime.now(UTC) + timedelta(hours=1))


@pytest.mark.parametrize("change", [begin, answer, wake, abort, retry, prune_it])
def test_the_waits_and_steps_of_a_job_are_taken_back_with_it(conn, change):
    conn.transact([job_txn("load", id="1")])
    change(conn)
    t = conn.db().basis_t
    before = facts(conn.db().as_of(t - 1))
    status_id = conn.db().schema.attribute(":job/status").id
    conn.transact(revert(conn.db(), t))
    assert {(e, a, STATUSES[0] if a == status_id and v == STATUSES[1] else v) for e, a, v in before} == facts(conn.db())
    drain(conn, {"load": asks})
    assert (change in (wake, prune_it)) == (status.jobs_with_status(conn.db(), "finished") == {"1"})


def test_the_attempt_that_asked_is_not_taken_back_after_the_answer(conn):
    conn.transact([job_txn("load", id="1")])
    begin(conn)
    began = conn.db().basis_t
    conn.transact(questions.answer("1", "yes", by="ann"))
    assert ({"1"}, []) == (moved_on(conn.db(), began), revert(conn.db(), began))


def test_the_unique_key_of_a_job_that_is_taken_back_is_free(conn):
    t = conn.transact([unique("k", job_txn("load", id="1"), period="1h")]).t
    conn.transact(revert(conn.db(), t))
    conn.transact([unique("k", job_txn("load", id="2"), period="1h")])
    assert {"2"} == status.jobs_unstarted(conn.db())
    conn.transact([unique("k", job_txn("load", id="3"), period="1h")])
    assert {"2"} == status.jobs_unstarted(conn.db())


def test_a_job_can_be_taken_back_step_by_step(conn):
    """A job whose later change was taken back is the one that an earlier transaction left."""
    conn.transact([job_txn("load", id="1")])
    before = facts(conn.db())
    queued = conn.transact([{":job/id": "1", ":job/queue": ":mail"}]).t
    aborted = abort_all(conn, "1")
    assert {"1"} == moved_on(conn.db(), queued)
    for t in (aborted, queued):
        conn.transact(revert(conn.db(), t))
    assert before == facts(conn.db())


def test_taking_back_twice_is_taking_back_the_taking_back(conn):
    conn.transact([job_txn("load", id="1")])
    t = abort_all(conn, "1")
    after = facts(conn.db())
    again = conn.transact(revert(conn.db(), t)).db_after.basis_t
    assert [] == revert(conn.db(), t)
    conn.transact(revert(conn.db(), again))
    assert after == facts(conn.db())


def test_a_job_that_moves_on_between_look_and_commit_rejects_the_transaction(conn):
    conn.transact([job_txn("load", id=id) for id in "12"])
    t = abort_all(conn, "1", "2")
    forms = revert(conn.db(), t)
    JobStore(conn, worker="operator").retry("1")
    before = conn.db().basis_t
    with pytest.raises(TransactError) as refused:
        conn.transact(forms)
    assert ":job.error/moved-on" == refused.value.code
    assert before == conn.db().basis_t
    conn.transact(revert(conn.db(), t))
    assert {"1", "2"} == status.jobs_unstarted(conn.db())


def test_a_transaction_about_no_job_has_nothing_to_take_back(conn):
    t = conn.transact([{":order/number": "A-1"}]).db_after.basis_t
    assert [] == revert(conn.db(), t)


CHANGES = st.dictionaries(
    st.integers(0, 7),
    st.fixed_dictionaries(
        {":job/status": st.sampled_from(STATUSES)}, optional={":org/id": st.integers(0, 2), ":job/dep": st.integers(0, 5)}
    ),
    min_size=1,
)


@given(CHANGES, CHANGES, st.sets(st.integers(0, 5), max_size=2))
@settings(max_examples=80, deadline=None)
def test_reverting_right_away_leaves_jobs_as_they_were_and_others_alone(first, second, retracted):
    """Statuses, cardinality-one and -many attributes, new jobs and retracted ones, all in one transaction."""

    def told(db, changes):
        forms = []
        for n, about in changes.items():
            others = {key: value for key, value in about.items() if key == ":org/id"}
            others |= {":job/dep": [":job/id", str(about[":job/dep"])]} if ":job/dep" in about else {}
            if db.entid([":job/id", str(n)]) is None:
                forms.append({":db/id": f"e{n}", ":job/id": str(n), ":job/type": ":a", ":job/status": about[":job/status"], **others})
            else:
                forms += [{":db/id": f"e{n}", ":job/id": str(n), **others}, moved(db, str(n), about[":job/status"])]
        return forms

    with factstore.connect("memory:") as conn:
        install(conn)
        conn.transact([{":db/ident": ":org/id", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"}])
        conn.transact([job_txn("a", id=str(n)) for n in range(6)])
        conn.transact(told(conn.db(), first))
        before = conn.db()
        gone = [[":db/retractEntity", [":job/id", str(n)]] for n in retracted - set(second) - {c.get(":job/dep") for c in second.values()}]
        t = conn.transact([*told(before, second), *gone]).db_after.basis_t
        others = facts(conn.db(), of_jobs=False)
        forms = revert(conn.db(), t)
        if forms:
            conn.transact(forms)
        status_id = before.schema.attribute(":job/status").id
        changed = {d.e for d in conn.db().as_of(t).since(t - 1).history().datoms("aevt", ":job/status")}
        expected = {(e, a, STATUSES[0] if a == status_id and e in changed and v == STATUSES[1] else v) for e, a, v in facts(before)}
        assert expected == facts(conn.db())
        assert others == facts(conn.db(), of_jobs=False)
