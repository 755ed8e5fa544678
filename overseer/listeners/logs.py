"""Logs with jobs: every record of a handler has the attributes of its job, and events are records of their own."""

from __future__ import annotations

import json
import logging
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final

from overseer.events import Event, JobEvent, current_lease

log = logging.getLogger("overseer.events")

_JOB_FIELDS: Final = ("job_id", "job_type", "job_attempt", "job_worker")


class JobContext(logging.Filter):
    """Adds the attempt to records of its handler, as `job_id`, `job_type`, `job_attempt` and `job_worker`.

    Add it to a handler of `logging`, not to a logger: a logger's filter does not see the records of its children.
    Outside of job handlers all four are None. Threads that a handler starts need a function from
    `overseer.events.carried`.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the current attempt, and accept every record."""
        lease = current_lease()
        # A record that has a job already keeps it: it may come from another thread than the handler's.
        if getattr(record, "job_id", None) is None:
            record.job_id = lease and lease.id
            record.job_type = lease and str(lease.type)
            record.job_attempt = lease and lease.attempt
            record.job_worker = lease and lease.worker
        return True


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time, level, logger, message, job, the values of `extra`, and traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _OWN and value is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


_OWN: Final = frozenset({*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"})


class TextFormatter(logging.Formatter):
    """Writes a record as a line for people, with the current job, if any, at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the line without its traceback."""
        job = getattr(record, "job_id", None)
        line = super().formatMessage(record)
        return (
            line
            if job is None
            else f"{line}  [{record.__dict__['job_type']} {job} attempt {record.__dict__['job_attempt']}]"
        )


def set_up(level: int, *, as_json: bool = False) -> None:
    """Log to standard error, every record with its job; do nothing if logging is configured already."""
    handler = logging.StreamHandler()
    handler.addFilter(JobContext())
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler])


class EventLog:
    """A listener that logs each event, with its name as `event` and its data as further attributes of the record.

    Args:
        level: the level of the records; the worker itself logs failures already.
    """

    def __init__(self, level: int = logging.INFO) -> None:
        self._level = level

    def __call__(self, event: Event, /) -> None:
        """Log an event."""
        if not log.isEnabledFor(self._level):
            return
        name = type(event).__name__.lower()
        data = {key: value for key in _data_of(event) if (value := getattr(event, key)) is not None}
        extra: dict[str, Any] = {
            "event": name,
            "worker": event.worker,
            **{key: _plain(value) for key, value in data.items()},
        }
        subject = event.worker
        if isinstance(event, JobEvent):
            lease = event.lease
            extra |= dict(zip(_JOB_FIELDS, (lease.id, str(lease.type), lease.attempt, lease.worker)))
            subject = f"{lease.type} {lease.id} attempt {lease.attempt}"
        log.log(self._level, "%s %s", subject, name, extra=extra)


def _data_of(event: Event) -> list[str]:
    return [field.name for field in fields(event) if field.name not in ("at", "worker", "lease", "attributes", "db")]


def _plain(value: Any) -> Any:
    return (
        value
        if isinstance(value, bool | int | float)
        else f"{type(value).__name__}: {value}"
        if isinstance(value, BaseException)
        else str(value)
    )
