"""Schedules run by hand: at once, and for periods in the past; each time becomes a job at most once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import factstore
from overseer import OverseerError, cron, install
from overseer.cli import main
from overseer.testing import drain

START = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def jobs(conn):
    return sorted(factstore.q("[:find [?id ...] :where [_ :job/id ?id]]", conn.db()))


@pytest.fixture
def hourly(conn):
    conn.transact([cron.schedule("hourly", "0 * * * *", "report", {":order/total": 5})])
    return conn


def test_a_period_is_filled_once(hourly):
    done = cron.backfill(hourly, "hourly", start=START, end=START + 3 * HOUR, by="ann")
    assert [f"hourly@2026-03-01T0{hour}:00:00Z" for hour in range(3)] == done == jobs(hourly)
    assert [] == cron.backfill(hourly, "hourly", start=START, end=START + 3 * HOUR)
    assert [f"hourly@2026-03-01T0{hour}:00:00Z" for hour in (3, 4)] == cron.backfill(hourly, "hourly", start=START, end=START + 5 * HOUR)


def test_the_jobs_have_the_arguments_and_run(hourly):
    [id] = cron.backfill(hourly, "hourly", start=START, end=START + HOUR, by="ann")
    seen = []
    drain(hourly, {"report": lambda job: seen.append((job.id, job[":order/total"], job[":job/nominal"]))})
    assert [(id, 5, START)] == seen
    assert ["ann"] == factstore.q("[:find [?by ...] :where [_ :overseer/by ?by]]", hourly.db())


def test_the_schedule_continues_as_before(hourly):
    before = cron.schedules(hourly.db())
    cron.backfill(hourly, "hourly", start=START, end=START + HOUR)
    cron.run_now(hourly, "hourly")
    assert before == cron.schedules(hourly.db())


def test_a_dry_run_writes_nothing(hourly):
    t = hourly.db().basis_t
    assert 24 == len(cron.backfill(hourly, "hourly", start=START, end=START + 24 * HOUR, dry_run=True))
    assert t == hourly.db().basis_t


def test_now_also_runs_a_paused_schedule_once_a_second(hourly, clock):
    hourly.transact([{":schedule/id": "hourly", ":schedule/paused": True}])
    first = cron.run_now(hourly, "hourly")
    assert first == cron.run_now(hourly, "hourly")
    clock.advance(1)
    assert 2 == len({first, cron.run_now(hourly, "hourly")}) == len(jobs(hourly))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=6))
def test_overlapping_periods_and_the_scheduler_never_insert_a_time_twice(periods):
    with factstore.connect("memory:") as conn:
        install(conn)
        conn.transact([cron.schedule("h", "0 * * * *", "report", missed="all")])
        begin = cron.next_time(cron.schedules(conn.db())[0])
        filled = [cron.backfill(conn, "h", start=begin + a * HOUR, end=begin + b * HOUR) for a, b in periods]
        ticked = cron.tick(conn, begin + 20 * HOUR).enqueued
        inserted = [id for done in filled for id in done]
        assert len(set(inserted)) == len(inserted)
        assert {f"h@{begin + n * HOUR:%Y-%m-%dT%H:%M:%SZ}" for a, b in periods for n in range(a, b)} == set(inserted)
        assert sorted({*inserted, *ticked}) == jobs(conn)


@pytest.mark.parametrize(
    ("id", "period", "code"),
    [
        ("weekly", {}, ":job.error/no-such-schedule"),
        (["hourly"], {}, ":job.error/no-such-schedule"),
        ("hourly", {"start": datetime(2026, 3, 1)}, ":job.error/bad-schedule"),
        ("hourly", {"end": START + timedelta(days=500)}, ":job.error/bad-schedule"),
    ],
    ids=["unknown", "no text", "no zone", "too long"],
)
def test_bad_input_is_rejected_and_nothing_is_written(hourly, id, period, code):
    t = hourly.db().basis_t
    with pytest.raises(OverseerError) as raised:
        cron.backfill(hourly, id, **{"start": START, "end": START + HOUR, **period})
    assert (code, t) == (raised.value.code, hourly.db().basis_t)


def test_the_commands_insert_and_report(tmp_path):
    store = str(tmp_path / "jobs.facts")
    with factstore.connect(store) as conn:
        install(conn)
        conn.transact([cron.schedule("hourly", "0 * * * *", "report")])
    period = ["--store", store, "hourly", "--from", "2026-03-01", "--to", "2026-03-01T02:00"]
    run = CliRunner().invoke
    listed = run(main, ["backfill", *period, "--dry-run"]).output.splitlines()
    assert ["hourly@2026-03-01T00:00:00Z", "hourly@2026-03-01T01:00:00Z", "2 jobs would run"] == listed
    assert "2 jobs will run\n" == run(main, ["backfill", *period]).output
    assert run(main, ["run-now", "--store", store, "hourly"]).output.endswith("will run\n")
    unknown = run(main, ["run-now", "--store", store, "daily"])
    assert (1, True) == (unknown.exit_code, "there is no schedule 'daily'" in unknown.output)
