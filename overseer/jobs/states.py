"""The statuses of a job and the moves between them, the lease of an attempt, and its outcome.

This module uses no transaction, connection or clock. Law: a status changes only along an edge of `MOVES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

from factstore import Keyword, quoted
from overseer.errors import OverseerError

Status: TypeAlias = Keyword
Forms: TypeAlias = list[Any]  # tx-data: list forms and map forms
Failure: TypeAlias = Mapping[Keyword, Any]  # an error, as it is stored: EDN

UNSTARTED: Final = Keyword(":job.status/unstarted")
STARTED: Final = Keyword(":job.status/started")
FINISHED: Final = Keyword(":job.status/finished")
FAILED: Final = Keyword(":job.status/failed")
ABORTED: Final = Keyword(":job.status/aborted")

STATUSES: Final = (UNSTARTED, STARTED, FINISHED, FAILED, ABORTED)
LIVE: Final = frozenset({UNSTARTED, STARTED})
ENDED: Final = frozenset({FINISHED, FAILED, ABORTED})

#   unstarted ⇄ started → finished | failed         unstarted | started → aborted
#   failed | aborted → unstarted, only by hand
MOVES: Final[Mapping[Status, frozenset[Status]]] = {
    UNSTARTED: frozenset({STARTED, ABORTED}),
    STARTED: frozenset({UNSTARTED, FINISHED, FAILED, ABORTED}),
    FINISHED: frozenset(),
    FAILED: frozenset({UNSTARTED}),
    ABORTED: frozenset({UNSTARTED}),
}


class Reason:
    """Why the last attempt at a job ended, or why the job was aborted: the values of `:job/reason`."""

    EXCEPTION: Final = Keyword(":job.reason/exception")  # its handler raised, and no retry was left
    RETRY: Final = Keyword(":job.reason/retry")  # its handler raised, and it will run again
    TIMEOUT: Final = Keyword(":job.reason/timeout")  # its handler took too long, and no retry was left
    FAULT: Final = Keyword(":job.reason/fault")  # its handler requested another run
    SNOOZE: Final = Keyword(":job.reason/snooze")  # its handler requested a later run, which no counter counts
    WAIT: Final = Keyword(":job.reason/wait")  # its handler waits for a query to hold, or for the deadline
    ABORT: Final = Keyword(":job.reason/abort")  # its handler or an operator aborted it
    PARENT: Final = Keyword(":job.reason/parent")  # a job it depends on ended in a way its rule does not accept
    LEASE_EXPIRED: Final = Keyword(":job.reason/lease-expired")  # its worker did not renew the lease; it will run again
    WORKER_DIED: Final = Keyword(":job.reason/worker-died")  # its worker did not renew the lease, too many times
    INTERRUPTED: Final = Keyword(":job.reason/interrupted")  # its worker was stopped
    UNCLAIMABLE: Final = Keyword(":job.reason/unclaimable")  # its facts make every claim fail
    BY_HAND: Final = Keyword(":job.reason/by-hand")  # an operator requested another run


LOST: Final = frozenset({FAILED, ABORTED})

_LONGEST: Final = timedelta(days=36_525)  # a century


def time_limit(milliseconds: int) -> timedelta:
    """Return the maximum duration of an attempt by a job's `:job/timeout`; any number may have been asserted."""
    return timedelta(milliseconds=min(max(0, milliseconds), _LONGEST // timedelta(milliseconds=1)))


def as_keyword(text: str, namespace: str | None = None) -> Keyword:
    """Return a keyword for a Keyword, ":load" or "load"; it gets the namespace if it has none.

    >>> as_keyword("load"), as_keyword("finished", "job.status"), as_keyword(":job.status/failed", "job.status")
    (:load, :job.status/finished, :job.status/failed)

    Raises: OverseerError(:job.error/bad-name) for a value that cannot be a keyword.
    """
    try:
        keyword = Keyword(text if text.startswith(":") else f":{text}")
    except (ValueError, TypeError, AttributeError) as error:
        why = f"expected a name such as mail, mail/send or :mail/send, got {quoted(text)}"
        raise OverseerError(":job.error/bad-name", why, name=text) from error
    if namespace is not None and keyword.namespace is None:
        return Keyword(f":{namespace}/{keyword.name}")
    return keyword


def repeated_names(names: Iterable[str]) -> list[str]:
    """Return the names of keywords that an earlier name stands for already: "load" after ":load".

    >>> repeated_names(["load", "pay", ":load"])
    [':load']
    """
    first: dict[Keyword, str] = {}
    return [name for name in names if first.setdefault(as_keyword(name), name) is not name]


class Lease(NamedTuple):
    """The lease of one attempt on one job; every later write of the attempt includes its number and token."""

    job: int  # entity id
    id: str  # :job/id
    type: Keyword
    attempt: int  # the number of claims of this job, from 1; it never decreases
    token: str  # random: distinguishes attempts with the same number, in a store restored from a backup
    worker: str
    t: int = 0  # the claim's transaction; the attempt reads the database as of it


class Standing(NamedTuple):
    """The facts of a lease; a fact is None if the job was started without it, by hand or by an import."""

    attempt: int | None
    token: str | None
    expires: datetime | None

    def seconds(self, default: float) -> float:
        """Return how long the lease lasts without a renewal; `default` if its token does not contain it."""
        milliseconds = (self.token or "").rpartition("-")[2]
        is_number = milliseconds.isdecimal() and len(milliseconds) < 19
        return int(milliseconds) / 1000 if self.token and "-" in self.token and is_number else default


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of an attempt."""

    status: Status  # FINISHED, FAILED, ABORTED, or UNSTARTED when the job will run again
    facts: Sequence[Any] = ()  # transaction data, committed with the status
    reason: Keyword | None = None
    failure: Failure | None = None
    run_at: datetime | None = None  # the earliest next start; None is at once
    counts: str | None = None  # the counter that this outcome increases, one of COUNTERS
    result: str | None = None  # the result for the jobs that depend on this one: EDN
    logs: str | None = None  # the last lines that the handler logged, if they are kept

    @property
    def is_plain(self) -> bool:
        """Whether it is a success without facts of the handler; only such facts can be rejected."""
        return self.status == FINISHED and not self.facts


# The attributes of a lease. A started job that lacks one of them was started by hand or by an import: no worker holds
# it.
LEASE: Final = (":job/attempt", ":job/token", ":job/lease-expires")


def is_orphaned(about: Mapping[str, Any]) -> bool:
    """Tell whether a job has an unknown status, or is started while no worker holds it."""
    status = about.get(":job/status")
    return status not in STATUSES or (status == STARTED and not all(attribute in about for attribute in LEASE))


MAX_MESSAGE: Final = 10_000  # characters of a message that are stored; a message may quote a whole document
MOST: Final = 2**63 - 1  # the largest :db.type/long, where counters stop
FAILURES: Final = ":job/failures"
FAULTS: Final = ":job/faults"
CRASHES: Final = ":job/crashes"
COUNTERS: Final = (FAILURES, FAULTS, CRASHES)
