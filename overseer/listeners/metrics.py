"""Prometheus metrics: the work of a worker as counters and histograms, and the numbers of jobs in the store.

The jobs are counted in the facts at each scrape. Labels are types, queues and outcomes, of which there are few; never
ids.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import factstore
from overseer.errors import OverseerError
from overseer.events import Claimed, Event, Failed, Finished, JobEvent, Lost, Released, Rescued, Retried
from overseer.planning import timing

if TYPE_CHECKING:
    from factstore import Connection, Database

_JOBS: Final = "[:find ?type ?status (count ?j) :where [?j :job/status ?status] [?j :job/type ?type]]"
_QUEUED: Final = """[:find ?type ?status ?queue (count ?j)
  :where [?j :job/queue ?queue] [?j :job/status ?status] [?j :job/type ?type]]"""
# From 5 ms, the fastest start, to an hour.
_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600)


def _client() -> Any:
    try:
        import prometheus_client
    except ImportError:
        why = "for metrics, install factstore[metrics]"
        raise OverseerError(":job.error/missing-package", why, package="prometheus-client") from None
    return prometheus_client


class Metrics:
    """A listener that counts.

    Args:
        registry: a registry of prometheus_client; None is the default registry.
    Raises: OverseerError(:job.error/missing-package) without prometheus-client.
    """

    def __init__(self, registry: Any = None) -> None:
        client = _client()
        registry = registry if registry is not None else client.REGISTRY
        of_job = ("type", "queue")
        self._attempts = client.Counter(
            "overseer_attempts", "Attempts that ended, by how.", (*of_job, "outcome"), registry=registry
        )
        self._seconds = client.Histogram(
            "overseer_attempt_seconds",
            "How long handlers ran.",
            (*of_job, "outcome"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._waited = client.Histogram(
            "overseer_claim_latency_seconds",
            "From when a job could be claimed to its claim.",
            of_job,
            buckets=_SECONDS,
            registry=registry,
        )
        self._rescued = client.Counter(
            "overseer_rescued", "Jobs taken from workers that went silent.", of_job, registry=registry
        )

    def __call__(self, event: Event, /) -> None:
        """Count an event."""
        if not isinstance(event, JobEvent):
            return
        labels = (str(event.lease.type), str(event.queue or ""))
        match event:
            case Claimed():
                self._waited.labels(*labels).observe(
                    max(0.0, (event.at - timing.ready_since(event.db, event.lease.job)).total_seconds())
                )
            case Finished() | Failed() | Retried():
                self._attempts.labels(*labels, _outcome(event)).inc()
                self._seconds.labels(*labels, _outcome(event)).observe(event.seconds)
            case Lost() | Released():
                self._attempts.labels(*labels, _outcome(event)).inc()
            case Rescued():
                self._rescued.labels(*labels).inc()


def _outcome(event: JobEvent) -> str:
    return event.status.name if isinstance(event, Failed) else type(event).__name__.lower()


class JobsCollector:
    """Answers a scrape with the number of jobs of each type, status and queue, counted in the facts at that time.

    Register it in one process of all that share a store. Others would count the same jobs again.

    Args:
        fresh_for: seconds for which an answer is repeated. A store without new transactions is not counted again.
    """

    def __init__(
        self, conn: Connection, *, fresh_for: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._family = _client().metrics_core.GaugeMetricFamily
        self._conn = conn
        self._fresh_for = fresh_for
        self._clock = clock
        self._lock = Lock()
        self._counted: tuple[int, float, list[tuple[str, str, str, int]]] = (-1, 0.0, [])

    def describe(self) -> list[Any]:
        """Return no metrics, so that a registration does not count."""
        return []

    def collect(self) -> Iterator[Any]:
        """Yield the numbers of jobs."""
        family = self._family("overseer_jobs", "Jobs in the store.", labels=("type", "status", "queue"))
        for type, status, queue, count in self._counts():
            family.add_metric((type, status, queue), count)
        yield family

    def _counts(self) -> list[tuple[str, str, str, int]]:
        with self._lock:
            t, until, counts = self._counted
            if self._clock() < until:
                return counts
            db = self._conn.db()
            counts = counts if db.basis_t == t else jobs_by_type_status_and_queue(db)
            self._counted = (db.basis_t, self._clock() + self._fresh_for, counts)
            return counts


def jobs_by_type_status_and_queue(db: Database) -> list[tuple[str, str, str, int]]:
    """Return the number of jobs of each type, status and queue; the queue "" is no queue."""
    if db.entid(":job/status") is None:
        return []
    # Jobs without a queue are the remaining ones: a query for them takes four times as long.
    rest = Counter({(type, status): count for type, status, count in factstore.q(_JOBS, db)})
    queued = list(factstore.q(_QUEUED, db)) if db.entid(":job/queue") is not None else []
    for type, status, _, count in queued:
        rest[type, status] -= count
    rows = [*queued, *((type, status, "", count) for (type, status), count in rest.items() if count)]
    return sorted((str(type), status.name, str(queue), count) for type, status, queue, count in rows)


class Served:
    """A listener whose metrics are served until it is closed; returned by `serve`."""

    def __init__(self, metrics: Metrics, server: Any, thread: Any) -> None:
        self._metrics = metrics
        self._server = server
        self._thread = thread

    @property
    def port(self) -> int:
        """The port of the server."""
        return int(self._server.server_port)

    def __call__(self, event: Event, /) -> None:
        """Count an event."""
        self._metrics(event)

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def serve(conn: Connection, port: int, *, address: str = "127.0.0.1") -> Served:
    """Serve the metrics of a worker and of the store's jobs at http://address:port/metrics, and return the listener.

    Args:
        port: 0 takes a free port.
    Raises: OSError if the port is in use.
    """
    client = _client()
    registry = client.CollectorRegistry()
    registry.register(JobsCollector(conn))
    client.ProcessCollector(registry=registry)
    return Served(Metrics(registry), *client.start_http_server(port, addr=address, registry=registry))
