"""How many jobs a worker claims ahead of their start: a model of its slots, on a clock that the test moves."""

from __future__ import annotations

import threading
from collections import deque
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factstore import Keyword
from overseer import Config, Worker, job_txn, status
from overseer.jobs.job import Job
from overseer.jobs.states import FINISHED, STARTED, UNSTARTED, Lease
from overseer.worker.executor import _OFTEN, _SHORTLY
from overseer.worker.pacing.ahead import MOST, PATIENCE, SOON, Adaptive
from overseer.worker.slots import Slot, Slots

TYPES = [Keyword(f":{name}") for name in "abc"]
LONG = 1.0  # seconds
DURATIONS = st.sampled_from([0.0, 0.00002, 0.001, 0.004, 0.019, 0.03, 0.09, 0.3, LONG, 20.0])


class Model:
    """A worker with slots and a heartbeat that looks at them; jobs are given by type and duration."""

    def __init__(self, count: int, *, is_inline: bool) -> None:
        self.now = 0.0
        self.slots = Slots(count, ahead=Adaptive(count), clock=lambda: self.now)
        self.is_inline = is_inline
        self.ready: deque[tuple[Keyword, float]] = deque()
        self.took: dict[Lease, float] = {}  # by the attempts under way
        self.claimed_at: dict[Lease, float] = {}  # by the jobs that wait
        self.last: dict[Keyword, float] = {}  # what the last job of a type took
        self.next_look = 0.0
        self.attempts = 0
        self.done = 0

    def run(self) -> None:
        while self.ready or self.took:
            self.claim()
            self.fill()
            ends = min((slot.since + self.took[slot.job.lease] for slot in self.slots.running.values()), default=inf)
            self.now = min(ends, self.next_look)
            if self.now == self.next_look:
                self.look()
            for slot in list(self.slots.running.values()):
                if slot.since + self.took[slot.job.lease] <= self.now:
                    self.end(slot)
                    self.fill()
            self.check()

    def claim(self) -> None:
        if self.is_inline and self.slots.running:
            return
        room = self.slots.room
        picked = [self.ready.popleft() for _ in range(min(room, len(self.ready)))]
        free, waiting = self.slots.free, len(self.slots.backlog)
        count = self.slots.fits([type for type, _ in picked])
        assert count >= min(free, len(picked))  # a job that can begin at once is claimed
        assert waiting + count <= MOST + self.slots.count
        for type, seconds in picked[:count]:
            self.attempts += 1
            lease = Lease(self.attempts, str(self.attempts), type, 1, "", "")
            self.took[lease], self.claimed_at[lease] = seconds, self.now
            self.slots.backlog.append(Job(lease, {}))
        # No job is claimed to wait for slots that all have, or will have, a job of a type that took too long last time.
        running = [(slot.job.type, self.now - slot.since) for slot in self.slots.running.values()]
        held = [*running, *((job.type, 0.0) for job in self.slots.backlog)]
        slow = [n for n, (type, age) in enumerate(held) if self.last.get(type, inf) - age > SOON]
        if count > free and len(slow) >= self.slots.count:
            assert slow[self.slots.count - 1] == len(held) - 1
        self.ready.extendleft(reversed(picked[count:]))
        self.slots.ahead.claimed(count, chosen=len(picked), room=room)

    def fill(self) -> None:
        while (slot := self.slots.take()) is not None:
            slot.began = True
            del self.claimed_at[slot.job.lease]

    def end(self, slot: Slot) -> None:
        self.last[slot.job.type] = self.took.pop(slot.job.lease)
        with self.slots.changed:
            self.slots.give_back(slot)
        self.done += 1

    def look(self) -> None:
        """Do what the heartbeat does with the slots (`Executor.look`)."""
        late = list(self.slots.backlog) if self.slots.stand_still() else self.slots.late()
        for job in late:
            self.slots.backlog.remove(job)
            self.ready.append((job.type, self.took.pop(job.lease)))
            del self.claimed_at[job.lease]
        self.next_look = self.now + (_OFTEN if self.slots.backlog else _SHORTLY)

    def check(self) -> None:
        assert all(self.now - at < LONG for at in self.claimed_at.values())
        ages = [self.now - slot.since for slot in self.slots.running.values()]
        if len(ages) == self.slots.count and min(ages) > PATIENCE + _SHORTLY:
            assert not self.slots.backlog


@given(st.integers(1, 4), st.lists(st.tuples(st.sampled_from(TYPES), DURATIONS, st.integers(1, 80)), max_size=6))
def test_no_job_waits_for_a_slow_one(count, runs):
    """Whatever jobs take, and however that changes: a waiting job begins or is released within a second."""
    for is_inline in {False, count == 1}:
        model = Model(count, is_inline=is_inline)
        model.ready.extend((type, seconds) for type, seconds, many in runs for _ in range(many))
        jobs = len(model.ready)
        model.run()
        assert jobs == model.done


@given(st.lists(DURATIONS, min_size=1, max_size=50))
def test_no_job_is_claimed_behind_a_type_that_took_long_last_time(durations):
    ahead = Adaptive(1)
    for seconds in durations:
        ahead.ended(TYPES[0], seconds)
        if seconds > SOON:
            assert ahead.begin_within(SOON, [TYPES[0]] * 2, []) == 1


def test_claims_grow_while_jobs_are_short_and_the_queue_is_full():
    model = Model(1, is_inline=True)
    sizes = []
    model.ready.extend((TYPES[0], 0.0) for _ in range(1000))
    while model.ready:
        before = model.attempts
        model.claim()
        sizes.append(model.attempts - before)
        while model.slots.backlog:
            model.fill()
            for slot in list(model.slots.running.values()):
                model.end(slot)
    assert sizes[:9] == [1, 2, 4, 8, 16, 32, 64, 128, MOST]


@pytest.mark.parametrize("settings", [{}, {"concurrency": 2}, {"executor": "asyncio", "concurrency": 2}])
def test_jobs_claimed_behind_a_short_type_that_turns_out_long_are_released_while_it_runs(conn, settings):
    """The worker learns that the type is short, claims many, and then all its slots get long ones."""
    release, is_long = threading.Event(), threading.Event()

    def handler(job):
        if is_long.is_set():
            release.wait(60)

    worker = Worker(conn, {":a": handler}, Config(**settings))
    running = threading.Thread(target=worker.run)
    running.start()
    try:
        conn.transact([job_txn(":a") for _ in range(40)])
        wait_for(conn, lambda counts: counts[FINISHED] == 40)
        is_long.set()
        conn.transact([job_txn(":a") for _ in range(40)])
        slots = settings.get("concurrency", 1)
        wait_for(conn, lambda counts: counts[STARTED] > slots)
        wait_for(conn, lambda counts: (counts[STARTED], counts[UNSTARTED]) == (slots, 40 - slots))
    finally:
        release.set()
        worker.stop()
        running.join(60)


def wait_for(conn, condition):
    while not condition(status.counts(conn.db())):
        conn.wait(conn.db().basis_t, 0.05)
