"""A simulation in several processes: it finds what one process finds, and says what went wrong in another one."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress

import pytest

import factstore
from overseer import OverseerError, graph_txns, job_txn
from overseer.testing import Violation, simulate
from tests.overseer.testing.shop import ANN, balance, finished, shop

KILLED = """
import os, threading
from overseer import job_txn
from overseer.testing import simulate
from tests.overseer.testing.shop import shop

here = os.getpid()

def wait(job):
    if os.getpid() != here:
        os.write(1, b"%d\\n" % os.getpid())
        threading.Event().wait()

simulate(shop(job_txn(":a")), {":a": wait}, processes=2)
"""
GRAPH = {":a": [], ":b": [":a"], ":c": [":a"], ":d": [":b", ":c"]}
HERE = os.getpid()


def nothing(job):
    return None


def take_one(job):
    """Take 1 from the account, and lose what another job took meanwhile."""
    return [[":db/add", ANN, ":account/balance", balance(job.db) - 1]]


def none_is_lost(db):
    assert 10 - finished(db) == balance(db)


@pytest.mark.parametrize("count", [1, 2, 300])
def test_several_processes_try_the_schedules_of_one(count):
    one, several = (
        simulate(shop(*graph_txns(GRAPH)), dict.fromkeys(GRAPH, nothing), schedules=count, processes=processes) for processes in (1, 2)
    )
    assert one == several
    assert count == one.runs


def no_fourth_attempt(db):
    assert all(datom.v < 4 for datom in db.datoms("aevt", ":job/attempt"))


@pytest.mark.parametrize(
    ("handler", "invariant", "length"),
    [
        pytest.param(take_one, none_is_lost, 1, id="tried in order"),
        pytest.param(nothing, no_fourth_attempt, 3, id="at random, then shrunk"),
    ],
)
def test_several_processes_find_the_failure_of_one(handler, invariant, length):
    violations = []
    for processes in (1, 3):
        with pytest.raises(Violation) as caught:
            simulate(shop(job_txn(":a", id="j1"), job_txn(":a", id="j2")), {":a": handler}, invariants=[invariant], processes=processes)
        violations.append(caught.value)
    assert violations[0].schedule == violations[1].schedule
    assert length == len(violations[0].run.schedule)


def test_an_invariant_that_cannot_be_checked_raises_its_error_here():
    def invariant(db):
        return 1 // (1 - finished(db))

    with pytest.raises(ZeroDivisionError):
        simulate(shop(job_txn(":a")), {":a": nothing}, invariants=[invariant], processes=2)


def test_a_failure_that_is_not_repeated_is_an_error():
    def invariant(db):
        return os.getpid() == HERE

    with pytest.raises(OverseerError, match="fails in another process only") as raised:
        simulate(shop(job_txn(":a")), {":a": nothing}, invariants=[invariant], processes=2)
    assert ":job.error/not-repeatable" == raised.value.code


def test_a_process_that_ends_is_an_error():
    def end(job):
        if os.getpid() != HERE:
            os._exit(3)

    with pytest.raises(OverseerError, match="a process of the simulation ended") as raised:
        simulate(shop(job_txn(":a")), {":a": end}, processes=2)
    assert ":job.error/process-ended" == raised.value.code
    assert [] == multiprocessing.active_children()


def test_ctrl_c_ends_all_processes(tmp_path):
    def interrupt(job):
        """Send Ctrl-C once, from the tenth run of a process on: Python ignores it in the hooks of a fork."""
        if os.getpid() != HERE:
            runs.append(job.id)
        if len(runs) > 10:
            with suppress(FileExistsError):
                (tmp_path / "interrupted").touch(exist_ok=False)
                os.kill(HERE, signal.SIGINT)

    runs = []

    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            simulate(shop(job_txn(":a")), {":a": interrupt}, schedules=500, processes=2)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert [] == multiprocessing.active_children()


def test_where_processes_cannot_be_forked_several_are_rejected(monkeypatch):
    monkeypatch.setattr("overseer.testing.simulation.forks.get_all_start_methods", lambda: ["spawn"])
    with pytest.raises(OverseerError, match="use processes=1"):
        simulate(shop(job_txn(":a")), {":a": nothing}, processes=2)
    assert 3 == simulate(shop(job_txn(":a")), {":a": nothing}, schedules=3, processes=1).runs


def test_a_handler_that_reads_a_store_which_only_this_process_has_open_is_an_error(tmp_path):
    """A forked process has it closed, so its runs would be others, and an invariant might never fail."""
    with factstore.connect(tmp_path / "other.facts") as other:
        with pytest.raises(OverseerError, match="use processes=1"):
            simulate(shop(job_txn(":a")), {":a": lambda job: other.db() and None}, schedules=100, processes=2)
        assert 100 == simulate(shop(job_txn(":a")), {":a": lambda job: other.db() and None}, schedules=100).runs


@pytest.mark.parametrize(
    "error", [SystemExit(1), RuntimeError(threading.Lock()), KeyboardInterrupt()], ids=["exit", "not picklable", "interrupt"]
)
def test_an_error_in_another_process_only_is_an_error_that_says_so(error):
    def before_each():
        if os.getpid() != HERE:
            raise error

    with pytest.raises(OverseerError, match="fails in another process only"):
        simulate(shop(job_txn(":a")), {":a": nothing}, before_each=before_each, processes=2)


def test_the_processes_end_when_the_one_that_has_forked_them_is_killed():
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True) as process:
        child = int(process.stdout.readline())
        ended = os.pidfd_open(child)
        process.kill()
    assert select.select([ended], [], [], 60)[0]
    os.close(ended)
