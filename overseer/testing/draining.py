"""Run all jobs of a store in this thread."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from overseer.handler import Handlers, check_handlers
from overseer.jobs.store import install
from overseer.sources import of_connection
from overseer.testing.bench import Bench
from overseer.worker import Config
from overseer.worker.pools.signals import interruptible
from overseer.worker.ready import ReadySet

if TYPE_CHECKING:
    from factstore import Connection


@of_connection
def drain(
    conn: Connection,
    handlers: Handlers,
    *,
    seed: int | None = 0,
    wait: bool = False,
    most: int = 100_000,
    config: Config | None = None,
) -> int:
    """Run ready jobs in this thread until none is left, and return the number of attempts.

    Args:
        seed: determines the order of ready jobs; None is a random order.
        wait: also run the jobs that wait for their time. A FakeClock is moved to that time; with any other clock, the
            jobs run as if their time had come.
        most: maximum number of attempts, after which a RuntimeError is raised, for jobs that never end.
        config: retry policies, timeouts and listeners; its other settings have no effect.
    """
    by_type = check_handlers(handlers)
    install(conn)
    attempts = 0
    with conn.tx_reports() as reports, interruptible():
        ready = ReadySet(by_type)
        ready.load(conn.db())
        bench = Bench(conn, reports, by_type, config or Config(), ready=ready, random=Random(seed), worker="drain")
        while (job := bench.next(wait=wait)) is not None:
            attempts += bench.run(job)
            if attempts > most:
                raise RuntimeError(f"{most} attempts were not enough to drain the jobs")
    return attempts
