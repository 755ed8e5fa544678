"""What a worker without a claim takes in, and when it leaves the jobs to others: on a clock and a log that the test moves."""

from __future__ import annotations

import threading
import time
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import factstore
from factstore import Keyword
from overseer import Config, Worker, install, job_txn, status
from overseer.jobs.states import FINISHED, STARTED, UNSTARTED
from overseer.worker.pacing.standby import GLANCES, LONGEST, QUIET, SHORTEST, SPREAD, Known, Standby

A, B = Keyword(":a"), Keyword(":b")
STATUS = ":job/status"
LIMIT = 1.5 * LONGEST  # between two peeks, with the random part
EFFORT = 0.0001  # seconds of processor time for a peek

ENQUEUED = [(":job/type", A, True), (STATUS, UNSTARTED, True)]
FOREIGN = [(":job/type", B, True), (STATUS, UNSTARTED, True)]
CLAIMED = [(STATUS, UNSTARTED, False), (STATUS, STARTED, True)]
DONE = [(STATUS, STARTED, False), (STATUS, FINISHED, True)]
GIVEN_BACK = [(STATUS, STARTED, False), (STATUS, UNSTARTED, True)]
AGAIN = [(STATUS, FINISHED, False), (STATUS, UNSTARTED, True)]


class World:
    """A log, as a list of transactions with the time of each, that a worker peeks at."""

    def __init__(self, name: str = "m", *, seed: int = 1, others: int = 0) -> None:
        self.now = 0.0
        self.log: list[tuple[float, list[tuple[str, Keyword, bool]]]] = []
        self.peeks = self.waits = self.counted = self.read = 0
        self.standby = Standby(
            self,  # type: ignore[arg-type]
            name,
            [A],
            Random(seed),
            clock=lambda: self.now,
            sleep=self.sleep,
            effort=lambda: self.peeks * EFFORT,
        )
        self.standby.expect(others)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def at(self, seconds: float, *facts: tuple[str, Keyword, bool]) -> None:
        later = sum(at > seconds for at, _ in self.log)
        self.log.insert(len(self.log) - later, (seconds, list(facts)))

    def head(self) -> int:
        return sum(at <= self.now for at, _ in self.log)

    def peek(self, *facts, after, timeout=0.0, rough=False):
        self.peeks += 1
        self.waits += not facts
        self.counted += len(facts)
        self.read += not rough
        if self.head() <= after:
            later = [at for at, _ in self.log[after:] if at <= self.now + timeout]
            self.now = later[0] if later else self.now + timeout
        counts = Counter(fact for _, committed in self.log[after : self.head()] for fact in committed)
        return self.head(), [counts[fact] for fact in facts]

    def wait(self, timeout: float, known: Known, *, is_due: bool = False) -> bool:
        return self.standby.wait(timeout, known, is_due=is_due)

    def lose(self) -> None:
        """Let the worker take in a commit that is of no use."""
        self.at(self.now)
        self.standby.took_in()

    def learn(self, per_job: float, *, handlers: float = 0.0, other: str = "a") -> None:
        """Let the worker claim jobs twice, beside another one."""
        self.standby.claimed(10, 0.0, 1, None)
        self.now += 10 * per_job
        self.standby.claimed(10, handlers, 1, other)


def known(t: int, unstarted: int = 0, others: int = 0, *, has_jobs: bool = False, is_last: bool = False) -> Known:
    return Known(t, unstarted, others, has_jobs, is_last)


def test_a_worker_is_eager_until_a_commit_does_not_lead_to_a_claim():
    world = World()
    assert world.standby.is_eager
    world.standby.took_in()
    assert not world.standby.is_eager
    world.standby.claimed(1, 0.0, 1, None)
    assert world.standby.is_eager


def test_a_worker_takes_nothing_in_while_others_run_jobs_of_other_types():
    world = World()
    world.lose()
    for n in range(1000):
        world.at(n / 1000, *FOREIGN)
        world.at(n / 1000, *CLAIMED, *DONE)
    assert not world.wait(1.0, known(1))
    assert world.peeks * EFFORT < 0.01
    world.at(world.now, *ENQUEUED)
    assert world.wait(1.0, known(1))


@given(
    st.lists(st.sampled_from([FOREIGN, CLAIMED, DONE, []]), max_size=60),
    st.booleans(),
    st.booleans(),
    st.integers(0, 100),
)
def test_a_job_that_no_other_worker_starts_is_taken_in_soon(noise, stands_back, is_again, others):
    """Whatever else is committed, in whatever state the worker is."""
    world = World(others=others)
    if stands_back:
        world.learn(0.001)
        assert world.standby.stands_back
    else:
        world.lose()
    t = len(world.log)
    began = world.now
    running = sum(facts is CLAIMED for facts in noise)
    for n, facts in enumerate(noise):
        world.at(began + n / 1000, *facts)
    enqueued = world.now + len(noise) / 1000
    world.at(enqueued, *(AGAIN if is_again else ENQUEUED))
    while not world.wait(0.25, known(t, unstarted=running)):
        assert world.now <= enqueued + QUIET * SPREAD + 2 * LIMIT + 0.25
    assert world.now <= enqueued + QUIET * SPREAD + 2 * LIMIT


def test_of_two_workers_in_the_way_of_each_other_one_stands_back():
    for name, stands_back in (("b", True), ("a", False)):
        world = World(name)
        world.learn(0.001, other="a" if name == "b" else "b")
        assert stands_back is world.standby.stands_back


def test_a_worker_whose_handlers_take_most_of_the_time_does_not_stand_back():
    world = World()
    world.learn(0.1, handlers=0.9)
    assert not world.standby.stands_back


@pytest.mark.parametrize(("rate", "is_back"), [(1000, False), (150, False), (50, True), (0, True)])
def test_a_worker_that_stands_back_returns_when_the_others_are_slow(rate, is_back):
    """It starts a job in a millisecond itself; a tenth of that is fast enough."""
    world = World()
    world.learn(0.001)
    began = world.now
    for n in range(5 * rate):
        world.at(began + n / rate, *CLAIMED)
    assert is_back is world.wait(4.0, known(0, unstarted=10_000, has_jobs=True))
    assert is_back is not world.standby.stands_back


@pytest.mark.parametrize(("rate", "least", "most"), [(100, 0, 1), (1100, QUIET, 15), (4000, 1, 250)])
def test_a_worker_that_has_not_run_a_job_tries_later_the_faster_the_others_are(rate, least, most):
    world = World()
    world.lose()
    began = world.now
    for n in range(most * 50):
        world.log.append((began + n / 50, CLAIMED * (rate // 50)))
    while not world.wait(0.25, known(1, unstarted=1_000_000, has_jobs=True)):
        pass
    assert least <= world.now - began <= most


@pytest.mark.parametrize(("count", "most"), [(16, 3 * LIMIT), (2000, QUIET * SPREAD + LIMIT)])
def test_long_jobs_are_taken_by_every_worker_at_once(count, most):
    """Another worker claims the first of them, and does not end it."""
    world = World()
    world.lose()
    world.standby.notice_others()
    world.at(1.0, *(ENQUEUED * count))
    world.at(1.002, *CLAIMED)
    while not world.wait(0.25, known(1)):
        pass
    assert 1.0 < world.now <= 1.0 + most


def test_many_short_jobs_that_come_together_are_left_to_the_worker_that_takes_them_in():
    """It starts the first of them only after it has taken all of them in."""
    world = World()
    world.lose()
    world.standby.notice_others()
    world.at(1.0, *(ENQUEUED * 2000))
    for n in range(2000):
        world.at(1.1 + n / 5000, *CLAIMED)
    while world.now < 3.0:
        assert not world.wait(0.25, known(1))


def test_jobs_that_a_worker_gives_back_or_retries_are_no_jobs_of_other_types():
    """They have a reason only the first time, and are left to others as new jobs are."""
    world = World()
    world.lose()
    world.standby.notice_others()
    world.at(1.0, *(ENQUEUED * 2000))
    for n in range(2000):
        world.at(1.1 + n / 4000, *CLAIMED, *GIVEN_BACK)
        world.at(1.6 + n / 4000, *CLAIMED, *DONE)
    while world.now < 3.0:
        assert not world.wait(0.25, known(1))


def joined(count: int, others: int) -> list[float]:
    """Return when workers join another one that starts jobs too slowly, after so many came together."""
    times = []
    for seed in range(others):
        world = World(seed=seed, others=others)
        world.lose()
        world.at(1.0, *(ENQUEUED * count))
        for n in range(1000):
            world.at(1.02 + n / 50, *CLAIMED)
        while not world.wait(0.25, known(1)):
            pass
        times.append(world.now - 1.0)
    return sorted(times)


def test_many_workers_join_another_one_little_by_little():
    """So that they do not take in many jobs all at the same time; in the end, all have joined."""
    times = joined(20_000, 15)
    assert times[0] <= 2 * QUIET * SPREAD
    assert sum(time <= QUIET * SPREAD + LIMIT for time in times) <= 4
    assert times[-1] <= QUIET * SPREAD + 6


def test_workers_join_sooner_if_there_is_less_to_take_in():
    assert joined(2000, 15)[-1] <= QUIET * SPREAD + 2
    assert joined(90, 15)[-1] <= QUIET * SPREAD + LIMIT


def test_one_of_two_workers_joins_the_other_at_once():
    assert joined(20_000, 1)[0] <= QUIET * SPREAD + LIMIT


def test_workers_that_begin_later_count_as_others():
    """A worker that began first knows of none."""
    first = World(others=0)
    first.lose()
    assert not first.wait(0.25, known(1))
    first.at(first.now, *([(":worker/handler", A, True)] * 15))
    assert not first.wait(0.25, known(1))
    assert first.standby.crowd == 15


def test_a_worker_peeks_seldom_while_the_others_are_fast():
    world = World(others=15)
    world.lose()
    world.at(1.0, *(ENQUEUED * 20_000))
    for n in range(100):
        world.at(1.1 + n / 35, *(CLAIMED * 200))
    assert not world.wait(1.5, known(1))
    world.peeks = 0
    assert not world.wait(2.0, known(1))
    assert 2 <= world.peeks <= 10


def test_beside_jobs_of_other_types_a_worker_wakes_once_for_each_peek_and_counts_little():
    world = World()
    world.lose()
    for n in range(1000):
        world.at(n / 100, *FOREIGN, *CLAIMED)
    assert not world.wait(1.0, known(1))
    world.peeks = world.waits = world.counted = 0
    assert not world.wait(5.0, known(1))
    assert world.waits == 0
    assert world.counted <= 6 * world.peeks


def beside_jobs_of_other_types() -> World:
    """Return a world in which a worker without jobs has seen others run theirs for 20 seconds."""
    world = World()
    world.lose()
    for n in range(5000):
        world.at(n / 100, *FOREIGN, *CLAIMED)
    for _ in range(20):
        assert not world.wait(1.0, known(1))
    return world


def test_beside_jobs_of_other_types_a_worker_glances_four_times_a_second_and_does_not_read_the_log():
    world = beside_jobs_of_other_types()
    world.peeks = world.read = 0
    assert not world.wait(10.0, known(1))
    assert world.peeks <= 10 / GLANCES * 1.3
    assert not world.read
    assert world.standby.others_work(within=1.0)
    came = world.now
    world.at(came, *ENQUEUED)
    assert world.wait(1.0, known(1))
    assert world.now <= came + 1.5 * GLANCES


def test_a_worker_whose_jobs_come_again_and_again_glances_more_often():
    world = beside_jobs_of_other_types()
    world.at(world.now, *ENQUEUED)
    assert world.wait(1.0, known(1))
    t, came = world.standby.t, world.now + 2
    world.at(came, *ENQUEUED)
    while not world.wait(0.25, known(t, others=1)):
        assert world.now <= came + LIMIT
    assert world.now <= came + LIMIT


def test_jobs_of_other_types_that_cannot_start_yet_do_not_hide_one_that_can():
    """The worker knows of the others already, so it peeks only for jobs of its own."""
    world = World()
    world.lose()
    world.at(0.5, (":job/type", A, True))
    world.at(0.6, (STATUS, UNSTARTED, True))
    assert not world.wait(0.4, known(1, unstarted=10, others=10))
    assert world.wait(1.0, known(1, unstarted=10, others=10))
    assert world.now <= 0.5 + 2 * LIMIT


def test_a_worker_that_is_alone_waits_for_nobody():
    """Commits that are of no use to it do not change that."""
    world = World()
    world.lose()
    world.at(1.0, *(ENQUEUED * 2000))
    while not world.wait(0.25, known(1)):
        pass
    assert world.now <= 1.0 + 2 * LIMIT


def taken_in(world: World, count: int) -> float:
    """Enqueue jobs, and return the seconds until the worker takes them in."""
    t, came = world.head(), world.now + 1
    world.at(came, *(ENQUEUED * count))
    while not world.wait(0.25, known(t)):
        pass
    return world.now - came


def test_the_worker_that_started_the_last_job_takes_the_next_ones_in_at_once():
    world = World(others=15)
    world.lose()
    assert taken_in(world, 2000) > QUIET
    world.standby.claimed(10, 0.0, 1, None)
    world.lose()
    world.standby.expect(15)
    assert taken_in(world, 2000) <= 2 * SHORTEST
    world.standby.notice_others(last=False)  # it started a job before, which is read only now
    assert taken_in(world, 2000) <= 2 * SHORTEST
    world.standby.notice_others()
    assert taken_in(world, 2000) > QUIET


def test_workers_that_expect_another_one_to_start_a_job_come_one_after_the_other_if_it_does_not():
    times = sorted(taken_in(World(seed=seed, others=15), 1) for seed in range(15))
    assert times[0] <= 4 * SHORTEST
    assert times[-1] <= LIMIT
    assert sum(time <= times[0] + SHORTEST for time in times) <= 4


def test_a_worker_that_waited_for_others_in_vain_waits_for_them_once():
    world = World(others=15)
    assert taken_in(world, 2000) > QUIET
    assert taken_in(world, 2000) <= LIMIT


def test_a_worker_that_begins_beside_others_does_not_take_the_next_commit_in():
    assert not World(others=1).standby.is_eager


def test_a_worker_waits_once_for_others_that_have_gone():
    world = World()
    world.lose()
    world.standby.notice_others()
    for limit in (QUIET * SPREAD + LIMIT, LIMIT):
        t = world.head()
        world.at(world.now + 1, *(ENQUEUED * 2000))
        came = world.now + 1
        while not world.wait(0.25, known(t)):
            pass
        assert world.now <= came + limit


def test_a_worker_that_peeked_at_nothing_for_a_while_looks_at_once():
    world = World()
    world.lose()
    for n in range(20):
        world.at(n / 100)
    assert not world.wait(3.0, known(1))
    world.at(world.now + 0.01, *ENQUEUED)
    came = world.now + 0.01
    assert world.wait(1.0, known(1))
    assert world.now <= came + 2 * SHORTEST


def test_a_worker_that_waits_with_jobs_that_cannot_start_yet_sleeps():
    world = World()
    world.lose()
    peeks = world.peeks
    for _ in range(4):
        assert not world.wait(0.25, known(1, unstarted=10, has_jobs=True))
    assert world.peeks - peeks <= 4


@given(st.integers(1, 500), st.sampled_from([FOREIGN, ENQUEUED]))
def test_peeks_take_a_small_part_of_the_time(rate, facts):
    world = World()
    world.lose()
    peeks, began = world.peeks, world.now
    for n in range(2 * rate):
        world.at(began + n / rate, *facts, *CLAIMED)
    assert not world.wait(2.0, known(1))
    assert (world.peeks - peeks) * EFFORT <= (world.now - began) * 0.006


def test_the_last_worker_to_leave_sees_the_end_of_the_last_job():
    world = World()
    world.lose()
    world.at(world.now + 0.1, *DONE)
    assert world.wait(1.0, known(1, has_jobs=True, is_last=True))


def test_a_worker_is_not_behind_when_something_is_due():
    world = World()
    world.lose()
    world.at(world.now, *FOREIGN)
    assert not world.wait(0.2, known(1))
    assert world.standby.leaves_jobs
    assert world.wait(0.0, known(1), is_due=True)
    assert not world.standby.leaves_jobs


# -- with workers


def test_workers_that_stand_by_leave_no_job_behind(tmp_path):
    """Each has a connection of its own, as in another process."""
    uri = str(tmp_path / "jobs.facts")
    workers, conns = [], []
    with factstore.connect(uri) as conn:
        install(conn)
        for n in range(3):
            conns.append(factstore.connect(uri))
            workers.append(Worker(conns[n], {":a": lambda job: None}, Config(seed=n)))
        threads = [threading.Thread(target=worker.run) for worker in workers]
        for thread in threads:
            thread.start()
        for _ in range(20):
            conn.transact([job_txn(":a") for _ in range(20)])
            while status.counts(conn.db())[FINISHED] % 20 or live(conn):
                time.sleep(0.005)
        assert 400 == status.counts(conn.db())[FINISHED]
        for worker in workers:
            worker.stop()
        for thread in threads:
            thread.join(30)
        for own in conns:
            own.close()


def live(conn):
    counts = status.counts(conn.db())
    return counts[UNSTARTED] + counts[STARTED]


def test_a_worker_that_stands_back_takes_over_when_the_busy_one_stops(conn):
    """The workers share a store; whichever works is stopped, and the other one runs the rest."""
    workers = [Worker(conn, {":a": lambda job: None}, Config(seed=n)) for n in range(2)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    conn.transact([job_txn(":a") for _ in range(500)])
    while not status.counts(conn.db())[FINISHED]:
        time.sleep(0.005)
    workers[0].stop()
    threads[0].join(30)
    conn.transact([job_txn(":a") for _ in range(500)])
    while status.counts(conn.db())[FINISHED] < 1000:
        time.sleep(0.01)
    workers[1].stop()
    threads[1].join(30)
