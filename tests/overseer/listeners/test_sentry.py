"""What is sent to Sentry, seen at the transport: the envelopes that would go over the wire."""

from __future__ import annotations

import sys

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from overseer import OverseerError
from overseer.errors import ConfigError, Verdict
from overseer.events import Listeners
from overseer.jobs.states import ABORTED
from overseer.listeners.sentry import Sentry, filter_serializable
from tests.overseer.listeners import told


class Collects(Transport):
    """Keeps envelopes instead of sending them."""

    def __init__(self, options=None) -> None:
        super().__init__(options)
        self.envelopes: list[Envelope] = []
        self.flushed = 0

    def capture_envelope(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)

    def flush(self, timeout, callback=None) -> None:
        self.flushed += 1

    @property
    def events(self) -> list[dict]:
        return [event for envelope in self.envelopes if (event := envelope.get_event()) is not None]


@pytest.fixture
def transport() -> Collects:
    return Collects()


@pytest.fixture
def sentry(transport):
    sentry = Sentry("https://key@sentry.invalid/1", transport=transport)
    yield sentry
    sentry.close()


class Boom(Exception):
    def __init__(self, message, data) -> None:
        super().__init__(message)
        self.data = data


def test_an_error_of_a_handler_is_sent_with_its_job(sentry, transport):
    sentry(told.failed(ValueError("boom")))
    (event,) = transport.events
    (error,) = event["exception"]["values"]
    assert "error" == event["level"]
    assert "ValueError" == error["type"]
    assert "boom" == error["value"]
    assert {"job/type": ":mail/send", "job/id": "j1", "job/attempt": 1} == event["extra"]
    assert {"job.type": ":mail/send", "overseer.worker": "host:1:aa"} == event["tags"]
    assert "raised" == error["stacktrace"]["frames"][-1]["function"]


def test_the_errors_own_data_go_along_as_far_as_json_can_say_them_and_win_over_the_jobs(sentry, transport):
    circle: list = []
    circle.append(circle)
    sentry(told.failed(Boom("boom", {"row": 7, "file": object(), ("a", "b"): 1, "circle": circle, "job/id": "theirs"})))
    assert {"row": 7, "job/id": "theirs", "job/type": ":mail/send", "job/attempt": 1} == transport.events[0]["extra"]


def test_what_the_store_refused_is_sent_with_its_data(sentry, transport):
    sentry(told.failed(OverseerError(":job.error/no-such-job", "there is no job 'x'", job="x")))
    assert "x" == transport.events[0]["extra"]["job"]


def test_a_loud_abort_is_sent_and_a_silent_one_and_a_fault_are_not(sentry, transport):
    sentry(told.failed(Verdict("quiet", status=ABORTED, suppress=True), suppressed=True, aborted=True))
    sentry(told.retried(Verdict("later", status=ABORTED, suppress=True), suppressed=True))
    assert [] == transport.events
    sentry(told.failed(Verdict("loud", status=ABORTED), aborted=True))
    assert ["loud"] == [event["exception"]["values"][0]["value"] for event in transport.events]


def test_an_error_that_is_tried_again_is_a_warning(sentry, transport):
    sentry(told.retried(ValueError("again")))
    assert ["warning"] == [event["level"] for event in transport.events]


def test_what_ends_the_worker_is_sent_and_waited_for_before_it_ends(sentry, transport):
    sentry(told.fatal(OSError("disk")))
    assert [("fatal", "disk")] == [(event["level"], event["exception"]["values"][0]["value"]) for event in transport.events]
    assert transport.flushed >= 1


def test_events_without_an_error_send_nothing(sentry, transport):
    for event in told.all_kinds():
        if not hasattr(event, "error"):
            sentry(event)
    assert [] == transport.envelopes


def test_a_failure_to_report_is_logged_and_swallowed(caplog):
    class Broken(Collects):
        def capture_envelope(self, envelope):
            raise ConnectionError("no route to sentry")

    sentry = Sentry("https://key@sentry.invalid/1", transport=Broken())
    Listeners([sentry]).tell(told.failed(ValueError("boom")))
    assert "no route to sentry" in caplog.text


def test_a_dsn_that_is_none_is_refused_at_once():
    with pytest.raises(ConfigError, match="sentry_dsn is the DSN of a project"):
        Sentry("nonsense")


def test_an_applications_own_sentry_hears_nothing_of_it(transport):
    theirs = Collects()
    client = sentry_sdk.Client("https://key@sentry.invalid/2", transport=theirs, auto_enabling_integrations=False)
    with sentry_sdk.new_scope() as scope:
        scope.set_client(client)
        Sentry("https://key@sentry.invalid/1", transport=transport)(told.failed(ValueError("boom")))
    client.close()
    assert 0 == len(theirs.events)
    assert 1 == len(transport.events)


def test_without_its_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentry_sdk", None)
    with pytest.raises(OverseerError, match=r"install factstore\[sentry\]"):
        Sentry("https://key@sentry.invalid/1")


@pytest.mark.parametrize(
    ("data", "kept"),
    [
        ({"a": 1, "b": [1, {"c": None}]}, {"a": 1, "b": [1, {"c": None}]}),
        ({"a": {1, 2}, "b": b"bytes", "c": "kept"}, {"c": "kept"}),
        ({("a", "b"): 1, 3: "numbers are keys too"}, {3: "numbers are keys too"}),
        ({"deep": {"in": object()}}, {}),
    ],
)
def test_what_json_cannot_say_is_left_out_entry_by_entry(data, kept):
    assert kept == filter_serializable(data)
