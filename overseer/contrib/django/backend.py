"""The back end of Django Tasks: `TASKS = {"default": {"BACKEND": "overseer.contrib.django.Backend", "OPTIONS": …}}`.

Each process opens the store at its first task; a process that was forked opens it itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from django.core.checks import Error
from django.core.exceptions import ImproperlyConfigured
from django.utils import timezone

import factstore
from overseer.contrib.django.results import ARGUMENTS, BACKEND, PATH, SCHEMA, TYPE, result_of
from overseer.contrib.django.tasks import BaseTaskBackend, normalize_json, task_enqueued
from overseer.jobs.graph import new_id
from overseer.jobs.store import install
from overseer.jobs.txns import job_txn

if TYPE_CHECKING:
    from factstore import Connection

_OPTIONS: Final = frozenset({"store"})


class Backend(BaseTaskBackend):  # type: ignore[misc] # Django has no types
    """Stores enqueued tasks as jobs, which `manage.py overseer worker` runs.

    OPTIONS: `store` is the path or uri of the store, which is created if it does not exist.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    @property
    def store(self) -> str:
        """The path or uri of the store. Raises: ImproperlyConfigured."""
        store = self.options.get("store")
        if not store:
            raise ImproperlyConfigured(f'TASKS["{self.alias}"]["OPTIONS"] needs "store", the path or uri of a store')
        return str(store)

    @property
    def conn(self) -> Connection:
        """The connection of this process to the store."""
        return _connection(self.store, os.getpid())

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Store a task as a job, durably, and return its TaskResult."""
        form = self.txn(task, *args, **kwargs)
        report = self.conn.transact([form])
        result = result_of(report.db_after, form[":job/id"])
        task_enqueued.send(type(self), task_result=result)
        return result

    def txn(self, task: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the job of a task as transaction data, to commit together with other facts of this store."""
        self.validate_task(task)
        id, due = new_id(), task.run_after
        arguments = json.dumps(normalize_json({"args": args, "kwargs": kwargs}), ensure_ascii=False)
        attributes = {PATH: task.module_path, ARGUMENTS: arguments, BACKEND: self.alias}
        if due is not None and timezone.is_naive(due):
            due = timezone.make_aware(due)
        return job_txn(TYPE, attributes, id=id, queue=task.queue_name, priority=task.priority or None, run_at=due)

    def get_result(self, result_id: str) -> Any:
        """Return the TaskResult of an id, as it is now. Raises: TaskResultDoesNotExist."""
        return result_of(self.conn.db(), result_id)

    def check(self, **_options: Any) -> Iterable[Any]:
        """Yield what is wrong with OPTIONS, for `manage.py check`."""
        if not self.options.get("store"):
            hint = 'Add "OPTIONS": {"store": BASE_DIR / "jobs.facts"}.'
            yield Error(f"The task back end {self.alias} has no store.", hint=hint, id="overseer.E001")
        if unknown := sorted(self.options.keys() - _OPTIONS):
            hint = f"The options are: {', '.join(sorted(_OPTIONS))}."
            text = f"The task back end {self.alias} has unknown options: {', '.join(unknown)}."
            yield Error(text, hint=hint, id="overseer.E002")


@cache
def _connection(store: str, _process: int) -> Connection:
    """Return the connection of a process, in which the attributes of jobs and tasks are declared."""
    conn = factstore.connect(store)
    install(conn)
    missing = [form for form in SCHEMA if conn.db().entid(form[":db/ident"]) is None]
    if missing:
        conn.transact(missing)
    return conn
