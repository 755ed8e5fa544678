"""Workers as real processes, killed while their jobs wait or have kept a step: no answer is missed, no kept step runs twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import factstore
from overseer import install, job_txn, questions, status

ROOT = Path(__file__).resolve().parents[2]
LEASE = 1.5  # seconds

# The steps tell in a file that they ran; the file `hang` lets the attempt wait for its death between them.
HANDLERS = """
import os, time
import overseer

HERE = os.path.dirname(__file__)
ARRIVED = "[:find ?n . :in $ ?id :where [?a :arrival/of ?id] [?a :arrival/number ?n]]"

def ran(step, job):
    with open(os.path.join(HERE, "ran"), "a") as file:
        file.write(f"{step} {job.id} {job.attempt} {os.getpid()}\\n")
    return job.attempt

def steps(job):
    first = job.once("first", lambda: ran("first", job))
    ran("between", job)
    while os.path.exists(os.path.join(HERE, "hang")):
        time.sleep(0.01)
    return overseer.Result([first, job.once("second", lambda: ran("second", job))])

def waits(job):
    ran("asks", job)
    return overseer.Result(job.wait(overseer.when(ARRIVED, job.id, within="1h")))

def asks(job):
    ran("asks", job)
    return overseer.Result(job.ask("Continue?", ["yes", "no"], within="1h"))

handlers = {":steps": steps, ":waits": waits, ":asks": asks}
"""
SCHEMA = [
    {":db/ident": ":arrival/of", ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one"},
    {":db/ident": ":arrival/number", ":db/valueType": ":db.type/long", ":db/cardinality": ":db.cardinality/one"},
]


@pytest.fixture
def store(tmp_path):
    (tmp_path / "waiting.py").write_text(HANDLERS)
    with factstore.connect(str(tmp_path / "jobs.facts")) as conn:
        install(conn)
        conn.transact(SCHEMA)
    return tmp_path / "jobs.facts"


def worker(store):
    command = [sys.executable, "-m", "overseer", "worker", "waiting:handlers", "--store", str(store)]
    command += ["--lease", str(LEASE), "--until-idle"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with (store.parent / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=store.parent, env=environment, stdout=log, stderr=log)


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.wait()


def ran(store, step):
    path = store.parent / "ran"
    rows = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [row[1:] for row in rows if row[0] == step]


def until(what, *, seconds=60.0):
    """Wait until something is so; fail when it takes too long."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def until_waiting(conn, count):
    db = conn.db()
    while len(factstore.q("[:find ?j :where [?j :job/wait _]]", db)) < count:
        db = conn.wait(db.basis_t, 60)


def ended(process, store):
    code = process.wait(60)
    assert 0 == code, (store.parent / "log").read_text()


def results(conn):
    rows = factstore.q("[:find ?id ?r :where [?j :job/result ?r] [?j :job/id ?id]]", conn.db())
    return {id: factstore.edn.read(text) for id, text in rows}


def test_a_kept_step_of_a_killed_worker_does_not_run_again(store):
    with factstore.connect(str(store)) as conn:
        conn.transact([job_txn(":steps", id="s")])
        (store.parent / "hang").touch()
        victim = worker(store)
        until(lambda: ran(store, "between"))
        kill(victim)
        (store.parent / "hang").unlink()
        ended(worker(store), store)
        assert {"s": [1, 2]} == results(conn)
    assert [["s", "1", str(victim.pid)]] == ran(store, "first")
    assert ["1", "2"] == [attempt for _, attempt, _ in ran(store, "between")]
    assert 1 == len(ran(store, "second"))


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "while no worker lives", "while another worker lives"])
def test_an_answer_is_not_missed_whenever_it_comes(store, moment):
    count = 4
    ids = [f"w{n}" for n in range(count)]
    arrivals = [{":arrival/of": id, ":arrival/number": n} for n, id in enumerate(ids)]
    with factstore.connect(str(store)) as conn:
        conn.transact([*(job_txn(":waits", id=id) for id in ids), *(arrivals if moment == "before" else [])])
        victim = worker(store)
        if moment == "before":
            until(lambda: ran(store, "asks"))
        else:
            until_waiting(conn, count)
        second = worker(store) if moment == "while another worker lives" else None
        kill(victim)
        if moment != "before":
            conn.transact(arrivals)
        ended(second or worker(store), store)
        assert {id: n for n, id in enumerate(ids)} == results(conn)
        assert {"finished"} == {str(status.history(conn.db(), id)[-1].status.name) for id in ids}


def test_a_person_answers_by_command_after_the_worker_that_asked_was_killed(store):
    with factstore.connect(str(store)) as conn:
        conn.transact([job_txn(":asks", id="a")])
        victim = worker(store)
        until_waiting(conn, 1)
        kill(victim)
        command = [sys.executable, "-m", "overseer", "answer", "a", "yes", "--by", "ann", "--store", str(store)]
        done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
        assert (0, "a has the answer 'yes' by ann\n", "") == (done.returncode, done.stdout, done.stderr)
        ended(worker(store), store)
        assert {"a": "yes"} == results(conn)
        [answer] = questions.answers(conn.db(), "a")
        assert ("Continue?", "yes", "ann") == answer[:3]
