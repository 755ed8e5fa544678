"""The only part of the job layer that commits: it reads what a move needs, builds the transaction, and commits it.

A lost race is not an error here: jobs that another process was faster with are left out of the result. Only an attempt
that lost its lease gets an error, `LeaseLost`.

    claims.py        start jobs                         settlements.py   end attempts, with the facts of their handlers
    rescue.py        take jobs from silent workers      by_hand.py       abort and retry, by an operator
    waking.py        make jobs ready when a wait ends   presence.py      workers as entities
    bulk.py          moves of many jobs at once         commit.py        lost races and unknown outcomes
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from time import monotonic
from typing import TYPE_CHECKING, Any

import factstore
from factstore import Keyword, StorageError, TransactError
from overseer.errors import GraphError, is_busy
from overseer.jobs import lookup, queues, txns
from overseer.jobs.dependency_rules import DOOMED
from overseer.jobs.graph import Graph
from overseer.jobs.job import Job
from overseer.jobs.leases import random_token
from overseer.jobs.states import ABORTED, FAILED, STARTED, UNSTARTED, Forms, Lease, Outcome, Reason, Standing, Status
from overseer.jobs.store import bulk, by_hand, rescue, settlements, waking
from overseer.jobs.store.claims import Claims
from overseer.jobs.store.commit import committed, raise_if_committed
from overseer.jobs.store.presence import Presence
from overseer.jobs.store.settlements import Rejected, Settling
from overseer.schema import missing_from
from overseer.sources import ConnectionBound, check_connection, of_connection

if TYPE_CHECKING:
    from factstore import Connection, Database, TxReport

__all__ = ["JobStore", "Rejected", "Settling", "install", "transact_graph"]


@of_connection
def install(conn: Connection) -> None:
    """Declare the attributes of jobs in a store; a declared one changes only if its protection of jobs is missing."""
    missing = missing_from(conn.db())
    if missing:
        conn.transact(missing)


@of_connection
def transact_graph(conn: Connection, graph: Graph) -> Graph:
    """Insert all jobs of a graph in one transaction, and return the graph; a stored graph is not changed.

    Raises: GraphError(:job.error/known) when some of its jobs are in the store already and others are not.
    """
    if not isinstance(graph, Graph):
        why = f"expected a graph of jobs, as from job_graph or simple_graph, got {type(graph).__name__}"
        raise GraphError(":job.error/invalid-graph", why, graph=graph)
    try:
        conn.transact(txns.insert_once(graph))
    except TransactError as error:
        if error.code != txns.KNOWN:
            raise
        if len(error.known) < len(graph.jobs):
            raise GraphError(error.code, error.message, known=error.known) from None
    return graph


class JobStore(ConnectionBound):
    """The moves of jobs, committed by one worker.

    Args:
        worker: the name under which jobs are claimed. It must be random for each process: a name that is used again
            after a crash would be taken for the worker that died.
        token: returns a text that no other lease has, for the next one.
    """

    def __init__(self, conn: Connection, *, worker: str, token: Callable[[], str] = random_token) -> None:
        check_connection(JobStore, conn)
        self.conn = conn
        self.worker = worker
        self._claims = Claims(conn, worker, token)
        self._logged_waits = set[int]()
        self.presence = Presence(conn, worker)

    def _repr_html_(self) -> str:
        return factstore.rendering.html_record("JobStore", {"store": self.conn.uri, "worker": self.worker})

    def claim(
        self,
        jobs: Sequence[int],
        *,
        lease: timedelta,
        commit: Callable[[Forms], TxReport] | None = None,
        suspect_from: int | None = None,
        alone: bool = True,
        fits: Callable[[Sequence[Keyword]], int] = len,
    ) -> list[Job]:
        """Claim jobs in one transaction, and return the claimed ones with the database as of the claim.

        Args:
            commit: commits the claim, perhaps with other forms in the same transaction; None: only the claim.
            suspect_from: number of crashes from which a job runs only alone, so that the cause of another crash is
                certain.
            alone: whether the worker holds no other job, so that such a job can be claimed.
            fits: returns how many of the jobs, given by their types, the worker takes; the others are not claimed.
        Raises: UnknownOutcome when an exception came after the claim was committed; `held` returns the claimed jobs.
        """
        reports: list[TxReport] = []
        try:
            return self._claims.claim(jobs, reports, lease, commit or self.conn.transact, suspect_from, alone, fits)
        except BaseException as error:
            raise_if_committed(error, reports)
            raise

    def paced_queues(
        self, db: Database, now: datetime, names: Iterable[Keyword] | None = None
    ) -> dict[Keyword, queues.Queue]:
        """Return the queues that have settings, by name, with their starts as this worker saw them.

        Args:
            names: only these queues; None is all.
        """
        return self._claims.paced_queues(db, now, names)

    def allowance(self, db: Database, now: datetime) -> queues.Allowance:
        """Return how many jobs the queues of a database let start, given the starts that this worker saw."""
        return queues.allowance(db, now, self._claims.paced_queues(db, now))

    def settle(self, outcomes: Sequence[tuple[Lease, Outcome]]) -> Rejected:
        """Commit the outcomes of attempts, and return the rejected attempts, each with the reason.

        Attempts without facts share one transaction; each attempt with facts has its own. All share one write to the
        disk.
        """
        reports: list[TxReport] = []
        try:
            if len(outcomes) != 1:
                return settlements.finish(self.conn, settlements.begin(self.conn, outcomes))
            rejection = settlements.settle_one(self.conn, *outcomes[0], reports)
            return [] if rejection is None else [(outcomes[0][0], rejection)]
        except BaseException as error:
            raise_if_committed(error, reports if len(outcomes) == 1 else None)
            raise

    def settle_with(self, outcomes: Sequence[tuple[Lease, Outcome]], forms: Forms) -> TxReport:
        """Commit the outcomes of attempts without facts in one transaction with other forms; all or nothing."""
        return self.conn.transact([*(form for pair in outcomes for form in txns.settle(*pair)), *forms])

    def settling(self, outcomes: Sequence[tuple[Lease, Outcome]]) -> Settling:
        """Begin to commit the outcomes of attempts, and return at once; `settled` waits for the result."""
        return settlements.begin(self.conn, outcomes)

    def settled(self, underway: Settling) -> Rejected:
        """Wait until outcomes are committed, and return the rejected attempts."""
        return settlements.finish(self.conn, underway)

    def beat(
        self, leases: Sequence[Lease], *, lease: timedelta, reports: Mapping[Lease, str] = txns.NO_REPORTS
    ) -> list[Lease]:
        """Renew leases in one transaction, and return the lost ones.

        Args:
            reports: the progress of attempts, to be written too.
        """
        try:
            if committed(self.conn, [*txns.beat(leases, lasts=lease, reports=reports), *self.presence.beat()]):
                return []
        except StorageError as error:
            if not is_busy(error):
                raise
            return []  # no other process could write either, so none took the jobs
        if len(leases) == 1:
            return list(leases)
        middle = len(leases) // 2
        return [
            lost
            for half in (leases[:middle], leases[middle:])
            for lost in self.beat(half, lease=lease, reports=reports)
        ]

    def held(self) -> list[Lease]:
        """Return the leases of this worker, as the store has them."""
        db = self.conn.db()
        started = (datom.e for datom in db.datoms("avet", ":job/status", STARTED))
        return [
            _lease_of(job, lookup.attributes(db, job))
            for job in started
            if lookup.value(db, job, ":job/worker") == self.worker
        ]

    def release(self, leases: Iterable[Lease]) -> list[Lease]:
        """Make jobs unstarted again before their handlers have ended, and return the leases that were lost before."""
        interrupted = Outcome(UNSTARTED, reason=Reason.INTERRUPTED)
        return [lease for lease, _ in self.settle([(lease, interrupted) for lease in leases])]

    def could_renew(self, *, within: float) -> bool:
        """Commit as a worker does that renews its leases, and return whether that took at most `within` seconds."""
        began = monotonic()
        try:
            self.conn.transact(self.presence.beat() or [txns.signed(self.worker)])
        except StorageError as error:
            if not is_busy(error):
                raise
            return False
        return monotonic() - began <= within

    def rescue(
        self, seen: Mapping[int, Standing] | None = None, *, max_crashes: int, within: float = float("inf")
    ) -> list[tuple[Lease, Status]] | None:
        """Take jobs from silent workers, and return the taken ones with their new status.

        Args:
            seen: leases that were not renewed for as long as they last; a job is taken if its lease is still the same.
                None: the leases that have expired by the connection's clock, for tests that move it and for operators.
            max_crashes: number of crashes at which a job is failed instead of tried again.
            within: seconds; if the store has accepted nothing for longer, nothing is taken, because no worker could
                renew either.
        Returns: None if nothing was taken for this reason.
        """
        return rescue.rescue(self.conn, self.worker, seen, max_crashes, within)

    def give_up(self, jobs: Iterable[int]) -> int:
        """Abort unstarted jobs that can never run because of how their parents ended, and return their number."""
        aborted = 0
        for job in jobs:
            while True:
                try:
                    aborted += self._give_up(job)
                    break
                except StorageError as error:
                    if not is_busy(error):
                        raise
        return aborted

    def _give_up(self, job: int) -> bool:
        while lookup.status(db := self.conn.db(), job) == UNSTARTED and lookup.readiness(db, job) == DOOMED:
            lost = next(parent for parent in lookup.parents(db, job) if lookup.status(db, parent) in (FAILED, ABORTED))
            # The cause of a cause is the job that an operator has to retry: name that one.
            cause = lookup.value(db, lost, ":job/cause", lost)
            if committed(self.conn, txns.give_up([job, *lookup.doomed_dependents(db, {job: ABORTED})], cause=cause)):
                return True
        return False

    def wake(self) -> list[int] | None:
        """Make the waiting jobs ready whose query holds, and return them; None if no job waits."""
        return waking.wake(self.conn, self.worker, self._logged_waits)

    def abort(self, job: int | str, message: str) -> bool:
        """Abort a job that has not ended, and the jobs that depend on it; False when it had ended already."""
        return by_hand.abort(self.conn, job, message, by=self.worker)

    def retry(self, job: int | str) -> bool:
        """Let a failed or aborted job run again, with the jobs aborted because of it; False when it did not fail.

        A job with an unknown status, or one that was started by hand or by an import so that no worker holds it, is
        retried, too. An aborted job whose unique key another live job has stays as it is.

        Raises: TransactError(:job.error/parent-lost) for a job that would be aborted again at once; it names the jobs
            to retry. TransactError(:job.error/duplicate) for a job whose unique key another live job has.
        """
        return by_hand.retry(self.conn, job, by=self.worker)

    def abort_all(self, jobs: Sequence[int | str], message: str) -> list[str]:
        """Abort the jobs that have not ended, and the jobs that depend on them, in one transaction.

        Returns: the ids of all jobs that were aborted.
        """
        done, _ = bulk.committed(self.conn, lambda db: bulk.abort(db, jobs, message, by=self.worker))
        return [*done.moved, *done.others]

    def retry_all(self, jobs: Sequence[int | str]) -> list[str]:
        """Let failed and aborted jobs run again in one transaction, with the jobs aborted because of them.

        A job that did not fail, that would be aborted again at once, or whose unique key another live job has, stays.
        Returns: the ids of all jobs that run again.
        """
        done, _ = bulk.committed(self.conn, lambda db: bulk.retry(db, jobs, by=self.worker))
        return [*done.moved, *done.others]


def _lease_of(job: int, about: Mapping[str, Any]) -> Lease:
    """Return the lease of a started job, by its attributes."""
    return Lease(job, *(about[f":job/{name}"] for name in ("id", "type", "attempt", "token", "worker")))
