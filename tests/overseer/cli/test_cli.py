"""The command line, on a store in a file."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

import factstore
from overseer import JobStore, Worker, graph_txns, install, job_txn, start
from overseer.cli import load_handlers, main
from overseer.errors import HandlerError

HANDLERS = """
def load(job):
    return None

def bad(job):
    raise ValueError("no such month")

handlers = {":load": load, ":bad": bad, ":after": load}
"""


@pytest.fixture
def store(tmp_path, monkeypatch):
    (tmp_path / "pipeline_of_a_test.py").write_text(HANDLERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    path = str(tmp_path / "jobs.facts")
    with factstore.connect(path) as conn:
        install(conn)
        conn.transact(graph_txns({":load": [], ":bad": [], ":after": [":bad"]}))
    return path


def run(*arguments):
    return CliRunner().invoke(main, list(arguments))


def total(lines):
    [line] = [line for line in lines if line.startswith("total")]
    return line.split()


def ids(store):
    with factstore.connect(store) as conn:
        return dict(factstore.q("[:find ?type ?id :where [?j :job/type ?type] [?j :job/id ?id]]", conn.db()))


def test_a_worker_runs_what_there_is_and_status_counts_it_then_and_before(store):
    with factstore.connect(store) as conn:
        before = conn.db().basis_t
    assert 0 == run("worker", "pipeline_of_a_test:handlers", "--store", store, "--until-idle").exit_code
    now = run("status", "--store", store).output.splitlines()
    assert ["type", "unstarted", "started", "finished", "failed", "aborted"] == now[0].split()
    assert [":load", "0", "0", "1", "0", "0"] == now[3].split()
    assert ["total", "0", "0", "1", "1", "1"] == total(now)
    then = run("status", "--store", store, "--as-of", str(before)).output.splitlines()
    assert ["total", "3", "0", "0", "0", "0"] == total(then)


WORKER = ("worker", "pipeline_of_a_test:handlers")


def test_the_exit_code_tells_whether_jobs_failed_where_it_is_asked_to(store, caplog):
    with factstore.connect(store) as conn:
        conn.transact([{**job_txn(":load", id="failed before"), ":job/status": ":job.status/failed"}])
    assert 3 == run(*WORKER, "--store", store, "--until-idle", "--exit-code").exit_code
    assert f"1 jobs failed: {ids(store)[':bad']}" in caplog.messages[-1]
    assert 0 == run(*WORKER, "--store", store, "--until-idle", "--exit-code").exit_code  # none failed this time
    run("retry", "--store", store, ids(store)[":bad"])
    assert 0 == run(*WORKER, "--store", store, "--until-idle").exit_code
    assert "1 jobs failed" in caplog.messages[-1]


def test_jobs_that_end_well_or_are_given_up_are_exit_code_0(store):
    with factstore.connect(store) as conn:
        JobStore(conn, worker="me").abort(ids(store)[":bad"], "not needed")
    assert 0 == run(*WORKER, "--store", store, "--until-idle", "--exit-code").exit_code


def test_an_exit_code_is_asked_for_with_until_idle_only(store):
    done = run(*WORKER, "--store", store, "--exit-code")
    assert 2 == done.exit_code
    assert ("give both" in done.output) is True


def test_a_worker_knows_which_jobs_of_its_own_types_failed_while_it_worked(store):
    def bad(job):
        raise ValueError("no such month")

    with factstore.connect(store) as conn:
        conn.transact([job_txn(":other", id="other"), job_txn(":bad", id="elsewhere", queue="elsewhere")])
        mine = Worker(conn, {":load": lambda job: None, ":bad": bad, ":after": bad}, {"queues": ["mine"]})
        conn.transact([job_txn(":bad", id="of mine", queue="mine")])
        mine.run(until_idle=True)
        assert ["of mine"] == mine.failed
        JobStore(conn, worker="me").retry("of mine")
        assert [] == mine.failed


def test_history_shows_each_status_and_why(store):
    run("worker", "pipeline_of_a_test:handlers", "--store", store, "--until-idle")
    told = run("history", "--store", store, ids(store)[":bad"]).output.splitlines()
    assert ["unstarted", "started", "failed"] == [line.split()[2] for line in told[:3]]
    assert "no such month" in told[-1]


def test_a_failed_job_is_put_back_by_hand_with_what_depends_on_it(store):
    run("worker", "pipeline_of_a_test:handlers", "--store", store, "--until-idle")
    assert "will run again" in run("retry", "--store", store, ids(store)[":bad"]).output
    assert ["total", "2", "0", "1", "0", "0"] == total(run("status", "--store", store).output.splitlines())
    assert "neither failed" in run("retry", "--store", store, ids(store)[":load"]).output


def test_a_job_is_aborted_by_hand(store):
    assert "is aborted" in run("abort", "--store", store, ids(store)[":bad"], "-m", "no longer wanted").output
    assert "no longer wanted" in run("history", "--store", store, ids(store)[":bad"]).output
    assert "had ended" in run("abort", "--store", store, ids(store)[":bad"]).output


@pytest.mark.parametrize("command", [["history"], ["retry"], ["abort"]])
def test_a_job_that_does_not_exist_is_one_line_and_exit_code_1(store, command):
    result = run(*command, "--store", store, "nobody")
    assert 1 == result.exit_code
    assert "there is no job 'nobody'" in result.output


def test_a_store_must_be_named(store):
    result = run("worker", "pipeline_of_a_test:handlers")
    assert 2 == result.exit_code
    assert "--store" in result.output


def test_settings_come_from_a_file_and_the_command_line_wins(store, tmp_path):
    (tmp_path / "o.toml").write_text(f'store = "{tmp_path}/other"\n')
    assert 0 == run("worker", "pipeline_of_a_test:handlers", "-c", "o.toml", "--store", store, "--until-idle").exit_code
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["pipeline_of_a_test", "pipeline_of_a_test:load", "pipeline_of_a_test:nothing"])
def test_handlers_that_are_no_mapping_are_refused(store, name):
    with pytest.raises(HandlerError, match="pipeline_of_a_test"):
        load_handlers(name)
    assert 1 == run("worker", name, "--store", store).exit_code


def test_asking_about_a_store_that_is_not_there_makes_none(tmp_path):
    assert 0 != run("status", "--store", str(tmp_path / "nowhere")).exit_code
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    ("point", "code", "says"), [(text, 2, "2026-01-31T12:00+01:00") for text in ("last tuesday", "2026-01-31T12:00", "9" * 5000, "²")]
)
def test_a_point_in_time_that_means_nothing_is_refused(store, point, code, says):
    result = run("status", "--store", store, "--as-of", point)
    assert code == result.exit_code
    assert says in result.output


def test_a_store_without_jobs_is_one_line_not_a_trace(tmp_path):
    factstore.connect(str(tmp_path / "empty")).close()
    result = run("status", "--store", str(tmp_path / "empty"))
    assert 1 == result.exit_code
    assert ":job/status" in result.output


def test_a_queue_is_paused_and_resumed_by_hand_and_history_tells_by_whom(store):
    with factstore.connect(store) as conn:
        conn.transact([job_txn(":load", queue="mail", id="held")])
    assert "mail is paused" in run("pause", "mail", "--store", store).output
    assert "is paused" in run("history", "--store", store, "held").output
    assert "mail continues" in run("resume", "mail", "--store", store).output
    assert 0 == run("worker", "pipeline_of_a_test:handlers", "--store", store, "--queue", "mail", "--until-idle").exit_code
    assert "finished" in run("history", "--store", store, "held").output
    with factstore.connect(store) as conn:
        assert 2 == len(factstore.q("[:find ?tx :where [_ :queue/paused _ ?tx] [?tx :overseer/by _]]", conn.db().history()))


def test_a_worker_takes_its_concurrency_from_the_command_line(store):
    done = run("worker", "pipeline_of_a_test:handlers", "--store", store, "--concurrency", "2", "--executor", "threads", "--until-idle")
    assert 0 == done.exit_code
    assert "concurrency" in run("worker", "pipeline_of_a_test:handlers", "--store", store, "--concurrency", "0").output


def test_status_shows_what_there_is_to_do_in_each_queue_and_the_oldest_ready_job(store):
    with factstore.connect(store) as conn:
        conn.transact([job_txn(":load", id="mail-1", queue="mail")])
    run("pause", "mail", "--store", store)
    lines = run("status", "--store", store).output.splitlines()
    [mail] = [line for line in lines if line.startswith(":mail (paused)")]
    assert ["1", "0", "0", "0", "0", "mail-1,"] == mail.split()[2:8]
    [plain] = [line for line in lines if line.startswith("(no queue)")]
    assert ["2", "1", "0", "0", "0"] == plain.split()[2:7]


def test_explain_names_what_a_job_waits_for(store):
    known = ids(store)
    output = run("explain", known[":after"], "--store", store).output
    assert "unstarted: it waits for 1 of its 1 dependencies" in output
    assert f"in the end: {known[':bad']}" in output


def test_a_worker_on_a_store_that_is_not_there_says_so_and_makes_none(tmp_path, store):
    wrong = str(tmp_path / "jobs.fcats")
    result = run("worker", "pipeline_of_a_test:handlers", "--store", wrong, "--until-idle")
    assert 1 == result.exit_code
    assert wrong in result.output
    assert not (tmp_path / "jobs.fcats").exists()
    assert 0 == run("worker", "pipeline_of_a_test:handlers", "--store", wrong, "--until-idle", "--create").exit_code


def test_a_worker_that_is_started_on_a_new_store_warns(tmp_path, caplog):
    start({"store": str(tmp_path / "new.facts")}, {":a": print}).stop()
    start({"store": str(tmp_path / "new.facts")}, {":a": print}).stop()
    assert 1 == len([record for record in caplog.records if "new and empty" in record.getMessage()])


def test_the_limits_of_a_queue_are_set_and_taken_away(store):
    assert "mail has no settings" in run("queue", "mail", "--store", store).output
    told = run("queue", "mail", "--store", store, "--limit", "3", "--rate", "5", "--period", "1m").output
    assert "mail is not paused, limit 3, rate 5 in 60 s" in told
    assert "mail is not paused, rate 5 in 60 s" in run("queue", "mail", "--store", store, "--limit", "none").output
    assert (
        "mail is not paused, partition limit 2" in run("queue", "mail", "--store", store, "--rate", "none", "--partition-limit", "2").output
    )


@pytest.mark.parametrize("wrong", [["--limit", "0"], ["--limit", "many"], ["--rate", "-1"], ["--rate", "١"], ["--period", "soon"]])
def test_a_limit_that_is_none_is_a_wrong_use_and_sets_nothing(store, wrong):
    assert 2 == run("queue", "mail", "--store", store, *wrong).exit_code
    assert "has no settings" in run("queue", "mail", "--store", store).output


@pytest.mark.parametrize("command", [["retry"], ["abort"]])
def test_a_command_that_had_no_effect_does_not_succeed(store, command):
    run("worker", "pipeline_of_a_test:handlers", "--store", store, "--until-idle")
    result = run(*command, "--store", store, ids(store)[":load"])
    assert 1 == result.exit_code
    assert "Error: " in result.output


def test_a_retry_that_would_be_undone_is_rejected_and_names_the_job_to_retry(store):
    run("worker", "pipeline_of_a_test:handlers", "--store", store, "--until-idle")
    known = ids(store)
    result = run("retry", "--store", store, known[":after"])
    assert 1 == result.exit_code
    assert f"{known[':after']} waits for {known[':bad']}, which failed: retry {known[':bad']}" in result.output


def test_resuming_what_was_not_paused_is_no_success_and_makes_no_queue(store):
    assert 1 == run("resume", "mial", "--store", store).exit_code
    assert "has no settings" in run("queue", "mial", "--store", store).output


def test_pausing_a_queue_that_no_job_names_says_so(store):
    with factstore.connect(store) as conn:
        conn.transact([job_txn(":load", queue="mail")])
    result = run("pause", "mial", "--store", store)
    assert 0 == result.exit_code
    assert "no job names it; the queues that jobs name are: :mail" in result.output
    assert "no job names it" not in run("pause", "mail", "--store", store).output
