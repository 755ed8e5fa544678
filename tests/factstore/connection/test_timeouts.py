"""The calls that wait accept the same timeouts, and reject the same values."""

from __future__ import annotations

import math
import threading
from concurrent.futures import Future
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import factstore
from factstore import DatabaseError, PendingReport
from factstore.errors import Closed
from overseer import JobRef, OverseerError, install, job_txn, start

NEVER = [0, -1, 0.0, -math.inf, "0s", "1ms", timedelta(0), timedelta(milliseconds=1), Decimal("0.001"), Fraction(1, 1000), -(10**400)]
UNLIMITED = [None, math.inf, timedelta.max, 10**400, Decimal("1e999999")]
WRONG = ["x", "5", "-1s", b"1", [], (), {}, object(), math.nan, Decimal("nan"), Decimal("sNaN"), True, 1j, timedelta(-1)]
WRONG += [np.timedelta64(0, "s"), np.timedelta64(1, "ns"), np.timedelta64("NaT"), np.array([1.0])]


@pytest.fixture
def conn():
    with factstore.connect("memory:") as conn:
        install(conn)
        conn.transact([job_txn("load", id="1")])
        yield conn


def waits(conn):
    """Calls that wait for something that does not happen, and what they return, or raise, when the timeout is over."""
    pending = type(conn._committer.future())()
    pending.background = conn._committer._background
    t = conn.db().basis_t
    reports = conn.tx_reports()
    return {
        "wait": lambda timeout: conn.wait(t, timeout),
        "sync": lambda timeout: conn.sync(t + 1, timeout=timeout),
        "peek": lambda timeout: conn.peek((":job/id", "1", True), timeout=timeout),
        "get": lambda timeout: reports.get(timeout),
        "reports.wait": lambda timeout: reports.wait(timeout),
        "result": lambda timeout: pending.result(timeout),
        "exception": lambda timeout: pending.exception(timeout),
        "JobRef.result": lambda timeout: JobRef(conn, "1", str).result(timeout),
    }


NAMES = ("wait", "sync", "peek", "get", "reports.wait", "result", "exception", "JobRef.result")


@pytest.mark.parametrize("name", NAMES)
def test_a_timeout_that_is_over_ends_the_wait(conn, name):
    call = waits(conn)[name]
    for timeout in NEVER:
        try:
            ended = call(timeout)
        except (TimeoutError, OverseerError) as error:
            ended = getattr(error, "code", TimeoutError)
        t = conn.db().basis_t
        db = {"wait": conn.db(), "sync": conn.db()}
        over = {"result": TimeoutError, "exception": TimeoutError, "JobRef.result": ":job.error/not-ended", "peek": (t, [0])}
        assert {"get": None, "reports.wait": False, **db, **over}[name] == ended


@pytest.mark.parametrize("name", NAMES)
def test_a_value_that_is_no_timeout_is_rejected(conn, name):
    call = waits(conn)[name]
    for timeout in WRONG:
        with pytest.raises((DatabaseError, OverseerError)) as caught:
            call(timeout)
        assert caught.value.code in (":db.error/invalid-duration", ":job.error/bad-argument")


@pytest.mark.parametrize("timeout", UNLIMITED, ids=repr)
@pytest.mark.parametrize("uri", ["memory:timeouts", "file"])
def test_a_wait_without_a_limit_ends_with_a_commit(tmp_path, uri, timeout):
    uri = str(tmp_path / "s.facts") if uri == "file" else uri
    with factstore.connect(uri) as conn, factstore.connect(uri) as other:
        conn.transact([])
        t = conn.db().basis_t
        reports = conn.tx_reports()
        waiting = {
            "wait": lambda: conn.wait(t, timeout).basis_t,
            "sync": lambda: conn.sync(t + 1, timeout=timeout).basis_t,
            "peek": lambda: conn.peek((":db/doc", "news", True), after=t, timeout=timeout),
            "get": lambda: reports.get(timeout).t,
        }
        ends = {name: Future() for name in waiting}
        threads = [threading.Thread(target=lambda name=name: ends[name].set_result(waiting[name]())) for name in waiting]
        for thread in threads:
            thread.start()
        other.transact([{":db/doc": "news"}])
        assert {"wait": t + 1, "sync": t + 1, "peek": (t + 1, [1]), "get": t + 1} == {name: end.result() for name, end in ends.items()}
        assert t + 2 == conn.transact_async([]).result(timeout).t
        for thread in threads:
            thread.join()


def test_a_peek_without_a_limit_ends_when_the_connection_is_closed(tmp_path):
    conn = factstore.connect(tmp_path / "s.facts")
    end: Future[BaseException | None] = Future()

    def peek():
        try:
            end.set_result(conn.peek(timeout=None))
        except Closed as error:
            end.set_result(error)

    thread = threading.Thread(target=peek)
    thread.start()
    conn.close()
    assert isinstance(end.result(), Closed)
    thread.join()


def test_a_report_that_is_there_still_checks_the_timeout(conn):
    pending: PendingReport = conn.transact_async([])
    pending.result("1m")
    for call in (pending.result, pending.exception):
        with pytest.raises(DatabaseError, match="expected a timeout in seconds"):
            call([])


def test_a_worker_in_the_background_is_joined_with_the_same_timeouts(tmp_path):
    with start({"store": str(tmp_path / "s.facts")}, {"load": lambda job: None}) as running:
        assert [False] * 3 == [running.join(timeout) for timeout in ("1ms", timedelta(0), -1)]
        with pytest.raises(OverseerError, match="a timeout is a number of seconds"):
            running.join("soon")
        running.worker.stop()
        assert running.join(timedelta.max)
