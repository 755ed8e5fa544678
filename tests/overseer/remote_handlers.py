"""Handlers for processes that are not the test's: they have to be importable there. What they did shows in facts."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from overseer import Result, fault


def tell_pid(job):
    return [{":order/number": f"{os.getpid()} {job.attempt}"}]


def count_orders(job):
    """Read the database as of the claim, and leave a value to the children."""
    return Result(sum(1 for _ in job.db.datoms("aevt", ":order/number")), [{":order/number": f"counted by {job.id}"}])


def boom(job):
    raise ValueError(f"no luck with {job[':org/id']}")


class Unpicklable(Exception):
    def __init__(self, message):
        super().__init__(message)
        self.lambda_ = lambda: message


def raise_unpicklable(job):
    raise Unpicklable("stays there")


def put_back(job):
    fault("not yet", pause=0.0) if job.attempt == 1 else None


def die(job):
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(job):
    if job.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def sleep(job):
    time.sleep(3600)


def wait_until_lost(job):
    while job.lease_ok():
        time.sleep(0.01)


def tell_result(job):
    return [{":order/number": f"{job.result_of(':first')} counted"}]


def meet_all(job):
    """Wait until as many handlers run at once as there are jobs; a folder is where they meet."""
    [first] = job.db.datoms("avet", ":job/id", "0")
    folder = Path(next(job.db.datoms("eavt", first.e, ":order/number")).v)
    (folder / job.id).touch()
    deadline = time.monotonic() + 30
    while len(came := list(folder.iterdir())) < job[":order/total"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"only {came} came")
        time.sleep(0.005)


def close_everything_and_sleep():
    """As a handler does that turns itself into a daemon."""
    os.closerange(3, 1000)
    time.sleep(3600)


def hold_the_interpreter(job):
    """Compute for several leases in one call that nothing can interrupt, as C code does."""
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        sum(range(3_000_000))
