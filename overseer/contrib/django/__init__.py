"""Django Tasks on a store: enqueued tasks are jobs. It needs Django 6, or Django 5.2 with the package `django-tasks`.

    backend.py    the back end that TASKS names: enqueue, results          results.py    a job as a TaskResult
    handler.py    the handler of workers, which calls the task             tasks.py      names of Django or the package
    management/   manage.py overseer                                       apps.py       for INSTALLED_APPS

Law: a task runs at least once, and at most one attempt's return value is stored.
"""

from __future__ import annotations

from overseer.contrib.django.backend import Backend

__all__ = ["Backend"]
