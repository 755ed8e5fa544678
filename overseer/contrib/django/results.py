"""A job as a TaskResult of Django, read from the history of the job.

unstarted    READY        finished           SUCCESSFUL
started      RUNNING      failed, aborted    FAILED
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from django.utils.module_loading import import_string

import factstore
from factstore import Keyword
from overseer import status
from overseer.contrib.django.tasks import TaskError, TaskResult, TaskResultDoesNotExist, TaskResultStatus
from overseer.jobs.states import ABORTED, ENDED, FAILED, FINISHED, STARTED, UNSTARTED

if TYPE_CHECKING:
    from datetime import datetime

    from factstore import Database
    from overseer.status import Transition

TYPE: Final = ":django/task"  # the type of all jobs of tasks
PATH: Final = ":django.task/path"
ARGUMENTS: Final = ":django.task/arguments"
BACKEND: Final = ":django.task/backend"

SCHEMA: Final[list[dict[str, Any]]] = [
    {":db/ident": ident, ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one", ":db/doc": doc}
    for ident, doc in (
        (PATH, "The task, as the path by which it is imported."),
        (ARGUMENTS, "The arguments of the task, as JSON: args and kwargs."),
        (BACKEND, "The name of the back end in TASKS."),
    )
]

_STATUSES: Final[Mapping[Keyword, Any]] = {
    UNSTARTED: TaskResultStatus.READY,
    STARTED: TaskResultStatus.RUNNING,
    FINISHED: TaskResultStatus.SUCCESSFUL,
    FAILED: TaskResultStatus.FAILED,
    ABORTED: TaskResultStatus.FAILED,
}
_READ: Final = [PATH, ARGUMENTS, BACKEND, ":job/result", ":job/queue", ":job/priority", ":job/run-at"]


def result_of(db: Database, id: str) -> Any:
    """Return the TaskResult of a job. Raises: TaskResultDoesNotExist, also for a job that is not of a task."""
    about = factstore.pull(db, _READ, [":job/id", id]) if db.entid(PATH) is not None else None
    if about is None or PATH not in about:
        raise TaskResultDoesNotExist(id)
    steps = status.history(db, id)
    claims = [step for step in steps if step.status == STARTED]
    arguments = json.loads(about[ARGUMENTS])
    result = TaskResult(
        task=_task(about),
        id=id,
        status=_STATUSES[steps[-1].status],
        enqueued_at=steps[0].at,
        started_at=claims[0].at if claims else None,
        last_attempted_at=claims[-1].at if claims else None,
        finished_at=_ended_at(steps),
        args=arguments["args"],
        kwargs=arguments["kwargs"],
        backend=about[BACKEND],
        errors=list(_errors(steps)),
        worker_ids=[claim.by for claim in claims],
    )
    if ":job/result" in about:
        object.__setattr__(result, "_return_value", factstore.edn.read(about[":job/result"]))  # the class is frozen
    return result


def _task(about: Mapping[Any, Any]) -> Any:
    return import_string(about[PATH]).using(
        backend=about[BACKEND],
        queue_name=about[":job/queue"].removeprefix(":"),
        priority=about.get(":job/priority", 0),
    )


def _ended_at(steps: Sequence[Transition]) -> datetime | None:
    return steps[-1].at if steps[-1].status in ENDED else None


def _errors(steps: Sequence[Transition]) -> Iterator[Any]:
    """Yield the error of each attempt that failed, and of an abort."""
    for step in steps:
        if step.failure is not None:
            failure = factstore.edn.read(step.failure)
            path = failure.get(Keyword(":exception"), "overseer.errors.JobFailed")
            message = str(failure.get(Keyword(":message"), ""))
            yield TaskError(
                exception_class_path=path if "." in path else f"builtins.{path}",
                traceback=failure.get(Keyword(":traceback"), message),
            )
