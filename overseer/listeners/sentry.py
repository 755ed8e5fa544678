"""Sentry: errors of handlers that nobody suppressed, and what ends the worker itself.

Uses a client of its own, so that an application's Sentry is neither set up nor changed, and what a worker logs is not sent twice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from factstore import FactStoreError
from overseer.errors import ConfigError, OverseerError
from overseer.events import Event, Failed, Fatal, JobEvent, Retried

if TYPE_CHECKING:
    from sentry_sdk._types import LogLevelStr

_PATIENCE = 2.0  # seconds to wait for what is still to be sent, when the process is about to end


class Sentry:
    """A listener that sends errors to Sentry.

    Args:
        dsn: where to.
        options: of `sentry_sdk.Client`, such as `environment`, `release`, `before_send` or `transport`.
    Raises: OverseerError(:job.error/missing-package) without sentry-sdk; ConfigError for a DSN that is none.
    """

    def __init__(self, dsn: str, **options: Any) -> None:
        try:
            import sentry_sdk
        except ImportError:
            why = "to report to Sentry, install factstore[sentry]"
            raise OverseerError(":job.error/missing-package", why, package="sentry-sdk") from None
        self._sdk = sentry_sdk
        try:
            self._client = sentry_sdk.Client(dsn, **{"default_integrations": False, **options})
        except sentry_sdk.utils.BadDsn as error:
            raise ConfigError(
                ":job.error/bad-config", f"sentry_dsn is the DSN of a project: {error}", setting="sentry_dsn"
            ) from error

    def __call__(self, event: Event, /) -> None:
        """Send the error of an event, if it has one of concern: a job's as an error, one that is tried again as a warning."""
        match event:
            case Failed() if not event.suppressed:
                self._send(event.error, "error", event)
            case Retried() if not event.suppressed:
                self._send(event.error, "warning", event)
            case Fatal():
                self._send(event.error, "fatal", event)
                self._client.flush(_PATIENCE)

    def close(self) -> None:
        """Send what is left."""
        self._client.close(_PATIENCE)

    def _send(self, error: BaseException, level: LogLevelStr, event: Event) -> None:
        # Not through a scope: that would take the application's client, and its user and tags along.
        sent, hint = self._sdk.utils.event_from_exception(error, client_options=self._client.options)
        tags = {"overseer.worker": event.worker}
        if isinstance(event, JobEvent):
            tags["job.type"] = str(event.lease.type)
        self._client.capture_event({**sent, "level": level, "tags": tags, "extra": extra_of(error, event)}, hint)


def extra_of(error: BaseException, event: Event) -> dict[str, Any]:
    """Return what is sent with an error: its own data, as far as JSON can say them, over what is known of the job."""
    known: dict[str, Any] = {}
    if isinstance(event, JobEvent):
        known = {"job/type": str(event.lease.type), "job/id": event.lease.id, "job/attempt": event.lease.attempt}
    data = error.data if isinstance(error, FactStoreError) else getattr(error, "data", None)
    own = filter_serializable(data) if isinstance(data, Mapping) else {}
    return known | {str(key): value for key, value in own.items()}


def filter_serializable(data: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the entries of a mapping that can be written as JSON; the others are left out.

    >>> filter_serializable({"row": 3, "file": object()})
    {'row': 3}
    """
    return {key: value for key, value in data.items() if _writes({key: value})}


def _writes(entry: Mapping[Any, Any]) -> bool:
    try:
        json.dumps(entry)
    except (TypeError, ValueError, RecursionError):
        return False
    return True
