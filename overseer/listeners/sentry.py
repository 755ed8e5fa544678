"""Sentry: reports the errors of handlers that are not suppressed, and the errors that end the worker itself.

It uses a client of its own, so the application's Sentry is not changed, and log records of the worker are not sent
twice.
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

_PATIENCE = 2.0  # seconds to wait for pending events when the process ends


class Sentry:
    """A listener that sends errors to Sentry.

    Args:
        dsn: the DSN of the Sentry project.
        options: options of `sentry_sdk.Client`, such as `environment`, `release`, `before_send` or `transport`.
    Raises: OverseerError(:job.error/missing-package) without sentry-sdk; ConfigError for an invalid DSN.
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
        """Send the error of an event: as an error, or as a warning if the job will run again."""
        match event:
            case Failed() if not event.suppressed:
                self._send(event.error, "error", event)
            case Retried() if not event.suppressed:
                self._send(event.error, "warning", event)
            case Fatal():
                self._send(event.error, "fatal", event)
                self._client.flush(_PATIENCE)

    def close(self) -> None:
        """Send the pending events."""
        self._client.close(_PATIENCE)

    def _send(self, error: BaseException, level: LogLevelStr, event: Event) -> None:
        # Not through a scope, which would use the application's client, and add its user and tags.
        sent, hint = self._sdk.utils.event_from_exception(error, client_options=self._client.options)
        tags = {"overseer.worker": event.worker}
        if isinstance(event, JobEvent):
            tags["job.type"] = str(event.lease.type)
        self._client.capture_event({**sent, "level": level, "tags": tags, "extra": extra_of(error, event)}, hint)


def extra_of(error: BaseException, event: Event) -> dict[str, Any]:
    """Return the job of an error, and the error's own data as far as JSON can represent them."""
    extra: dict[str, Any] = {}
    if isinstance(event, JobEvent):
        extra = {"job/type": str(event.lease.type), "job/id": event.lease.id, "job/attempt": event.lease.attempt}
    data = error.data if isinstance(error, FactStoreError) else getattr(error, "data", None)
    own = filter_serializable(data) if isinstance(data, Mapping) else {}
    return extra | {str(key): value for key, value in own.items()}


def filter_serializable(data: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return the entries of a mapping that can be written as JSON, without the others.

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
