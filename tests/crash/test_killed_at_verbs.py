"""Kills at every verb of the storage, in the length that a test run can bear; `python -m benchmarks.kills` makes 1,000 of them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_processes_that_are_killed_at_verbs_of_the_storage_lose_and_double_nothing():
    seed = os.environ.get("CRASH_SEED") or str(random.randrange(1 << 32))
    command = [sys.executable, "-m", "benchmarks.kills", "--kills", "72", "--seed", seed]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert 0 == done.returncode, f"CRASH_SEED={seed}\n{done.stdout}{done.stderr}"
    assert "72 kills" in done.stdout
