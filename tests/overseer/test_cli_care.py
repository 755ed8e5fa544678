"""The commands by which operators look after jobs, on a store in a file."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

import factstore
from overseer import cron, install
from overseer.cli import main


@pytest.fixture
def store(tmp_path):
    path = str(tmp_path / "jobs.facts")
    with factstore.connect(path) as conn:
        install(conn)
    return path


def run(*arguments):
    return CliRunner().invoke(main, list(arguments))


def test_schedules_shows_last_and_next_and_what_is_wrong(store):
    with factstore.connect(store) as conn:
        conn.transact([cron.schedule("hourly", "0 * * * *", "report"), cron.schedule("idle", "0 0 * * *", "report", paused=True)])
        conn.transact([{":schedule/id": "wrong", ":schedule/cron": "99 * * * *", ":schedule/type": ":report"}])
        due = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        cron.tick(conn, due)
    hourly, idle, wrong = run("schedules", "--store", store).output.splitlines()
    assert f"hourly  :report  '0 * * * *' UTC  last {due.isoformat()}  next {(due + timedelta(hours=1)).isoformat()}" == hourly
    assert ("paused", "never") == (idle.split()[-1], idle.split()[-2])
    assert "'99 * * * *' in the zone 'UTC' says no times" in wrong
