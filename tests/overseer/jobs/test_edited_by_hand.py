"""The status and the id of a known job change by the functions of the job layer, or by a swap: no other transaction starts a job again."""

from __future__ import annotations

from datetime import timedelta

import pytest

import factstore
from factstore import TransactError
from overseer import JobStore, graph_txns, install, job_txn, once, revert, status, unique
from overseer.jobs import lookup
from overseer.jobs.states import ABORTED, FINISHED, STARTED, STATUSES, UNSTARTED, Outcome
from overseer.retention import Rule, prune
from overseer.schema import ATTRIBUTES
from overseer.testing import drain
from tests.overseer.by_hand import moved

LEASE = timedelta(seconds=30)
J = [":job/id", "j"]

EDITS = {
    "a map": lambda e, to: [{":job/id": "j", ":job/status": to}],
    "a map by entity id": lambda e, to: [{":db/id": e, ":job/status": to}],
    "a list": lambda e, to: [[":db/add", J, ":job/status", to]],
    "a list of plain values": lambda e, to: [[":db/add", e, ":job/status", to]],
    "text": lambda e, to: f'[{{:job/id "j" :job/status {to}}}]',
    "with an argument": lambda e, to: [{":job/id": "j", ":job/status": to, ":job/priority": 3}],
    "a parent of a new job": lambda e, to: [job_txn(":b", {":job/dep": [{":job/id": "j", ":job/status": to}]}, id="new")],
    "once, and the status": lambda e, to: [once(job_txn(":a", id="j")), [":db/add", J, ":job/status", to]],
    "with a unique key": lambda e, to: [unique("key", {":db/id": "j", ":job/id": "j", ":job/status": to})],
    "instead of the old one": lambda e, to: [[":db/retract", e, ":job/status"], [":db/add", e, ":job/status", to]],
}


@pytest.fixture(params=[to.name for to in STATUSES])
def there(conn, clock, request):
    """A store with one job, in a status that it got as jobs get it."""
    store = JobStore(conn, worker="w")
    conn.transact([job_txn(":a", {":org/id": 1}, id="j")])
    to = next(to for to in STATUSES if to.name == request.param)
    if to != UNSTARTED:
        [job] = store.claim([conn.db().entid(J)], lease=LEASE)
        if to != STARTED:
            store.settle([(job.lease, Outcome(to))])
    return conn


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_of_a_status_is_rejected_whole_and_names_what_does_it(there, edit):
    e, before = there.db().entid(J), there.db()
    now = lookup.status(before, e)
    for to in STATUSES:
        if to == now:
            continue
        with pytest.raises(TransactError) as error:
            there.transact(EDITS[edit](e, to))
        assert ":db.error/cas-only" == error.value.code
        assert e == error.value.entity
        assert now == error.value.known
        assert to == error.value.value
        assert "JobStore.retry, JobStore.abort or overseer.revert" in error.value.message
        with pytest.raises(TransactError, match="only by :db/cas"):
            factstore.with_(there.db(), EDITS[edit](e, to))
    assert before.basis_t == there.db().basis_t


def test_a_status_is_not_retracted_by_itself_and_neither_is_an_id(there):
    t = there.db().basis_t
    for attribute in (":job/status", ":job/id"):
        with pytest.raises(TransactError, match="it goes with its entity") as error:
            there.transact([[":db/retract", J, attribute]])
        assert ":db.error/cas-only" == error.value.code
    assert t == there.db().basis_t


def test_a_loaded_column_of_statuses_restarts_nobody(there):
    now = lookup.status(there.db(), there.db().entid(J))
    rows = {"id": ["new", "j"], "status": [UNSTARTED, next(to for to in STATUSES if to != now)]}
    with pytest.raises(TransactError, match="only by :db/cas"):
        there.load(rows, {"id": ":job/id", "status": ":job/status"})
    assert there.db().entid([":job/id", "new"]) is None


def test_a_job_is_not_renamed_but_by_a_swap(there):
    with pytest.raises(TransactError, match=r"\(:job/id 'j'\) is replaced only by :db/cas"):
        there.transact([[":db/add", J, ":job/id", "k"]])
    there.transact([[":db/cas", J, ":job/id", "j", "k"]])
    assert {"k"} == set(factstore.q("[:find [?id ...] :where [_ :job/id ?id]]", there.db()))


def test_a_swap_by_hand_moves_a_job_from_the_status_that_it_names(there):
    e = there.db().entid(J)
    now = lookup.status(there.db(), e)
    other = next(to for to in STATUSES if to != now)
    with pytest.raises(factstore.CasFailed):
        there.transact([[":db/cas", e, ":job/status", other, now]])
    there.transact([moved(there.db(), "j", other)])
    assert other == lookup.status(there.db(), e)


def test_a_new_job_may_begin_in_any_status_and_keep_it_when_it_is_asserted_again(conn):
    for to in STATUSES:
        conn.transact([{**job_txn(":a", id=to.name), ":job/status": to}])
        conn.transact([{":job/id": to.name, ":job/status": to, ":job/priority": 2}])
        assert to == lookup.status(conn.db(), conn.db().entid([":job/id", to.name]))


def test_a_job_without_a_status_is_given_one(conn):
    conn.transact([{":job/id": "j", ":job/type": ":a"}])
    conn.transact([{":job/id": "j", ":job/status": UNSTARTED}])
    assert 1 == drain(conn, {":a": lambda job: None})


def test_a_job_that_is_retracted_whole_may_be_inserted_again(there):
    there.transact([[":db/retractEntity", J]])
    there.transact([job_txn(":a", id="j")])
    assert {"j"} == status.jobs_unstarted(there.db())


def test_taking_back_restores_retracts_and_moves_statuses(conn, clock):
    t = conn.transact([job_txn(":a", id="j")]).t
    conn.transact(revert(conn.db(), t))
    assert conn.db().entid(J) is None
    conn.transact([{**job_txn(":a", id="j"), ":job/status": FINISHED}])
    clock.advance(10)
    assert 1 == prune(conn, Rule(timedelta(0)), now=clock()).jobs
    conn.transact(revert(conn.db(), conn.db().basis_t))
    assert {"j"} == status.jobs_with_status(conn.db(), "finished")


def test_what_handlers_return_moves_no_other_job(conn):
    conn.transact([*graph_txns({":a": []}), {**job_txn(":b", id="j"), ":job/status": ABORTED}])
    drain(conn, {":a": lambda job: [{":job/id": "j", ":job/status": UNSTARTED}]})
    assert {"j"} == status.jobs_with_status(conn.db(), "aborted")
    assert 1 == status.counts(conn.db())[":job.status/failed"]


def test_a_store_that_was_installed_without_the_rule_gets_it_and_its_explanation(clock):
    with factstore.connect("memory:", clock=clock) as conn:
        old = [{key: value for key, value in attribute.items() if key != ":db.attr/preds"} for attribute in ATTRIBUTES]
        conn.transact([{**attribute, ":db/doc": "old"} for attribute in old])
        conn.transact([{**job_txn(":a", id="j"), ":job/status": FINISHED}])
        conn.transact([{":job/id": "j", ":job/status": ABORTED}])
        install(conn)
        t = conn.db().basis_t
        with pytest.raises(TransactError, match=r"use JobStore\.retry"):
            conn.transact([{":job/id": "j", ":job/status": UNSTARTED}])
        install(conn)
        assert t == conn.db().basis_t
        assert JobStore(conn, worker="me").retry("j")
