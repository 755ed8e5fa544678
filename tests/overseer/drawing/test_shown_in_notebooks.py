"""What notebooks show of plans, attempts, explanations and backlogs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

from overseer import Retry, constant, job_graph, job_txn, plan, status, transact_graph
from overseer.drawing.attempts import Bar, bars_picture
from overseer.testing import drain

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def classes(picture):
    return [rect.get("class").split()[-1] for rect in ElementTree.fromstring(picture).iter(f"{SVG}rect")]


def test_waiting_is_apart_from_running_and_idle_gaps_are_folded():
    hour = timedelta(hours=1)
    bars = [
        Bar("1", NOW, NOW + timedelta(seconds=10), "failed"),
        Bar("2", NOW + hour, None, "started", waited_from=NOW + timedelta(seconds=10)),
    ]
    picture = bars_picture(bars, now=NOW + hour + timedelta(seconds=10))
    assert ["fs-failed", "fs-wait", "fs-started"] == classes(picture)
    first, _, second = (float(rect.get("width")) for rect in ElementTree.fromstring(picture).iter(f"{SVG}rect"))
    assert first == second > 300
    assert "60 min are folded here" in picture


def test_attempts_are_bars(conn):
    conn.transact([job_txn("a", id="j")])

    def fails_once(job):
        if job.attempt == 1:
            raise ValueError("no")

    drain(conn, {"a": {"process": fails_once, "retry": Retry(2, constant(0))}})
    shown = classes(status.attempts(conn.db(), "j")._repr_svg_())
    assert ["fs-failed", "fs-finished"] == [kind for kind in shown if kind != "fs-wait"]


def test_a_plan_is_bars_and_the_jobs_that_determine_the_end_stand_out(conn):
    transact_graph(conn, job_graph({":load": [], ":slow": [":load"], ":fast": [":load"]}))
    picture = plan(conn.db(), now=NOW, workers=2, seconds={":slow": 30, ":load": 5, ":fast": 2})._repr_svg_()
    assert ["fs-started", "fs-finished", "fs-started"] == classes(picture)


def test_an_empty_plan_has_a_picture(conn):
    assert [] == classes(plan(conn.db(), now=NOW)._repr_svg_())


def test_explanations_and_backlogs_are_escaped_html(conn):
    graph = transact_graph(conn, job_graph({":a": [], ":b": [":a"]}))
    first = next(id for id, job in graph.jobs.items() if job[":job/type"] == ":a")
    [second] = graph.jobs.keys() - {first}
    html = status.explain(conn.db(), second)._repr_html_()
    assert "it waits for 1 of its 1 dependencies" in html
    assert f"<li>jobs: {first}</li>" in html
    assert "&lt;b&gt;" in status.explain(conn.db(), first)._replace(why="<b>")._repr_html_()
    assert "<td>(no queue)</td><td>1</td><td>1</td>" in status.backlog(conn.db())._repr_html_()
