"""Records that say which job they are about."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Thread

import pytest

from overseer.events import Listeners, carried
from overseer.listeners.logs import EventLog, JobContext, JsonFormatter
from tests.overseer.listeners import told

log = logging.getLogger("tests.some_library")


@pytest.fixture
def lines():
    """Give what is logged by anyone as JSON, through the root's handler, as an application would set it up."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(JobContext())
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.removeHandler(handler)
    root.setLevel(before)


class Attempt:
    def __init__(self, id: str) -> None:
        self.lease, self.attributes, self.db = told.lease(id), {}, None

    def assert_(self, *forms):
        pass


def test_a_record_made_in_a_handler_by_any_library_says_its_job(lines):
    with Listeners().around(Attempt("j1")):
        log.info("sending %s", "mail")
    log.info("outside")
    inside, outside = lines()
    job = {"job_id": "j1", "job_type": ":mail/send", "job_attempt": 1, "job_worker": "host:1:aa"}
    assert "sending mail" == inside["message"]
    assert job == {key: inside[key] for key in job}
    assert [] == [key for key in outside if key.startswith("job_")]


def test_handlers_that_run_at_once_log_each_their_own_job(lines):
    both = Barrier(2)

    def handler(id: str) -> None:
        with Listeners().around(Attempt(id)):
            both.wait(10)
            log.info("I am %s", id)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(handler, ["j1", "j2"]))
    assert [("I am j1", "j1"), ("I am j2", "j2")] == sorted((line["message"], line["job_id"]) for line in lines())


def test_a_thread_that_a_handler_starts_logs_its_job_when_that_is_carried_there(lines):
    with Listeners().around(Attempt("j1")):
        for target in (carried(log.info), log.info):
            thread = Thread(target=target, args=("from a thread",))
            thread.start()
            thread.join()
    assert ["j1", None] == [line.get("job_id") for line in lines()]


def test_a_line_of_json_has_the_traceback_and_what_extra_said(lines):
    try:
        raise ValueError("boom")
    except ValueError:
        log.exception("it failed", extra={"customer": 7, "of": {1}})
    (line,) = lines()
    assert "error" == line["level"]
    assert 7 == line["customer"]
    assert "{1}" == line["of"]
    assert "ValueError: boom" == line["exception"].splitlines()[-1]


def test_every_kind_of_event_is_a_line_with_its_data(lines):
    listener = EventLog()
    for event in told.all_kinds():
        listener(event)
    said = lines()
    names = ["claimed", "started", "finished", "failed", "retried", "lost", "rescued", "released", "fatal"]
    assert names == [line["event"] for line in said]
    assert [":mail/send j1 attempt 1 finished", 0.25] == [said[2]["message"], said[2]["seconds"]]
    assert ["ValueError: boom", ":job.status/failed"] == [said[3]["error"], said[3]["status"]]
    assert ["host:1:aa fatal", "OSError: disk"] == [said[8]["message"], said[8]["error"]]
    assert [] == [line for line in said if "secret" in json.dumps(line)]


@pytest.mark.parametrize("as_json", [False, True])
def test_what_the_command_line_sets_up_writes_the_job_at_the_end_of_a_line_or_into_its_json(as_json):
    code = f"""
import logging
from overseer.events import Listeners
from overseer.listeners.logs import set_up
from overseer.jobs.states import Lease
set_up(logging.INFO, as_json={as_json})
class Attempt:
    lease = Lease(job=1, id="j1", type=":mail/send", attempt=2, token="t", worker="w")
logging.info("outside")
with Listeners().around(Attempt):
    logging.info("inside")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    outside, inside = done.stderr.splitlines()
    if as_json:
        assert [None, "j1"] == [json.loads(line).get("job_id") for line in (outside, inside)]
    else:
        assert outside.endswith(" INFO outside") and inside.endswith(" INFO inside  [:mail/send j1 attempt 2]")
