"""Listeners that come with the package: logs, Sentry, OpenTelemetry and Prometheus.

Each needs its own package, and only if it is used. Law: like every listener, they cannot change how a job ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from overseer.errors import ConfigError
from overseer.events import Listener

if TYPE_CHECKING:
    from factstore import Connection

__all__ = ["chosen"]


def chosen(
    conn: Connection,
    *,
    sentry_dsn: str = "",
    metrics_port: int | None = None,
    tracing: bool = False,
    log_events: bool = False,
    keep_logs: bool = False,
) -> list[Listener]:
    """Return the listeners of a worker's settings.

    Raises: OverseerError(:job.error/missing-package) if the package of a listener is not installed; ConfigError for a
        port that is in use, and for an invalid DSN.
    """
    listeners: list[Listener] = []
    if sentry_dsn:
        from overseer.listeners.sentry import Sentry

        listeners.append(Sentry(sentry_dsn))
    if tracing:
        from overseer.listeners.tracing import Tracing

        listeners.append(Tracing())
    if log_events:
        from overseer.listeners.logs import EventLog

        listeners.append(EventLog())
    if keep_logs:
        from overseer.listeners.kept_logs import KeptLogs

        listeners.append(KeptLogs())
    if metrics_port is not None:
        from overseer.listeners.metrics import serve

        try:
            listeners.append(serve(conn, metrics_port))
        except OSError as error:
            why = f"metrics_port {metrics_port} cannot be used: {error.strerror or error}"
            raise ConfigError(":job.error/bad-config", why, setting="metrics_port", value=metrics_port) from error
    return listeners
