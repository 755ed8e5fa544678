"""The commands by which operators look after jobs, on a store in a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

import factstore
from overseer import cron, graph_txns, install, job_txn
from overseer.cli import main
from tests.overseer.by_hand import moved


@pytest.fixture
def store(tmp_path):
    path = str(tmp_path / "jobs.facts")
    with factstore.connect(path) as conn:
        install(conn)
    return path


def run(*arguments):
    return CliRunner().invoke(main, list(arguments))


def totals(store):
    """The line of `overseer status` that counts all jobs."""
    [line] = [line for line in run("status", "--store", store).output.splitlines() if line.startswith("total")]
    return line.split()


def test_schedules_shows_last_and_next_and_what_is_wrong(store):
    with factstore.connect(store) as conn:
        conn.transact([cron.schedule("hourly", "0 * * * *", "report"), cron.schedule("idle", "0 0 * * *", "report", paused=True)])
        conn.transact([{":schedule/id": "wrong", ":schedule/cron": "99 * * * *", ":schedule/type": ":report"}])
        due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        cron.tick(conn, due)
    hourly, idle, wrong = run("schedules", "--store", store).output.splitlines()
    assert f"hourly  :report  '0 * * * *' UTC  last {due.isoformat()}  next {(due + timedelta(hours=1)).isoformat()}" == hourly
    assert "paused" == idle.split()[-1]
    assert "never" == idle.split()[-2]
    assert "'99 * * * *' in the zone 'UTC' has no times" in wrong


def test_prune_counts_first_and_then_retracts(store):
    with factstore.connect(store) as conn:
        ended = [("a1", "a", "finished"), ("b1", "b", "finished"), ("a2", "a", "failed"), ("a3", "a", "unstarted")]
        conn.transact([{**job_txn(type, id=id), ":job/status": f":job.status/{status}"} for id, type, status in ended])
    rule = ("--store", store, "--older-than", "0s", "--type", "a", "--status", "finished", "--status", "failed")
    assert "2 jobs would go\n" == run("prune", *rule, "--dry-run").output
    assert "0 jobs are gone\n" == run("prune", "--store", store, "--older-than", "1d").output
    assert "2 jobs are gone\n" == run("prune", *rule).output
    assert "1 jobs are gone\n" == run("prune", "--store", store, "--older-than", "0m", "--excise").output
    assert 1 == sum(int(word) for word in totals(store)[1:])


@pytest.mark.parametrize("text", ["soon", "10", "d", "-1d", "1y"])
def test_a_time_that_is_none_is_refused(store, text):
    done = run("prune", "--store", store, "--older-than", text)
    assert 2 == done.exit_code
    assert (f"{text!r} is no time such as 30d" in done.output) is True


def test_a_status_that_is_no_end_is_refused_in_a_line(store):
    done = run("prune", "--store", store, "--older-than", "1d", "--status", "started")
    assert 1 == done.exit_code
    assert "Error: only jobs that ended are pruned: finished, failed, aborted; got 'started'\n" == done.output


def test_revert_takes_a_transaction_back_and_names_what_it_leaves_alone(store):
    with factstore.connect(store) as conn:
        conn.transact([job_txn("a", id=id) for id in "123"])
        t = conn.transact([moved(conn.db(), id, ":job.status/aborted") for id in "123"]).db_after.basis_t
        conn.transact([moved(conn.db(), "2", ":job.status/unstarted")])
    assert "2 jobs are as they were before\n2 moved on, and was left alone\n" == run("revert", "--store", store, str(t)).output
    assert ["total", "3", "0", "0", "0", "0"] == totals(store)
    told = run("revert", "--store", store, str(t)).output.splitlines()
    assert "0 jobs are as they were before" == told[0]
    assert 4 == len(told)


def test_plan_shows_what_is_next_and_what_holds_up_the_end(store):
    with factstore.connect(store) as conn:
        conn.transact(graph_txns({"load": [], "report": ["load"]}))
        conn.transact([{**job_txn("a", id="lost"), ":job/status": ":job.status/failed"}])
        conn.transact([job_txn("a", {":job/dep": [[":job/id", "lost"]]}, id="stuck")])
    first, second, ends, path, never = run("plan", "--store", store, "--workers", "2").output.splitlines()
    assert ":load" == first.split()[1]
    assert ":report" == second.split()[1]
    assert "after" == second.split()[3]
    assert ends.startswith("2 jobs end by ") and ends.endswith(" with 2 at a time")
    assert path.endswith(": :load → :report")
    assert "1 would never run: stuck" == never
    assert 3 == len(run("plan", "--store", store, "--most", "1").output.splitlines()) - 1
