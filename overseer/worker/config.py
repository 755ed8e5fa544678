"""The settings of a worker: a frozen value, from keywords, a mapping in Overseer's spelling, or a TOML or YAML file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from multiprocessing import get_all_start_methods
from os import PathLike
from pathlib import Path
from typing import Any, Final

import factstore
from factstore import quoted
from overseer.errors import ConfigError, OverseerError
from overseer.events import Listener
from overseer.jobs.states import as_keyword, repeated_names
from overseer.retry import Retry
from overseer.worker.pacing.ahead import MOST
from overseer.worker.settings import checked_settings, read_settings

_LONGEST: Final = 36_525 * 86_400_000  # a century, in milliseconds
_TIME: Final = "more than 0 and less than a century, in milliseconds"


def _is_time(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= _LONGEST


@factstore.rendering.shown_as_record
@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The settings of a worker. Times are in milliseconds, as in Overseer.

    Args:
        store: the uri of the store. Only `start` and the command line use it, because they open the store.
        heartbeat_sleep_time: how often leases are renewed.
        heartbeat_tolerance: the number of missed heartbeats after which other workers take the job; the lease is the
            product of both settings.
        sleep_time: how long an idle worker waits at most; new work ends the wait.
        concurrency: the number of handlers that may run at a time.
        executor: where handlers run: "inline", on the worker's own thread; "threads"; "asyncio", for coroutine
            functions; "processes"; or a `concurrent.futures.Executor`, such as a Dask cluster's. None is inline if
            concurrency is 1, and otherwise threads.
        start_method: how the processes of executor="processes" are started: "spawn", "fork" or "forkserver", as in
            `multiprocessing`.
        batch: the number of jobs that a worker may claim and hold at a time, if it is more than concurrency; jobs
            that cannot run yet wait for a slot. None adapts the number to how long jobs take: a job is claimed only
            if it is expected to begin within 20 ms.
        flush: how long a finished job may wait until it is committed together with others; only while other jobs run.
        queues: the queues from which the worker takes jobs. None is all queues, and jobs without a queue.
        timeouts: how long an attempt may take, by type of job, for handlers without a timeout.
        max_crashes: the number of crashed attempts at which a job fails.
        retries: retry policies by type of job, for handlers without a policy.
        seed: a number that makes the choice among ready jobs repeatable; None is a random choice.
        listeners: functions that the worker calls with each event of its jobs; see `overseer.events`.
        sentry_dsn: the Sentry project that receives errors; needs factstore[sentry].
        metrics_port: the port on the local address at which Prometheus reads the metrics; 0 is any free port; needs
            factstore[metrics].
        tracing: whether each attempt creates an OpenTelemetry span; needs factstore[otel].
        log_events: whether each event is logged, by the logger `overseer.events`.
        keep_logs: whether the last 200 lines that the handler of an attempt logs are committed with its outcome, as
            `:job/logs`.
        scrub: a function that is called with each text of a handler before it is stored, and returns the text to
            store: messages, tracebacks and data of errors, and logs.
    """

    store: str = ""
    heartbeat_sleep_time: float = 10_000
    heartbeat_tolerance: float = 3
    sleep_time: float = 10_000
    concurrency: int = 1
    executor: str | Executor | None = None
    start_method: str = "spawn"
    batch: int | None = None
    flush: float = 2
    queues: Sequence[str] | None = None
    timeouts: Mapping[str, float] = field(default_factory=dict)
    max_crashes: int = 3
    retries: Mapping[str, Retry] = field(default_factory=dict)
    seed: int | None = None
    listeners: Sequence[Listener] = ()
    sentry_dsn: str = ""
    metrics_port: int | None = None
    tracing: bool = False
    log_events: bool = False
    keep_logs: bool = False
    scrub: Callable[[str], str] | None = None

    def __post_init__(self) -> None:
        for name in ("heartbeat_sleep_time", "heartbeat_tolerance", "sleep_time"):
            self._require(_is_time(getattr(self, name)), name, _TIME)
        for name in ("concurrency", "max_crashes") if self.batch is None else ("concurrency", "batch", "max_crashes"):
            value = getattr(self, name)
            self._require(type(value) is int, name, "a whole number")
            self._require(value > 0, name, "more than 0")
        lease = self.heartbeat_sleep_time * self.heartbeat_tolerance
        self._require(
            _is_time(lease) and lease >= 1,
            "heartbeat_tolerance",
            "a number with which a lease lasts at least a millisecond, and less than a century",
        )
        self._require(
            self.start_method in get_all_start_methods(), "start_method", f"one of {', '.join(get_all_start_methods())}"
        )
        self._require(
            self.flush == 0 or _is_time(self.flush), "flush", "0 or more and less than a century, in milliseconds"
        )
        # Text is a sequence of letters too, but a text is no list of queues.
        is_list = isinstance(self.queues, Collection) and not isinstance(self.queues, str | bytes | Mapping)
        self._require(self.queues is None or is_list, "queues", "a list of names")
        self._check_names("queues", self.queues or ())
        for name in ("timeouts", "retries"):
            self._require(isinstance(getattr(self, name), Mapping), name, "a table by type")
            self._check_names(name, getattr(self, name))
            self._require(not repeated_names(getattr(self, name)), name, "a table that names each type once")
        self._require(all(map(_is_time, self.timeouts.values())), "timeouts", f"by type {_TIME}")
        self._require(all(isinstance(retry, Retry) for retry in self.retries.values()), "retries", "by type a Retry")
        self._require(isinstance(self.store, str | PathLike), "store", "a path or uri")
        self._require(isinstance(self.sentry_dsn, str), "sentry_dsn", "text")
        self._check_functions()
        self._require(self.seed is None or isinstance(self.seed, int | float | str), "seed", "a number or a text")
        for name in ("tracing", "log_events", "keep_logs"):
            self._require(isinstance(getattr(self, name), bool), name, "true or false")
        port = self.metrics_port
        self._require(
            port is None or (type(port) is int and 0 <= port < 1 << 16), "metrics_port", "a number from 0 to 65535"
        )

    def _check_names(self, setting: str, names: Iterable[Any]) -> None:
        for name in names:
            try:
                as_keyword(name)
            except OverseerError as error:
                text = f"{setting} has an invalid name: {error.message}"
                raise ConfigError(":job.error/bad-config", text, setting=setting, name=name) from error

    def _check_functions(self) -> None:
        is_list = isinstance(self.listeners, Iterable) and not isinstance(self.listeners, str | bytes | Mapping)
        self._require(is_list and all(map(callable, self.listeners)), "listeners", "a list of functions")
        self._require(self.scrub is None or callable(self.scrub), "scrub", "a function from a text to a text")

    def _require(self, holds: bool, name: str, what: str) -> None:
        if not holds:
            raise ConfigError(
                ":job.error/bad-config", f"{name} is {what}, got {quoted(getattr(self, name))}", setting=name
            )

    @property
    def holds(self) -> int:
        """The number of jobs that a worker may hold at a time."""
        return max(self.concurrency, MOST if self.batch is None else self.batch)

    @property
    def lease(self) -> timedelta:
        """How long a claim lasts without a heartbeat."""
        return timedelta(milliseconds=self.heartbeat_sleep_time * self.heartbeat_tolerance)

    @property
    def watching(self) -> dict[str, Any]:
        """The settings of the listeners that come with the package, for `listeners.chosen`."""
        return {
            name: getattr(self, name) for name in ("sentry_dsn", "metrics_port", "tracing", "log_events", "keep_logs")
        }

    @property
    def judging(self) -> dict[str, Any]:
        """The settings by which attempts are judged, for `Judge`."""
        return {name: getattr(self, name) for name in ("retries", "max_crashes", "scrub")}

    @classmethod
    def of(cls, settings: Config | Mapping[str, Any] | None) -> Config:
        """Return the settings in a mapping.

        Names may have hyphens, and settings of the heartbeat may be nested, as in Overseer.

        >>> Config.of({"store": "jobs.facts", "heartbeat": {"sleep-time": 5000}}).lease
        datetime.timedelta(seconds=15)
        """
        given = {} if settings is None else settings
        return given if isinstance(given, Config) else cls(**checked_settings(given, cls))

    def with_settings(self, settings: Mapping[str, Any]) -> Config:
        """Return these settings with others, named as in `of`."""
        return replace(self, **checked_settings(settings, Config)) if settings else self

    @classmethod
    def read(cls, path: str | Path) -> Config:
        """Return the settings in a TOML or YAML file."""
        return cls(**checked_settings(read_settings(path), cls, source=str(path)))
