"""Claims: the transactions by which a worker starts jobs, within the limits of their queues.

A job that another process claimed first is left out of the result. A job whose facts make every claim fail is failed,
so that it does not delay other jobs.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from factstore import Keyword, StorageError, TransactError
from overseer.errors import is_busy
from overseer.jobs import lookup, queues, txns
from overseer.jobs.crashes import without_suspects
from overseer.jobs.job import Job
from overseer.jobs.leases import next_leases, random_token
from overseer.jobs.rates import pace
from overseer.jobs.states import FAILED, UNSTARTED, Forms, Lease, Reason
from overseer.jobs.store.commit import LOST_RACE

if TYPE_CHECKING:
    from factstore import Connection, Database, TxReport

log = logging.getLogger("overseer")

_MAX_RACES: Final = 8  # consecutive lost races after which the jobs are left to the other workers


class Claims:
    """The claims of one worker, and the starts of queues that it has seen."""

    def __init__(self, conn: Connection, worker: str, token: Callable[[], str] = random_token) -> None:
        self._conn = conn
        self._worker = worker
        self._token = token
        self._pace = pace(conn)

    def claim(
        self,
        jobs: Sequence[int],
        reports: list[TxReport],
        lease: timedelta,
        commit: Callable[[Forms], TxReport],
        suspect_from: int | None = None,
        alone: bool = True,
        fits: Callable[[Sequence[Keyword]], int] = len,
    ) -> list[Job]:
        """Claim jobs in one transaction, whose report is appended to `reports`; see `JobStore.claim`."""
        for _ in range(_MAX_RACES):
            db = self._conn.db()
            candidates = [about for about in lookup.attributes_of(db, jobs) if _is_claimable(about)]
            if suspect_from is not None:
                candidates = without_suspects(candidates, suspect_from, alone)
            candidates = candidates[: fits([about[":job/type"] for about in candidates])]
            admitted, limits, paced = self._admitted(db, candidates)
            if not admitted:
                break
            leases = next_leases(admitted, worker=self._worker, lasts=lease, token=self._token)
            forms = [*txns.claim(leases, [about.get(":job/attempt") for about in admitted], lasts=lease), *limits]
            try:
                reports.append(commit(forms))
            except TransactError as error:
                if error.code in LOST_RACE:
                    continue  # another worker claimed some of them first: claim the rest
                return self._claim_each(leases, reports, lease, error)
            except StorageError as error:
                if not is_busy(error):
                    raise
                return []
            return self._claimed(leases, admitted, paced, reports[-1].db_after)
        return []

    def _claim_each(
        self, leases: Sequence[Lease], reports: list[TxReport], lease: timedelta, error: TransactError
    ) -> list[Job]:
        """Claim jobs one by one after their common transaction was rejected; fail the only one."""
        if len(leases) > 1:
            return [job for one in leases for job in self.claim([one.job], reports, lease, self._conn.transact)]
        self._fail_unclaimable(leases[0], error)
        return []

    def _claimed(
        self, leases: Sequence[Lease], jobs: Sequence[Mapping[str, Any]], paced: Sequence[Keyword], after: Database
    ) -> list[Job]:
        """Return the jobs as their handlers see them.

        Args:
            paced: the queues with a rate; the starts that this claim added to them happened now.
        """
        if paced:
            self.paced_queues(after, self._conn.now(), paced)
        t = after.basis_t
        held = [Lease(won.job, won.id, won.type, won.attempt, won.token, won.worker, t) for won in leases]
        return [
            Job(own, {**about, **txns.claimed(own)}, conn=self._conn, db=after)
            for own, about in zip(held, jobs, strict=True)
        ]

    def _admitted(self, db: Database, jobs: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], Forms, list[Keyword]]:
        """Return the jobs that their queues let start, the forms that check the limits, and the queues with a rate."""
        if not any(":job/queue" in about for about in jobs):
            return jobs, [], []
        lanes = [(about.get(":job/queue"), about.get(":job/partition")) for about in jobs]
        now = self._conn.now()
        limited = self.paced_queues(db, now, {name for name, _ in lanes if name is not None})
        if not limited:
            return jobs, queues.admitted(lanes), []
        allowance, chosen = queues.allowance(db, now, limited), list[int]()
        for n, lane in enumerate(lanes):
            if allowance.admits(lane):
                allowance.take(lane)
                chosen.append(n)
        counts = Counter(lanes[n][0] for n in chosen)
        starts = [
            form for name, count in counts.items() if name in limited for form in limited[name].started(count, now)
        ]
        forms = [*queues.admitted([lanes[n] for n in chosen]), *starts]
        return [jobs[n] for n in chosen], forms, [name for name, queue in limited.items() if queue.rate]

    def paced_queues(
        self, db: Database, now: datetime, names: Iterable[Keyword] | None = None
    ) -> dict[Keyword, queues.Queue]:
        """Return the queues that have settings, by name, with their starts as this worker saw them."""
        settings = queues.queues(db, names)
        for name, queue in settings.items():
            if queue.rate:
                settings[name] = queue._replace(starts=self._pace.seen(queue.eid, queue.starts, queue.period, now))
        return settings

    def _fail_unclaimable(self, lease: Lease, error: TransactError) -> None:
        """Fail a job whose facts make every claim fail; raise the error of the claim when that fails, too."""
        log.error("%s %s cannot be claimed, and is failed: %s", lease.type, lease.id, error.message)
        failure = {Keyword(":reason"): Reason.UNCLAIMABLE, Keyword(":message"): error.message}
        down = lookup.doomed_dependents(self._conn.db(), {lease.job: FAILED})
        try:
            self._conn.transact(txns.fail_unclaimable(lease.job, by=self._worker, failure=failure, dependents=down))
        except TransactError as again:
            if again.code not in LOST_RACE:  # otherwise the next worker that finds the job tries again
                raise error from again


def _is_claimable(about: Mapping[str, Any]) -> bool:
    return about.get(":job/status") == UNSTARTED and ":job/id" in about and ":job/type" in about
