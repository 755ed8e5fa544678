"""The pages of jobs in a real browser: whole at any width, live while workers die, and undone after a thousand jobs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import factstore
from overseer import install, job_txn, start, status
from overseer.console import JOBS
from tests.architecture.source import ROOT
from tests.factstore.console.browsing import WIDTHS, check_layout, check_page, session, shows, tab
from tests.factstore.console.shop import serving
from tests.overseer.console.test_job_pages import PAGES
from tests.stopping import stop

SETTINGS = {"heartbeat_sleep_time": 400, "heartbeat_tolerance": 2}
WORKER = """
import sys, overseer
def hang(job):
    print("began", flush=True)
    sys.stdin.readline()
settings = {"store": sys.argv[1], "heartbeat_sleep_time": 400, "heartbeat_tolerance": 2, "executor": "threads"}
overseer.start(settings, {sys.argv[2]: hang}).join()
"""


@pytest.fixture(scope="module")
def link(seen):
    with serving(seen, extensions=[JOBS]) as made:
        yield made


@pytest.fixture(scope="module")
def state(browser, link):
    return session(browser, link)


@pytest.mark.slow
@pytest.mark.parametrize("width", WIDTHS)
def test_every_page_is_whole_in_light_and_dark_and_asks_only_the_console(browser, state, link, width):
    with tab(browser, state, link) as page:
        page.set_viewport_size({"width": WIDTHS[width], "height": 800})
        for path in PAGES:
            check_page(page, path, width)
        assert [] == page.foreign and [] == page.problems


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """A store on the machine's clock, and the link of its console."""
    store = str(tmp_path_factory.mktemp("live") / "jobs.facts")
    with factstore.connect(store) as conn:
        install(conn)
        with serving(conn, extensions=[JOBS]) as made:
            yield conn, made


@pytest.fixture(scope="module")
def live_state(browser, live):
    return session(browser, live[1])


@pytest.fixture
def hanging(live):
    """Start a worker of its own process, whose handler hangs in the one job of a type."""
    conn, begun = live[0], []

    def begin(type, id):
        conn.transact([job_txn(type, id=id)])
        command = [sys.executable, "-c", WORKER, conn.uri, type]
        begun.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        assert "began\n" == begun[-1].stdout.readline()
        return begun[-1]

    yield begin
    for each in begun:
        each.kill()
        each.wait()
        each.stdin.close()
        each.stdout.close()


def test_workers_that_are_stopped_and_killed_are_seen_as_they_go(browser, live, live_state, hanging):
    """The page of the job follows: silent, rescued, why it ran twice, and the late return."""
    conn, link = live
    stopped, killed = hanging("slow", "stopped"), hanging("fast", "killed")
    with tab(browser, live_state, link) as page, tab(browser, live_state, link) as workers:
        page.goto("/job?id=stopped")
        workers.goto("/workers")
        shows(page, "runs attempt 1 under a lease until")
        stop(conn, stopped.pid)
        os.kill(killed.pid, signal.SIGKILL)
        shows(page, "went silent in attempt 1")
        shows(workers, "silent")
        with start({"store": conn.uri, **SETTINGS}, {"slow": lambda job: None, "fast": lambda job: None}):
            shows(page, "It finished in attempt 2")
            shows(page, "It ran twice because attempt 1 by")
            shows(page, "did not renew its lease, so")
            stopped.stdin.write("\n")
            stopped.stdin.flush()
            os.kill(stopped.pid, signal.SIGCONT)
            shows(page, "too late: its outcome was rejected")
            page.goto("/job?id=killed")
            shows(page, "It ran twice because attempt 1 by")
        assert [] == page.problems and [] == workers.problems


def press(page, name):
    with page.expect_navigation():
        page.get_by_role("button", name=name).click()


def test_a_thousand_jobs_are_aborted_and_undone_by_hand(browser, live, live_state):
    conn, link = live
    conn.transact([job_txn("bulk", id=f"bulk-{n}") for n in range(1000)])
    before = conn.db()
    with tab(browser, live_state, link) as page:
        page.goto("/jobs")
        page.get_by_label("type").fill("bulk")
        press(page, "Filter")
        press(page, "Abort…")
        shows(page, "1,000 jobs would change")
        page.get_by_label("message").fill("wrong batch")
        press(page, "Abort: 1,000 jobs")
        shows(page, "1,000 jobs changed")
        assert 1000 == status.counts(conn.db(), type="bulk")[":job.status/aborted"]
        press(page, "Undo")
        shows(page, "It reverts transaction")
        assert [] == page.problems
    jobs = {conn.db().entid([":job/id", f"bulk-{n}"]) for n in range(1000)}
    assert [] == [datom for datom in factstore.diff(before, conn.db()) if datom.e in jobs]


def test_a_job_of_another_process_appears_in_the_list(browser, live, live_state):
    conn, link = live
    with tab(browser, live_state, link) as page:
        page.goto("/jobs?status=unstarted")
        page.wait_for_selector(".live")
        code = f"import factstore, overseer; c = factstore.connect({conn.uri!r}); c.transact([overseer.job_txn('bulk', id='from-elsewhere')]); c.close()"
        subprocess.run([sys.executable, "-c", code], check=True)
        shows(page, "from-elsewhere")
        assert [] == page.problems


PICTURES = {"console-job": "/job?id=month-sum", "console-what-if": "/what-if?workers=2&more=4"}


HEIGHTS = {"console-job": 1126, "console-what-if": 820}


def test_the_pictures_of_the_docs_are_screenshots(browser, tmp_path):
    """With FACTSTORE_SCREENSHOTS=1, the pictures of docs/how-to/open-the-console.md are made again."""
    from tests.overseer.console.farm import busy

    folder = ROOT / "docs" / "pictures" if os.environ.get("FACTSTORE_SCREENSHOTS") else tmp_path
    with busy() as conn, serving(conn, extensions=[JOBS]) as link, tab(browser, session(browser, link), link) as page:
        for name, path in PICTURES.items():
            page.set_viewport_size({"width": 1100, "height": HEIGHTS[name]})
            page.goto(path)
            page.wait_for_selector("time-slider .says span")
            check_layout(page, path)
            page.screenshot(path=folder / f"{name}.png")
            assert Path(folder / f"{name}.png").stat().st_size > 10_000
