"""Queues: priorities, limits, rates, pauses. Law: whatever workers do, the limits hold in every database of the store."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from datetime import timedelta
from queue import SimpleQueue
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import factstore
from factstore import Keyword
from factstore.connection.connection import Connection
from factstore.storage.memory import MemoryStorage
from overseer import Config, ConfigError, JobStore, Worker, install, job_txn, queue, status
from overseer.jobs.queues import Allowance, Queue, allowance, queues, running
from overseer.jobs.rates import Pace, Starts, window
from overseer.jobs.states import FINISHED, STARTED, Outcome, Reason
from overseer.testing import FakeClock, drain
from overseer.worker.choice import Choice
from overseer.worker.ready import ReadySet

LEASE = timedelta(seconds=30)


def run(conn, handlers, **config):
    worker = Worker(conn, handlers, Config(seed=1, **config))
    worker.run(until_idle=True)
    return worker


def eids(conn):
    return [datom.e for datom in conn.db().datoms("aevt", ":job/id")]


def claim_all(conn, worker="w"):
    """Try to claim every unstarted job, each by itself as rivals would, and return what was won."""
    store = JobStore(conn, worker=worker)
    return [job for eid in eids(conn) for job in store.claim([eid], lease=LEASE)]


# -- priority


def test_jobs_of_higher_priority_start_first_and_those_without_one_have_zero(conn):
    ran = []
    conn.transact([job_txn(":a", id=f"{p}-{n}", priority=p) for p in (-1, 5, 9) for n in range(3)])
    conn.transact([job_txn(":a", id=f"0-{n}") for n in range(3)])
    drain(conn, {":a": lambda job: ran.append(int(job.id.rpartition("-")[0]))})
    assert [9, 9, 9, 5, 5, 5, 0, 0, 0, -1, -1, -1] == ran


def test_a_changed_priority_counts_at_once(conn):
    ready = ReadySet()
    conn.transact([job_txn(":a", id="low"), job_txn(":a", id="high", priority=1)])
    ready.load(conn.db())
    report = conn.transact([{":job/id": "low", ":job/priority": 2}])
    ready.absorb(report.db_after, report.tx_data)
    assert report.db_after.entid([":job/id", "low"]) == ready.pick(1, now=conn.now(), random=Random(0))[0]


# -- limits


def test_no_more_jobs_of_a_queue_run_than_its_limit_on_all_workers_together(conn):
    conn.transact([queue("mail", limit=2), *(job_txn(":a", queue="mail") for _ in range(5)), *(job_txn(":a") for _ in range(3))])
    won = claim_all(conn, "w1") + claim_all(conn, "w2")
    assert Counter({"mail": 2, "": 3}) == Counter((job.get(":job/queue") or ":")[1:] for job in won)
    JobStore(conn, worker="w1").settle([(job.lease, Outcome(FINISHED)) for job in won])
    assert 2 == len(claim_all(conn))


def test_a_batch_that_would_exceed_a_limit_is_claimed_as_far_as_the_limit_goes(conn):
    conn.transact([queue("mail", limit=2), *(job_txn(":a", queue="mail") for _ in range(5))])
    assert 2 == len(JobStore(conn, worker="w").claim(eids(conn), lease=LEASE))


def test_a_partitions_limit_counts_each_partition_by_itself(conn):
    conn.transact([queue("sync", partition_limit=1)])
    conn.transact([job_txn(":a", queue="sync", partition=tenant) for tenant in ("ann", "ann", "bob", "bob", "cy")])
    assert {"ann": 1, "bob": 1, "cy": 1} == dict(Counter(job[":job/partition"] for job in claim_all(conn)))


def test_a_slot_is_free_again_when_the_lease_of_its_holder_runs_out(conn, clock):
    conn.transact([queue("mail", limit=1), job_txn(":a", queue="mail"), job_txn(":a", queue="mail")])
    [held] = claim_all(conn)
    clock.advance(31)
    JobStore(conn, worker="rescuer").rescue(max_crashes=1)
    [again] = claim_all(conn)
    assert held.id != again.id


def test_a_worker_keeps_to_a_limit_and_ends_all_the_same(conn):
    at_once, most, lock = [0], [0], threading.Lock()

    def handler(job):
        with lock:
            at_once[0] += 1
            most[0] = max(most[0], at_once[0])
        threading.Event().wait(0.005)
        with lock:
            at_once[0] -= 1

    conn.transact([queue("narrow", limit=3), *(job_txn(":a", queue="narrow") for _ in range(30))])
    workers = [Worker(conn, {":a": handler}, Config(concurrency=4, seed=n)) for n in range(2)]
    threads = [threading.Thread(target=worker.run, kwargs={"until_idle": True}) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {FINISHED: 30} == {key: n for key, n in status.counts(conn.db()).items() if n}
    assert 3 >= most[0] > 1


# -- rates


def test_a_rate_lets_as_many_start_at_once_and_the_next_when_those_have_left_the_window(conn, clock):
    conn.transact([queue("api", rate=2, period=timedelta(seconds=10)), *(job_txn(":a", queue="api") for _ in range(8))])
    assert 2 == len(claim_all(conn))
    assert 0 == len(claim_all(conn))
    clock.advance(5)
    assert 0 == len(claim_all(conn))
    clock.advance(5)
    assert 0 == len(claim_all(conn))
    clock.advance(0.1)  # what may pass between a claim and its start
    assert 2 == len(claim_all(conn))
    clock.advance(3600)
    assert 2 == len(claim_all(conn))


def test_a_worker_waits_for_a_queues_rate(conn, clock):
    started, times = SimpleQueue(), []
    conn.transact([queue("api", rate=3, period=timedelta(seconds=3)), *(job_txn(":a", queue="api") for _ in range(9))])
    worker = Worker(conn, {":a": lambda job: started.put(clock.now)}, Config(concurrency=3, batch=9))
    thread = threading.Thread(target=worker.run, kwargs={"until_idle": True})
    thread.start()
    for _ in range(3):
        times += [started.get(timeout=60) for _ in range(3)]
        clock.advance(3.2)
    thread.join()
    assert [3, 3, 3] == list(Counter(times).values())


def test_short_jobs_of_a_queue_with_a_rate_are_claimed_together(conn):
    conn.transact([queue("api", rate=1000, period=timedelta(seconds=10)), *(job_txn(":a", queue="api") for _ in range(60))])
    run(conn, {":a": lambda job: None})
    claims = {datom.tx for datom in conn.db().history().datoms("aevt", ":job/status") if datom.v == STARTED and datom.added}
    assert len(claims) < 30


@pytest.mark.parametrize("batch", [None, 5])
def test_a_job_that_waits_for_longer_than_its_start_is_counted_is_released(conn, batch):
    attempts, later = [], [0.0]
    conn.transact([queue("api", rate=5, period=timedelta(seconds=600)), *(job_txn(":a", queue="api") for _ in range(3))])

    def lasting(job):
        attempts.append(job.attempt)
        later[0] += 10

    worker = Worker(conn, {":a": lasting}, Config(batch=batch))
    slots = worker._executor.slots
    slots._clock = lambda: later[0]
    slots.ahead.ended(Keyword(":a"), 0.0)  # it is expected to take no time
    slots.ahead.claimed(5, chosen=5, room=1)
    slots.ahead.claimed(5, chosen=5, room=1)
    worker.run(until_idle=True)
    assert [1, 2, 2] == attempts


@pytest.mark.parametrize("hours", [-1, 0, 1])
def test_starts_of_other_workers_count_from_when_they_were_seen_whatever_the_clocks_say(hours):
    elapsed, began = [0.0], FakeClock()()
    clocks = [lambda off=off: began + timedelta(seconds=elapsed[0] + off * 3600) for off in (0, hours)]
    with (
        Connection(MemoryStorage(f"rates-{hours}"), clock=clocks[0]) as here,
        Connection(MemoryStorage(f"rates-{hours}"), clock=clocks[1]) as there,
    ):
        install(here)
        here.transact([queue("api", rate=2, period=timedelta(seconds=10)), *(job_txn(":a", queue="api") for _ in range(20))])
        stores = [JobStore(conn, worker=f"{conn}") for conn in (here, there)]
        for store in stores:
            store._claims._pace = Pace(lambda: elapsed[0])
        ids, starts = eids(here), []
        for step in range(80):
            elapsed[0] += 1
            starts += [step for _ in stores[step // 3 % 2].claim(ids, lease=LEASE)]
        assert 10 <= len(starts)
        assert all(sum(start <= at < start + 10 for at in starts) <= 2 for start in starts)


def test_a_worker_that_begins_does_not_believe_a_clock_about_starts_of_the_last_minute():
    now = [FakeClock()()]
    with factstore.connect("memory:", clock=lambda: now[0]) as conn:
        install(conn)
        for name, period in (("short", 10), ("long", 600)):
            conn.transact([queue(name, rate=1, period=timedelta(seconds=period)), *(job_txn(":a", queue=name) for _ in range(3))])
        assert 2 == len(JobStore(conn, worker="w1").claim(eids(conn), lease=LEASE))
        now[0] += timedelta(hours=1)
        [again] = JobStore(conn, worker="w2").claim(eids(conn), lease=LEASE)
        assert ":long" == again[":job/queue"]


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_jumps_neither_opens_a_rate_nor_keeps_it_shut(hours):
    clock, elapsed = FakeClock(), [0.0]
    with factstore.connect("memory:", clock=lambda: clock.now) as conn:
        install(conn)
        conn.transact([queue("api", rate=1, period=timedelta(seconds=10)), *(job_txn(":a", queue="api") for _ in range(5))])
        store = JobStore(conn, worker="w")
        store._claims._pace = Pace(lambda: elapsed[0])
        ids = eids(conn)
        assert 1 == len(store.claim(ids, lease=LEASE))
        clock.advance(hours * 3600)
        assert 0 == len(store.claim(ids, lease=LEASE))
        elapsed[0] += 10.5
        assert 1 == len(store.claim(ids, lease=LEASE))


def test_an_instant_that_is_a_year_ahead_does_not_shut_a_rate(conn, clock):
    conn.transact([queue("api", rate=1), *(job_txn(":a", queue="api") for _ in range(3))])
    clock.advance(365 * 86400)
    conn.transact([{":db/doc": "by a clock that was wrong"}])
    clock.advance(-365 * 86400)
    assert 1 == len(claim_all(conn))
    clock.advance(1.1)
    assert 1 == len(claim_all(conn))


def test_starts_that_cannot_be_read_limit_nothing(conn, clock):
    for text in ("no number", "3 x:y", "1 99999999999999999999999:1", "-4"):
        conn.transact([{":queue/name": ":api", ":queue/rate": 1, ":queue/starts": text}, job_txn(":a", queue="api")])
        clock.advance(2)
        assert 1 == len(claim_all(conn))


TIMES = st.lists(st.tuples(st.floats(0, 3), st.integers(1, 5)), max_size=60)


@given(TIMES)
def test_starts_that_are_kept_together_are_never_taken_for_older_than_they_are(times):
    """Many starts are kept in a few batches: at no time do these let more start than all of them would, each by itself."""
    period, now, starts, each = timedelta(seconds=5), FakeClock()(), Starts(), []
    for passed, more in times:
        now += timedelta(seconds=passed)
        starts = Starts.read(starts.plus(more, now, period).text())
        each += [now] * more
        counted = sum(many for _, many in starts.within(period, now))
        assert counted >= sum(at > now - window(period) for at in each)
        assert len(each) == starts.total
        assert (len(starts.recent) <= 18) is True
        assert all(at <= now for at, _ in starts.recent)


# -- pauses


def test_a_paused_queue_starts_nothing_until_it_is_resumed(conn):
    conn.transact([queue("mail", paused=True), job_txn(":a", queue="mail", id="j"), job_txn(":b")])
    assert [":b"] == [job.type for job in claim_all(conn)]
    assert "paused" in status.explain(conn.db(), "j").why
    conn.transact([queue("mail", paused=False)])
    assert [":a"] == [job.type for job in claim_all(conn)]


def test_a_running_worker_hears_of_pause_and_resume(conn):
    ran, resumed = [], threading.Event()
    conn.transact([queue("mail", paused=True), job_txn(":a", queue="mail"), job_txn(":resume")])

    def resume(job):
        ran.append("resume")
        conn.transact([queue("mail", paused=False)])
        resumed.set()

    run(conn, {":a": lambda job: ran.append("a"), ":resume": resume})
    assert ["resume", "a"] == ran


def test_a_worker_of_some_queues_leaves_the_jobs_of_others_alone(conn):
    ran = []
    conn.transact([job_txn(":a", queue="mine", id="mine"), job_txn(":a", queue="theirs", id="theirs"), job_txn(":a", id="of none")])
    run(conn, {":a": lambda job: ran.append(job.id)}, queues=["mine"])
    assert ["mine"] == ran


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"rate": -1}, {"partition_limit": 0}])
def test_a_limit_that_lets_nothing_start_is_refused(wrong):
    with pytest.raises(ConfigError, match="pause it"):
        queue("mail", **wrong)


@pytest.mark.parametrize("period", [timedelta(0), timedelta(seconds=-3)])
def test_a_period_that_is_none_is_refused(period):
    with pytest.raises(ConfigError, match="a millisecond at least"):
        queue("mail", rate=5, period=period)


@pytest.mark.parametrize(
    "by_hand", [{":queue/rate": 0}, {":queue/rate": -2}, {":queue/rate": 3, ":queue/period": 0}, {":queue/rate": 3, ":queue/period": -5}]
)
def test_rates_and_periods_that_mean_nothing_limit_nothing_and_end_no_worker(conn, by_hand):
    conn.transact([{":queue/name": ":odd", **by_hand}, *(job_txn(":a", queue="odd") for _ in range(6))])
    run(conn, {":a": lambda job: None})
    assert 6 == status.counts(conn.db())[FINISHED]


def test_a_limit_of_none_at_a_time_lets_nothing_start_and_says_so(conn):
    conn.transact([{":queue/name": ":shut", ":queue/limit": 0}, job_txn(":a", queue="shut", id="j")])
    assert 0 == drain(conn, {":a": lambda job: None})
    assert "runs 0 jobs at a time" in status.explain(conn.db(), "j").why


def test_settings_of_a_queue_can_be_changed_one_by_one(conn):
    conn.transact([queue("mail", limit=3, rate=5)])
    conn.transact([queue("mail", limit=4)])
    [(name, found)] = queues(conn.db()).items()
    assert ":mail" == name
    assert 4 == found.limit
    assert 5 == found.rate
    assert found.paused is False


@pytest.mark.parametrize(
    ("settings_of_queue", "says"),
    [({"limit": 1}, "runs 1 jobs at a time"), ({"partition_limit": 1}, "of 'ann' at a time"), ({"rate": 1}, "starts 1 jobs in 1 s")],
)
def test_explain_names_the_limit_that_a_job_waits_for(conn, clock, settings_of_queue, says):
    conn.transact([queue("mail", **settings_of_queue)])
    conn.transact([job_txn(":a", queue="mail", partition="ann", id=str(n)) for n in range(2)])
    [won] = claim_all(conn)
    [waiting] = {"0", "1"} - {won.id}
    assert says in status.explain(conn.db(), waiting, at=clock()).why


# -- laws

LANES = st.tuples(st.sampled_from([None, "q", "r"]), st.sampled_from([None, "ann", "bob"]))


@given(st.lists(st.tuples(st.integers(-1, 1), LANES), max_size=20), st.integers(0, 20), st.integers(0, 99))
def test_a_choice_gives_each_job_once_by_priority(jobs, most, seed):
    choice, random = Choice(), Random(seed)
    for number, (priority, lane) in enumerate(jobs):
        choice.add(number, (priority, lane))
    drawn = choice.draw(most, random)
    assert min(most, len(jobs)) == len(drawn) == len(set(drawn))
    priorities = sorted((priority for priority, _ in jobs), reverse=True)
    assert priorities[: len(drawn)] == [jobs[number][0] for number in drawn]
    assert set(range(len(jobs))) - set(drawn) == {number for number in range(len(jobs)) if number in choice}
    assert sorted(range(len(jobs))) == sorted([*drawn, *choice.draw(len(jobs), random)])
    assert 0 == len(choice)


@given(
    st.lists(st.tuples(st.integers(-1, 1), st.tuples(st.sampled_from([None, "q", "r"]), st.integers(0, 30))), max_size=60),
    st.integers(1, 60),
    st.integers(0, 12),
    st.integers(1, 2),
    st.integers(0, 99),
)
def test_a_choice_gives_as_many_jobs_as_the_limits_allow_highest_first(jobs, most, limit, partition_limit, seed):
    limits = {"q": Queue(1, "q", limit=limit), "r": Queue(2, "r", partition_limit=partition_limit)}
    ranks = {job: (priority, (name, f"{n}" if n < 25 else None)) for job, (priority, (name, n)) in enumerate(jobs)}
    choice, allowed = Choice(), Allowance(limits, Counter(), None)
    for job, rank in ranks.items():
        choice.add(job, rank)
    drawn, after = choice.draw(most, Random(seed), allowed), Allowance(limits, Counter(), None)
    for job in drawn:
        assert after.admits(ranks[job][1])
        after.take(ranks[job][1])
    left = {job: rank for job, rank in ranks.items() if job not in drawn}
    assert left.keys() == {job for job in ranks if job in choice}
    open_to = max((priority for priority, lane in left.values() if after.admits(lane)), default=-2)
    assert len(drawn) == most or open_to == -2
    assert all(ranks[job][0] >= open_to for job in drawn)
    assert [ranks[job][0] for job in drawn] == sorted((ranks[job][0] for job in drawn), reverse=True)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.lists(st.integers(0, 11), min_size=1, max_size=6, unique=True)),
        st.tuples(st.just("end"), st.integers(0, 11)),
        st.tuples(st.just("wait"), st.sampled_from([0.2, 1.0, 7.0])),
    ),
    max_size=12,
)


@given(STEPS, st.integers(1, 3), st.integers(1, 2), st.integers(1, 4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_limits_and_rates_hold_in_every_database(steps, limit, partition_limit, rate):
    clock = FakeClock()
    with factstore.connect("memory:", clock=clock) as conn:
        install(conn)
        conn.transact([queue("q", limit=limit, partition_limit=partition_limit, rate=rate)])
        conn.transact([job_txn(":a", queue="q", partition="abc"[n % 3], id=str(n)) for n in range(12)])
        store, held, starts = JobStore(conn, worker="w"), {}, []
        ids = [conn.db().entid([":job/id", str(n)]) for n in range(12)]
        for step, argument in steps:
            if step == "wait":
                clock.advance(argument)
            elif step == "end":
                lease = held.pop(argument, None)
                assert lease is None or [] == store.settle([(lease, Outcome(FINISHED))])
            else:
                expected = fitting(conn, argument)
                won = store.claim([ids[n] for n in argument], lease=LEASE)
                assert expected == {int(job.id) for job in won}
                held |= {int(job.id): job.lease for job in won}
                starts += [clock.now] * len(won)
            check(conn, limit, partition_limit)
        assert all(sum(start <= at < start + timedelta(seconds=1) for at in starts) <= rate for start in starts)


def fitting(conn, wanted):
    """Return the jobs that start when each is asked for by itself, in order."""
    allowed, fits = allowance(conn.db(), conn.now()), set()
    for n in wanted:
        lane = (factstore.Keyword(":q"), "abc"[n % 3])
        if str(n) in status.jobs_unstarted(conn.db()) and allowed.admits(lane):
            allowed.take(lane)
            fits.add(n)
    return fits


def check(conn, limit, partition_limit):
    found = factstore.q("[:find ?p (count ?j) :where [?j :job/status :job.status/started] [?j :job/partition ?p]]", conn.db())
    assert sum(count for _, count in found) <= limit
    assert all(count <= partition_limit for _, count in found)


def test_an_allowance_takes_what_it_gives():
    allowed = Allowance({}, Counter(), FakeClock()())
    assert allowed.admits((None, None))
    allowed.take((None, None))
    assert allowed.admits((factstore.Keyword(":unknown"), "x"))


def test_started_jobs_are_counted_by_queue_and_partition(conn):
    conn.transact([job_txn(":a", queue="q", partition="x", id="1"), job_txn(":a", queue="q", id="2"), job_txn(":a", id="3")])
    claim_all(conn)
    q = factstore.Keyword(":q")
    assert Counter({(q, None): 2, (q, "x"): 1}) == running(conn.db())
    assert 3 == status.counts(conn.db())[STARTED]


# -- pauses


@pytest.mark.parametrize("executor", ["inline", "threads", "asyncio"])
def test_jobs_that_were_claimed_ahead_are_given_back_when_their_queue_is_paused(conn, executor):
    """The first job pauses the queue and waits until those behind it are back; jobs of other queues go on."""
    began, given_back = [], threading.Event()

    def handler(job):
        began.append(job.id)
        if len(began) == 1:
            conn.transact([queue("q", paused=True)])
            for _ in range(200):
                if len(status.jobs_with_status(conn.db(), "unstarted")) == 4:
                    given_back.set()
                    break
                threading.Event().wait(0.05)

    async def coroutine(job):
        await asyncio.to_thread(handler, job)

    conn.transact([job_txn(":a", queue="q", id=f"q{n}") for n in range(5)])
    worker = Worker(conn, {":a": coroutine if executor == "asyncio" else handler}, Config(batch=5, executor=executor))
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        assert given_back.wait(30)
    finally:
        worker.stop()
        thread.join()
    assert 1 == len(began)
    reasons = factstore.q("[:find [?r ...] :with ?j :where [?j :job/reason ?r]]", conn.db())
    assert [Reason.INTERRUPTED] * 4 == list(reasons)


def test_a_job_claimed_ahead_does_not_begin_once_its_queue_is_paused(conn):
    """Inline, the jobs of a batch follow each other at once."""
    began = []

    def handler(job):
        began.append(job.id)
        conn.transact([queue("q", paused=True)])

    conn.transact([*(job_txn(":a", queue="q", priority=1) for _ in range(4)), job_txn(":b", queue="free", id="other")])
    worker = Worker(conn, {":a": handler, ":b": lambda job: worker.stop()}, Config(batch=5, seed=1))
    worker.run()
    assert 1 == len(began)
    assert 3 == len(status.jobs_unstarted(conn.db()))
    assert 2 == len(status.jobs_with_status(conn.db(), "finished"))
