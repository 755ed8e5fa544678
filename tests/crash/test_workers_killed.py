"""Workers as real processes on one store, killed and stopped in the middle of their jobs.

Law: the run ends, every job is finished exactly once in the facts, and of the facts that handlers assert each is there once.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import factstore
from overseer import graph_txns, install, status
from overseer.jobs.states import FINISHED, STARTED
from tests.stopping import stop

ROOT = Path(__file__).resolve().parents[2]
LEASE = 2.0  # seconds
WIDTH = 24

# The handler tells in a file that it began, then works for a while, then asserts that it was done.
HANDLERS = f"""
import os, time

def step(job):
    with open(os.path.join(os.path.dirname(__file__), "began"), "a") as began:
        began.write(f"{{os.getpid()}} {{job.id}}\\n")
    time.sleep(float(os.environ.get("WORK", "0.05")))
    return [{{":effect/of": job.id}}]

handlers = {{f":step/{{n}}": step for n in range({WIDTH})}}
"""


@pytest.fixture
def store(tmp_path):
    (tmp_path / "steps.py").write_text(HANDLERS)
    path = tmp_path / "jobs.facts"
    graph = {f":step/{n}": [f":step/{n // 2}"] if n else [] for n in range(WIDTH)}
    with factstore.connect(str(path)) as conn:
        install(conn)
        # No identity and no uniqueness: an effect that were committed twice would be there twice.
        conn.transact([{":db/ident": ":effect/of", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"}])
        conn.transact(graph_txns(graph))
    return path


def worker(store, *, work=0.05):
    command = [sys.executable, "-m", "overseer", "worker", "steps:handlers"]
    command += ["--store", str(store), "--lease", str(LEASE), "--until-idle"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WORK": str(work)}
    log = (store.parent / "log").open("ab")
    with log:
        return subprocess.Popen(command, cwd=store.parent, env=environment, stdout=log, stderr=log)


def began(store):
    path = store.parent / "began"
    return [(int(pid), job) for pid, job in map(str.split, path.read_text().splitlines())] if path.exists() else []


def until(what, *, seconds=30.0):
    """Wait until something is so; fail when it takes too long."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.005)


def ended(process, store, *, seconds=60.0):
    code = process.wait(seconds)
    assert 0 == code, (store.parent / "log").read_text()


def check_law(store):
    with factstore.connect(str(store)) as conn:
        db = conn.db()
        assert {FINISHED: WIDTH} == {s: n for s, n in status.counts(db).items() if n}
        finished = factstore.q("[:find ?id ?tx :where [?j :job/status :job.status/finished ?tx true] [?j :job/id ?id]]", db.history())
        assert WIDTH == len(finished)
        effects = factstore.q("[:find ?e ?id :where [?e :effect/of ?id]]", db)
        assert sorted(id for id, _ in finished) == sorted(id for _, id in effects)
        together = "[:find (count ?j) . :where [?e :effect/of ?id ?tx] [?j :job/id ?id] [?j :job/status :job.status/finished ?tx]]"
        assert WIDTH == factstore.q(together, db)
        return db


def test_a_run_survives_the_kill_of_one_of_two_workers(store):
    first, second = worker(store), worker(store)
    until(lambda: len([pid for pid, _ in began(store) if pid == first.pid]) >= 2)
    first.send_signal(signal.SIGKILL)
    first.wait()
    ended(second, store)
    check_law(store)


def test_a_job_whose_worker_was_killed_runs_again(store):
    """How soon is a row of `benchmarks.jobs`: recovery."""
    victim = worker(store, work=3600)
    until(lambda: began(store))
    second = worker(store)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    until(lambda: len(began(store)) >= 2)
    ended(second, store)
    db = check_law(store)
    [job] = factstore.q("[:find [?id ...] :where [?j :job/crashes 1] [?j :job/id ?id]]", db)
    assert ["unstarted", "started", "unstarted", "started", "finished"] == [step.status.name for step in status.history(db, job)]


def test_a_worker_that_was_stopped_and_wakes_up_is_fenced(store):
    """It slept through its lease in the middle of a job; what it brings back is refused, and it goes on with other jobs."""
    zombie = worker(store, work=0.4)
    until(lambda: began(store))
    with factstore.connect(str(store)) as conn:
        stop(conn, zombie.pid)
    second = worker(store)
    until(lambda: len({pid for pid, _ in began(store)}) == 2)
    zombie.send_signal(signal.SIGCONT)
    ended(zombie, store)
    ended(second, store)
    db = check_law(store)
    assert [2] == factstore.q("[:find [?n ...] :where [_ :job/attempt ?n] [(> ?n 1)]]", db)
    assert "no longer holds it" in (store.parent / "log").read_text()


@pytest.mark.slow
def test_every_worker_may_die_as_long_as_one_comes_after(store):
    for _ in range(4):
        before, victim = len(began(store)), worker(store, work=0.1)
        until(lambda before=before: len(began(store)) >= before + 2)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
    ended(worker(store), store)
    check_law(store)


def test_a_first_sigterm_lets_the_job_end_and_a_second_gives_it_back(store):
    patient = worker(store, work=0.5)
    until(lambda: began(store))
    patient.send_signal(signal.SIGTERM)
    ended(patient, store, seconds=10)
    with factstore.connect(str(store)) as conn:
        assert 1 == status.counts(conn.db())[FINISHED]
        assert 0 == status.counts(conn.db())[STARTED]
    stubborn = worker(store, work=3600)
    until(lambda: len(began(store)) >= 2)
    stubborn.send_signal(signal.SIGTERM)
    until(lambda: not_yet_ended(stubborn))
    stubborn.send_signal(signal.SIGTERM)
    assert 128 + signal.SIGTERM == stubborn.wait(10)
    with factstore.connect(str(store)) as conn:
        assert 1 == status.counts(conn.db())[FINISHED]
        assert 0 == status.counts(conn.db())[STARTED]
        [reason] = factstore.q("[:find [?r ...] :where [_ :job/reason ?r]]", conn.db())
    assert ":job.reason/interrupted" == reason
    ended(worker(store), store)
    check_law(store)


def not_yet_ended(process):
    time.sleep(0.3)  # the first signal has to have been handled before the second is one
    return process.poll() is None


def test_a_worker_that_fails_exits_at_once_whatever_its_handlers_do(store):
    """Its jobs are for others to take; a process that waited for a handler would hold nothing, and not be started again."""
    (store.parent / "failing.py").write_text(
        "import threading, steps\n"
        "from overseer.worker.heartbeat import Heartbeat\n"
        "began = threading.Event()\n"
        "def step(job):\n"
        "    began.set()\n"
        "    return steps.step(job)\n"
        "Heartbeat.beat = lambda self: began.is_set() and 1 / 0\n"
        "handlers = dict.fromkeys(steps.handlers, step)\n"
    )
    command = [sys.executable, "-m", "overseer", "worker", "failing:handlers", "--store", str(store), "--concurrency", "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WORK": "3600"}
    ended = subprocess.run([*command, "--lease", "1"], cwd=store.parent, env=environment, capture_output=True, timeout=30)
    assert 1 == ended.returncode
    assert (b"ZeroDivisionError" in ended.stderr) is True
