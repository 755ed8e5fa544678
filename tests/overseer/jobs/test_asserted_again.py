"""A job whose id is known is not asserted again: by no entrance, in no status, with no other type or arguments."""

from __future__ import annotations

from datetime import timedelta

import pytest

import factstore
from factstore import TransactError
from overseer import (
    JobStore,
    cron,
    graph_txns,
    install,
    job_graph,
    job_txn,
    once,
    simple_graph,
    transact_graph,
    unique,
)
from overseer.jobs.states import FINISHED, STARTED, STATUSES, UNSTARTED, Outcome
from overseer.schema import ATTRIBUTES
from overseer.testing import drain

LEASE = timedelta(seconds=30)

ENTRANCES = {
    "the same": lambda: [job_txn(":a", {":org/id": 1}, id="j")],
    "another type": lambda: [job_txn(":b", {":org/id": 1}, id="j")],
    "other arguments": lambda: [job_txn(":a", {":org/id": 2, ":job/priority": 5}, id="j")],
    "a map by hand": lambda: [{":job/id": "j", ":job/type": ":a", ":job/status": ":job.status/unstarted"}],
    "by lookup ref": lambda: [{**job_txn(":a", id="j"), ":db/id": [":job/id", "j"]}],
    "EDN": lambda: '[{:job/id "j" :job/type :a :job/status :job.status/unstarted}]',
    "a graph": lambda: graph_txns({":a": [], ":b": [":a"]}, ids=iter(["j", "new"]).__next__),
    "a graph of jobs": lambda: graph_txns(simple_graph({":job/id": "j", ":job/type": ":a"})),
    "a unique key": lambda: [unique("key", job_txn(":a", id="j"))],
    "a nested map": lambda: [job_txn(":b", {":job/dep": [{":job/id": "j", ":job/type": ":a"}]}, id="new")],
    "among others": lambda: [job_txn(":b", id="new"), {":order/number": "A-1"}, job_txn(":a", id="j")],
    "as finished": lambda: [{**job_txn(":a", id="j"), ":job/status": ":job.status/finished"}],
}


def facts_of(conn):
    return {(datom.e, datom.a, datom.v) for datom in conn.db().datoms("eavt")}


@pytest.fixture(params=[status.name for status in STATUSES])
def there(conn, clock, request):
    """A store with one job, in a status that it got as jobs get it."""
    store = JobStore(conn, worker="w")
    conn.transact([job_txn(":a", {":org/id": 1}, id="j")])
    to = next(status for status in STATUSES if status.name == request.param)
    if to != UNSTARTED:
        [job] = store.claim([conn.db().entid([":job/id", "j"])], lease=LEASE)
        if to != STARTED:
            store.settle([(job.lease, Outcome(to))])
    return conn


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_asserting_a_known_job_again_is_rejected_and_writes_nothing(there, entrance):
    before, t = facts_of(there), there.db().basis_t
    with pytest.raises(TransactError, match="'j'") as error:
        there.transact(ENTRANCES[entrance]())
    assert ":db.error/already-inserted" == error.value.code
    assert "conflict" == error.value.category
    assert before == facts_of(there)
    assert t == there.db().basis_t


def test_a_row_of_a_loaded_table_is_rejected_too(there):
    before = facts_of(there)
    kinds = [factstore.Keyword(":a")] * 2
    with pytest.raises(TransactError, match="'j'"):
        there.load({"id": ["new", "j"], "type": kinds}, {"id": ":job/id", "type": ":job/type"})
    assert before == facts_of(there)


def test_a_job_that_may_be_there_already_is_left_as_it_is_by_once(there):
    before = facts_of(there)
    there.transact([once(job_txn(":b", {":org/id": 2}, id="j"))])
    assert {row for row in facts_of(there) - before if row[1] != 18} == set()


def test_a_graph_that_is_there_already_is_left_as_it_is(there):
    before = facts_of(there)
    transact_graph(there, simple_graph({":job/id": "j", ":job/type": ":b", ":org/id": 2}))
    assert before == facts_of(there)


def test_once_inserts_a_new_job_and_names_a_known_one_for_the_rest_of_its_transaction(conn):
    for number in ("A-1", "A-2"):
        conn.transact([once(job_txn(":a", id="j")), {":order/number": number, ":order/of-job": "j"}])
    assert {("A-1", "j"), ("A-2", "j")} == factstore.q(
        "[:find ?n ?id :where [?o :order/number ?n] [?o :order/of-job ?j] [?j :job/id ?id]]", conn.db()
    )
    assert 1 == drain(conn, {":a": lambda job: None})


def test_a_known_job_is_changed_by_hand_by_what_does_not_insert_it(conn):
    conn.transact([job_txn(":a", id="j")])
    conn.transact([{":job/id": "j", ":job/priority": 7}, [":db/add", [":job/id", "j"], ":org/id", 3]])
    assert {":job/priority": 7, ":org/id": 3} == factstore.pull(conn.db(), "[:job/priority :org/id]", [":job/id", "j"])


def test_a_store_that_was_installed_without_the_rule_gets_it(clock):
    with factstore.connect("memory:", clock=clock) as conn:
        conn.transact([{key: value for key, value in attribute.items() if key != ":db.attr/preds"} for attribute in ATTRIBUTES])
        conn.transact([job_txn(":a", id="j")])
        install(conn)
        with pytest.raises(TransactError, match="new entities only"):
            conn.transact([job_txn(":a", id="j")])


def test_an_occurrence_of_a_schedule_that_somebody_inserted_is_not_inserted_again(conn, clock):
    conn.transact([cron.schedule("hourly", "0 * * * *", "a")])
    clock.advance(3600)
    [schedule] = cron.schedules(conn.db())
    id = schedule.occurrence(cron.next_time(schedule))
    conn.transact([{**job_txn(":a", id=id), ":job/status": ":job.status/finished"}])
    cron.tick(conn, clock())
    assert 0 == drain(conn, {":a": lambda job: None})
    assert FINISHED == factstore.pull(conn.db(), "[:job/status]", [":job/id", id])[":job/status"]


def test_ended_jobs_run_again_by_retry_alone(conn, clock):
    store, ran = JobStore(conn, worker="me"), []
    conn.transact(graph_txns(job_graph({":a": []}, ids=lambda: "j")))

    def fail(job):
        ran.append(job.attempt)
        raise ValueError

    drain(conn, {":a": fail})
    with pytest.raises(TransactError):
        conn.transact([job_txn(":a", id="j")])
    drain(conn, {":a": fail})
    assert [1] == ran
    assert store.retry("j")
    drain(conn, {":a": fail})
    assert [1, 2] == ran
