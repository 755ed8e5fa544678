"""Handlers for processes that are not the test's: they have to be importable there. What they did shows in facts."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from opentelemetry import trace

from factstore import Keyword
from overseer import Result, Verdict, fault


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


class Stop(BaseException):
    pass


class Speechless(Exception):
    def __str__(self):
        raise ValueError("no words")


class Circular(Exception):
    def __init__(self):
        super().__init__("a circle")
        self.data = {"me": {}, "fine": 1}
        self.data["me"]["me"] = self.data["me"]


RAISED = {
    "assertion": lambda: AssertionError("no"),
    "key": lambda: KeyError("b"),
    "memory": MemoryError,
    "stop-iteration": StopIteration,
    "keyboard": KeyboardInterrupt,
    "exit": lambda: SystemExit(3),
    "generator-exit": GeneratorExit,
    "cancelled": asyncio.CancelledError,
    "own": lambda: Stop("own"),
    "group": lambda: BaseExceptionGroup("several", [Stop(), ValueError()]),
    "speechless": Speechless,
    "circular": Circular,
    "unpicklable": lambda: Unpicklable("stays there"),
    "verdict": lambda: Verdict("of no kind", status=Keyword(":job.status/no-such")),
    "verdict-started": lambda: Verdict("of no kind", status=Keyword(":job.status/started")),
}


def raise_as_told(job):
    raise RAISED[job.type.name]()


def endless_circle():
    circle = {"a": 1}
    circle["self"] = circle
    return circle


RETURNED = {
    "dict": lambda: {":order/number": "lost"},
    "set": lambda: {1},
    "generator": lambda: (n for n in [{":order/number": "lost"}]),
    "map": lambda: map(str, [1]),
    "circle": lambda: Result(endless_circle()),
    "object": lambda: Result(object()),
}


def return_as_told(job):
    return RETURNED[job.type.name]()


async def areturn_as_told(job):
    return RETURNED[job.type.name]()


async def exit_in_a_task(job):
    async def leave():
        raise SystemExit(1)

    await asyncio.create_task(leave())


def fork_and_come_back(job):
    child = os.fork()
    if child == 0:
        if job.attempt % 2:
            sys.exit(0)
        return [{":order/number": "by the child"}]
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return [{":order/number": f"{job.id} by the parent"}]


def square_in_a_pool(job):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        total = sum(pool.map(abs, [-1, -2]))
    process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,))
    process.start()
    process.terminate()
    process.join(30)
    return [{":order/number": f"{total} {process.exitcode}"}]


def leave_a_process_behind_and_die(job):
    subprocess.Popen(["sleep", "600"], process_group=os.getpgid(0))
    os._exit(3)


def leave_a_process_behind_and_hang(job):
    subprocess.Popen(["sleep", "600"])
    time.sleep(3600)


def log_and_fail(job):
    logging.getLogger("shop").info("for your information")
    logging.getLogger("shop").debug("too much")
    try:
        raise LookupError("inside")
    except LookupError:
        logging.getLogger("shop").exception("with %s", "a traceback", extra={"order": object()})
    raise KeyError("b")


def trace_inside(job):
    span = trace.get_current_span().get_span_context()
    return [{":order/number": f"{span.trace_id:032x} {span.span_id:016x}"}]


def tell_run(job):
    """Note each run in a file beside the store, whatever becomes of the attempt."""
    with (Path(job.conn.uri.removeprefix("lmdb:")).parent / "runs").open("a") as runs:
        runs.write(f"{job.id} {job.attempt}\n")


def tell_run_and_die(job):
    tell_run(job)
    die(job)


def fail_with_logs(job):
    logging.getLogger("shop").warning("about to fail")
    raise ValueError("failed")
