"""Signals of a worker: what a process that is forked from it does with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from overseer.worker.pools.signals import handle_here

FORKS = """
import os, signal
from overseer.worker.pools.signals import handle_here

workers = [handle_here(lambda number, frame: None, signal.SIGTERM) for _ in range(2)]  # of one program
for worker in workers:
    worker.__enter__()
ends = []
for _ in range(200):
    child = os.fork()
    if child == 0:
        signal.pause()
        os._exit(0)
    os.kill(child, signal.SIGTERM)  # the child may not have run yet
    ends.append(os.waitpid(child, 0)[1])
print(set(ends), signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""


def test_a_signal_sent_to_a_forked_child_before_it_has_its_own_handlers_is_not_lost() -> None:
    done = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60, check=True)
    assert f"{ {int(signal.SIGTERM)} } set()\n" == done.stdout


def test_signals_do_what_they_did_before_once_a_worker_has_ended() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with handle_here(lambda number, frame: None, signal.SIGTERM):
        assert before != signal.getsignal(signal.SIGTERM)
    assert before == signal.getsignal(signal.SIGTERM)


STARTS = """
import os, signal, sys
from overseer.worker.pools.processes import ProcessExecutor

HEARD = []
if __name__ == "__mp_main__":  # a child that still starts
    for number in (signal.SIGINT, signal.SIGHUP):
        os.killpg(0, number)

def group():
    return os.getpgrp() == os.getpid()

if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda number, frame: HEARD.append(number))
    executor = ProcessExecutor(1, start_method=sys.argv[1])
    print(executor.submit(group).result(), {int(number) for number in HEARD})
    executor.shutdown()
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_signals_of_the_terminal_do_not_reach_a_process_of_the_worker_that_still_starts(tmp_path: Path, method: str) -> None:
    (tmp_path / "starts.py").write_text(STARTS)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "starts.py"), method],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        capture_output=True, text=True, timeout=60, check=True, start_new_session=True,
    )  # fmt: skip
    assert (f"True { {int(signal.SIGHUP), int(signal.SIGINT)} }\n", "") == (done.stdout, done.stderr)
