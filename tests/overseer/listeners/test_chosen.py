"""Listeners by settings."""

from __future__ import annotations

from overseer.listeners import chosen
from overseer.listeners.logs import EventLog
from overseer.listeners.metrics import Served
from overseer.listeners.sentry import Sentry
from overseer.listeners.tracing import Tracing


def test_settings_choose_listeners(conn):
    listeners = chosen(conn, sentry_dsn="https://key@sentry.invalid/1", metrics_port=0, tracing=True, log_events=True)
    assert [Sentry, Tracing, EventLog, Served] == [type(listener) for listener in listeners]
    for listener in listeners:
        if hasattr(listener, "close"):
            listener.close()


def test_nobody_listens_unless_it_is_said(conn):
    assert [] == chosen(conn)
