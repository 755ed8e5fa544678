"""Facts that cannot mean anything, about schedules, queues and jobs: rejected where functions take them, set apart where hands wrote them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from click.testing import CliRunner

import factstore
from factstore import Keyword
from overseer import ConfigError, JobStore, OverseerError, Worker, cron, install, job_txn, queue, status
from overseer.cli import main
from overseer.jobs.queues import problems, queues
from overseer.jobs.states import FAILED, FINISHED
from overseer.testing import FakeClock, drain
from overseer.worker import Config
from overseer.worker.scheduler import Scheduler

BAD_SCHEDULES = {
    "arguments that are no map": ({":schedule/args": "[1]"}, "a map"),
    "arguments that are no EDN": ({":schedule/args": "{:a"}, "no EDN"),
    "a key that is no attribute": ({":schedule/args": "{1 2}"}, "a map"),
    "an argument that the schema does not know": ({":schedule/args": "{:no/such 1}"}, ":no/such"),
    "an argument of another type": ({":schedule/args": '{:org/id "one"}'}, ":org/id"),
    "a text as the queue": ({":schedule/args": '{:job/queue "mail"}'}, ":job/queue"),
    "an id for all jobs": ({":schedule/args": '{:job/id "x"}'}, ":job/id"),
    "an entity for all jobs": ({":schedule/args": "{:db/id 100}"}, ":db/id"),
    "a grace that no time holds": ({":schedule/grace": 2**62}, "grace"),
    "a grace below 0": ({":schedule/grace": -1}, "grace"),
    "a policy that does not exist": ({":schedule/missed": Keyword(":schedule.missed/maybe")}, "the unknown policy"),
    "an expression that is none": ({":schedule/cron": "99 99 * * *"}, "no times"),
    "an expression of no fields": ({":schedule/cron": ""}, "no times"),
    "a zone that is none": ({":schedule/timezone": "Mars/Base"}, "no times"),
    "a zone that is a path": ({":schedule/timezone": "../../etc/passwd"}, "no times"),
}


@pytest.fixture
def clock():
    return FakeClock(datetime(2026, 3, 1, tzinfo=UTC))


@pytest.mark.parametrize("flaw", BAD_SCHEDULES)
def test_a_schedule_by_hand_that_means_nothing_is_logged_once_and_the_others_go_on(conn, clock, caplog, flaw):
    facts, why = BAD_SCHEDULES[flaw]
    conn.transact([{**cron.schedule("bad", "* * * * *", "x"), **facts}, cron.schedule("good", "* * * * *", "x")])
    eid = conn.db().entid([":schedule/id", "bad"])
    scheduler = Scheduler(conn, clock=clock, random=Random(0))
    for _ in range(3):
        clock.advance(60)
        assert 1 == len(scheduler.look())
        scheduler.pause()
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "bad" == record.args[0]
    assert eid == record.args[2]
    assert why in record.args[1]
    assert ["bad"] == list(cron.problems(conn.db()))
    assert why in cron.problems(conn.db())["bad"]


def test_a_schedule_that_is_mended_works_and_one_that_is_spoilt_anew_is_logged_anew(conn, clock, caplog):
    conn.transact([{**cron.schedule("s", "* * * * *", "x"), ":schedule/args": "[1]"}])
    scheduler = Scheduler(conn, clock=clock, random=Random(0))
    for args, enqueued in (("[1]", 0), ("{}", 1), ("[2]", 0), ("[2]", 0)):
        conn.transact([{":schedule/id": "s", ":schedule/args": args}])
        clock.advance(60)
        assert enqueued == len(scheduler.look())
    assert 2 == len([record for record in caplog.records if record.levelno == logging.ERROR])


@pytest.mark.parametrize(
    "wrong",
    [
        {"args": [1]},
        {"args": {":job/queue": "mail"}},
        {"args": {":job/priority": "high"}},
        {"args": {":job/run-at": datetime(2026, 1, 1)}},
        {"args": {":job/id": "always the same"}},
        {"args": {":job/status": ":job.status/finished"}},
        {"args": {"no keyword": 1}},
        {"grace": timedelta(seconds=-1)},
        {"grace": timedelta(days=100_000)},
        {"timezone": "Mars/Base"},
        {"missed": "maybe"},
    ],
    ids=str,
)
def test_a_schedule_that_means_nothing_is_rejected_where_it_is_made(wrong):
    with pytest.raises(OverseerError) as error:
        cron.schedule("s", "* * * * *", "x", **wrong)
    assert ":job.error/bad-schedule" == error.value.code


def test_arguments_that_jobs_take_are_kept(conn, clock):
    args = {":org/id": 7, ":job/queue": Keyword(":mail"), ":job/priority": 3}
    conn.transact([cron.schedule("s", "* * * * *", "x", args)])
    clock.advance(60)
    [id] = cron.tick(conn, clock()).enqueued
    assert args == factstore.pull(conn.db(), list(map(Keyword, args)), [":job/id", id])


# -- queues

BAD_SETTINGS = {
    "a period that no time holds": {":queue/period": 2**62, ":queue/rate": 1},
    "a period below 0": {":queue/period": -2, ":queue/rate": 1},
    "the largest rate": {":queue/rate": 2**63 - 1},
    "a rate below 0": {":queue/rate": -5},
    "a limit below 0": {":queue/limit": -3},
    "a partition's limit below 0": {":queue/partition-limit": -3},
    "starts since the year 1": {":queue/starts": "3 -62135596800000000:3", ":queue/rate": 100},
}


@pytest.mark.parametrize("flaw", BAD_SETTINGS)
def test_settings_by_hand_that_mean_nothing_limit_nothing_and_end_no_worker(conn, flaw):
    conn.transact([{":queue/name": ":q", **BAD_SETTINGS[flaw]}, job_txn("x", queue="q", partition="p"), job_txn("x")])
    Worker(conn, {"x": lambda job: None}).run(until_idle=True)
    assert 2 == status.counts(conn.db())[FINISHED]


def test_settings_that_mean_nothing_are_named_with_their_queue(conn):
    conn.transact([{":queue/name": ":bad", ":queue/limit": -3, ":queue/period": 0}, queue("good", limit=3)])
    assert [":bad"] == list(problems(conn.db()))
    assert ":queue/limit is 0 to" in problems(conn.db())[":bad"]
    assert ":queue/period is 1 to" in problems(conn.db())[":bad"]


def test_settings_that_mean_nothing_are_logged_once_by_each_worker(conn, caplog):
    conn.transact([{":queue/name": ":q", ":queue/limit": -3}, *(job_txn("x", queue="q") for _ in range(3))])
    worker = Worker(conn, {"x": lambda job: conn.transact([queue("q", paused=False), queue("other", limit=1)]) and None})
    worker.run(until_idle=True)
    assert ["the queue :q: :queue/limit is 0 to"] == [
        record.getMessage()[:34] for record in caplog.records if record.levelno == logging.ERROR
    ]


@pytest.mark.parametrize("setting", ["limit", "partition_limit", "rate"])
def test_a_limit_is_taken_away_by_none_and_kept_where_it_is_left_out(conn, setting):
    conn.transact([queue("q", **{setting: 1})])
    conn.transact([queue("q", paused=False)])
    assert 1 == getattr(queues(conn.db())[":q"], setting)
    conn.transact([queue("q", **{setting: None})])
    assert None is getattr(queues(conn.db())[":q"], setting)
    assert {} == problems(conn.db())


def test_a_period_is_a_second_again_by_none(conn):
    conn.transact([queue("q", period=timedelta(hours=1))])
    conn.transact([queue("q", period=None)])
    assert timedelta(seconds=1) == queues(conn.db())[":q"].period


@pytest.mark.parametrize("wrong", [{"limit": "2"}, {"rate": 2.5}, {"limit": True}, {"period": 5}, {"paused": "yes"}, {"limit": 2**63}])
def test_a_setting_of_another_type_is_rejected(wrong):
    with pytest.raises(ConfigError) as error:
        queue("q", **wrong)
    assert ":job.error/bad-queue" == error.value.code
    assert next(iter(wrong)) == error.value.setting


# -- jobs


@pytest.mark.parametrize(
    "about",
    [
        {":job/timeout": 2**62},
        {":job/timeout": -(2**62)},
        {":job/attempt": 2**63 - 1},
        {":job/failures": 2**63 - 1},
        {":job/priority": -(2**63)},
        {":job/lease-expires": datetime(9999, 12, 31, tzinfo=UTC)},
        {":job/run-at": datetime(1, 1, 1, tzinfo=UTC)},
        {":job/partition": ""},
        {":job/trace-parent": "nonsense"},
        {":job/result": "no EDN ]"},
    ],
    ids=str,
)
@pytest.mark.parametrize("executor", ["inline", "threads"])
def test_a_job_by_hand_whose_facts_are_odd_ends_no_worker_and_holds_up_no_other(conn, about, executor):
    conn.transact([job_txn("x", about, id="odd"), job_txn("x", id="other"), job_txn("x", {":job/dep": "odd"}, id="below")])
    Worker(conn, {"x": lambda job: None}, Config(executor=executor)).run(until_idle=True)
    told = dict(factstore.q("[:find ?id ?s :where [?j :job/id ?id] [?j :job/status ?s]]", conn.db()))
    assert FINISHED == told["other"]
    assert told["odd"] in (FINISHED, FAILED)


# -- what operators are shown


@pytest.fixture
def stored(tmp_path):
    path = str(tmp_path / "s.facts")
    with factstore.connect(path) as conn:
        install(conn)
        conn.transact([cron.schedule("fine", "0 0 1 1 *", "x"), {**cron.schedule("bad", "* * * * *", "x"), ":schedule/args": "[1]"}])
        conn.transact([cron.schedule("odd", "* * * * *", "x", {":no/such": 1}), {":queue/name": ":q", ":queue/limit": -2}])
    return path


def test_the_commands_show_which_schedules_and_queues_mean_nothing(stored):
    shown = CliRunner().invoke(main, ["schedules", "--store", stored]).output.splitlines()
    assert ["bad  cannot be enqueued", "odd  :x  '* * * * *' UTC  last never  cannot be enqueued"] == sorted(
        line.split(":", 1)[0] if line.startswith("bad") else line.split(": :no/such")[0] for line in shown if "cannot be" in line
    )
    assert 3 == len(shown)
    output = CliRunner().invoke(main, ["status", "--store", stored]).output
    assert "queue :q: :queue/limit is 0 to" in output
    assert "schedule bad cannot be enqueued" in output


def test_drain_runs_what_a_queue_without_meaning_does_not_limit(conn):
    conn.transact([{":queue/name": ":q", ":queue/limit": -2}, job_txn("x", queue="q")])
    assert 1 == drain(conn, {"x": lambda job: None})


# -- what is kept of failures


class Telling(Exception):
    def __init__(self, data):
        super().__init__("x" * 1_000_000)
        self.data = data


@pytest.mark.parametrize(
    "data",
    [
        {"text": "x" * 30_000_000},
        {"list": ["x" * 1000] * 10_000},
        {"nested": {"deep": {"text": "x" * 5_000_000}}},
        {"x" * 5_000_000: 1},
        {"x" * 900_000: 1},
        {f"entry {n}": "x" * 9_000 for n in range(1000)},
        {"bytes": b"x" * 5_000_000},
    ],
    ids=["a text", "a list", "nested", "a key", "a shorter key", "many", "bytes"],
)
def test_what_is_kept_of_an_error_is_cut_its_data_as_its_message(conn, data):
    def fail(job):
        raise Telling({"small": 1, **data})

    conn.transact([job_txn("x", id="j")])
    drain(conn, {"x": fail})
    kept = factstore.pull(conn.db(), "[:job/failure]", [":job/id", "j"])[":job/failure"]
    assert len(kept) < 150_000
    assert 1 == factstore.edn.read(kept)[Keyword(":data")]["small"]


def test_the_message_of_an_abort_by_hand_is_cut_too(conn):
    conn.transact([job_txn("x", id="j")])
    JobStore(conn, worker="me").abort("j", "x" * 1_000_000)
    assert len(factstore.pull(conn.db(), "[:job/failure]", [":job/id", "j"])[":job/failure"]) < 11_000
