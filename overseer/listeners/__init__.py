"""Listeners that come with the package: logs, Sentry, OpenTelemetry and Prometheus. Each needs its own package, and only when used.

Nothing imports them but who makes a worker. Law: as of every listener, that it cannot change how a job ends.
"""
