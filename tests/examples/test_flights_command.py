"""The command that the demonstration prints for its store."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import factstore
import overseer
from examples.flights import main


def test_the_printed_command_runs_in_any_folder_without_a_virtual_environment(tmp_path: Path) -> None:
    store = tmp_path / "a folder" / "jobs.facts"
    store.parent.mkdir()
    with factstore.connect(str(store)) as conn:
        overseer.install(conn)
        conn.transact([overseer.job_txn("mail/send", id="m1")])
    assert main.console_command("a folder/jobs.facts").endswith(" -m factstore console 'a folder/jobs.facts'")
    command = shlex.split(main.status_command("a folder/jobs.facts"))
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, timeout=60)
    assert (0, "") == (done.returncode, done.stderr)
    assert "mail/send" in done.stdout
