"""For tests of handlers: run all jobs here and now, on a clock that only moves when told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from typing import TYPE_CHECKING, Final

from overseer.handler import Handlers, check_handlers
from overseer.ready import ReadySet
from overseer.store import JobStore, install
from overseer.worker import Config
from overseer.worker.executor import Executor
from overseer.worker.heartbeat import Heartbeat

if TYPE_CHECKING:
    from factstore import Connection

_START: Final = datetime(2026, 1, 1, tzinfo=UTC)


class FakeClock:
    """A clock that stands still until it is moved; give it to `drain`, or to a Config."""

    def __init__(self, now: datetime = _START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self.now += timedelta(seconds=seconds)


def drain(
    conn: Connection, handlers: Handlers, *, clock: FakeClock | None = None, seed: int | None = 0, wait: bool = False, most: int = 100_000
) -> int:
    """Run ready jobs in this thread until none is left, and return how many attempts that took.

    Args:
        clock: tells what is due; None makes one that stands still.
        seed: fixes the order in which ready jobs are taken; None leaves it to chance.
        wait: move the clock on to the next job that waits for its time, as often as there is one.
        most: attempts after which to give up with a RuntimeError, for jobs that put each other back for ever.
    """
    clock = clock or FakeClock()
    by_type = check_handlers(handlers)
    install(conn)
    store, random = JobStore(conn, worker="drain", clock=clock), Random(seed)
    config = Config(clock=clock)
    # Never started: nobody else is there to take a job, however long its handler runs.
    heartbeat = Heartbeat(store, every=3600, lease=config.lease)
    executor = Executor(store, by_type, config, heartbeat, random=random)
    attempts = 0
    while True:
        picked = _next(conn, store, ReadySet(by_type), clock, random, wait=wait)
        if not picked:
            return attempts
        attempts += len(picked)
        if attempts > most:
            raise RuntimeError(f"{most} attempts were not enough to drain the jobs")
        executor.run(store.claim(picked, lease=config.lease))


def _next(conn: Connection, store: JobStore, ready: ReadySet, clock: FakeClock, random: Random, *, wait: bool) -> list[int]:
    ready.load(conn.db())
    doomed = ready.take_doomed()
    if doomed:
        store.give_up(doomed)
    picked = ready.pick(1, now=clock(), random=random)
    due = ready.next_due()
    if picked or not wait or due is None:
        return picked
    clock.now = max(clock.now, due)
    return ready.pick(1, now=clock(), random=random)
