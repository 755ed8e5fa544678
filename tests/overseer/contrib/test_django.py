"""A real project of Django whose tasks are jobs: enqueued, run by `manage.py overseer worker`, which is killed and started again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import factstore
from overseer import status
from overseer.jobs.states import ABORTED

ROOT = Path(__file__).resolve().parents[3]

SETTINGS = """
from pathlib import Path

BASE_DIR = Path(__file__).parent
SECRET_KEY = "for tests"
USE_TZ = True
INSTALLED_APPS = ["overseer.contrib.django"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": BASE_DIR / "db.sqlite3"}}
TASKS = {
    "default": {
        "BACKEND": "overseer.contrib.django.Backend",
        "QUEUES": ["default", "mail", "later", "crash"],
        "OPTIONS": {"store": BASE_DIR / "jobs.facts"},
    },
}
"""

WRONG_SETTINGS = """
from settings import *

TASKS = {"default": {"BACKEND": "overseer.contrib.django.Backend", "OPTIONS": {"stor": "x"}}}
"""

MANAGE = """
import os, sys

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
"""

TASKS = """
import os, signal

from django.db import connection

import overseer

try:
    from django.tasks import task
except ImportError:
    from django_tasks import task


@task
def add(a, b=0):
    return {"sum": a + b, "of": (a, b)}


@task(queue_name="mail", priority=50)
def send(to):
    with connection.cursor() as cursor:
        cursor.execute("create table if not exists sent (receiver text)")
        cursor.execute("insert into sent values (%s)", [to])


@task
async def fetch(name):
    return f"fetched {name}"


@task
def fail(why):
    raise ValueError(why)


@task(queue_name="crash", takes_context=True)
def crash(context):
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return context.task_result.id


@task(takes_context=True)
def again(context):
    if context.attempt == 1:
        overseer.snooze(0.01)
    return context.attempt


@task
def stop():
    overseer.abort("no longer needed")
"""

# Prints the ids of the enqueued tasks by name.
ENQUEUE = """
import asyncio, json, os
from datetime import timedelta
from functools import partial

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()

from django.db import transaction
from django.utils import timezone

import tasks
from overseer.contrib.django.tasks import task_backends, task_enqueued

heard = []
task_enqueued.connect(lambda sender, task_result, **_: heard.append(task_result.id), weak=False)

ids = {
    "add": tasks.add.enqueue(1, b=2).id,
    "low": tasks.add.using(priority=-5).enqueue(7).id,
    "send": tasks.send.enqueue("ann@x").id,
    "fetch": asyncio.run(tasks.fetch.aenqueue("page")).id,
    "fail": tasks.fail.enqueue("no such address").id,
    "again": tasks.again.enqueue().id,
    "stop": tasks.stop.enqueue().id,
    "crash": tasks.crash.enqueue().id,
    "later": tasks.add.using(queue_name="later", run_after=timezone.now() + timedelta(days=1)).enqueue(1).id,
}
ids["heard"] = len(heard)

with transaction.atomic():
    transaction.on_commit(partial(tasks.send.enqueue, "on commit"))
try:
    with transaction.atomic():
        transaction.on_commit(partial(tasks.send.enqueue, "rolled back"))
        raise KeyError
except KeyError:
    pass

backend = task_backends["default"]
backend.conn.transact([backend.txn(tasks.add, 20, b=1), {":db/ident": ":order/paid"}])

read, write = os.pipe()
if os.fork() == 0:
    os.write(write, tasks.add.enqueue(30).id.encode())
    os._exit(0)
os.wait()
ids["child"] = os.read(read, 100).decode()
ids["parent"] = tasks.add.enqueue(40).id
print(json.dumps(ids))
"""

# Prints the results by id, as an object.
RESULTS = """
import json, os, sys

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
django.setup()

from django.db import connection

import tasks
from overseer.contrib.django.tasks import TaskResultDoesNotExist, task_backends

backend, shown = task_backends["default"], {}
for name, id in json.loads(sys.argv[1]).items():
    result = backend.get_result(id)
    shown[name] = {
        "status": str(result.status.value), "args": result.args, "kwargs": result.kwargs, "attempts": len(result.worker_ids),
        "queue": result.task.queue_name, "priority": result.task.priority, "path": result.task.module_path,
        "value": result.return_value if result.status == "SUCCESSFUL" else None,
        "errors": [[error.exception_class_path, error.traceback] for error in result.errors],
        "times": [time and time.isoformat() for time in (result.enqueued_at, result.started_at, result.last_attempted_at, result.finished_at)],
    }
assert tasks.add.get_result(json.loads(sys.argv[1])["add"]).return_value["sum"] == 3
try:
    backend.get_result("none")
except TaskResultDoesNotExist:
    shown["unknown"] = True
with connection.cursor() as cursor:
    cursor.execute("select receiver from sent")
    shown["sent"] = sorted(row[0] for row in cursor.fetchall())
print(json.dumps(shown))
"""


class Project(NamedTuple):
    """A project whose tasks were run."""

    home: Path
    ids: dict[str, Any]
    results: dict[str, Any]
    codes: tuple[int, int]  # of the two workers


def python(home: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=home, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    home = tmp_path_factory.mktemp("project")
    files = {
        "settings": SETTINGS,
        "wrong_settings": WRONG_SETTINGS,
        "manage": MANAGE,
        "tasks": TASKS,
        "enqueue": ENQUEUE,
        "results": RESULTS,
    }
    for name, text in files.items():
        (home / f"{name}.py").write_text(text, encoding="utf-8")
    run = python(home)
    ids = json.loads(run("enqueue.py").stdout)
    worker = ("manage.py", "overseer", "worker", "--until-idle", "--lease", "1", "--queue", "crash")
    killed = run(*worker, check=False).returncode  # it runs no other task, because an attempt beside the killed one would be lost, too
    codes = killed, run(*worker, "--queue", "default", "--queue", "mail", "--executor", "processes").returncode
    results = json.loads(run("results.py", json.dumps({name: id for name, id in ids.items() if name != "heard"})).stdout)
    return Project(home, ids, results, codes)


def test_a_task_is_run_with_its_arguments_and_its_return_value_is_kept(project: Project) -> None:
    result = project.results["add"]
    assert ("SUCCESSFUL", {"sum": 3, "of": [1, 2]}) == (result["status"], result["value"])
    assert ([1], {"b": 2}, "tasks.add") == (result["args"], result["kwargs"], result["path"])
    assert [] == result["errors"]
    assert sorted(result["times"]) == result["times"]


def test_a_coroutine_function_is_enqueued_and_run(project: Project) -> None:
    assert "fetched page" == project.results["fetch"]["value"]


def test_a_task_that_raises_has_failed_with_its_traceback(project: Project) -> None:
    result = project.results["fail"]
    [[kind, traceback]] = result["errors"]
    assert ("FAILED", "builtins.ValueError") == (result["status"], kind)
    assert "raise ValueError(why)" in traceback
    assert "no such address" in traceback


def test_a_task_whose_worker_was_killed_runs_again_on_another(project: Project) -> None:
    assert (-9, 0) == project.codes
    result = project.results["crash"]
    assert ("SUCCESSFUL", 2, project.ids["crash"]) == (result["status"], result["attempts"], result["value"])


def test_a_task_may_ask_for_another_run_and_abort_itself(project: Project) -> None:
    again = project.results["again"]
    assert ("SUCCESSFUL", 2, 2) == (again["status"], again["attempts"], again["value"])
    stopped = project.results["stop"]
    assert ("FAILED", ["no longer needed"]) == (stopped["status"], [message for _, message in stopped["errors"]])


def test_a_deferred_task_waits_and_keeps_its_queue(project: Project) -> None:
    later = project.results["later"]
    assert ("READY", "later", 0, None) == (later["status"], later["queue"], later["attempts"], later["times"][1])


def test_priority_decides_which_task_starts_first(project: Project) -> None:
    assert (-5, 50, "mail") == (project.results["low"]["priority"], project.results["send"]["priority"], project.results["send"]["queue"])
    results = {name: result for name, result in project.results.items() if isinstance(result, dict) and name != "crash"}  # of one worker
    started = {name: result["times"][1] for name, result in results.items() if result["times"][1]}
    assert started["send"] == min(started.values())
    assert started["low"] == max(started.values())


def test_tasks_are_enqueued_on_commit_of_the_orm_and_not_after_a_rollback(project: Project) -> None:
    assert ["ann@x", "on commit"] == project.results["sent"]


def test_a_task_is_committed_together_with_facts_of_the_store(project: Project) -> None:
    with factstore.connect(str(project.home / "jobs.facts"), read_only=True) as conn:
        db = conn.db()
        [tx] = db.q('[:find [?tx ...] :where [?job :django.task/arguments ?a ?tx] [(clojure.string/includes? ?a "20")]]')
        assert ":order/paid" == db.q("[:find ?ident . :in $ ?tx :where [_ :db/ident ?ident ?tx]]", tx)


def test_a_forked_process_enqueues_by_a_connection_of_its_own(project: Project) -> None:
    assert [30, 40] == [project.results[name]["value"]["sum"] for name in ("child", "parent")]


def test_django_is_notified_of_each_enqueued_task(project: Project) -> None:
    assert 9 == project.ids["heard"]


def test_the_result_of_an_unknown_id_does_not_exist(project: Project) -> None:
    assert project.results["unknown"]


def test_manage_py_runs_the_other_commands_on_the_store_of_the_settings(project: Project) -> None:
    python(project.home)("manage.py", "overseer", "abort", project.ids["later"], "-m", "too late")
    with factstore.connect(str(project.home / "jobs.facts"), read_only=True) as conn:
        assert ABORTED == status.history(conn.db(), project.ids["later"])[-1].status


def test_manage_py_check_names_missing_and_unknown_options(project: Project) -> None:
    code = "import django; django.setup(); from overseer.contrib.django.tasks import task_backends as b; print([e.id for e in b['default'].check()])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project.home, capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "wrong_settings"},
    )  # fmt: skip
    assert "['overseer.E001', 'overseer.E002']" == done.stdout.strip()
