"""Commits what attempts come to: those that end close together in one transaction.

It does so on a thread of its own: while one group is being written the next gathers, so a slow disk makes larger groups, not a longer
queue. Where handlers run on the worker's own thread, that thread settles too, together with its next claim.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from threading import Condition, Thread
from typing import Any

from overseer.errors import LeaseLost, Verdict
from overseer.events import Failed, Finished, JobEvent, Listeners, Lost, Released, Retried
from overseer.handler import message_of
from overseer.jobs.job import Job
from overseer.jobs.states import FINISHED, UNSTARTED, Reason
from overseer.jobs.store import JobStore, Rejected, Settling
from overseer.worker.heartbeat import Heartbeat
from overseer.worker.judge import EndedAttempt, Judge

log = logging.getLogger("overseer")


class Settler:
    """Settles attempts until it is stopped; without having been started, only when told to, by `flush` or by `begin` and `end`.

    Args:
        listeners: are told of what was recorded, and of what was refused.
        judge: judges the attempts whose facts the store rejects.
        flush: seconds that an outcome may wait for others to be written with.
        most: how many outcomes are written without waiting for more.
    """

    def __init__(
        self,
        store: JobStore,
        heartbeat: Heartbeat,
        listeners: Listeners,
        judge: Judge,
        *,
        flush: float = 0.0,
        most: int = 1,
    ) -> None:
        self._store = store
        self._heartbeat = heartbeat
        self._listeners = listeners
        self._judge = judge
        self._flush = flush
        self._most = most
        self._turn = Condition()  # guards what follows
        self._waiting: list[EndedAttempt] = []
        self._since = 0.0  # when the first of them came
        self._begun: list[tuple[Sequence[EndedAttempt], Settling]] = []  # by `begin`
        self._hurry = False
        self._stopping = False
        self._thread = Thread(target=self._run, name="overseer-settler", daemon=True)
        self.lost = 0  # attempts whose result was refused or dropped because somebody else held the job
        self.error: BaseException | None = None  # what ended the thread, if not `stop`

    def start(self) -> None:
        """Begin to settle as outcomes come in."""
        self._thread.start()

    def stop(self) -> None:
        """Settle what has come in, and then no more."""
        with self._turn:
            self._stopping = True
            self._turn.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        self.flush()

    @property
    def pending(self) -> int:
        """How many outcomes have not been taken up yet."""
        return len(self._waiting)

    def put(self, ended: EndedAttempt, *, at_once: bool = False) -> None:
        """Settle an outcome soon.

        Args:
            at_once: nothing else is under way that could be written with it.
        """
        with self._turn:
            if not self._waiting:
                self._since = time.monotonic()
            self._waiting.append(ended)
            self._hurry = self._hurry or at_once or len(self._waiting) >= self._most
            if self._hurry or len(self._waiting) == 1:
                self._turn.notify_all()

    def drop(self, job: Job) -> None:
        """Take note of an attempt whose job is no longer ours: whatever it came to is nobody's."""
        self._heartbeat.let_go(job.lease)
        with self._turn:
            self.lost += 1
        log.warning("attempt %d of %s %s no longer holds it; what it came to is dropped", job.attempt, job.type, job.id)
        self.tell(Lost, job)

    def flush(self) -> None:
        """Settle what has come in, here and now."""
        group = self._taken()
        if group:
            self._settle(group)

    def _taken(self) -> list[EndedAttempt]:
        with self._turn:
            waiting, self._waiting, self._hurry = self._waiting, [], False
        return waiting

    @property
    def is_watched(self) -> bool:
        """Whether anybody is told of events."""
        return bool(self._listeners)

    def tell(self, event: Callable[..., JobEvent], job: Job, **particulars: Any) -> None:
        """Tell the listeners, if there are any."""
        if self._listeners:
            now, lease = self._store.conn.now(), job.lease
            self._listeners.tell(
                event(at=now, worker=self._store.worker, lease=lease, attributes=job.attributes, **particulars)
            )

    @property
    def is_due(self) -> bool:
        """Whether some outcome has waited for as long as one may."""
        return bool(self._waiting) and time.monotonic() - self._since >= self._flush

    def begin(self) -> None:
        """Begin to settle what has come in, and return at once."""
        group = self._taken()
        if group:
            self._heartbeat.let_go(*(ended.job.lease for ended in group))
            self._begun.append((group, self._store.settling([(ended.job.lease, ended.outcome) for ended in group])))

    def end(self) -> bool:
        """Wait until all is settled that has come in; False when there was nothing."""
        self.begin()
        begun, self._begun = self._begun, []
        for group, settling in begun:
            self._told(group, self._store.settled(settling))
        return bool(begun)

    def _run(self) -> None:
        try:
            while self._wait():
                self.flush()
        except BaseException as error:
            log.exception("settling failed; the worker will stop")
            self.error = error

    def _wait(self) -> bool:
        """Wait until there is a group to settle; False when there will be none any more."""
        with self._turn:
            self._turn.wait_for(lambda: self._waiting or self._stopping)
            self._turn.wait_for(lambda: self._hurry or self._stopping, self._flush)
            return bool(self._waiting)

    def _settle(self, group: Sequence[EndedAttempt]) -> None:
        """Commit outcomes; one whose facts were refused fails its job instead."""
        # First, or a beat that comes too late would take the settled job for a lost one.
        self._heartbeat.let_go(*(ended.job.lease for ended in group))
        self._told(group, self._store.settle([(ended.job.lease, ended.outcome) for ended in group]))

    def _told(self, group: Sequence[EndedAttempt], rejections: Rejected) -> None:
        """Take note of what was recorded and what was not."""
        rejected = dict(rejections)
        refused = []
        for ended in group:
            error = rejected.get(ended.job.lease)
            if error is None:
                self._record(ended)
            elif isinstance(error, LeaseLost):
                self.drop(ended.job)
            else:
                refused.append(self._judge.of_error(ended.job, error, ended.seconds))
        if refused:
            self._settle(refused)

    def _record(self, ended: EndedAttempt) -> None:
        """Say what became of an attempt."""
        job, outcome, error = ended.job, ended.outcome, ended.error
        if error is not None:
            level = (
                logging.INFO if ended.suppressed else logging.WARNING if outcome.status == UNSTARTED else logging.ERROR
            )
            trace = None if isinstance(error, Verdict) else error
            log.log(
                level,
                "%s %s attempt %d %s: %s",
                job.type,
                job.id,
                job.attempt,
                outcome.status.name,
                message_of(error),
                exc_info=trace,
            )
        elif log.isEnabledFor(logging.DEBUG):
            log.debug(
                "%s %s attempt %d: %s in %.3f s", job.type, job.id, job.attempt, outcome.status.name, ended.seconds
            )
        if not self._listeners:
            return
        if outcome.status == FINISHED:
            self.tell(Finished, job, seconds=ended.seconds)
        elif outcome.reason == Reason.INTERRUPTED:
            self.tell(Released, job)
        else:
            told = {"seconds": ended.seconds, "error": error, "reason": outcome.reason, "suppressed": ended.suppressed}
            if outcome.status == UNSTARTED:
                self.tell(Retried, job, run_at=outcome.run_at, **told)
            else:
                self.tell(Failed, job, status=outcome.status, **told)
