"""What a job is: its statuses and the moves between them, the lease of an attempt, and its outcome.

Knows no transaction, no connection and no clock. Law: a status changes along an edge of `MOVES` or not at all.
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
Failure: TypeAlias = Mapping[Keyword, Any]  # what went wrong, as it is kept: EDN

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
    """Why a job last left its run: the values of `:job/reason`."""

    EXCEPTION: Final = Keyword(":job.reason/exception")  # its handler raised, and no retry was left
    RETRY: Final = Keyword(":job.reason/retry")  # its handler raised, and it will be tried again
    TIMEOUT: Final = Keyword(":job.reason/timeout")  # its handler took too long, and no retry was left
    FAULT: Final = Keyword(":job.reason/fault")  # its handler asked to be run again
    SNOOZE: Final = Keyword(":job.reason/snooze")  # its handler asked to be run later, which counts for nothing
    ABORT: Final = Keyword(":job.reason/abort")  # its handler, or an operator, gave it up
    PARENT: Final = Keyword(":job.reason/parent")  # a job it depends on ended in a way its rule does not accept
    LEASE_EXPIRED: Final = Keyword(":job.reason/lease-expired")  # its worker went silent; it will be tried again
    WORKER_DIED: Final = Keyword(":job.reason/worker-died")  # its worker went silent once too often
    INTERRUPTED: Final = Keyword(":job.reason/interrupted")  # its worker was told to stop
    UNCLAIMABLE: Final = Keyword(":job.reason/unclaimable")  # its facts do not let anybody claim it
    BY_HAND: Final = Keyword(":job.reason/by-hand")  # an operator asked for another run


LOST: Final = frozenset({FAILED, ABORTED})

_LONGEST: Final = timedelta(days=36_525)  # a century: more is no limit


def time_limit(milliseconds: int) -> timedelta:
    """Return the time that a job's `:job/timeout` gives an attempt; anybody may have asserted a number that no time holds."""
    return timedelta(milliseconds=min(max(0, milliseconds), _LONGEST // timedelta(milliseconds=1)))


def as_keyword(text: str, namespace: str | None = None) -> Keyword:
    """Return the keyword that a caller means: a Keyword, ":load", or plainly "load"; in `namespace` when it has none.

    >>> as_keyword("load"), as_keyword("finished", "job.status"), as_keyword(":job.status/failed", "job.status")
    (:load, :job.status/finished, :job.status/failed)

    Raises: OverseerError(:job.error/bad-name) for what can be no keyword.
    """
    try:
        keyword = Keyword(text if text.startswith(":") else f":{text}")
    except (ValueError, TypeError, AttributeError) as error:
        why = f"expected a name such as mail, mail/send or :mail/send, got {quoted(text)}"
        raise OverseerError(":job.error/bad-name", why, name=text) from error
    if namespace is not None and keyword.namespace is None:
        return Keyword(f":{namespace}/{keyword.name}")
    return keyword


def said_twice(names: Iterable[str]) -> list[str]:
    """Return the names that mean a keyword which an earlier one means already: "load" after ":load".

    >>> said_twice(["load", "pay", ":load"])
    [':load']
    """
    first: dict[Keyword, str] = {}
    return [name for name in names if first.setdefault(as_keyword(name), name) is not name]


class Lease(NamedTuple):
    """The right of one attempt to one job; every later write of the attempt names its number and token."""

    job: int  # entity id
    id: str  # :job/id
    type: Keyword
    attempt: int  # counts the claims of this job, from 1; never goes back
    token: str  # random: tells this attempt from one of the same number in another life of the store
    worker: str
    t: int = 0  # the claim's transaction: the database that the attempt works on is as of it


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt came to."""

    status: Status  # FINISHED, FAILED, ABORTED, or UNSTARTED when the job shall run again
    facts: Sequence[Any] = ()  # tx-data that commits with the status, or not at all
    reason: Keyword | None = None
    failure: Failure | None = None
    run_at: datetime | None = None  # not before; None is at once
    counts: str | None = None  # the counter this outcome adds to: one of COUNTERS, or none
    result: str | None = None  # what the attempt leaves to the jobs that depend on it: EDN

    @property
    def is_plain(self) -> bool:
        """Whether it is success with no facts of the user's, which are the only ones that the store might refuse."""
        return self.status == FINISHED and not self.facts


# What a claim asserts; a started job that lacks any of them was started by hand or by an import, and nobody holds it.
LEASE: Final = (":job/attempt", ":job/token", ":job/lease-expires")


def is_adrift(known: Mapping[str, Any]) -> bool:
    """Tell whether no worker's move leads out of what is known of a job: its status is none, or it is started and nobody holds it."""
    status = known.get(":job/status")
    return status not in STATUSES or (status == STARTED and not all(attribute in known for attribute in LEASE))


MAX_MESSAGE: Final = 10_000  # characters of a message that are kept; it may quote a whole document
MOST: Final = 2**63 - 1  # the largest :db.type/long: counters stay there
FAILURES: Final = ":job/failures"
FAULTS: Final = ":job/faults"
CRASHES: Final = ":job/crashes"
COUNTERS: Final = (FAILURES, FAULTS, CRASHES)
