"""What notebooks show of jobs: tables with escaped content."""

from __future__ import annotations

from datetime import UTC, datetime

import overseer
from overseer import App, Config, JobStore, Retry, cron, events, job_txn, questions, queue, status, when
from overseer.testing import drain

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def html(value):
    found = value._repr_html_()
    assert found.startswith("<table>")
    assert "<b>" not in found
    return found


def test_jobs_and_their_life_are_tables(conn):
    conn.transact([job_txn("send", id="<b>")])
    seen = []
    drain(conn, {"send": lambda job: seen.append(html(job))})
    assert "Job :send &lt;b&gt;, attempt 1" in seen[0]
    [listed] = status.jobs(conn.db())
    assert "<td>&lt;b&gt;</td>" in html(listed)
    assert "<td>&lt;b&gt;</td>" in html(status.jobs(conn.db()))
    life = status.history(conn.db(), "<b>")
    assert "3 rows" in html(life)
    assert "finished" in html(life[-1])
    assert "finished" in html(status.attempts(conn.db(), "<b>")[0])
    assert ["0 rows"] * 2 == [
        html(found).partition("<caption>")[2][:6] for found in (cron.schedules(conn.db()), questions.unanswered(conn.db()))
    ]


def test_typed_jobs_show_their_function_and_their_state(conn):
    app = App()

    @app.job()
    def send(job, to: str) -> None: ...

    assert ":send" in html(app)
    assert "(to: " in html(send)
    graph = app.graph()
    graph.add(send, to="<b>")
    assert ":send" in html(graph)
    job = send.enqueue(conn, to="ann")
    assert "unstarted" in html(job)


def test_settings_workers_and_events_are_tables(conn):
    conn.transact([queue(":mail", limit=2)])
    assert "concurrency" in html(Config())
    assert "max_attempts" in html(Retry(3))
    assert "within" in html(when('[:find ?e :where [?e :job/id "<b>"]]', within="5m"))
    assert "JobStore" in html(JobStore(conn, worker="<b>"))
    worker = overseer.Worker(conn, {":send": lambda job: None}, concurrency=3)
    assert "<td>3</td>" in html(worker)
    assert "<td>w</td>" in html(events.Fatal(at=NOW, worker="w", error=ValueError("<b>")))
