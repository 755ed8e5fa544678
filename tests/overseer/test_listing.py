"""Lists of jobs by filters: which jobs they contain, in which order, now and in the past."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import factstore
from overseer import OverseerError, install, job_txn, status
from overseer.cli import main
from overseer.jobs.states import FAILED, FINISHED, UNSTARTED
from overseer.testing import drain
from tests.overseer.by_hand import moved


def ids(listed):
    return [job.id for job in listed]


@pytest.fixture
def mails(conn):
    """Three jobs: m1 failed, p1 finished, m2 waits."""
    conn.transact([job_txn("mail", {":order/total": 7}, id="m1", queue="post"), job_txn("pay", {":order/total": 7}, id="p1")])

    def fail(job):
        raise ValueError("the Mailbox is full\nsecond line")

    drain(conn, {"mail": fail, "pay": lambda job: None}, seed=1)
    conn.transact([job_txn("mail", {":order/total": 8}, id="m2")])
    return conn


def test_all_filters_must_hold(mails):
    db = mails.db()
    assert {"m1", "m2", "p1"} == set(ids(status.jobs(db)))
    assert ["m1"] == ids(status.jobs(db, status="failed"))
    assert {"m1", "m2"} == set(ids(status.jobs(db, type="mail")))
    assert ["m1"] == ids(status.jobs(db, queue=":post"))
    assert ["p1"] == ids(status.jobs(db, type="pay", where={":order/total": 7}))
    assert [] == ids(status.jobs(db, type="pay", status="failed"))
    assert {"m1", "p1"} == set(ids(status.jobs(db, worker="drain")))


def test_text_is_sought_in_ids_and_failures(mails):
    assert ["m1"] == ids(status.jobs(mails.db(), text="MAILBOX"))
    assert ["p1"] == ids(status.jobs(mails.db(), text="P1"))


def test_a_listed_job_states_what_happened_to_it(mails):
    [job] = status.jobs(mails.db(), status="failed")
    assert (":mail", FAILED, ":post", 1, "drain") == (job.type, job.status, job.queue, job.attempt, job.by)
    assert "the Mailbox is full\nsecond line" == job.why
    assert status.history(mails.db(), "m1")[-1].at == job.since


def test_an_older_database_lists_the_jobs_as_they_were(mails):
    before = mails.db().as_of(status.history(mails.db(), "m1")[0].t)
    assert [UNSTARTED] * 2 == [job.status for job in status.jobs(before)]
    assert [None, None] == [job.why for job in status.jobs(before)]


@given(st.lists(st.sampled_from([UNSTARTED, FINISHED, FAILED]), max_size=12), st.integers(0, 14))
def test_the_newest_jobs_come_first_and_the_limit_cuts_the_rest(changes, limit):
    with factstore.connect("memory:") as conn:
        install(conn)
        conn.transact([job_txn("a", id=f"j{n}") for n in range(3)])
        for n, to in enumerate(changes):
            conn.transact([moved(conn.db(), f"j{n % 3}", to)])
        db = conn.db()
        everything = status.jobs(db, limit=None)
        last = {job.id: status.history(db, job.id)[-1] for job in everything}
        assert {f"j{n}" for n in range(3)} == last.keys()
        ts = [last[job.id].t for job in everything]
        assert sorted(ts, reverse=True) == ts
        assert [last[job.id].status for job in everything] == [job.status for job in everything]
        assert everything[:limit] == status.jobs(db, limit=limit)


@pytest.mark.parametrize(
    ("filters", "why"),
    [
        ({"status": "done"}, "the status of a job is one of unstarted, started, finished, failed, aborted; got 'done'"),
        ({"where": {":no/such": 1}}, "a filter names an attribute of the store, got ':no/such'"),
        ({"where": {"x] [?e ?a ?v": 1}}, "a filter names an attribute of the store"),
        ({"limit": -1}, "limit is a number of jobs, at least 0, or None, got -1"),
    ],
)
def test_invalid_filters_are_rejected(conn, filters, why):
    with pytest.raises(OverseerError) as raised:
        status.jobs(conn.db(), **filters)
    assert ":job.error/bad-argument" == raised.value.code
    assert why in raised.value.message


def test_a_store_without_jobs_has_an_empty_list():
    with factstore.connect("memory:") as conn:
        assert [] == status.jobs(conn.db())


def test_the_command_lists_lines_or_json(tmp_path):
    store = str(tmp_path / "jobs.facts")
    with factstore.connect(store) as conn:
        install(conn)
        t = conn.transact([job_txn("mail", id="m1", priority=3), job_txn("pay", id="p1")]).t
        drain(conn, {"mail": lambda job: None})
    listed = CliRunner().invoke(main, ["jobs", "--store", store, "--status", "finished"]).output
    assert ["finished", "m1", ":mail", "1"] == listed.splitlines()[1].split()[1:]
    asked = ["jobs", "--store", store, "--where", "job/priority=3", "--as-of", str(t), "--json"]
    [line] = CliRunner().invoke(main, asked).output.splitlines()
    assert ("m1", ":job.status/unstarted", None) == tuple(json.loads(line)[key] for key in ("id", "status", "by"))
    refused = CliRunner().invoke(main, ["jobs", "--store", store, "--where", "priority"])
    assert (2, True) == (refused.exit_code, "is not an attribute with a value" in refused.output)
