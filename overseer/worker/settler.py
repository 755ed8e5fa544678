"""Settles attempts: commits their outcomes, with those that end close together in one transaction.

Where handlers run beside the worker's thread, a `ThreadSettler` commits on a thread of its own. While it writes one
group, the next group gathers, so a slow disk makes larger groups instead of a longer queue. Where handlers run on the
worker's thread, an `InlineSettler` commits on that thread too, in one transaction with the next claim.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any, Final

from factstore import FactStoreError
from factstore.concurrency.limits import started
from overseer.errors import LeaseLost, Verdict
from overseer.events import Failed, Finished, JobEvent, Listeners, Lost, Released, Retried
from overseer.handler import message_of
from overseer.jobs.job import Job
from overseer.jobs.states import FINISHED, UNSTARTED, Forms, Lease, Outcome, Reason
from overseer.jobs.store import JobStore, Rejected, Settling
from overseer.jobs.waits import Waiting
from overseer.worker.heartbeat import HeldLeases
from overseer.worker.judge import EndedAttempt, Judge

if TYPE_CHECKING:
    from factstore import TxReport

log = logging.getLogger("overseer")

_MAX_PENDING: Final = 1000  # unsettled outcomes from which on no further job is claimed


def _at(time: datetime | None) -> str:
    return "" if time is None else f" at {time.isoformat(timespec='seconds')}"


class Reporter:
    """Writes what happens to attempts to the log, and notifies the listeners."""

    def __init__(self, store: JobStore, listeners: Listeners) -> None:
        self._store = store
        self._listeners = listeners

    @property
    def has_listeners(self) -> bool:
        """Whether there is any listener."""
        return bool(self._listeners)

    def notify(self, event: Callable[..., JobEvent], job: Job, **details: Any) -> None:
        """Notify the listeners of an event, if there are any."""
        if self._listeners:
            now, lease = self._store.conn.now(), job.lease
            self._listeners.tell(
                event(at=now, worker=self._store.worker, lease=lease, attributes=job.attributes, **details)
            )

    def lost(self, job: Job) -> None:
        """Report an attempt that no longer holds its job."""
        log.warning("attempt %d of %s %s no longer holds it; its outcome is dropped", job.attempt, job.type, job.id)
        self.notify(Lost, job)

    def settled(self, ended: EndedAttempt) -> None:
        """Report an attempt whose outcome is committed."""
        if ended.error is not None:
            self._log_error(ended, ended.error)
        elif log.isEnabledFor(logging.DEBUG):
            job, status = ended.job, ended.outcome.status.name
            log.debug("%s %s attempt %d: %s in %.3f s", job.type, job.id, job.attempt, status, ended.seconds)
        if self._listeners:
            self._notify_of_outcome(ended)

    def _log_error(self, ended: EndedAttempt, error: BaseException) -> None:
        job, status = ended.job, ended.outcome.status
        level = logging.INFO if ended.suppressed else logging.WARNING if status == UNSTARTED else logging.ERROR
        text, trace = message_of(error), None if isinstance(error, Verdict) else error
        if isinstance(error, Waiting):
            end = "ended"  # the text says how long the job waits at most
        else:
            end = status.name if status != UNSTARTED else f"ended, and the job runs again{_at(ended.outcome.run_at)}"
        log.log(level, "%s %s attempt %d %s: %s", job.type, job.id, job.attempt, end, text, exc_info=trace)

    def _notify_of_outcome(self, ended: EndedAttempt) -> None:
        job, outcome = ended.job, ended.outcome
        if outcome.status == FINISHED:
            self.notify(Finished, job, seconds=ended.seconds)
        elif outcome.reason == Reason.INTERRUPTED:
            self.notify(Released, job)
        else:
            details = {
                "seconds": ended.seconds,
                "error": ended.error,
                "reason": outcome.reason,
                "suppressed": ended.suppressed,
            }
            if outcome.status == UNSTARTED:
                self.notify(Retried, job, run_at=outcome.run_at, **details)
            else:
                self.notify(Failed, job, status=outcome.status, **details)


class Settler(ABC):
    """Commits the outcomes of attempts in groups, and reports which were committed and which were rejected.

    Args:
        leases: the leases that the heartbeat renews; the lease of an ended attempt is removed.
        judge: judges the attempts whose facts the store rejects.
        flush: seconds that an outcome may wait for others of its group.
    """

    def __init__(
        self, store: JobStore, leases: HeldLeases, reporter: Reporter, judge: Judge, *, flush: float = 0.0
    ) -> None:
        self._store = store
        self._leases = leases
        self._reporter = reporter
        self._judge = judge
        self._flush = flush
        self._turn = Condition()  # guards the attributes below
        self._ended: list[EndedAttempt] = []  # the attempts to settle
        self._since = 0.0  # when the first of them ended, on the monotonic clock
        self.lost = 0  # attempts whose outcome was rejected or dropped because their lease was lost
        self.error: BaseException | None = None  # the exception that ended the settler's thread

    @abstractmethod
    def start(self) -> None:
        """Begin to settle outcomes as they arrive."""

    @abstractmethod
    def stop(self) -> None:
        """Settle the pending outcomes, and end."""

    @property
    def pending(self) -> int:
        """The number of outcomes that wait to be settled."""
        return len(self._ended)

    @property
    @abstractmethod
    def is_behind(self) -> bool:
        """Whether so much is pending that no further job should be claimed."""

    @abstractmethod
    def put(self, ended: EndedAttempt, *, at_once: bool = False) -> None:
        """Settle an outcome soon.

        Args:
            at_once: no other attempt is open whose outcome could be committed with it.
        """

    @abstractmethod
    def settle_due(self) -> None:
        """Settle, on the worker's thread and between two handlers, outcomes that have waited for `flush` seconds."""

    @abstractmethod
    def settle_for_blocked_loop(self) -> None:
        """Settle the pending outcomes from another thread, because a handler may block the worker's thread."""

    @abstractmethod
    def commit(self, forms: Forms) -> TxReport:
        """Commit a claim on the worker's thread, perhaps with pending outcomes in the same transaction."""

    @abstractmethod
    def catch_up(self) -> bool:
        """Settle the pending outcomes on the worker's thread; False if this thread has none to settle."""

    def flush(self) -> None:
        """Settle the pending outcomes now, on the thread of the caller."""
        group = self._take()
        if group:
            self._settle(group)

    def drop(self, job: Job) -> None:
        """Drop an attempt that no longer holds its job."""
        self._leases.remove(job.lease)
        with self._turn:
            self.lost += 1
        self._store.presence.lost(job.lease)
        self._reporter.lost(job)

    def _take(self) -> list[EndedAttempt]:
        with self._turn:
            ended, self._ended = self._ended, []
        return ended

    def _settle(self, group: Sequence[EndedAttempt]) -> None:
        """Commit outcomes. A job whose facts are rejected fails instead."""
        self._report(group, self._store.settle(self._without_leases(group)))

    def _without_leases(self, group: Sequence[EndedAttempt]) -> list[tuple[Lease, Outcome]]:
        """Return the outcomes to commit, whose leases are no longer renewed: a later beat would report them as lost."""
        self._leases.remove(*(ended.job.lease for ended in group))
        return [(ended.job.lease, ended.outcome) for ended in group]

    def _report(self, group: Sequence[EndedAttempt], rejections: Rejected) -> None:
        """Report what was committed, and settle again what was rejected because of its facts."""
        errors = dict(rejections)
        rejected = []
        for ended in group:
            error = errors.get(ended.job.lease)
            if error is None:
                self._reporter.settled(ended)
            elif isinstance(error, LeaseLost):
                self.drop(ended.job)
            else:
                rejected.append(self._judge.of_error(ended.job, error, ended.seconds))
        if rejected:
            self._settle(rejected)


class InlineSettler(Settler):
    """Settles on the worker's own thread, which also runs the handlers: with the next claim, or when called."""

    def __init__(
        self, store: JobStore, leases: HeldLeases, reporter: Reporter, judge: Judge, *, flush: float = 0.0
    ) -> None:
        super().__init__(store, leases, reporter, judge, flush=flush)
        self._begun: list[tuple[Sequence[EndedAttempt], Settling]] = []  # groups whose transactions are under way

    def start(self) -> None:
        """Do nothing: the worker's thread settles."""

    def stop(self) -> None:
        """Settle the pending outcomes."""
        self.flush()

    @property
    def is_behind(self) -> bool:
        """False: the thread that claims settles first."""
        return False

    def put(self, ended: EndedAttempt, *, at_once: bool = False) -> None:
        """Keep an outcome until the worker's thread settles it."""
        with self._turn:
            if not self._ended:
                self._since = time.monotonic()
            self._ended.append(ended)

    def settle_due(self) -> None:
        """Settle the pending outcomes if the first has waited for `flush` seconds."""
        if self._ended and time.monotonic() - self._since >= self._flush:
            self.flush()

    def settle_for_blocked_loop(self) -> None:
        """Settle the pending outcomes."""
        self.flush()

    def commit(self, forms: Forms) -> TxReport:
        """Commit a claim in one transaction with the pending outcomes.

        Those with facts have transactions of their own. If the common transaction is rejected, the other outcomes are
        settled without the claim.
        """
        if not all(ended.outcome.is_plain for ended in self._ended):
            self._begin()
        group = self._take() if self._ended else []
        if not group:
            return self._store.conn.transact(forms)
        try:
            report = self._store.settle_with(self._without_leases(group), forms)
        except FactStoreError:
            self._begin(group)
            raise
        except BaseException:
            self._ended[:0] = group
            raise
        self._report(group, [])
        return report

    def catch_up(self) -> bool:
        """Settle the pending outcomes, and wait for those that a claim began to settle; False if there were none."""
        self._begin()
        begun, self._begun = self._begun, []
        for group, settling in begun:
            self._report(group, self._store.settled(settling))
        return bool(begun)

    def _begin(self, group: Sequence[EndedAttempt] | None = None) -> None:
        """Begin to settle a group of outcomes; None is the pending ones."""
        group = self._take() if group is None else group
        if group:
            self._begun.append((group, self._store.settling(self._without_leases(group))))


class ThreadSettler(Settler):
    """Settles on a thread of its own.

    Args:
        most: the number of pending outcomes that are settled without waiting for more.
    """

    def __init__(
        self,
        store: JobStore,
        leases: HeldLeases,
        reporter: Reporter,
        judge: Judge,
        *,
        flush: float = 0.0,
        most: int = 1,
    ) -> None:
        super().__init__(store, leases, reporter, judge, flush=flush)
        self._most = most
        self._hurry = False  # whether the pending outcomes are settled without waiting for more
        self._stopping = False
        self._thread = Thread(target=self._run, name="overseer-settler", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        started(self._thread)

    def stop(self) -> None:
        """Let the thread settle the pending outcomes and end."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self.flush()

    @property
    def is_behind(self) -> bool:
        """Whether the disk needs time to catch up."""
        return len(self._ended) > _MAX_PENDING

    def put(self, ended: EndedAttempt, *, at_once: bool = False) -> None:
        """Settle an outcome within `flush` seconds."""
        with self._turn:
            self._ended.append(ended)
            self._hurry = self._hurry or at_once or len(self._ended) >= self._most
            if self._hurry or len(self._ended) == 1:
                self._turn.notify_all()

    def settle_due(self) -> None:
        """Do nothing: the settler's thread settles."""

    def settle_for_blocked_loop(self) -> None:
        """Do nothing: the settler's thread settles, whatever the worker's thread does."""

    def commit(self, forms: Forms) -> TxReport:
        """Commit only the claim: the settler's thread settles, not the thread that claims."""
        return self._store.conn.transact(forms)

    def catch_up(self) -> bool:
        """Return False: the settler's thread settles."""
        return False

    def _take(self) -> list[EndedAttempt]:
        with self._turn:
            ended, self._ended, self._hurry = self._ended, [], False
        return ended

    def _run(self) -> None:
        try:
            while self._wait():
                self.flush()
        except BaseException as error:
            log.exception("settling failed; the worker will stop")
            self.error = error

    def _wait(self) -> bool:
        """Wait until there is a group to settle; False if no group will follow."""
        with self._turn:
            self._turn.wait_for(lambda: self._ended or self._stopping)
            self._turn.wait_for(lambda: self._hurry or self._stopping, self._flush)
            return bool(self._ended)
