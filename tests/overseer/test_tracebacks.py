"""What is kept of an attempt that failed, besides its status: its traceback and its logs, bounded and scrubbed."""

from __future__ import annotations

import json
import logging
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import Keyword
from overseer import Config, Retry, Worker, abort, constant, install, job_txn, status
from overseer.listeners.kept_logs import MAX_LINES, MAX_LOGS
from overseer.testing import drain
from overseer.tracebacks import MAX_TRACEBACK, traceback_text
from tests.overseer import remote_handlers

log = logging.getLogger("shop")


def failure(conn, id="j"):
    return factstore.edn.read(status.attempts(conn.db(), id)[-1].failure)


def fails(job):
    json.loads("{")


def test_the_traceback_has_the_frames_of_the_user_and_folds_libraries(conn):
    conn.transact([job_txn("a", id="j")])
    drain(conn, {"a": fails})
    lines = failure(conn)[Keyword(":traceback")].splitlines()
    assert f'  File "{__file__}", line ' in lines[0]
    assert lines[0].endswith("in fails")
    assert "    json.loads(" in lines[1]
    assert "  … 3 frames in json" == lines[2]
    assert lines[3].startswith("json.decoder.JSONDecodeError: Expecting property name")
    assert 4 == len(lines)


def test_a_cause_comes_before_the_error_and_deep_stacks_are_cut_in_the_middle():
    def deep(n):
        return 1 / 0 if n == 0 else deep(n - 1)

    try:
        try:
            deep(100)
        except ZeroDivisionError as error:
            raise ValueError("outer") from error
    except ValueError as error:
        text = traceback_text(error)
    assert text.index("ZeroDivisionError") < text.index("direct cause") < text.index("ValueError: outer")
    assert "  … 82 frames are left out\n" in text


@given(st.lists(st.text(max_size=3000), min_size=1, max_size=8), st.integers(0, 30))
def test_a_traceback_is_bounded_and_ends_with_the_last_error(messages, depth):
    def deep(n, message):
        if n:
            deep(n - 1, message)
        raise ValueError(message)

    last = None
    for message in messages:
        try:
            try:
                deep(depth, message)
            except ValueError as error:
                raise error from last
        except ValueError as error:
            last = error
    text = traceback_text(last)
    assert MAX_TRACEBACK >= len(text)
    assert "ValueError" in text
    text.encode()


def test_a_verdict_has_no_traceback(conn):
    conn.transact([job_txn("a", id="j")])
    drain(conn, {"a": lambda job: abort("not today")})
    assert Keyword(":traceback") not in failure(conn)


def test_a_failure_in_another_process_has_its_traceback(tmp_path):
    store = str(tmp_path / "jobs.facts")
    with factstore.connect(store) as conn:
        install(conn)
        conn.transact([job_txn("a", id="j")])
        Worker(conn, {"a": remote_handlers.fail_with_logs}, Config(executor="processes", keep_logs=True)).run(until_idle=True)
        assert "in fail_with_logs" in failure(conn)[Keyword(":traceback")]
        assert "about to fail" in status.attempts(conn.db(), "j")[0].logs


@pytest.mark.parametrize("executor", ["inline", "threads", "asyncio"])
def test_each_attempt_keeps_its_own_last_lines(conn, executor):
    conn.transact([job_txn("a", id="j"), job_txn("a", id="k")])

    def handler(job):
        for n in range(300):
            log.warning("%s %d line %d", job.id, job.attempt, n)
        if job.attempt == 1:
            raise ValueError("again")

    handlers = {"a": {"process": handler, "retry": Retry(2, constant(0))}}
    Worker(conn, handlers, Config(executor=executor, concurrency=1 if executor == "inline" else 2, keep_logs=True)).run(until_idle=True)
    for id in "jk":
        for attempt in status.attempts(conn.db(), id):
            lines = attempt.logs.splitlines()
            assert [f"{id} {attempt.number} line {n}" for n in range(300 - MAX_LINES, 300)] == [line.partition(": ")[2] for line in lines]


def test_kept_lines_are_bounded(conn):
    conn.transact([job_txn("a", id="j")])
    Worker(conn, {"a": lambda job: log.warning("x" * 3 * MAX_LOGS)}, Config(keep_logs=True)).run(until_idle=True)
    assert MAX_LOGS == len(status.attempts(conn.db(), "j")[0].logs)


def test_logs_are_not_kept_by_default(conn):
    conn.transact([job_txn("a", id="j")])
    Worker(conn, {"a": lambda job: log.warning("hello")}).run(until_idle=True)
    assert None is status.attempts(conn.db(), "j")[0].logs


class WithData(Exception):
    data: ClassVar = {Keyword(":card"): "4111", Keyword(":all"): ["4111", 7]}


def test_every_text_of_a_handler_is_scrubbed_before_it_is_stored(conn):
    conn.transact([job_txn("a", id="j")])

    def handler(job):
        log.warning("card 4111")
        raise WithData("declined 4111")  # 4111

    Worker(conn, {"a": handler}, Config(keep_logs=True, scrub=lambda text: text.replace("4111", "****"))).run(until_idle=True)
    [attempt] = status.attempts(conn.db(), "j")
    assert ("4111" in attempt.failure, "4111" in attempt.logs) == (False, False)
    assert {Keyword(":card"): "****", Keyword(":all"): ["****", 7]} == failure(conn)[Keyword(":data")]


@pytest.mark.parametrize("scrub", [lambda text: 1 / 0, lambda text: None], ids=["raises", "returns no text"])
def test_a_scrub_that_fails_removes_the_text(conn, scrub):
    conn.transact([job_txn("a", id="j")])
    Worker(conn, {"a": fails}, Config(scrub=scrub)).run(until_idle=True)
    assert failure(conn)[Keyword(":message")].startswith("(removed, because scrub ")
