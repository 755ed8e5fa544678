"""Schedules: which times they name, what becomes of those that were missed, and that no time is taken twice."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import factstore
from factstore import CasFailed, Keyword
from overseer import OverseerError, Worker, cron, install
from overseer import cron as overseer_cron
from overseer.cron import ALL, LAST, SKIP, due, nominal_times, read_schedule, schedule, schedules, tick
from overseer.worker import scheduler as overseer_scheduler
from overseer.worker.scheduler import Scheduler

HOUR = timedelta(hours=1)


def times(expression, timezone, after, until):
    return list(takewhile(lambda time: time <= until, nominal_times(expression, timezone, after=after)))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def occurrences(db) -> list[str]:
    return sorted(factstore.q("[:find [?id ...] :where [?j :job/schedule _] [?j :job/id ?id]]", db))


@pytest.fixture
def since(conn):
    """Give the time from which the schedules of a test count: a full hour shortly ahead of the store's clock."""
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + HOUR


# -- times


@pytest.mark.parametrize(
    ("expression", "after", "until", "expected"),
    [
        # 29 March: 02:00 CET is 03:00 CEST. 25 October: 03:00 CEST is 02:00 CET, so that the hour from 2 to 3 comes twice.
        ("30 2 * * *", "2026-03-28T02:00", "2026-03-31T00:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
        ("0,30 2 * * *", "2026-03-29T00:00", "2026-03-29T12:00", ["2026-03-29T01:00"]),
        ("30 2 * * *", "2026-10-24T02:00", "2026-10-26T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
        ("30 * * * *", "2026-10-25T00:00", "2026-10-25T03:00", ["2026-10-25T00:30", "2026-10-25T01:30", "2026-10-25T02:30"]),
        ("30 * * * *", "2026-03-29T00:00", "2026-03-29T02:00", ["2026-03-29T00:30", "2026-03-29T01:30"]),
        ("0 3 * * *", "2026-10-25T00:00", "2026-10-25T12:00", ["2026-10-25T02:00"]),
        ("0 12 L * *", "2026-02-01T00:00", "2026-03-01T00:00", ["2026-02-28T11:00"]),
        ("0 12 * * MON#2", "2026-02-01T00:00", "2026-03-01T00:00", ["2026-02-09T11:00"]),
        ("*/20 0 12 * * *", "2026-02-01T00:00", "2026-02-02T00:00", ["2026-02-01T11:00:00", "2026-02-01T11:00:20", "2026-02-01T11:00:40"]),
    ],
    ids=[
        *("a time in the gap comes right after it", "several times in the gap come once", "a time that is repeated counts once"),
        *("every hour counts the repeated hour twice", "every hour does not know the gap", "the hour after is not the repeated one"),
        *("the last of a month", "the second monday", "seconds"),
    ],
)
def test_times_of_berlin(expression, after, until, expected):
    found = times(expression, "Europe/Berlin", utc(after), utc(until))
    assert [utc(time) for time in expected] == found


EXPRESSIONS = ["30 2 * * *", "*/15 * * * *", "0,30 2,3 * * *", "15 1-4 * * *", "30 * * * *", "5 */2 * * *", "0 0 * * *", "0 */10 2 * * *"]
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Sydney", "Asia/Kathmandu"]
CHANGES = [utc(time) for time in ("2026-03-29T01:00", "2026-10-25T01:00", "2026-03-08T07:00", "2026-11-01T06:00", "2026-04-04T16:00")]


@given(
    st.sampled_from(EXPRESSIONS),
    st.sampled_from(ZONES),
    st.sampled_from(CHANGES),
    st.lists(st.integers(-6 * 3600, 6 * 3600), min_size=3, max_size=3).map(sorted),
)
@settings(max_examples=300)
def test_where_a_scheduler_stops_and_goes_on_does_not_change_the_times(expression, zone, change, offsets):
    """Around every change of clocks: the times up to b and those after b are the times."""
    a, b, c = (change + timedelta(seconds=offset) for offset in offsets)
    whole = times(expression, zone, a, c)
    assert whole == times(expression, zone, a, b) + times(expression, zone, b, c)
    assert whole == sorted(set(whole))


@pytest.mark.parametrize(
    ("expression", "zone"),
    [("61 * * * *", "UTC"), ("* * *", "UTC"), ("0 0 30 2 *", "UTC"), ("* * * * *", "Mars/Olympus"), ("* * * * *", "")],
)
def test_an_expression_or_a_zone_that_says_no_times_is_refused(expression, zone):
    with pytest.raises(OverseerError) as refused:
        schedule("s", expression, "a", timezone=zone)
    assert ":job.error/bad-schedule" == refused.value.code
    assert repr(expression) in refused.value.message


def nested(depth):
    value = ()
    for _ in range(depth):
        value = (value,)
    return value


@pytest.mark.parametrize(
    "value", [None, 5, b"UTC", ["UTC"], nested(5), nested(5000)], ids=["none", "int", "bytes", "list", "nested", "deep"]
)
def test_an_expression_and_a_zone_are_strings(value):
    for expression, zone in (("* * * * *", value), (value, "UTC"), ("* * * * *", value)):
        with pytest.raises(OverseerError, match="are strings") as refused:
            schedule("s", expression, "a", timezone=zone)
        assert ":job.error/bad-schedule" == refused.value.code


def test_a_policy_that_does_not_exist_is_refused():
    with pytest.raises(OverseerError, match="one of skip, last, all; got 'some'"):
        schedule("s", "* * * * *", "a", missed="some")


# -- enqueuing


def test_an_occurrence_is_a_job_named_after_its_schedule_and_its_nominal_time(conn, since):
    conn.transact([schedule("hourly", "0 * * * *", "report", {":org/id": 7}, missed="all")])
    ticked = tick(conn, since + 5 * timedelta(minutes=1))
    id = f"hourly@{since:%Y-%m-%dT%H:%M:%SZ}"
    assert ([id], {}) == ticked
    job = factstore.pull(conn.db(), ["*"], [":job/id", id])
    assert Keyword(":report") == job[":job/type"]
    assert Keyword(":job.status/unstarted") == job[":job/status"]
    assert 7 == job[":org/id"]
    assert since == job[":job/nominal"]
    assert since == job[":job/run-at"]
    assert schedules(conn.db())[0].eid == job[":job/schedule"][":db/id"]


def test_nothing_is_due_before_its_time_nor_twice(conn, since):
    conn.transact([schedule("hourly", "0 * * * *", "a")])
    assert [] == tick(conn, since - timedelta(seconds=1)).enqueued
    assert 1 == len(tick(conn, since).enqueued)
    assert [] == tick(conn, since).enqueued
    assert [] == tick(conn, since - HOUR).enqueued  # a clock that goes back
    assert 1 == len(tick(conn, since + HOUR).enqueued)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [(SKIP, []), (LAST, [5]), (ALL, [0, 1, 2, 3, 4, 5])],
    ids=["skip", "last", "all"],
)
def test_what_becomes_of_times_that_nobody_saw(conn, since, policy, expected):
    conn.transact([schedule("hourly", "0 * * * *", "a", missed=policy.name)])
    ticked = tick(conn, since + 5.5 * HOUR)
    assert [f"hourly@{since + hours * HOUR:%Y-%m-%dT%H:%M:%SZ}" for hours in expected] == ticked.enqueued


@pytest.mark.parametrize("policy", ["skip", "last"])
def test_times_within_the_grace_are_not_missed(conn, since, policy):
    conn.transact([schedule("often", "*/10 * * * * *", "a", missed=policy, grace=timedelta(seconds=25))])
    assert 3 == len(tick(conn, since + timedelta(seconds=42)).enqueued)


def test_the_newest_missed_time_is_found_without_walking_through_all(conn, since):
    conn.transact([schedule("each-second", "* * * * * *", "a", missed="last", grace=timedelta(0))])
    later = since + timedelta(days=3650)
    assert [f"each-second@{later:%Y-%m-%dT%H:%M:%SZ}"] == tick(conn, later).enqueued


def test_a_backlog_is_enqueued_in_pieces_and_whole(conn, since, monkeypatch):
    monkeypatch.setattr(cron, "_AT_ONCE", 7)
    conn.transact([schedule("often", "* * * * *", "a", missed="all")])
    started = schedules(conn.db())[0].since
    until = since + HOUR
    ticked = tick(conn, until)
    assert [schedules(conn.db())[0].occurrence(time) for time in times("* * * * *", "UTC", started, until)] == ticked.enqueued
    assert len(ticked.enqueued) > 60


def test_a_paused_schedule_is_not_due_and_does_not_make_up_for_the_pause(conn, since):
    conn.transact([schedule("hourly", "0 * * * *", "a", missed="all", paused=True)])
    assert [] == tick(conn, since + HOUR).enqueued
    conn.transact([{":schedule/id": "hourly", ":schedule/paused": False}])
    resumed = schedules(conn.db())[0].since
    assert times("0 * * * *", "UTC", resumed, since + HOUR) == [since, since + HOUR]
    assert 2 == len(tick(conn, since + HOUR).enqueued)


def test_saying_a_schedule_again_changes_nothing_and_leaves_a_pause_alone(conn):
    conn.transact([schedule("hourly", "0 * * * *", "a", paused=True)])
    before = schedules(conn.db())
    conn.transact([schedule("hourly", "0 * * * *", "a")])
    assert before == schedules(conn.db())


def test_a_new_expression_counts_from_when_it_was_said(conn, since):
    conn.transact([schedule("s", "0 * * * *", "a", missed="all")])
    tick(conn, since)
    conn.transact([schedule("s", "30 * * * *", "a", missed="all")])
    assert [f"s@{since + HOUR / 2:%Y-%m-%dT%H:%M:%SZ}"] == tick(conn, since + HOUR).enqueued


def test_one_schedule_that_cannot_be_enqueued_holds_up_no_other_and_is_logged_once(conn, since, caplog):
    conn.transact([schedule("a-bad", "0 * * * *", "a", {":no/such": 1}), schedule("z-good", "0 * * * *", "a")])
    conn.transact([{**schedule("b-bad", "0 * * * *", "a"), ":schedule/cron": "99 * * * *"}])
    conn.transact([{**schedule("c-bad", "0 * * * *", "a"), ":schedule/args": "{"}])
    conn.transact([{":schedule/id": "said in part"}])
    scheduler = Scheduler(conn, clock=lambda: since, random=Random(0))
    assert [f"z-good@{since:%Y-%m-%dT%H:%M:%SZ}"] == scheduler.look()
    assert [] == scheduler.look()
    complaints = sorted(record.message.partition(":")[0] for record in caplog.records)
    assert [f"nothing is enqueued for the schedule {id}" for id in ("a-bad", "b-bad", "c-bad")] == complaints


def test_a_store_without_schedules_needs_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "cronsim", None)
    with factstore.connect("memory:") as bare:
        assert ([], {}) == tick(bare, datetime.now(UTC))
    with pytest.raises(OverseerError, match=r"install factstore\[cron\]"):
        schedule("s", "* * * * *", "a")


def test_occurrences_that_were_pruned_are_not_enqueued_again(conn, since):
    conn.transact([schedule("hourly", "0 * * * *", "a", missed="all")])
    (id,) = tick(conn, since).enqueued
    conn.transact([[":db/retractEntity", [":job/id", id]]])
    assert [] == tick(conn, since + timedelta(minutes=1)).enqueued


def test_an_occurrence_that_is_there_by_other_means_is_left_as_it_is(conn, since):
    conn.transact([schedule("hourly", "0 * * * *", "a")])
    id = f"hourly@{since:%Y-%m-%dT%H:%M:%SZ}"
    conn.transact([{":job/id": id, ":job/type": ":a", ":job/status": ":job.status/finished"}])
    tick(conn, since)
    assert Keyword(":job.status/finished") == factstore.entity(conn.db(), [":job/id", id])[":job/status"]


# -- several schedulers


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_schedulers_that_race_with_any_clocks_enqueue_each_time_exactly_once(data):
    """Each reads a database and commits later, or never, what it made of it; clocks stand anywhere and jump."""
    with factstore.connect("memory:") as conn:
        install(conn)
        conn.transact([schedule("half-hourly", "*/30 * * * *", "a", timezone="Europe/Berlin", missed="all")])
        began = schedules(conn.db())[0].since
        offsets = st.integers(-3600, 12 * 3600).map(lambda seconds: began + timedelta(seconds=seconds))
        pending: dict[int, tuple] = {}
        latest = began
        for _ in range(data.draw(st.integers(1, 12))):
            who, step = data.draw(st.integers(0, 1)), data.draw(st.sampled_from(["read", "commit", "tick"]))
            now = data.draw(offsets)
            if step == "read":  # whoever reads again never commits what was read before: it died in between
                pending[who] = (now, due(conn.db(), now))
            elif step == "tick":
                tick(conn, now)
                latest = max(latest, now)
            elif who in pending:
                read_at, forms = pending.pop(who)
                with suppress(CasFailed):
                    conn.transact(forms)
                    latest = max(latest, read_at)
        tick(conn, latest)
        expected = [schedules(conn.db())[0].occurrence(time) for time in times("*/30 * * * *", "Europe/Berlin", began, latest)]
        assert sorted(expected) == occurrences(conn.db())
        born = factstore.q("[:find ?j ?tx :where [?j :job/status :job.status/unstarted ?tx true]]", conn.db().history())
        assert len(expected) == len(born)


SCHEDULER = """
import sys
from datetime import datetime, timedelta
from random import Random
import factstore
from overseer.cron import tick
path, began, seed = sys.argv[1], datetime.fromisoformat(sys.argv[2]), int(sys.argv[3])
random, mine = Random(seed), 0
with factstore.connect(path, create=False) as conn:
    print("ready", flush=True)
    sys.stdin.readline()
    for minutes in range(0, 24 * 60, 10):
        mine += len(tick(conn, began + timedelta(minutes=minutes + random.uniform(-30, 30))).enqueued)
print(mine)
"""


def test_processes_that_race_on_one_store_enqueue_each_time_exactly_once(tmp_path):
    path = tmp_path / "jobs.facts"
    with factstore.connect(path) as conn:
        install(conn)
        conn.transact([schedule("often", "*/5 * * * *", "a", missed="all"), schedule("hourly", "0 * * * *", "b", missed="all")])
        began = schedules(conn.db())[0].since
        until = began + timedelta(days=1)
        command = [sys.executable, "-c", SCHEDULER, str(path), began.isoformat()]
        racers = [subprocess.Popen([*command, str(seed)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for seed in range(3)]
        for racer in racers:
            assert "ready\n" == racer.stdout.readline()
        for racer in racers:
            racer.stdin.write("go\n")
            racer.stdin.flush()
        shares = [int(racer.communicate(timeout=100)[0]) for racer in racers]
        rest = tick(conn, until).enqueued
        db = conn.db()
    expected = [f"often@{time:%Y-%m-%dT%H:%M:%SZ}" for time in times("*/5 * * * *", "UTC", began, until)]
    expected += [f"hourly@{time:%Y-%m-%dT%H:%M:%SZ}" for time in times("0 * * * *", "UTC", began, until)]
    assert sorted(expected) == [id for id in occurrences(db) if id.partition("@")[2] <= f"{until:%Y-%m-%dT%H:%M:%SZ}"]
    assert len(occurrences(db)) == sum(shares) + len(rest)


def test_a_scheduler_on_its_thread_enqueues_soon_after_the_time(conn):
    conn.transact([schedule("each-second", "* * * * * *", "a")])
    scheduler = Scheduler(conn, clock=lambda: datetime.now(UTC), random=Random(0))
    with conn.tx_reports() as reports:
        scheduler.start()
        report = reports.get(10)
        scheduler.stop()
    assert report is not None
    late = report.db_after.instant_of(report.db_after.basis_t) - schedules(report.db_after)[0].last
    assert timedelta(0) <= late < timedelta(seconds=5)
    assert scheduler.error is None


# -- the scheduler of a worker


def scheduler(conn, clock):
    return Scheduler(conn, clock=clock, random=Random(0))


def looks(cron, clock, times, seconds):
    """Let a scheduler look so many times, and return what it enqueued."""
    found = []
    for _ in range(times):
        clock.advance(seconds)
        found += cron.look()
    return found


def test_a_scheduler_follows_what_is_said_about_schedules(clock):
    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        cron = scheduler(conn, clock)
        assert [] == looks(cron, clock, 2, 60)
        conn.transact([schedule("a", "* * * * *", "x"), schedule("b", "0 * * * *", "x")])
        assert ["a", "a"] == [id.partition("@")[0] for id in looks(cron, clock, 2, 60)]
        conn.transact([schedule("a", "* * * * *", "x", paused=True), schedule("b", "* * * * *", "x")])
        assert ["b", "b"] == [id.partition("@")[0] for id in looks(cron, clock, 2, 60)]
        conn.transact([schedule("a", "* * * * *", "x", paused=False), [":db/retractEntity", [":schedule/id", "b"]]])
        assert ["a", "a"] == [id.partition("@")[0] for id in looks(cron, clock, 2, 60)]
        cron.close()


def test_idle_schedules_are_not_read_again(clock, monkeypatch):
    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        conn.transact([schedule(f"s{n}", "0 0 1 1 *", "x") for n in range(50)] + [schedule("busy", "* * * * *", "x")])
        cron, read = scheduler(conn, clock), []
        cron.look()
        for module in (overseer_cron, overseer_scheduler):
            monkeypatch.setattr(module, "read_schedule", lambda db, eid: read.append(eid) or read_schedule(db, eid))
        assert 5 == len(looks(cron, clock, 5, 60))
        assert {conn.db().entid([":schedule/id", "busy"])} == set(read)
        cron.close()


def test_what_was_missed_is_enqueued_in_portions_whole_and_in_order(clock):
    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        conn.transact([schedule("s", "* * * * *", "x", missed="all"), schedule("other", "0 0 1 1 *", "x")])
        cron = scheduler(conn, clock)
        cron.look()
        clock.advance(1000 * 60)
        portions = [cron.look() for _ in range(12)]
        assert [100] * 10 + [0] * 2 == [len(portion) for portion in portions]
        assert 1000 == len({id for portion in portions for id in portion})
        assert [id for portion in portions for id in portion] == occurrences(conn.db())
        cron.close()


def test_a_worker_that_ends_when_it_is_idle_enqueues_first_what_is_due(conn, clock):
    conn.transact([schedule("s", "* * * * *", "x", missed="all")])
    clock.advance(250 * 60)
    done = []
    for _ in range(2):
        Worker(conn, {":x": lambda job: done.append(job.id)}).run(until_idle=True)
    assert 250 == len(done)
    assert sorted(done) == occurrences(conn.db())


@pytest.mark.parametrize("ahead", [3600, 365 * 86400])
@pytest.mark.parametrize("who", ["a commit before the schedule", "a scheduler"])
def test_a_clock_that_was_ahead_stops_no_schedule_and_repeats_no_time(clock, ahead, who, caplog):
    """Times that became jobs by the wrong clock do not become jobs again."""
    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        if who == "a scheduler":
            conn.transact([schedule("s", "*/10 * * * *", "x")])
        clock.advance(ahead)
        conn.transact([{":db/doc": "by a clock that is ahead"}])
        done = tick(conn, clock()).enqueued
        clock.advance(-ahead)
        conn.transact([schedule("s", "*/10 * * * *", "x")])
        cron = scheduler(conn, clock)
        cron.look()
        later = looks(cron, clock, 6, 600)
        assert 6 == len({*done, *later} - {id for id in done if id > max(later)})
        assert len(done) + len(later) >= 6
        assert "ahead of the clock" in caplog.text
        cron.close()


def test_a_clock_that_is_set_back_beside_a_running_scheduler_stops_no_schedule(clock):
    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        conn.transact([schedule("s", "* * * * *", "x")])
        cron = scheduler(conn, clock)
        assert 3 == len(looks(cron, clock, 3, 60))
        clock.advance(-86400)
        assert 3 <= len(looks(cron, clock, 4, 60))
        cron.close()
