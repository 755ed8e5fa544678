"""Every way in which a worker ends, in every executor: it ends, its child processes end, and its jobs are free at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import factstore
from overseer import install, job_txn, status
from overseer.jobs.states import FINISHED, STARTED, UNSTARTED
from tests.overseer.by_hand import moved

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import asyncio, os, sys, time
import factstore, overseer

BEGAN = os.path.join(os.path.dirname(__file__), "began")  # a program that ends has no __file__, while its handlers still run

def tell():
    with open(BEGAN, "a") as began:
        began.write(f"{os.getpid()}\\n")

def step(job):
    tell()
    time.sleep(3600)

async def astep(job):
    tell()
    await asyncio.sleep(3600)

def began():
    while not os.path.exists(BEGAN) or not open(BEGAN).read():
        time.sleep(0.01)

if __name__ == "__main__":
    kind, end, store = sys.argv[1:]
    settings = {"store": store, "executor": kind.removeprefix("co-"), "concurrency": 1 if kind == "inline" else 2, "batch": 5}
    handlers = {"step": astep if kind.startswith("co-") else step}
    if end == "program":
        overseer.start(settings, handlers)
        began()
    else:
        overseer.Worker(factstore.connect(store), handlers, settings).run()
"""
KINDS = ["inline", "threads", "asyncio", "co-asyncio", "processes"]


@pytest.fixture
def store(tmp_path):
    (tmp_path / "program.py").write_text(PROGRAM)
    path = tmp_path / "jobs.facts"
    with factstore.connect(str(path)) as conn:
        install(conn)
        conn.transact([job_txn("step") for _ in range(8)])
    return path


def start(store, kind, end):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (store.parent / "log").open("ab") as log:
        command = [sys.executable, str(store.parent / "program.py"), kind, end, str(store)]
        return subprocess.Popen(command, cwd=store.parent, env=environment, stderr=log, stdin=subprocess.DEVNULL)


def began(store, conn):
    """Wait until a handler runs; return the process it runs in."""
    with conn.tx_reports() as reports:
        path = store.parent / "began"
        for _ in range(3000):
            if path.exists() and path.read_text().endswith("\n"):
                return int(path.read_text().split()[0])
            reports.get(0.02)
    raise AssertionError((store.parent / "log").read_text())


def is_gone(process):
    """Tell whether a process has ended; the last of it may be taken away a moment later."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return True
        if state in "ZX":
            return True
        os.sched_yield()
        subprocess.run(["sleep", "0.01"], check=True)
    return False


@pytest.mark.parametrize("kind", KINDS)
def test_a_program_that_ends_without_stopping_its_worker_ends_and_its_jobs_are_free(store, kind):
    program = start(store, kind, "program")
    with factstore.connect(str(store)) as conn:
        handler = began(store, conn)
        assert 0 == program.wait(60), (store.parent / "log").read_text()
        assert 8 == status.counts(conn.db())[UNSTARTED]
        assert 0 == status.counts(conn.db())[STARTED]
        assert set() == set(factstore.q("[:find [?n ...] :where [_ :job/crashes ?n]]", conn.db()))
    assert is_gone(handler)


@pytest.mark.parametrize("kind", KINDS)
def test_ctrl_c_ends_a_worker_on_the_main_thread_and_its_jobs_are_free(store, kind):
    program = start(store, kind, "key")
    with factstore.connect(str(store)) as conn:
        handler = began(store, conn)
        program.send_signal(signal.SIGINT)
        assert program.wait(60) in (1, -signal.SIGINT), (store.parent / "log").read_text()
        assert 8 == status.counts(conn.db())[UNSTARTED]
        assert 0 == status.counts(conn.db())[STARTED]
    assert is_gone(handler)
    assert "KeyboardInterrupt" in (store.parent / "log").read_text()


def test_the_processes_of_a_program_that_is_killed_end_with_it(store):
    program = start(store, "processes", "key")
    with factstore.connect(str(store)) as conn:
        handler = began(store, conn)
    program.kill()
    program.wait(60)
    assert is_gone(handler)


def test_a_program_without_a_guard_ends_with_an_error_that_says_so_and_claims_nothing(store):
    (store.parent / "program.py").write_text(
        "import sys, factstore, overseer\n"
        "def step(job): return None\n"
        "overseer.Worker(factstore.connect(sys.argv[3]), {'step': step}, {'executor': 'processes'}).run(until_idle=True)\n"
    )
    program = start(store, "processes", "end")
    assert 1 == program.wait(120)
    said = (store.parent / "log").read_text()
    assert 'put the code that starts a worker under `if __name__ == "__main__":`' in said
    assert "ConfigError" in said
    with factstore.connect(str(store)) as conn:
        assert 8 == status.counts(conn.db())[UNSTARTED]
        assert 0 == status.counts(conn.db())[FINISHED]
        assert set() == set(factstore.q("[:find [?n ...] :where [_ :job/attempt ?n]]", conn.db()))


@pytest.mark.parametrize("executor", ["inline", "threads", "asyncio"])
def test_a_command_line_worker_ends_when_idle_although_a_handler_has_outlived_its_timeout(store, executor):
    (store.parent / "shop.py").write_text(
        "import time\nfrom datetime import timedelta\n"
        "def hang(job):\n    while True: time.sleep(1)\n"
        "handlers = {'step': {'process': hang, 'timeout': timedelta(seconds=0.1)}}\n"
    )
    with factstore.connect(str(store)) as conn:
        for job in factstore.q("[:find [?j ...] :where [?j :job/status :job.status/unstarted]]", conn.db())[1:]:
            conn.transact([moved(conn.db(), job, ":job.status/aborted")])
    command = [
        sys.executable,
        "-m",
        "overseer",
        "worker",
        "shop:handlers",
        "--store",
        str(store),
        "--until-idle",
        "--executor",
        executor,
    ]
    ended = subprocess.run(
        command, cwd=store.parent, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=120, check=False
    )
    assert 0 == ended.returncode, ended.stderr


def command_line(store, executor, *before):
    (store.parent / "shop.py").write_text(
        "import os, time\n"
        "def step(job):\n"
        "    open(os.path.join(os.path.dirname(__file__), 'began'), 'a').write(f'{os.getpid()}\\n')\n"
        "    time.sleep(3600)\n"
        "def quick(job): pass\n"
        "handlers = {'step': step, 'quick': quick}\n"
    )
    command = [*before, sys.executable, "-m", "overseer", "worker", "shop:handlers", "--store", str(store), "--executor", executor]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, cwd=store.parent, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


@pytest.mark.parametrize("executor", ["inline", "threads", "asyncio", "processes"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_a_command_line_worker_and_its_jobs_are_free_and_it_is_in_no_list(store, executor, number):
    """The first lets the jobs end, which takes too long here; the second ends the worker. They go to its process group, as those of a terminal do."""
    with command_line(store, executor) as program, factstore.connect(str(store)) as conn:
        handler = began(store, conn)
        assert 1 == len(status.workers(conn.db()))
        while program.poll() is None:  # two that come together are one
            os.killpg(program.pid, number)
            subprocess.run(["sleep", "0.1"], check=True)
        said = program.stderr.read()
        assert 128 + number == program.returncode, said
        assert "Traceback" not in said
        assert {UNSTARTED: 8} == {state: n for state, n in status.counts(conn.db()).items() if n}
        assert [] == status.workers(conn.db())
    assert is_gone(handler)


def test_a_worker_under_nohup_outlives_its_terminal(tmp_path):
    path = tmp_path / "quick.facts"
    with factstore.connect(str(path)) as conn:
        install(conn)
        with command_line(path, "threads", "nohup") as program:
            for number in range(3):
                conn.transact([job_txn("quick")])
                until_finished(conn, number + 1)
                os.killpg(program.pid, signal.SIGHUP)
            program.kill()


def until_finished(conn, jobs):
    """Wait until that number of jobs are finished."""
    db = conn.db()
    while status.counts(db)[FINISHED] < jobs:
        newer = conn.wait(db.basis_t, 60)
        assert newer.basis_t > db.basis_t, status.counts(db)
        db = newer
