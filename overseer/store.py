"""The one place of the job layer that commits: reads what a move needs, builds it, transacts it, and says who won.

Losing a race is no error here: what was lost is simply not returned. Only an attempt that lost its lease is told so, by `LeaseLost`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from factstore import CasFailed, Keyword, TransactError
from overseer import lookup, txns
from overseer.errors import GraphError, LeaseLost
from overseer.graph import Graph
from overseer.job import (
    ABORTED,
    COUNTERS,
    CRASHES,
    DOOMED,
    FAILED,
    LIVE,
    MOVES,
    STARTED,
    UNSTARTED,
    Clock,
    Job,
    Lease,
    Outcome,
    Reason,
    utc_now,
)
from overseer.retry import CRASH_BACKOFF
from overseer.schema import ATTRIBUTES

if TYPE_CHECKING:
    from factstore import Connection, Database

Rejected = list[tuple[Lease, TransactError | LeaseLost]]


def install(conn: Connection) -> None:
    """Declare the attributes of jobs in a store; those that are there already are left alone."""
    db = conn.db()
    missing = [attribute for attribute in ATTRIBUTES if db.entid(attribute[":db/ident"]) is None]
    if missing:
        conn.transact(missing)


def transact_graph(conn: Connection, graph: Graph) -> Graph:
    """Insert the jobs of a graph, all or none, and return it; a graph that is there already is left as it is.

    Raises: GraphError(:job.error/known) when some of its jobs are there and others are not.
    """
    try:
        conn.transact(txns.insert_once(graph))
    except TransactError as error:
        if error.code != txns.KNOWN:
            raise
        if len(error.known) < len(graph.jobs):
            raise GraphError(error.code, error.message, known=error.known) from None
    return graph


class JobStore:
    """The moves of jobs, committed on behalf of one worker.

    Args:
        worker: who claims; random per process, for a name that returns after a crash would pass for the one that died.
        clock: tells the time to leases and pauses; nothing else in the job layer does.
    """

    def __init__(self, conn: Connection, *, worker: str, clock: Clock = utc_now) -> None:
        self.conn = conn
        self.worker = worker
        self.clock = clock

    def claim(self, jobs: Sequence[int], *, lease: timedelta) -> list[Job]:
        """Claim jobs in one transaction and return those that are now ours, with the database as of the claim."""
        db = self.conn.db()
        known = [(job, lookup.attributes(db, job)) for job in jobs]
        claims = [(self._lease(job, about), about) for job, about in known if about.get(":job/status") == UNSTARTED]
        if not claims:
            return []
        expires = self.clock() + lease
        try:
            report = self.conn.transact([form for claimed, _ in claims for form in txns.claim(claimed, expires=expires)])
        except CasFailed:
            # One lost race rejects them all; alone, each job is won or lost by itself.
            return [] if len(claims) == 1 else [job for one, _ in claims for job in self.claim([one.job], lease=lease)]
        after = report.db_after
        return [Job(won, about | txns.claimed(won, expires=expires), after, self.conn) for won, about in claims]

    def _lease(self, job: int, about: dict[str, Any]) -> Lease:
        attempt = about.get(":job/attempt", 0) + 1
        return Lease(job, about[":job/id"], about[":job/type"], attempt, uuid.uuid4().hex, self.worker)

    def settle(self, outcomes: Sequence[tuple[Lease, Outcome]]) -> Rejected:
        """Commit what attempts came to and return those that were rejected, each with the reason.

        Attempts that bring no facts share one transaction. Those that do each have their own: their tempids are theirs alone,
        and what is wrong with the facts of one is no concern of the others.
        """
        plain = [pair for pair in outcomes if pair[1].is_plain]
        others = [pair for pair in outcomes if not pair[1].is_plain]
        if plain and not self._settle_together(plain):
            others = [*plain, *others]
        return [(lease, error) for lease, outcome in others if (error := self._settle_alone(lease, outcome)) is not None]

    def _settle_together(self, outcomes: Sequence[tuple[Lease, Outcome]]) -> bool:
        try:
            self.conn.transact([form for lease, outcome in outcomes for form in txns.settle(lease, outcome)])
        except CasFailed:
            return False
        return True

    def _settle_alone(self, lease: Lease, outcome: Outcome) -> TransactError | LeaseLost | None:
        while True:
            db = self.conn.db()
            if not holds(db, lease):
                return lost(lease, db)
            doomed = lookup.fallout(db, {lease.job: outcome.status}) if outcome.status not in LIVE else ()
            count = lookup.value(db, lease.job, outcome.counts, 0) if outcome.counts else 0
            try:
                self.conn.transact(txns.settle(lease, outcome, count=count, fallout=doomed))
            except TransactError as error:
                if outcome.facts and holds(self.conn.db(), lease):
                    return error  # the facts themselves were refused
                if not isinstance(error, CasFailed):
                    raise
                continue  # the lease was lost, or a dependent moved: look again
            return None

    def beat(self, leases: Sequence[Lease], *, lease: timedelta) -> list[Lease]:
        """Renew leases in one transaction and return those that turned out to be lost."""
        expires = self.clock() + lease
        try:
            self.conn.transact([form for held in leases for form in txns.beat(held, expires=expires)])
        except CasFailed:
            if len(leases) == 1:
                return list(leases)
            return [gone for held in leases for gone in self.beat([held], lease=lease)]
        return []

    def release(self, leases: Sequence[Lease]) -> list[Lease]:
        """Give jobs back before their handlers have ended, and return the leases that were lost before."""
        interrupted = Outcome(UNSTARTED, reason=Reason.INTERRUPTED)
        return [lease for lease, _ in self.settle([(lease, interrupted) for lease in leases])]

    def rescue(self, *, max_crashes: int) -> int:
        """Take the jobs whose lease has run out from their silent workers, and return how many we took.

        Args:
            max_crashes: a job that has taken this many workers with it is failed instead of tried again.
        """
        return sum(self._rescue(job, max_crashes) for job in expired(self.conn.db(), self.clock()))

    def _rescue(self, job: int, max_crashes: int) -> bool:
        """Take one job; the comparison in the transaction decides, and a dependent that moved meanwhile only costs another try."""
        while has_expired(db := self.conn.db(), job, now := self.clock()):
            crashes = lookup.value(db, job, CRASHES, 0) + 1
            outcome = crash_outcome(crashes, max_crashes=max_crashes, now=now, worker=lookup.value(db, job, ":job/worker"))
            seen, attempt = lookup.value(db, job, ":job/lease-expires"), lookup.value(db, job, ":job/attempt")
            down = lookup.fallout(db, {job: outcome.status}) if outcome.status not in LIVE else ()
            forms = txns.rescue(job, attempt=attempt, seen=seen, outcome=outcome, count=crashes - 1, by=self.worker, fallout=down)
            if self._won(forms):
                return True
        return False

    def give_up(self, jobs: Iterable[int]) -> int:
        """Abort unstarted jobs that can never run because of how their parents ended; return how many we aborted."""
        return sum(self._give_up(job) for job in jobs)

    def _give_up(self, job: int) -> bool:
        while lookup.status(db := self.conn.db(), job) == UNSTARTED and lookup.verdict(db, job, {}) == DOOMED:
            lost = next(parent for parent in lookup.parents(db, job) if lookup.status(db, parent) in (FAILED, ABORTED))
            # The cause of a cause is what an operator has to mend: name that one.
            cause = lookup.value(db, lost, ":job/cause", lost)
            if self._won(txns.give_up([job, *lookup.fallout(db, {job: ABORTED})], cause=cause)):
                return True
        return False

    def _won(self, forms: list[Any]) -> bool:
        try:
            self.conn.transact(forms)
        except CasFailed:
            return False
        return True

    # -- by hand

    def abort(self, job: int | str, message: str) -> bool:
        """Abort a job that has not ended, and what depends on it; False when it had ended already."""
        failure = {Keyword(":reason"): Keyword(":abort"), Keyword(":message"): message}
        return self._by_hand(
            job,
            ABORTED,
            lambda db, eid, status: txns.abort_by_hand(
                eid, status, by=self.worker, failure=failure, fallout=lookup.fallout(db, {eid: ABORTED})
            ),
        )

    def retry(self, job: int | str) -> bool:
        """Put a failed or aborted job back, with the jobs given up on its account; False when there is nothing to retry."""
        return self._by_hand(job, UNSTARTED, self._run_again)

    def _run_again(self, db: Database, job: int, status: Keyword) -> list[Any]:
        known = ((attribute, lookup.value(db, job, attribute)) for attribute in (*COUNTERS, ":job/cause", ":job/run-at"))
        forget = [(attribute, value) for attribute, value in known if value is not None]
        revived = [datom.e for datom in db.datoms("vaet", job, ":job/cause") if lookup.status(db, datom.e) == ABORTED]
        return txns.run_again(job, status, by=self.worker, forget=forget, revived=revived)

    def _by_hand(self, job: int | str, to: Keyword, build: Callable[[Database, int, Keyword], list[Any]]) -> bool:
        while True:
            db = self.conn.db()
            eid = lookup.named(db, job)
            status = lookup.status(db, eid)
            if status is None or to not in MOVES.get(status, ()) or (to == UNSTARTED and status == STARTED):
                return False
            if self._won(build(db, eid, status)):
                return True


def holds(db: Database, lease: Lease) -> bool:
    """Tell whether an attempt still holds its job."""
    return (
        lookup.status(db, lease.job) == STARTED
        and lookup.value(db, lease.job, ":job/attempt") == lease.attempt
        and lookup.value(db, lease.job, ":job/token") == lease.token
    )


def lost(lease: Lease, db: Database) -> LeaseLost:
    """Return the error that tells an attempt what became of its job."""
    status, attempt = lookup.status(db, lease.job), lookup.value(db, lease.job, ":job/attempt")
    return LeaseLost(
        ":job.error/lease-lost",
        f"attempt {lease.attempt} of {lease.type} {lease.id} no longer holds it: the job is {status} in attempt {attempt}",
        job=lease.id,
        attempt=lease.attempt,
        status=status,
    )


def expired(db: Database, now: datetime) -> list[int]:
    """Return the started jobs whose lease has run out."""
    started = [datom.e for datom in db.datoms("avet", ":job/status", STARTED)]
    return [job for job in started if has_expired(db, job, now)]


def has_expired(db: Database, job: int, now: datetime) -> bool:
    """Tell whether a job is started, and its lease has run out."""
    until = lookup.value(db, job, ":job/lease-expires")
    return until is not None and until < now and lookup.status(db, job) == STARTED


def crash_outcome(crashes: int, *, max_crashes: int, now: datetime, worker: str | None) -> Outcome:
    """Return what becomes of a job whose worker went silent for the `crashes`th time."""
    message = f"its worker {worker} went silent"
    failure = {Keyword(":reason"): Reason.WORKER_DIED, Keyword(":message"): message, Keyword(":crashes"): crashes}
    if crashes >= max_crashes:
        return Outcome(FAILED, reason=Reason.WORKER_DIED, failure=failure, counts=CRASHES)
    # The first time is most likely a deploy or a lost machine, and nobody should wait for it; from then on the job is suspect.
    pause = timedelta(seconds=CRASH_BACKOFF(crashes - 1)) if crashes > 1 else timedelta(0)
    return Outcome(UNSTARTED, reason=Reason.LEASE_EXPIRED, failure=failure, run_at=now + pause, counts=CRASHES)
