"""The pages of jobs by requests: what they show at any moment, what their forms change, and what a reader cannot do."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import factstore
from factstore.console import console
from factstore.storage import open_storage
from overseer import job_txn, questions, status
from overseer.console import JOBS
from overseer.jobs import queues
from overseer.testing import drain
from tests.factstore.console.shop import client
from tests.overseer.console.farm import handlers

PAGES = [
    "/queues", "/queues?queue=:mail", "/jobs", "/jobs?status=failed", "/jobs?type=:mail&queue=mail", "/job?id=run-2", "/job?id=report-1", "/job?id=year-report",
    "/job?id=refund-1", "/job?id=refund-2", "/questions", "/workers", "/schedules", "/charts", "/charts?span=1d&type=:mail", "/what-if?more=2&pause=:mail&without=:load", "/enqueue", "/enqueue?type=:mail", "/jobs/changes/7",
]  # fmt: skip


def opened(conn, **options):
    return client(conn, extensions=[JOBS], **options)


def text_of(answer):
    main = answer.text.partition("<main")[2].partition(">")[2].partition("</main>")[0]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", main)).split())


def forms_of(answer, path):
    """Return the fields of each form that posts to a path."""
    found = re.findall(rf'<form method="post" action="{re.escape(path)}".*?</form>', answer.text, re.DOTALL)
    return [dict(re.findall(r'<input[^>]*? name="([^"]+)"[^>]*? value="([^"]*)"', form)) for form in found]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_has_the_headers_and_no_inline_script_or_style(seen, path):
    answer = opened(seen).get(path)
    assert 200 == answer.status_code
    assert not any(each in answer.text for each in ("<style", " style=", " onclick", "javascript:", "<script>"))
    assert "'unsafe" not in answer.headers["content-security-policy"]


def test_every_page_is_in_the_list(seen):
    paths = {path.partition("?")[0] for path in PAGES}
    known = {page.path.replace("{t:int}", "7") for page in JOBS.pages}
    assert known - {"/jobs/act"} == paths


def test_a_store_without_jobs_has_none_of_these_pages():
    with factstore.connect("memory:") as empty:
        answer = opened(empty).get("/")
        assert 200 == answer.status_code and "/queues" not in answer.text
        assert 404 == opened(empty).get("/queues").status_code
    with factstore.connect("memory:") as other:
        from overseer import install

        install(other)
        assert 'href="/queues"' in opened(other).get("/").text


def test_queues_show_what_is_ready_blocked_later_running_and_silent(seen):
    shown = text_of(opened(seen).get("/queues"))
    assert "ready 2 blocked 2 later 4 running 3 silent 2" in shown
    assert ":reports paused" in shown and "at most 5 running" in shown and "10 per second" in shown
    rows = opened(seen).get("/queues.json").json()["queues"]
    assert status.backlog(seen.db(), at=seen.now())[None].silent == next(row["silent"] for row in rows if row["queue"] is None)


def test_jobs_are_filtered_and_counted(seen):
    page = opened(seen)
    assert "8 jobs" in text_of(page.get("/jobs?type=mail&queue=:mail"))
    assert "3 jobs" in text_of(page.get("/jobs?status=failed"))
    assert "1 job" in text_of(page.get("/jobs?text=MONTH%202"))
    assert 400 == page.get("/jobs?status=lost").status_code
    listed = page.get("/jobs.json?worker=anna-1").json()["jobs"]
    assert {"run-1", "run-2"} == {job["id"] for job in listed}


def test_a_job_explains_why_it_does_not_run_and_why_it_ran_twice(seen):
    page = opened(seen)
    assert "It waits for 1 of its 1 dependencies" in text_of(page.get("/job?id=wait-mail"))
    assert "Its queue :reports is paused" in text_of(page.get("/job?id=paused-1"))
    assert "It is not due before" in text_of(page.get("/job?id=later-1"))
    rescued = text_of(page.get("/job?id=run-2"))
    assert "It ran twice because attempt 1 by berta-2 did not renew its lease, so anna-1 took the job." in rescued
    assert "anna-1 went silent in attempt 2" in rescued
    retried = text_of(page.get("/job?id=charge-1"))
    assert "It ran twice because attempt 1 by drain failed with an error, and a retry was left" in retried
    assert "ConnectionError the bank did not answer" in retried
    assert 404 == page.get("/job?id=none").status_code


def test_a_failed_job_has_its_error_traceback_and_log(seen):
    answer = opened(seen).get("/job?id=report-2")
    shown = text_of(answer)
    assert 'ValueError no rows for month 2: <b>"&' in shown and "<b>" not in answer.text
    assert "farm.py" in shown and "raise ValueError" in shown
    assert "reading month 2" in shown


def test_the_graph_around_a_job_links_to_the_others(seen):
    answer = opened(seen).get("/job?id=year-sum")
    assert all(f'href="/job?id=year-{other}"' in answer.text for other in ("load", "sum", "report"))
    assert 1 == answer.text.count("fs-subject")
    assert "fs-subject" not in opened(seen).get("/job?id=mail-1").text


def test_workers_are_shown_with_their_jobs_and_missing_handlers(seen):
    shown = text_of(opened(seen).get("/workers"))
    assert "carla-3 silent" in shown and "berta-2 silent" in shown
    assert "No running worker has a handler for :load , :mail , :name , :refund , :report , :sum" in shown


def test_what_if_compares_two_plans(seen):
    page = opened(seen)
    assert "Never start: paused-1" in text_of(page.get("/what-if?workers=1&more=0"))
    steps = page.get("/what-if.json?workers=1&more=3&resume=:reports").json()["steps"]
    assert "paused-1" in {step["id"] for step in steps if step["plan"] == "after"}
    assert "paused-1" not in {step["id"] for step in steps if step["plan"] == "before"}
    fewer = page.get("/what-if.json?without=:load").json()["steps"]
    assert ":load" not in {step["type"] for step in fewer if step["plan"] == "after"}


def test_the_charts_count_the_jobs_that_ended_in_the_period(seen):
    rows = opened(seen).get("/charts.json?span=1d").json()["types"]
    assert status.counts(seen.db())[":job.status/finished"] == sum(row["finished"] for row in rows)
    assert {":load", ":name", ":refund"} == {row["type"] for row in opened(seen).get("/charts.json?from=50").json()["types"]}


@pytest.mark.parametrize("path", [path for path in PAGES if not path.startswith(("/enqueue", "/jobs/changes"))])
@pytest.mark.parametrize("t", [20, 45, 57, 67])
def test_the_page_at_t_is_the_page_of_the_store_restored_to_t(seen, restored, path, t):
    """What a page shows at a moment does not depend on what came after, except for attributes without history."""
    then = text_of(opened(seen).get(path, params=_parameters(path, t)))
    alone = text_of(opened(restored(t)).get(path, params=_parameters(path, t)))
    assert alone == then


def _parameters(path, t):
    return {**dict(pair.split("=") for pair in path.partition("?")[2].split("&") if pair), "t": str(t)}


@pytest.fixture(scope="module")
def restored(filled, seen, tmp_path_factory):
    """Return a store with only the transactions up to t."""
    folder, stores = tmp_path_factory.mktemp("restored"), {}

    def upto(t):
        if t not in stores:
            source, target = open_storage(filled, read_only=True), open_storage(str(folder / f"{t}.facts"))
            try:
                factstore.maintain.restore_to(source, target, t)
            finally:
                target.close()
                source.close()
            stores[t] = factstore.connect(str(folder / f"{t}.facts"), clock=seen.now)
        return stores[t]

    yield upto
    for conn in stores.values():
        conn.close()


def test_a_thousand_jobs_are_aborted_and_undone(conn):
    conn.transact([job_txn("bulk", id=f"bulk-{n}") for n in range(1000)])
    before, page = conn.db(), opened(conn)
    [form] = [form for form in forms_of(page.get("/jobs?type=bulk"), "/jobs/act") if "abort" == form["do"]]
    tried = page.post("/jobs/act", data=form)
    assert "1,000 jobs would change" in text_of(tried) and before.basis_t == conn.db().basis_t
    [form] = forms_of(tried, "/jobs/act")
    done = page.post("/jobs/act", data={**form, "message": "wrong batch"})
    assert 303 == done.status_code and done.headers["location"].startswith("/jobs/changes/")
    assert 1000 == status.counts(conn.db(), type="bulk")[":job.status/aborted"]
    assert "1,000 jobs changed" in text_of(page.get(done.headers["location"]))
    assert 303 == page.post(done.headers["location"]).status_code
    jobs = {conn.db().entid([":job/id", f"bulk-{n}"]) for n in range(1000)}
    assert [] == [datom for datom in factstore.diff(before, conn.db()) if datom.e in jobs]
    signed = factstore.q("[:find ?by :where [?tx :overseer/by ?by] [?tx :console/by ?by]]", conn.db())
    assert {("ann",)} == set(signed)


def test_undo_leaves_jobs_that_moved_on(conn):
    page = opened(conn)
    before = status.counts(conn.db())[":job.status/unstarted"]
    location = page.post("/jobs/act", data={"status": "failed", "do": "retry", "step": "commit"}).headers["location"]
    assert before + 3 == status.counts(conn.db())[":job.status/unstarted"]
    page.post("/jobs/act", data={"id": "report-1", "do": "abort", "step": "commit"})
    assert "1 of the jobs have changed since" in text_of(page.get(location))
    page.post(location)
    assert {"report-2", "year-report"} == status.jobs_with_status(conn.db(), "failed")
    assert {"report-1"} == status.jobs_with_status(conn.db(), "aborted")
    for id in ("report-2", "year-report"):
        page.post("/jobs/act", data={"id": id, "do": "retry", "step": "commit"})
    assert "cannot be undone" in text_of(page.get(location))


def test_queues_are_paused_and_limited_from_the_page(conn):
    page = opened(conn)
    page.post("/queues", data={"queue": ":bank", "paused": "yes"})
    assert queues.is_paused(conn.db(), factstore.Keyword(":bank"))
    page.post("/queues", data={"queue": ":bank", "limit": "3", "partition_limit": "", "rate": "2", "period": "1m"})
    bank = queues.queues(conn.db())[factstore.Keyword(":bank")]
    assert (True, 3, None, 2, timedelta(minutes=1)) == (bank.paused, bank.limit, bank.partition_limit, bank.rate, bank.period)
    before = conn.db().basis_t
    assert 404 == page.get(f"/jobs/changes/{'9' * 5000}").status_code
    for wrong in ({"limit": "9" * 5000}, {"limit": "many"}, {"limit": "0"}, {"queue": ""}, {"period": "soon", "rate": "2"}):
        assert 400 == page.post("/queues", data={"queue": ":bank", **wrong}).status_code
    assert before == conn.db().basis_t


def test_schedules_run_now_pause_and_backfill(conn):
    page = opened(conn)
    location = page.post("/schedules", data={"schedule": "hourly", "do": "run"}).headers["location"]
    assert 200 == page.get(location).status_code and "id=hourly" in location
    page.post("/schedules", data={"schedule": "nightly", "do": "pause"})
    shown = text_of(page.get("/schedules"))
    assert "nightly paused" in shown
    assert "from (UTC)" in shown and "to (UTC)" in shown
    period = {"schedule": "nightly", "start": "2026-01-01T00:00", "end": "2026-01-04T00:00"}
    before = conn.db().basis_t
    assert "3 jobs would be inserted" in text_of(page.post("/schedules", data={**period, "do": "try"}))
    assert before == conn.db().basis_t
    assert 303 == page.post("/schedules", data={**period, "do": "backfill"}).status_code
    assert 3 == len(status.jobs(conn.db(), text="nightly@"))
    for wrong, code in (({"start": "soon"}, 400), ({"schedule": "none"}, 404), ({"do": "explode"}, 400)):
        assert code == page.post("/schedules", data={**period, "do": "try", **wrong}).status_code


def test_questions_are_shown_and_answered_once_with_the_name_of_the_person(conn):
    page = opened(conn)
    shown = text_of(page.get("/questions"))
    assert "2 open questions" in shown and "Refund order 2? refund-2 :refund" in shown and "Whose order is it? name-1" in shown
    assert "Refund order 1? no eve" in shown
    forms = {form["job"]: form for form in forms_of(page.get("/questions"), "/questions")}
    assert {"refund-2", "name-1"} == forms.keys()
    for wrong, code in (({"answer": "perhaps"}, 400), ({"answer": " "}, 400), ({"job": "mail-1"}, 400), ({"job": "none"}, 400)):
        assert code == page.post("/questions", data={**forms["refund-2"], "answer": "yes", **wrong}).status_code
    assert 303 == page.post("/questions", data={**forms["refund-2"], "answer": "yes"}).status_code
    again = page.post("/questions", data={**forms["refund-2"], "answer": "no"})
    assert 400 == again.status_code and "was answered already" in text_of(again)
    [form] = forms_of(page.get("/job?id=name-1"), "/questions")
    answered = page.post("/questions", data={**form, "answer": "<b>Zoe</b>"})
    assert "ann answered <b>Zoe</b> to Whose order is it?" in text_of(page.get(answered.headers["location"]))
    assert [("yes", "ann")] == [(each.answer, each.by) for each in questions.answers(conn.db(), "refund-2")]
    assert "0 open questions" in text_of(page.get("/questions"))
    drain(conn, handlers())
    ended = conn.db().q("[:find [?r ...] :in $ [?id ...] :where [?j :job/id ?id] [?j :job/result ?r]]", ["refund-1", "refund-2", "name-1"])
    assert {'"no"', '"yes"', '"<b>Zoe</b>"'} == set(ended)


@pytest.mark.parametrize("option", ["yes ", " yes", "one\r\ntwo"])
def test_the_answer_is_the_option_of_the_button_exactly(conn, option):
    conn.transact([job_txn("odd", id="odd-1")])
    drain(conn, {"odd": lambda job: job.ask("Which?", ["yes", "yes ", " yes", "one\ntwo"], within="1d")})
    assert 303 == opened(conn).post("/questions", data={"job": "odd-1", "answer": option}).status_code
    [answer] = questions.answers(conn.db(), "odd-1")
    assert option.replace("\r\n", "\n") == answer.answer


def test_the_past_shows_the_questions_that_were_open_and_answers_none(seen):
    page, answered = opened(seen), seen.db().basis_t - 1
    before = page.get(f"/questions?t={answered - 1}")
    assert "3 open questions" in text_of(before) and [] == forms_of(before, "/questions")
    rows = page.get("/questions.json").json()
    assert {"refund-2", "name-1"} == {row["job"] for row in rows["questions"]}
    assert [["refund-1", "no", "eve"]] == [[row["job"], row["answer"], row["by"]] for row in rows["answers"]]


def test_an_argument_that_is_an_instant_is_entered_in_utc(conn):
    conn.transact([{":db/ident": ":mail/on", ":db/valueType": ":db.type/instant", ":db/cardinality": ":db.cardinality/one"}])
    conn.transact([{**job_txn("mail", id="timed"), ":mail/on": datetime(2026, 1, 1, tzinfo=UTC)}])
    page = opened(conn)
    assert ":mail/on instant (UTC)" in text_of(page.get("/enqueue?type=:mail"))
    tried = page.post("/enqueue", data={"type": ":mail", "id": "next", ":mail/on": "2026-02-01T10:00", "do": "try"})
    assert "2026-02-01 10:00" in text_of(tried)


def test_a_job_is_tried_and_enqueued_from_the_arguments_of_its_type(conn):
    page = opened(conn)
    [form] = forms_of(page.get("/enqueue?type=:mail"), "/enqueue")
    assert {":mail/to", ":mail/subject", ":report/month"} <= form.keys()
    given = {**form, ":mail/to": "zoe@x.example", ":report/month": "12", "queue": "mail", "priority": "-3", "run_at": "2026-02-01T10:00"}
    before = conn.db().basis_t
    tried = page.post("/enqueue", data={**given, "do": "try"})
    assert "zoe@x.example" in text_of(tried) and before == conn.db().basis_t
    [form] = forms_of(tried, "/enqueue")
    locations = {page.post("/enqueue", data={**form, "do": "commit"}).headers["location"] for _ in range(2)}
    assert 1 == len(locations), "a button that is pressed twice inserts one job"
    [job] = status.jobs(conn.db(), where={":mail/to": "zoe@x.example"})
    assert job.queue == ":mail" and "It is not due before 2026-02-01" in text_of(page.get(locations.pop()))
    for wrong in ({":report/month": "many"}, {"priority": "high"}, {"run_at": "soon"}, {"type": ""}):
        assert 400 == page.post("/enqueue", data={**given, **wrong, "do": "try"}).status_code


def test_a_job_moves_to_another_queue_and_priority(conn):
    page = opened(conn)
    page.post("/jobs/act", data={"id": "wait-load", "do": "queue", "value": "bank", "step": "commit"})
    page.post("/jobs/act", data={"id": "wait-load", "do": "priority", "value": "7", "step": "commit"})
    shown = text_of(page.get("/job?id=wait-load"))
    assert "in the queue :bank , priority 7" in shown
    assert 400 == page.post("/jobs/act", data={"id": "wait-load", "do": "priority", "value": "high"}).status_code
    assert 400 == page.post("/jobs/act", data={"id": "wait-load", "do": "explode"}).status_code
    again = page.post("/jobs/act", data={"id": "mail-3", "do": "repeat"})
    [form] = forms_of(again, "/jobs/act")
    for _ in range(2):
        page.post("/jobs/act", data=form)
    assert 2 == len(status.jobs(conn.db(), text="mail-3"))


def test_a_read_only_console_rejects_every_write_and_shows_no_button(seen):
    before, reader = seen.db().basis_t, opened(seen, read_only=True)
    for page in JOBS.pages:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert 403 == reader.request(method, page.path.replace("{t:int}", "7"), data={"do": "abort", "step": "commit"}).status_code
    for path in PAGES:
        if not path.startswith("/enqueue"):
            assert '<form method="post"' not in reader.get(path).text, path
    assert 403 == reader.get("/enqueue").status_code
    assert "/enqueue" not in reader.get("/jobs").text
    assert before == seen.db().basis_t


def test_templates_and_rules_are_found_in_an_installed_package():
    assert {path.name for path in Path(JOBS.templates).glob("*.html")} and ".state" in JOBS.style
    app = console(factstore.connect("memory:"), authorize=lambda request: "ann", extensions=[JOBS])
    assert app is not None
