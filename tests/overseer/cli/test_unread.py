"""Commands that wait for transactions end when nobody reads their output any more: `… | head -1`."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

import factstore
from factstore.concurrency.pipes import until_unread
from factstore.errors import Closed
from overseer import install, job_txn


@pytest.fixture
def store(tmp_path):
    uri = str(tmp_path / "jobs.facts")
    with factstore.connect(uri) as conn:
        install(conn)
        conn.transact([job_txn("mail")])
    return uri


@pytest.mark.parametrize(
    ("command", "typed"),
    [
        ("overseer status --watch -s", ""),
        ("overseer status --watch --json -s", ""),
        ("factstore log --follow -n 1 -s", ""),
        ("factstore log --follow --json -n 1 -s", ""),
        ("factstore shell --json", ".follow\n"),
    ],
)
def test_a_command_that_waits_ends_with_its_reader(store, command, typed):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-m", *command.split(), store], text=True, **pipes) as process:
        process.stdin.write(typed)
        process.stdin.flush()
        assert process.stderr.readline().startswith("following") if typed else process.stdout.readline()
        process.stdout.close()
        assert (1, "") == (process.wait(), process.stderr.read())


def test_a_wait_goes_on_while_its_output_is_read(store, monkeypatch, tmp_path):
    """Also a file is read; the connection ends neither during the block nor after it."""
    with tmp_path.joinpath("out").open("w+") as out, factstore.connect(store) as conn:
        monkeypatch.setattr(sys, "stdout", out)
        t = conn.db().basis_t
        for _ in range(3):
            with until_unread(conn.close):
                conn.wait(t, "1ms")
        assert t + 1 == conn.transact([]).t
    for thread in threading.enumerate():
        if thread.name == "factstore-reader":
            thread.join()


def test_an_error_in_the_block_that_has_another_cause_is_raised(store):
    conn = factstore.connect(store)
    with pytest.raises(Closed), until_unread(lambda: None):
        conn.close()
        conn.db()
