"""The one place of the job layer that commits: reads what a move needs, builds it, transacts it, and says who won.

Losing a race is no error here: what was lost is simply not returned. Only an attempt that lost its lease is told so, by `LeaseLost`.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from itertools import islice
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from factstore import CasFailed, FactStoreError, Interrupted, Keyword, StorageError, TransactError, UnknownOutcome
from overseer.errors import GraphError, is_busy
from overseer.jobs import lookup, queues, txns
from overseer.jobs.crashes import apart, crash_outcome
from overseer.jobs.graph import Graph
from overseer.jobs.job import Job, holds, lost
from overseer.jobs.leases import Standing, expired, next_leases, standing_of
from overseer.jobs.rates import pace
from overseer.jobs.states import (
    ABORTED,
    COUNTERS,
    CRASHES,
    DOOMED,
    FAILED,
    LIVE,
    LOST,
    STARTED,
    STATUSES,
    UNSTARTED,
    Forms,
    Lease,
    Outcome,
    Reason,
    Status,
    is_adrift,
)
from overseer.schema import missing_from
from overseer.sources import check_connection, of_connection

if TYPE_CHECKING:
    from factstore import Connection, Database, TxReport

log = logging.getLogger("overseer")

# How a transaction says that somebody else was faster: no error, only nothing won.
_NOT_WON: Final = frozenset({":db.error/cas-failed", queues.FULL, txns.HELD})

_NOT_APPLIED: Final = ":db.error/storage-conflict"
_PORTION: Final = 500  # jobs rescued in one transaction; beats of others come in between
_RACES: Final = 8  # lost one after the other, after which the jobs are left to the others

Rejected = list[tuple[Lease, Exception]]  # a LeaseLost, or why the facts that an attempt brought cannot be written


class Settling(NamedTuple):
    """Outcomes on their way into the log."""

    plain: Sequence[tuple[Lease, Outcome]]
    together: Future[TxReport] | None  # of all the plain ones
    others: Sequence[tuple[Lease, Outcome, Future[TxReport]]]


@of_connection
def install(conn: Connection) -> None:
    """Declare the attributes of jobs in a store; those that are there already are left alone, but for what protects known jobs."""
    missing = missing_from(conn.db())
    if missing:
        conn.transact(missing)


@of_connection
def transact_graph(conn: Connection, graph: Graph) -> Graph:
    """Insert the jobs of a graph, all or none, and return it; a graph that is there already is left as it is.

    Raises: GraphError(:job.error/known) when some of its jobs are there and others are not.
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


class JobStore:
    """The moves of jobs, committed on behalf of one worker.

    Args:
        worker: who claims; random per process, for a name that returns after a crash would pass for the one that died.
    """

    def __init__(self, conn: Connection, *, worker: str) -> None:
        check_connection(JobStore, conn)
        self.conn = conn
        self.worker = worker
        self._pace = pace(conn)

    def claim(
        self,
        jobs: Sequence[int],
        *,
        lease: timedelta,
        behind: Callable[[], Any] | None = None,
        suspect_from: int | None = None,
        alone: bool = True,
    ) -> list[Job]:
        """Claim jobs in one transaction and return those that are now ours, with the database as of the claim.

        Args:
            suspect_from: crashes from which a job may run only beside no other, so that a further one is certainly its own; None: any.
            alone: whether the worker holds no other job, so that a suspect may be claimed.
            behind: begins other transactions of ours; called once, right before the claim, so that they share its write to the disk.
        Raises: UnknownOutcome when an exception came after the claim was committed; `held` tells what is ours.
        """
        made: list[TxReport] = []
        try:
            return self._claim(jobs, made, lease=lease, behind=behind, suspect_from=suspect_from, alone=alone)
        except BaseException as error:
            _raise_if_committed(error, made)
            raise

    def _claim(
        self,
        jobs: Sequence[int],
        made: list[TxReport],
        *,
        lease: timedelta,
        behind: Callable[[], Any] | None,
        suspect_from: int | None,
        alone: bool,
    ) -> list[Job]:
        for _ in range(_RACES):
            db = self.conn.db()
            claimable = [about for about in lookup.attributes_of(db, jobs) if _is_claimable(about)]
            known, limits, paced = self._admitted(
                db, claimable if suspect_from is None else apart(claimable, suspect_from, alone)
            )
            if not known:
                break
            leases = next_leases(known, worker=self.worker, lasts=lease)
            forms = [*txns.claim(leases, [about.get(":job/attempt") for about in known], lasts=lease), *limits]
            try:
                if behind is not None:
                    begin, behind = behind, None
                    begin()
                    made.append(self.conn.transact_async(forms).result())
                else:
                    made.append(self.conn.transact(forms))
            except StorageError as error:
                if not is_busy(error):
                    raise
                return []
            except TransactError as error:
                if error.code in _NOT_WON:
                    continue  # somebody was faster with some of them: those left over are asked for together again
                if len(leases) > 1:
                    return [job for one in leases for job in self.claim([one.job], lease=lease)]
                self._fail_unclaimable(leases[0], error)
                return []
            after = made[-1].db_after
            if paced:
                self.paced_queues(after, self.conn.now(), paced)  # our own starts are of now
            return self._claimed(leases, known, after)
        if behind is not None:
            behind()
        return []

    def _admitted(self, db: Database, known: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Forms, list[Keyword]]:
        """Return the jobs that their queues let start, the forms by which the transaction makes sure of it, and the queues with a rate."""
        if not any(":job/queue" in about for about in known):
            return known, [], []
        lanes = [(about.get(":job/queue"), about.get(":job/partition")) for about in known]
        now = self.conn.now()
        limited = self.paced_queues(db, now, {name for name, _ in lanes if name is not None})
        if not limited:
            return known, queues.admitted(lanes), []
        allowed, chosen = queues.allowance(db, now, limited), list[int]()
        for n, lane in enumerate(lanes):
            if allowed.admits(lane):
                allowed.take(lane)
                chosen.append(n)
        starts = Counter(lanes[n][0] for n in chosen)
        noted = [
            form for name, count in starts.items() if name in limited for form in limited[name].started(count, now)
        ]
        forms = [*queues.admitted([lanes[n] for n in chosen]), *noted]
        return [known[n] for n in chosen], forms, [name for name, queue in limited.items() if queue.rate]

    def paced_queues(
        self, db: Database, now: datetime, names: Iterable[Keyword] | None = None
    ) -> dict[Keyword, queues.Queue]:
        """Return the queues that have settings, by name, with their starts as we saw them; `names`: only of these."""
        known = queues.queues(db, names)
        for name, queue in known.items():
            if queue.rate:
                known[name] = queue._replace(starts=self._pace.seen(queue.eid, queue.starts, queue.period, now))
        return known

    def allowance(self, db: Database, now: datetime) -> queues.Allowance:
        """Return what the queues of a database let start, given the starts that we saw."""
        return queues.allowance(db, now, self.paced_queues(db, now))

    def _fail_unclaimable(self, lease: Lease, error: TransactError) -> None:
        """Fail a job whose facts nobody can claim it with, so that it holds up no other; raises the error when that is impossible, too."""
        log.error("%s %s cannot be claimed, and is failed: %s", lease.type, lease.id, error.message)
        failure = {Keyword(":reason"): Reason.UNCLAIMABLE, Keyword(":message"): error.message}
        down = lookup.fallout(self.conn.db(), {lease.job: FAILED})
        try:
            self.conn.transact(txns.fail_unclaimable(lease.job, by=self.worker, failure=failure, fallout=down))
        except TransactError as again:
            if again.code not in _NOT_WON:  # a race was lost: whoever finds the job next tries again
                raise error from again

    def _claimed(self, leases: Sequence[Lease], known: Sequence[Mapping[str, Any]], after: Database) -> list[Job]:
        t = after.basis_t
        held = [Lease(won.job, won.id, won.type, won.attempt, won.token, won.worker, t) for won in leases]
        return [
            Job(own, {**about, **txns.claimed(own)}, conn=self.conn, db=after)
            for own, about in zip(held, known, strict=True)
        ]

    def settle(self, outcomes: Sequence[tuple[Lease, Outcome]]) -> Rejected:
        """Commit what attempts came to and return those that were rejected, each with the reason.

        Attempts that bring no facts share one transaction. Those that do each have their own: their tempids are theirs alone,
        and what is wrong with the facts of one is no concern of the others. They share the write to the disk all the same.
        """
        made: list[TxReport] = []
        try:
            if len(outcomes) != 1:
                return self.settled(self.settling(outcomes))
            rejection = self._settle_alone(*outcomes[0], made)
            return [] if rejection is None else [(outcomes[0][0], rejection)]
        except BaseException as error:
            _raise_if_committed(error, made if len(outcomes) == 1 else None)
            raise

    def settling(self, outcomes: Sequence[tuple[Lease, Outcome]]) -> Settling:
        """Begin to settle, and return at once; `settled` tells how it went."""
        plain = [pair for pair in outcomes if pair[1].is_plain]
        db = self.conn.db()
        others = [
            (lease, outcome, self._settled(db, lease, outcome)) for lease, outcome in outcomes if not outcome.is_plain
        ]
        together = self.conn.transact_async([form for pair in plain for form in txns.settle(*pair)]) if plain else None
        return Settling(
            plain, together, [(lease, outcome, self.conn.transact_async(forms)) for lease, outcome, forms in others]
        )

    def settled(self, underway: Settling) -> Rejected:
        """Wait until what was begun is over, and return what was rejected."""
        rejected = [(lease, self._outcome_of(future, lease, outcome)) for lease, outcome, future in underway.others]
        if underway.together is not None and not self._is_won(underway.together):
            rejected += [(lease, self._settle_alone(lease, outcome, [])) for lease, outcome in underway.plain]
        return [(lease, error) for lease, error in rejected if error is not None]

    def _is_won(self, future: Future[TxReport]) -> bool:
        error = future.exception()
        if error is None or (isinstance(error, TransactError) and error.code in _NOT_WON) or is_busy(error):
            return error is None
        raise error

    def _settled(self, db: Database, lease: Lease, outcome: Outcome) -> Forms:
        doomed = lookup.fallout(db, {lease.job: outcome.status}) if outcome.status in LOST else ()
        count = lookup.value(db, lease.job, outcome.counts, 0) if outcome.counts else 0
        # A job that has ended needs no reset: only `retry`, which forgets all counts, and `revert` lead on from there.
        in_a_row = outcome.status != UNSTARTED or outcome.counts == CRASHES or outcome.reason == Reason.INTERRUPTED
        crashes = None if in_a_row else lookup.value(db, lease.job, CRASHES)
        return txns.settle(lease, outcome, count=count, crashes=crashes, fallout=doomed)

    def _outcome_of(self, future: Future[TxReport], lease: Lease, outcome: Outcome) -> Exception | None:
        try:
            future.result()
        except Exception as error:
            if self._is_of_the_facts(error, lease, outcome):
                return error
            if not isinstance(error, CasFailed) and not is_busy(error):
                raise
            return self._settle_alone(lease, outcome, [])  # the lease was lost, or a dependent moved: look again
        return None

    def _is_of_the_facts(self, error: Exception, lease: Lease, outcome: Outcome) -> bool:
        """Tell whether it is the handler's own facts that cannot be written: whatever is wrong with them, it is no fault of the store."""
        return bool(outcome.facts) and not isinstance(error, StorageError) and holds(self.conn.db(), lease)

    def _settle_alone(self, lease: Lease, outcome: Outcome, made: list[TxReport]) -> Exception | None:
        while True:
            db = self.conn.db()
            if not holds(db, lease):
                return lost(lease, db)
            try:
                made.append(self.conn.transact(self._settled(db, lease, outcome)))
            except Exception as error:
                if self._is_of_the_facts(error, lease, outcome):
                    return error
                if not isinstance(error, CasFailed) and not is_busy(error):
                    raise
                continue
            return None

    def beat(self, leases: Sequence[Lease], *, lease: timedelta) -> list[Lease]:
        """Renew leases in one transaction and return those that turned out to be lost."""
        try:
            if self._won(txns.beat(leases, lasts=lease)):
                return []
        except StorageError as error:
            if not is_busy(error):
                raise
            return []  # nobody else could write either, so nobody took them
        return (
            list(leases)
            if len(leases) == 1
            else [gone for half in _halves(leases) for gone in self.beat(half, lease=lease)]
        )

    def held(self) -> list[Lease]:
        """Return the leases of this worker, as the store knows them."""
        db = self.conn.db()
        started = (datom.e for datom in db.datoms("avet", ":job/status", STARTED))
        return [
            _lease_of(job, lookup.attributes(db, job))
            for job in started
            if lookup.value(db, job, ":job/worker") == self.worker
        ]

    def release(self, leases: Iterable[Lease]) -> list[Lease]:
        """Give jobs back before their handlers have ended, and return the leases that were lost before."""
        interrupted = Outcome(UNSTARTED, reason=Reason.INTERRUPTED)
        return [lease for lease, _ in self.settle([(lease, interrupted) for lease in leases])]

    def rescue(
        self, seen: Mapping[int, Standing] | None = None, *, max_crashes: int, within: float = float("inf")
    ) -> list[tuple[Lease, Status]] | None:
        """Take jobs from silent workers; return those we took, with the status that each has now.

        Args:
            seen: the leases that were seen without a renewal for as long as they last; each is taken if it still stands so.
                None: those that have run out by the connection's clock, for tests that move it, and for people.
            max_crashes: a job that has taken this many workers with it is failed instead of tried again.
            within: seconds; take nothing if the writer's turn did not come within these, for no worker could have renewed meanwhile.
        Returns: None when the turn came too late.
        """
        before = self.conn.db()
        waiting = dict(expired(before, self.conn.now()) if seen is None else seen)
        holds = Counter(
            lookup.value(before, datom.e, ":job/worker") for datom in before.datoms("avet", ":job/status", STARTED)
        )
        rescued: list[tuple[Lease, Status]] = []
        while True:
            portion = dict(islice(waiting.items(), _PORTION))
            asked = monotonic()
            try:
                with self.conn.transaction() as tx:  # nobody else commits from here on, so that what is read stands
                    if monotonic() - asked > within:
                        return rescued or None
                    taken, forms = self._silent(tx.db, portion, max_crashes, holds)
                    if forms:
                        tx.transact([*forms, txns.signed(self.worker)])
            except StorageError as error:
                if is_busy(error):
                    return rescued or None
                if error.code != _NOT_APPLIED:
                    raise
                continue
            rescued += taken
            for job in portion:
                del waiting[job]
            if not waiting:
                return rescued

    def _silent(
        self, db: Database, seen: Mapping[int, Standing], max_crashes: int, holds: Mapping[str, int]
    ) -> tuple[list[tuple[Lease, Status]], Forms]:
        """Return the jobs whose lease still stands as it was seen, with the status each shall have, and the forms for that.

        Args:
            holds: how many jobs each worker held: of a worker that held several nobody knows which of them ended it.
        """
        taken: list[tuple[Lease, Status]] = []
        forms: Forms = []
        ended: dict[int, Status] = {}
        now = self.conn.now()
        for (job, standing), about in zip(seen.items(), lookup.attributes_of(db, list(seen)), strict=True):
            if about.get(":job/status") != STARTED or standing_of(about) != standing:
                continue
            worker, count = about.get(":job/worker", "nobody"), about.get(CRASHES, 0)
            lease = Lease(
                job, about[":job/id"], about[":job/type"], standing.attempt or 0, standing.token or "", worker
            )
            if is_adrift(about):
                forms += txns.take_adrift(job)
                taken.append((lease, UNSTARTED))
                continue
            why, alone = f"its worker {worker} went silent", holds.get(worker, 0) <= 1
            outcome = crash_outcome(count + 1, max_crashes=max_crashes, now=now, why=why, alone=alone)
            down: list[int] = []
            if outcome.status not in LIVE:
                down = lookup.fallout(db, {job: outcome.status}, ended)
                ended |= {job: outcome.status, **dict.fromkeys(down, ABORTED)}
            forms += txns.rescue(job, outcome, count=count, fallout=down)
            taken.append((lease, outcome.status))
        return taken, forms

    def give_up(self, jobs: Iterable[int]) -> int:
        """Abort unstarted jobs that can never run because of how their parents ended; return how many we aborted."""
        given_up = 0
        for job in jobs:
            while True:
                try:
                    given_up += self._give_up(job)
                    break
                except StorageError as error:
                    if not is_busy(error):
                        raise
        return given_up

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
        except TransactError as error:
            if error.code not in _NOT_WON:
                raise
            return False
        return True

    # -- by hand

    def abort(self, job: int | str, message: str) -> bool:
        """Abort a job that has not ended, and what depends on it; False when it had ended already."""
        failure = {Keyword(":reason"): Keyword(":abort"), Keyword(":message"): message}
        while True:
            db = self.conn.db()
            eid = lookup.named(db, job)
            status = lookup.status(db, eid)
            if status in STATUSES and status not in LIVE:
                return False
            down = lookup.fallout(db, {eid: ABORTED})
            if self._won(txns.abort_by_hand(eid, status, by=self.worker, failure=failure, fallout=down)):
                return True

    def retry(self, job: int | str) -> bool:
        """Put a job back that has failed or was aborted, with the jobs given up on its account; False when there is nothing to retry.

        A job is put back, too, that is started and held by nobody, or has no status that there is: by hand, or by an import.
        An aborted job whose unique key another live job has by now is left as it is.

        Raises: TransactError(:job.error/parent-lost) for a job that would be given up again at once, naming the jobs to retry;
            TransactError(:job.error/duplicate) for a job whose unique key another live job has.
        """
        while True:
            db = self.conn.db()
            eid = lookup.named(db, job)
            about = lookup.attributes(db, eid)
            status = about.get(":job/status")
            if status not in (FAILED, ABORTED) and not is_adrift(about):
                return False
            try:
                if self._won(self._run_again(db, eid, about)):
                    return True
            except TransactError as error:
                # Of the jobs given up on its account, one lost its key meanwhile: look again.
                if error.code != txns.DUPLICATE or error.job == about[":job/id"]:
                    raise

    def _run_again(self, db: Database, job: int, about: Mapping[str, Any]) -> Forms:
        forget = [
            (attribute, about[attribute])
            for attribute in (*COUNTERS, ":job/cause", ":job/run-at", ":job/pause")
            if attribute in about
        ]
        given_up = [datom.e for datom in db.datoms("vaet", job, ":job/cause") if lookup.status(db, datom.e) == ABORTED]
        revived = [other for other in lookup.revivable(db, [job, *given_up]) if other != job]
        return txns.run_again(job, about.get(":job/status"), by=self.worker, forget=forget, revived=revived)


def _raise_if_committed(error: BaseException, made: Sequence[TxReport] | None) -> None:
    """Raise `UnknownOutcome` for an exception that came from outside after a commit; None: of which nobody knows whether it was made."""
    if isinstance(error, FactStoreError | SystemExit | GeneratorExit) or (made is not None and not made):
        return
    kind = Interrupted if isinstance(error, KeyboardInterrupt) else UnknownOutcome
    known = {"t": made[-1].t} if made else {}
    text = f"the transaction was committed as t={made[-1].t}" if made else "the transactions may have been committed"
    raise kind(":db.error/storage-unknown-outcome", f"{text}; then came {error!r}", **known) from error


def _lease_of(job: int, about: Mapping[str, Any]) -> Lease:
    """Return the lease of a started job, by its attributes."""
    return Lease(job, *(about[f":job/{name}"] for name in ("id", "type", "attempt", "token", "worker")))


def _halves(leases: Sequence[Lease]) -> tuple[Sequence[Lease], Sequence[Lease]]:
    middle = len(leases) // 2
    return leases[:middle], leases[middle:]


def _is_claimable(about: Mapping[str, Any]) -> bool:
    return about.get(":job/status") == UNSTARTED and ":job/id" in about and ":job/type" in about
