"""The commands about many jobs: filters, beginnings of ids, changes in one transaction, arguments read by their types."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from datetime import timedelta

import pytest
from click.testing import CliRunner

import factstore
from overseer import App, Retry, Worker, install, job_txn, status
from overseer.cli import main
from overseer.cron import schedule
from overseer.jobs.leases import standing
from overseer.jobs.store import JobStore

SCHEMA = [
    {":db/ident": f":mail/{name}", ":db/valueType": f":db.type/{kind}", ":db/cardinality": f":db.cardinality/{many}"}
    for name, kind, many in [("to", "string", "many"), ("size", "long", "one"), ("at", "instant", "one"), ("kind", "keyword", "one")]
]


def fail(job):
    logging.getLogger("shop").warning("sending %s", job.id)
    raise ValueError(f"no route to {job.id}")


@pytest.fixture(scope="module")
def worked(tmp_path_factory):
    """A store in which a worker ran three jobs that failed, one that was aborted because of one of them, and one that finished; one has no handler."""
    path = tmp_path_factory.mktemp("worked") / "jobs.facts"
    with factstore.connect(str(path)) as conn:
        install(conn)
        conn.transact(SCHEMA)
        conn.transact([job_txn("mail", id=f"mail-{n}", queue="out") for n in range(3)] + [job_txn("pay", id="pay-1")])
        conn.transact([{**job_txn("mail", id="after"), ":job/dep": [[":job/id", "mail-0"]]}, job_txn("later", id="later-1")])
        Worker(conn, {"mail": fail, "pay": lambda job: None}, keep_logs=True).run(until_idle=True)
    return path


@pytest.fixture
def store(worked, tmp_path, monkeypatch):
    path = str(shutil.copy(worked, tmp_path / "jobs.facts"))
    monkeypatch.setenv("FACTSTORE", path)
    return path


def run(*arguments):
    return CliRunner().invoke(main, list(arguments))


def ok(*arguments):
    done = run(*arguments)
    assert 0 == done.exit_code, done.output
    return done.stdout


def statuses(store):
    with factstore.connect(store) as conn:
        return {job.id: job.status.name for job in status.jobs(conn.db())}, conn.db().basis_t


def test_all_failed_jobs_of_a_type_run_again_in_one_transaction(store):
    before, t = statuses(store)
    assert ("failed", "aborted", "finished", "unstarted") == tuple(before[id] for id in ("mail-0", "after", "pay-1", "later-1"))
    assert "4 jobs would run again" in ok("retry", "--type", "mail", "--dry-run").splitlines()
    assert (before, t) == statuses(store)
    assert ["after", "mail-0", "mail-1", "mail-2", "4 jobs will run again"] == sorted(
        ok("retry", "--type", "mail").splitlines(), key=lambda line: (line[0] == "4", line)
    )
    after, later = statuses(store)
    assert {"unstarted"} == {after[id] for id in after if id != "pay-1"}
    assert t + 1 == later


def test_jobs_are_aborted_by_filters_with_those_that_depend_on_them(store):
    ok("retry", "--status", "failed")
    _, t = statuses(store)
    assert ["after", "mail-0", "mail-1", "mail-2", "4 jobs are aborted"] == sorted(
        ok("abort", "--queue", "out", "-m", "not now").splitlines(), key=lambda line: (line[0] == "4", line)
    )
    after, later = statuses(store)
    assert ({"aborted"}, t + 1) == ({after[id] for id in after if id not in ("pay-1", "later-1")}, later)
    assert "0 jobs are aborted" in ok("abort", "--queue", "out")


def test_a_job_is_named_by_the_beginning_of_its_id(store):
    assert ok("history", "pay-1") == ok("history", "pay")
    assert "later-1 is aborted" in ok("abort", "lat")
    done = run("retry", "mail-")
    assert (1, True) == (done.exit_code, "several jobs have an id that begins with 'mail-': mail-0, mail-1, mail-2" in done.output)
    assert "there is no job 'nothing'" in run("retry", "nothing").output
    assert "2 jobs will run again" in ok("retry", "mail-1", "mail-2")


@pytest.mark.parametrize("command", ["retry", "abort"])
def test_a_command_about_all_jobs_needs_a_filter(store, command):
    for arguments in ([], ["mail-0", "--type", "mail"]):
        done = run(command, *arguments)
        assert (2, True) == (done.exit_code, "give JOBs or filters" in done.output)


def test_a_job_is_enqueued_with_arguments_of_the_types_of_their_attributes(store):
    arguments = ["to=ann@x", "mail/to=7", ":mail/size=007", "at=2026-01-02T03:04:05Z", "kind=urgent"]
    before = statuses(store)
    assert ":mail/size 7" in ok("enqueue", "mail", *arguments, "--try")
    assert before == statuses(store)
    id = ok("enqueue", "mail", *arguments, "--queue", "out", "--priority", "3", "--run-at", "5m").strip()
    with factstore.connect(store) as conn:
        about = conn.db().pull("[*]", [":job/id", id])
        assert ({"ann@x", "7"}, 7, ":urgent", 3) == (
            set(about[":mail/to"]),
            about[":mail/size"],
            about[":mail/kind"],
            about[":job/priority"],
        )
        assert about[":job/run-at"] > conn.now()


def test_the_arguments_of_a_typed_job_are_given_by_their_names(store):
    app = App()

    @app.job(type="image/fetch")
    def fetch(job, url: str, max_size: int = 0) -> None: ...

    with factstore.connect(store) as conn:
        app.install(conn)
    id = ok("enqueue", "image/fetch", "url=http://x/y", "max_size=7").strip()
    with factstore.connect(store) as conn:
        assert {":image.fetch/url": "http://x/y", ":image.fetch/max-size": 7}.items() <= conn.db().pull("[*]", [":job/id", id]).items()


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["size=many"], 2, ":mail/size cannot be 'many': expected digits"),
        (["to"], 2, "is not an attribute with a value"),
        (["nothing=1"], 1, ":mail/nothing"),
        (["at=soon"], 2, "expected a time"),
        (["--run-at", "soon"], 1, "soon"),
        (["--timeout", "soon"], 1, "soon"),
    ],
)
def test_a_job_with_wrong_arguments_is_not_inserted(store, arguments, code, part):
    before = statuses(store)
    done = run("enqueue", "mail", *arguments)
    assert (code, True) == (done.exit_code, part in done.output), done.output
    assert before == statuses(store)


def test_the_logs_of_a_job_are_its_attempts_with_lines_and_traceback(store):
    text = ok("logs", "mail-1")
    assert ["sending mail-1", "ValueError: no route to mail-1"] == [
        part for part in ("sending mail-1", "ValueError: no route to mail-1") if part in text
    ]
    [line] = ok("logs", "mail-1", "--json").splitlines()
    assert (1, ":job.status/failed") == (json.loads(line)["number"], json.loads(line)["status"])


def test_jobs_are_listed_since_a_moment_and_workers_with_what_they_can_do(store):
    assert 6 == len(ok("jobs", "--since", "-1h", "--json").splitlines())
    assert [] == ok("jobs", "--since", "2099-01-01T00:00Z", "--json").splitlines()
    assert "" == ok("workers", "--json")
    workers = [json.loads(line) for line in ok("workers", "--ended", "--json").splitlines()]
    assert [[":mail", ":pay"]] == [worker["handlers"] for worker in workers]
    assert ":mail :pay" in ok("workers", "--ended")


def test_a_worker_from_which_a_job_was_taken_is_listed_as_silent(store):
    with factstore.connect(store) as conn:
        killed = JobStore(conn, worker="killed")
        killed.presence.begin(handlers=[], queues=None, slots=1)
        killed.claim([conn.db().entid([":job/id", "later-1"])], lease=timedelta(minutes=1))
        assert JobStore(conn, worker="other").rescue(standing(conn.db()), max_crashes=5)
    assert " silent " in ok("workers").splitlines()[1]
    assert json.loads(ok("workers", "--json"))["is_silent"]


def test_the_status_is_a_line_of_json(store):
    told = json.loads(ok("status", "--json"))
    assert ({"unstarted": 0, "started": 0, "finished": 0, "failed": 3, "aborted": 1}, 1) == (
        told["types"][":mail"],
        told["queues"][""]["ready"],
    )
    assert 2 == run("status", "--watch", "--as-of", "1").exit_code


def test_every_command_that_shows_has_json_lines(store):
    with factstore.connect(store) as conn:
        conn.transact([schedule("nightly", "0 3 * * *", "mail")])
    [told] = map(json.loads, ok("explain", "mail-0", "--json").splitlines())
    assert (":job.status/failed", True) == (told["status"], "no route" in told["why"])
    assert [":job.status/unstarted", ":job.status/started", ":job.status/failed"] == [
        json.loads(line)["status"] for line in ok("history", "mail-0", "--json").splitlines()
    ]
    assert [("nightly", ":mail")] == [(row["id"], row["type"]) for row in map(json.loads, ok("schedules", "--json").splitlines())]
    assert ["later-1"] == [step["id"] for step in json.loads(ok("plan", "--json"))["steps"]]
    assert "" == ok("questions", "--json")


def test_a_worker_states_that_it_starts_and_ends_and_which_types_have_no_handler(store, caplog):
    caplog.set_level(logging.INFO, logger="overseer")
    with factstore.connect(store) as conn:
        conn.transact([job_txn("mail", id="again", queue="out")])
        worker = Worker(conn, {"mail": fail})
        worker.run(until_idle=True)
    messages = [record.getMessage() for record in caplog.records if record.name == "overseer"]
    assert f"worker {worker.name} starts: handlers :mail; all queues; " in messages[0]
    assert f"worker {worker.name}: 1 unstarted jobs have the type :later, for which no running worker has a handler" in messages
    assert f"worker {worker.name} has ended" == messages[-1]


def test_the_status_is_shown_again_after_a_change_until_control_c(store):
    pexpect = pytest.importorskip("pexpect")
    process = pexpect.spawn(
        sys.executable, ["-m", "overseer", "status", "-s", store, "--watch"], dimensions=(40, 100), encoding="utf-8", timeout=60
    )
    try:
        process.expect("total")
        with factstore.connect(store) as conn:
            conn.transact([job_txn("fresh")])
        process.expect(":fresh")
        process.sendintr()
        process.expect(pexpect.EOF)
        process.wait()
        assert (130, False) == (process.exitstatus, "Traceback" in process.before)
    finally:
        process.close(force=True)


def test_a_worker_states_that_it_was_told_to_stop_and_that_a_job_runs_again(caplog):
    caplog.set_level(logging.INFO, logger="overseer")
    with factstore.connect("memory:") as conn:
        install(conn)
        conn.transact([{**job_txn("mail", id="m1"), ":job/priority": 1}])
        workers = []

        def stop_and_fail(job):
            workers[0].stop()
            raise ValueError("no route")

        workers.append(Worker(conn, {"mail": {"process": stop_and_fail, "retry": Retry(max_attempts=3)}}))
        workers[0].run()
    messages = "\n".join(record.getMessage() for record in caplog.records if record.name == "overseer")
    assert f"worker {workers[0].name} stops: " in messages
    assert "mail m1 attempt 1 ended, and the job runs again at " in messages
