"""The handler by which workers run tasks: HANDLERS for `overseer worker overseer.contrib.django.handler:HANDLERS`."""

from __future__ import annotations

from typing import Any, Final

import django
from django.apps import apps

from overseer.errors import Verdict
from overseer.handler import Handlers
from overseer.jobs.job import Job, Result
from overseer.jobs.states import UNSTARTED


def run_task(job: Job) -> Result:
    """Call the task of a job, and leave what it returns as its result.

    A task may call `overseer.fault`, `overseer.snooze` or `overseer.abort`.
    """
    if not apps.ready:  # in a process that a pool started
        django.setup()
    from overseer.contrib.django.results import BACKEND, result_of
    from overseer.contrib.django.tasks import TaskResultStatus, task_backends, task_finished, task_started

    sender, result = type(task_backends[job[BACKEND]]), result_of(job.db, job.id)
    task_started.send(sender=sender, task_result=result)
    try:
        value = _called(result)
        _set(result, status=TaskResultStatus.SUCCESSFUL, _return_value=value)
    except BaseException as error:
        if not (isinstance(error, Verdict) and error.status == UNSTARTED):
            _set(result, status=TaskResultStatus.FAILED)
            task_finished.send(sender=sender, task_result=result)
        raise
    task_finished.send(sender=sender, task_result=result)
    return Result(value)


def _called(result: Any) -> Any:
    """Return what a task returns, as JSON has it. The connections of this thread to databases are checked around it."""
    from django.db import close_old_connections

    from overseer.contrib.django.tasks import TaskContext, normalize_json

    context = (TaskContext(task_result=result),) if result.task.takes_context else ()
    close_old_connections()
    try:
        value = result.task.call(*context, *result.args, **result.kwargs)
    finally:
        close_old_connections()
    return normalize_json(value)


def _set(result: Any, **fields: Any) -> None:
    for name, value in fields.items():
        object.__setattr__(result, name, value)  # the class is frozen


HANDLERS: Final[Handlers] = {":django/task": run_task}
