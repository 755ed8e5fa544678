"""The demonstration of the console: a link that opens, a worker that runs jobs, and an end by Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

import factstore
from overseer import questions, status
from tests.architecture.source import ROOT


def test_the_console_opens_while_a_worker_runs_the_jobs_of_the_shop(tmp_path: Path) -> None:
    store = tmp_path / "new" / "shop.facts"
    command = [sys.executable, "-m", "examples.shop", "--store", str(store)]
    demo = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)
    try:
        assert demo.stdout is not None
        lines = [next(demo.stdout) for _ in range(4)]
        assert " overseer worker examples.shop.handlers:app --store " in lines[1]
        [link] = re.findall(r"^http://127\.0\.0\.1:\d+/\?token=\S+$", lines[3], re.MULTILINE)
        with factstore.connect(str(store)) as conn:
            db = conn.db()
            while not status.jobs_with_status(db, "finished") or len(questions.unanswered(db)) < 2:
                db = conn.wait(db.basis_t, 60)
        with httpx.Client(follow_redirects=True) as client:
            assert ":reports" in client.get(link.replace("/?", "/queues?")).text
            assert "Refund order 981?" in client.get(f"{link.partition('?')[0]}questions").text
            assert "card/charge" in client.get(f"{link.partition('?')[0]}jobs").text
    finally:
        os.killpg(demo.pid, signal.SIGINT)
        assert 0 == demo.wait(60)
        demo.stdout.close()
