"""Commands that keep running are started while no server of the store can be reached."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

import factstore
from overseer import install, job_txn, status
from overseer.jobs.states import FINISHED
from tests.postgres import Server, running

LONG = 60  # seconds


@pytest.fixture
def server() -> Iterator[Server]:
    with running("fsync=off") as started:
        yield started


def started(folder: Path, uri: str) -> subprocess.Popen[str]:
    (folder / "calls_of_a_test.py").write_text("handlers = {':call': lambda job: None}")
    command = [sys.executable, "-m", "overseer", "worker", "calls_of_a_test:handlers", "--until-idle", "--store", uri]
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def line_with(words: str, stream: IO[str] | None) -> str:
    """Wait for a line of a process, which ends the process's output at the latest."""
    assert stream is not None
    return next(line for line in stream if words in line)


def test_a_worker_waits_for_a_server_when_it_is_started(server: Server, tmp_path: Path) -> None:
    uri = server.uri()
    with factstore.connect(uri) as conn:
        install(conn)
        conn.transact([job_txn(":call")])
    server.stop()
    with started(tmp_path, uri) as worker:
        assert "cannot be reached" in line_with("trying again for ", worker.stderr)
        server.start("fsync=off")
        assert 0 == worker.wait(LONG)
    with factstore.connect(uri) as conn:
        assert 1 == status.counts(conn.db())[FINISHED]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_worker_that_waits_for_a_server(server: Server, tmp_path: Path, number: signal.Signals) -> None:
    uri = server.uri()
    server.stop()
    with started(tmp_path, uri) as worker:
        line_with("trying again", worker.stderr)
        worker.send_signal(number)
        assert 0 != worker.wait(LONG)
    server.start("fsync=off")


def test_a_worker_does_not_wait_for_a_database_that_does_not_exist(server: Server, tmp_path: Path) -> None:
    with started(tmp_path, f"postgresql://postgres@{server.host}:{server.port}/nowhere") as worker:
        _, errors = worker.communicate(timeout=LONG)
    assert 1 == worker.returncode
    assert "create the database first" in errors and "trying again" not in errors
