"""The names of Django Tasks: of Django from version 6, else of the package `django-tasks`."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

_HOME: Final = "django.tasks" if find_spec("django.tasks") else "django_tasks"


_JSON: Final = "django.utils.json" if _HOME == "django.tasks" else "django_tasks.utils"


def _named(module: str, name: str) -> Any:
    return getattr(import_module(f"{_HOME}{module}"), name)


BaseTaskBackend: Any = _named(".backends.base", "BaseTaskBackend")
TaskContext: Any = _named(".base", "TaskContext")
TaskError: Any = _named(".base", "TaskError")
TaskResult: Any = _named(".base", "TaskResult")
TaskResultDoesNotExist: Any = _named(".exceptions", "TaskResultDoesNotExist")
TaskResultStatus: Any = _named(".base", "TaskResultStatus")
normalize_json: Any = import_module(_JSON).normalize_json
task_backends: Any = _named("", "task_backends")
task_enqueued: Any = _named(".signals", "task_enqueued")
task_finished: Any = _named(".signals", "task_finished")
task_started: Any = _named(".signals", "task_started")
