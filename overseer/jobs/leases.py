"""Leases as other workers see them: the facts, and how long they have not been renewed.

Only elapsed time decides that a worker is dead; each observer measures it with its own monotonic clock.
`:job/lease-expires` is for people. Every renewal changes the facts of a lease, and its token contains its duration, so
an observer needs no clock but its own. Law: a lease is overdue only if it was seen repeatedly without a renewal, for as
long as it lasts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

import factstore
from overseer.jobs.states import STARTED, Lease, Standing

if TYPE_CHECKING:
    from factstore import Database

_LEASE: Final = "[:job/attempt :job/token :job/lease-expires]"
_MILLISECOND: Final = timedelta(milliseconds=1)


def random_token() -> str:
    """Return a text that no other lease has."""
    return os.urandom(16).hex()


def next_leases(
    jobs: Sequence[Mapping[str, Any]], *, worker: str, lasts: timedelta, token: Callable[[], str] = random_token
) -> list[Lease]:
    """Return a lease for the next attempt at each job, given its attributes.

    A token begins with the text that `token` returns, and ends with the milliseconds that the lease lasts.
    """
    duration = f"-{max(1, round(lasts / _MILLISECOND))}"
    return [
        Lease(
            about[":db/id"],
            about[":job/id"],
            about[":job/type"],
            about.get(":job/attempt", 0) + 1,
            token() + duration,
            worker,
        )
        for about in jobs
    ]


def standing(db: Database) -> dict[int, Standing]:
    """Return the leases of all started jobs, by job."""
    jobs = [datom.e for datom in db.datoms("avet", ":job/status", STARTED)]
    return {
        job: standing_of(about or {}) for job, about in zip(jobs, factstore.pull_many(db, _LEASE, jobs), strict=True)
    }


def standing_of(about: Mapping[str, Any]) -> Standing:
    """Return the lease of a job with these attributes."""
    return Standing(about.get(":job/attempt"), about.get(":job/token"), about.get(":job/lease-expires"))


def expired(db: Database, now: datetime) -> dict[int, Standing]:
    """Return the leases that have expired by a clock, and those without an end; for tests that move the clock."""
    return {job: lease for job, lease in standing(db).items() if lease.expires is None or lease.expires < now}


class Watch:
    """How long each lease has been seen without a renewal.

    Args:
        default: seconds that a lease lasts if its token does not contain them.
        clock: a monotonic clock, in seconds.
    """

    def __init__(self, default: float, *, clock: Callable[[], float] = monotonic) -> None:
        self._default = default
        self._clock = clock
        self._seen: dict[int, tuple[Standing, float]] = {}  # job → its lease, and seconds without a renewal
        self.saw_commit = False  # whether a worker has claimed a job or renewed a lease between the last two looks
        self._last = clock()

    def look(self, leases: Mapping[int, Standing], *, planned: float) -> None:
        """Record the leases as they are now.

        Args:
            planned: seconds after the last call at which this one was due. If more have passed, this process was
                delayed, perhaps with the whole machine; the additional time is not counted.
        """
        now = self._clock()
        passed, self._last = min(now - self._last, planned), now
        before, self._seen = self._seen, {}
        for job, lease in leases.items():
            previous, waited = before.get(job, (None, 0.0))
            self._seen[job] = (lease, waited + passed if previous == lease else 0.0)
        self.saw_commit = bool(before) and any(before.get(job, (None, 0.0))[0] != leases[job] for job in leases)

    def forget(self) -> None:
        """Count from 0 again, because no worker could have renewed its leases."""
        self._last = self._clock()
        self._seen = {job: (lease, 0.0) for job, (lease, _) in self._seen.items()}

    def ripe(self, part: float = 1.0) -> dict[int, Standing]:
        """Return the leases that were not renewed for as long as they last, or for a part of that time."""
        return {
            job: lease for job, (lease, waited) in self._seen.items() if waited >= part * lease.seconds(self._default)
        }

    def next_ripe(self) -> float:
        """Return the seconds until the next lease is overdue if it is not renewed."""
        return min(
            (lease.seconds(self._default) - waited for lease, waited in self._seen.values()), default=float("inf")
        )

    def shortest(self) -> float:
        """Return the seconds of the shortest lease."""
        return min((lease.seconds(self._default) for lease, _ in self._seen.values()), default=self._default)
