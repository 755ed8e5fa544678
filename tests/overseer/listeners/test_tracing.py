"""Spans around attempts, as the OpenTelemetry SDK exports them."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags

import factstore
from overseer import OverseerError, job_txn
from overseer.errors import Verdict
from overseer.events import Listeners
from overseer.jobs.states import ABORTED
from overseer.listeners.tracing import Tracing, as_text, from_text, trace_parent
from tests.overseer.by_hand import moved
from tests.overseer.listeners import told


class Attempt:
    """An attempt at a job that is in a store; what it asserts is committed by `finish`."""

    def __init__(self, conn, id):
        self.conn, self.db, self.asserted = conn, conn.db(), []
        self.eid = self.db.entid([":job/id", id])
        self.lease = told.lease(id, job=self.eid)
        self.attributes = {str(self.db.schema.attribute(d.a).ident): d.v for d in self.db.datoms("eavt", self.eid)}

    def assert_(self, *forms):
        self.asserted.extend(forms)

    def finish(self):
        self.conn.transact([moved(self.conn.db(), self.eid, ":job.status/finished"), *self.asserted])


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def provider(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider
    provider.shutdown()


@pytest.fixture
def listeners(provider):
    return Listeners([Tracing(provider)])


def test_an_attempt_is_a_span_and_what_its_handler_traces_lies_within(conn, listeners, exporter, provider):
    conn.transact([job_txn("mail/send", id="j1")])
    with listeners.around(Attempt(conn, "j1")), provider.get_tracer("app").start_as_current_span("smtp"):
        pass
    inner, span = exporter.get_finished_spans()
    assert "process :mail/send" == span.name
    assert "CONSUMER" == span.kind.name
    said = {key: span.attributes[key] for key in ("messaging.message.id", "overseer.job.type", "overseer.job.attempt", "overseer.worker")}
    expected = {"messaging.message.id": "j1", "overseer.job.type": ":mail/send", "overseer.job.attempt": 1, "overseer.worker": "host:1:aa"}
    assert expected == said
    assert span.context.span_id == inner.parent.span_id
    assert span.parent is None


def test_an_attempt_is_linked_to_those_of_the_jobs_it_waited_for_and_to_who_enqueued_it(conn, listeners, exporter, provider):
    with provider.get_tracer("app").start_as_current_span("an order"):
        conn.transact([job_txn("a", trace_parent(), id="1"), job_txn("b", id="2")])
        conn.transact([job_txn("c", {":job/dep": [[":job/id", "1"], [":job/id", "2"]]}, id="3")])
    for id in "123":
        attempt = Attempt(conn, id)
        with listeners.around(attempt):
            pass
        attempt.finish()
    order, *attempts = exporter.get_finished_spans()
    ids = [[link.context.span_id for link in span.links] for span in attempts]
    assert [[order.context.span_id], [], [span.context.span_id for span in attempts[:2]]] == ids
    assert 4 == len({span.context.trace_id for span in (order, *attempts)})


def test_an_error_of_the_handler_is_the_spans_and_an_expected_one_is_not(conn, listeners, exporter):
    conn.transact([job_txn("a", id="j1")])
    for error in (ValueError("boom"), Verdict("quiet", status=ABORTED, suppress=True)):
        attempt = Attempt(conn, "j1")
        with pytest.raises(type(error)), listeners.around(attempt):
            raise error
        assert [] == attempt.asserted
    failed, quiet = exporter.get_finished_spans()
    assert [(StatusCode.ERROR, "boom"), (StatusCode.UNSET, None)] == [(s.status.status_code, s.status.description) for s in (failed, quiet)]
    assert ["exception", "exception"] == [event.name for span in (failed, quiet) for event in span.events]


def test_outside_of_a_span_a_job_remembers_none_and_without_an_sdk_nothing_is_kept(conn):
    assert {} == trace_parent()
    conn.transact([job_txn("a", id="j1")])
    attempt = Attempt(conn, "j1")
    with Listeners([Tracing()]).around(attempt):
        pass
    assert [] == attempt.asserted


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.integers(0, 255))
def test_a_span_is_kept_as_text_and_read_again(trace_id, span_id, flags):
    read = from_text(as_text(SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(flags))))
    assert trace_id == read.trace_id
    assert span_id == read.span_id
    assert flags == read.trace_flags
    assert read.is_remote is True


@pytest.mark.parametrize("text", ["", "00-1-2-3", "00-" + "g" * 32 + "-" + "1" * 16 + "-01", "00-" + "0" * 32 + "-" + "1" * 16 + "-01"])
def test_text_that_is_no_span_is_linked_to_nothing(text):
    assert from_text(text) is None


def test_without_its_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(OverseerError, match=r"install factstore\[otel\]"):
        Tracing()


def test_the_spans_of_jobs_are_facts_to_be_asked_for(conn, listeners, exporter):
    conn.transact([job_txn("a", id="j1")])
    attempt = Attempt(conn, "j1")
    with listeners.around(attempt):
        pass
    attempt.finish()
    kept = factstore.q('[:find ?trace . :where [?j :job/id "j1"] [?j :job/trace ?trace]]', conn.db())
    assert as_text(exporter.get_finished_spans()[0].context) == kept
