"""Settings of a worker: one frozen value, from keywords, from a mapping in Overseer's spelling, or from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self

from overseer.errors import ConfigError
from overseer.events import Listener
from overseer.retry import Retry


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """How a worker works. Times are in milliseconds, as in Overseer.

    Args:
        store: the uri of the store; only for `start` and the command line, which open it themselves.
        heartbeat_sleep_time: how often leases are renewed.
        heartbeat_tolerance: how many beats may be missed before others take the job; the lease is the product of both.
        sleep_time: how long to wait when there is nothing to do; new work ends the wait.
        concurrency: how many handlers may run at a time.
        executor: where they run: "inline", on the worker's own thread; "threads"; "asyncio", for coroutine functions; "processes"; or
            a `concurrent.futures.Executor`, such as a Dask cluster's. None is inline for one at a time, and threads for more.
        batch: how many jobs to hold at a time, if that is more than can run: those claimed ahead wait for a slot.
        flush: how long a finished job may wait for others to be written with in one transaction; only while others run.
        queues: the queues to work on; None is all of them, and jobs of no queue.
        timeouts: how long an attempt may take, by type, for handlers that do not say so themselves.
        max_crashes: a job that has taken this many workers with it is failed.
        retries: retry policies by type, for handlers that bring none.
        seed: makes the choice among ready jobs repeatable; None leaves it to chance.
        listeners: are told what happens to jobs: see `overseer.events`.
    """

    store: str = ""
    heartbeat_sleep_time: float = 10_000
    heartbeat_tolerance: float = 3
    sleep_time: float = 10_000
    concurrency: int = 1
    executor: str | Executor | None = None
    batch: int = 1
    flush: float = 2
    queues: Sequence[str] | None = None
    timeouts: Mapping[str, float] = field(default_factory=dict)
    max_crashes: int = 3
    retries: Mapping[str, Retry] = field(default_factory=dict)
    seed: int | None = None
    listeners: Sequence[Listener] = ()

    def __post_init__(self) -> None:
        for name in ("heartbeat_sleep_time", "heartbeat_tolerance", "sleep_time", "concurrency", "batch", "max_crashes"):
            if not getattr(self, name) > 0:
                raise ConfigError(":job.error/bad-config", f"{name} is more than 0, got {getattr(self, name)!r}", setting=name)

    @property
    def holds(self) -> int:
        """How many jobs a worker may hold at a time."""
        return max(self.concurrency, self.batch)

    @property
    def lease(self) -> timedelta:
        """How long a claim lasts without a heartbeat."""
        return timedelta(milliseconds=self.heartbeat_sleep_time * self.heartbeat_tolerance)

    @classmethod
    def of(cls, settings: Config | Mapping[str, Any] | None) -> Config:
        """Return the settings of a mapping; names may be spelled with hyphens, and heartbeat settings be nested, as in Overseer.

        >>> Config.of({"store": "jobs.facts", "heartbeat": {"sleep-time": 5000}}).lease
        datetime.timedelta(seconds=15)
        """
        if isinstance(settings, Config):
            return settings
        flat = dict(_flat(settings or {}))
        known = {setting.name for setting in fields(cls)}
        unknown = sorted(set(flat) - known - _IGNORED)
        if unknown:
            why = f"no setting is called {', '.join(unknown)}; there are {', '.join(sorted(known))}"
            raise ConfigError(":job.error/bad-config", why, settings=unknown)
        return cls(**{name: value for name, value in flat.items() if name in known})

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Return the settings of a TOML file."""
        try:
            return cls.of(tomllib.loads(Path(path).read_text()))  # type: ignore[return-value]
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(":job.error/bad-config", f"{path} cannot be read as TOML: {error}", path=str(path)) from error


# Overseer's detector polled; ours is told by the log, so there is no sleep to set.
_IGNORED: Final = frozenset({"detector_sleep_time", "heartbeat_monitor_shutdown", "heartbeat_enabled"})


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in settings.items():
        name = prefix + str(key).removeprefix(":").replace("-", "_")
        pairs += _flat(value, "heartbeat_") if name == "heartbeat" and isinstance(value, Mapping) else [(name, value)]
    return pairs
