"""Groups: transactions that wait are prepared one on top of another, and appended together.

    group n      prepare ──► append ──────────────► applied: newest database, listeners, outcomes
    group n + 1                 ╰─► prepare ahead ─────────────────────────╰─► prepare the rest ──► append

While the storage appends a group, the next one is prepared on top of it, if the storage can append while its caller
continues (`Starting`). What was prepared ahead is in memory only: no reader, listener or client gets anything of it.
Law: a group is appended only after the group that it was prepared on top of was applied, and while that is the newest
one. Otherwise what was prepared ahead is discarded, and its transactions are prepared again.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from threading import Event
from typing import Final, TypeVar

from factstore import log
from factstore.columns.topics import topics_of
from factstore.commit import outcome
from factstore.commit.background import Background, Request
from factstore.commit.clock import machine_clock
from factstore.commit.following import Newest
from factstore.commit.outcome import Sent
from factstore.concurrency.locks import ring, silent_bell
from factstore.db.snapshot import Snapshot
from factstore.errors import Conflict, StorageError, UnknownOutcome
from factstore.storage import Appending, Noting, Starting, Storage
from factstore.storage.patience import FAILOVER_SECONDS, Patience
from factstore.transact import Prepared, TxReport

T = TypeVar("T")

MAX_GROUP: Final = 1000  # transactions in one append
# Transactions that are prepared ahead together. Waking the thread for each one would cost more than it gains.
LEAST_AHEAD: Final = 8
_RACES_BEFORE_TURN: Final = 2  # lost races after which the writer lock is requested before the next attempt
# After this number of commits in a row without one of another process, the writer lock is no longer acquired first.
CONTENDED: Final = 8


class Group:
    """Transactions that are prepared one on top of another, and appended together."""

    __slots__ = ("newest", "records", "rejected", "reports", "requests", "start", "topics")

    def __init__(self, start: Snapshot) -> None:
        """Make an empty group on top of a database."""
        self.start = self.newest = start
        self.requests: list[Request] = []  # all, in their order
        self.rejected: dict[Request, BaseException] = {}
        self.reports: list[tuple[Request, TxReport]] = []
        self.records: list[tuple[bytes, bytes]] = []  # txid, body
        self.topics: list[Sequence[int] | None] = []

    def is_begin_of(self, requests: Sequence[Request], now: Snapshot) -> bool:
        """Return whether the group contains the first of these requests, on top of a database."""
        return self.start is now and list(requests[: len(self.requests)]) == self.requests


class GroupCommitter(Newest):
    """Commits the transactions that wait, in groups."""

    def __init__(
        self,
        storage: Storage,
        *,
        cache_bytes: int,
        clock: Callable[[], int] = machine_clock,
        busy_timeout: float | None = None,
    ) -> None:
        super().__init__(storage, cache_bytes=cache_bytes, clock=clock, busy_timeout=busy_timeout)
        self._encode = log.Encoder().encode
        self._txid = int.from_bytes(os.urandom(10)) << 48  # the newest: random, and then a number of its own
        self._notes = isinstance(storage, Noting) and storage.notes
        self._starting = storage if isinstance(storage, Starting) else None
        self._contended = 0  # how many commits must acquire the writer lock first, because another process commits too
        self._background = Background(self._turn, self._commit_waiting)
        self._waiting = self._background.waiting
        # What was prepared ahead on top of the newest database. Its facts are in the novelty, so memory is unsettled,
        # and the next holder of the turn that is no group settles.
        self._prepared: Group | None = None

    def _settle(self) -> None:
        """Bring memory in line with the log, and discard what was prepared ahead. Requires the turn."""
        self._prepared = None
        super()._settle()

    def _commit_waiting(self, waiting: deque[Request], answered: deque[Request]) -> None:
        """Commit the requests in the background's queue; requests that have an outcome move to the other queue."""
        try:
            with self._turn:
                self._commit_requests(_first(waiting))
                _move(waiting, answered)
        except BaseException as error:
            self._release()
            with self._turn:
                self._prepared = None
                for request in _first(waiting):
                    self._conclude(request, error)
                _move(waiting, answered)
            if not isinstance(error, Exception):
                raise
        self._consider_indexing()

    def _commit_requests(self, group: Sequence[Request]) -> None:
        """Give each request an outcome. Requires the turn."""
        assert self._turn.is_mine
        if self._unsettled and not (self._prepared and self._prepared.is_begin_of(group, self._now)):
            self._settle()
        for request in group[len(self._prepared.requests) :] if self._prepared else group:
            if request.outcome is None and not request.begin():
                request.outcome = CancelledError()  # its future has ended already
            elif request.outcome is None and request.sent:
                self._conclude(request, None)  # an earlier attempt was interrupted
        open_requests = [request for request in group if request.outcome is None]
        try:
            self._racing(lambda: self._commit_group(open_requests, len(group)))
        except Exception as error:
            self._release()
            if not outcome.is_outage(error):  # otherwise the next holder of the turn settles, when the storage is back
                self._settle()
            for request in open_requests:
                self._conclude(request, error)

    def _conclude(self, request: Request, error: BaseException | None) -> None:
        """Give an interrupted request its outcome: its report if its append was applied, otherwise the error.

        Args:
            error: None leaves a request that was not applied in the queue, for another attempt.
        """
        if request.outcome is not None:
            return
        if isinstance(error, UnknownOutcome):  # the storage was asked in vain, and would be waited for again
            request.outcome = error if request.sent else outcome.not_applied(error)
            return
        try:
            is_applied = outcome.applied_t(self.storage, request.sent) is not None
        except StorageError as unreadable:
            request.outcome = outcome.unknown(error, request.sent, unreadable)
            return
        request.sent = ()
        if is_applied:
            request.outcome = request.report
        elif error is not None:
            request.outcome = error

    def _commit_group(self, requests: Sequence[Request], taken: int) -> None:
        """Prepare each transaction on top of the one before it, append all, notify the listeners. Requires the turn.

        Args:
            taken: the number of requests at the begin of the queue that have an outcome, or are these.
        """
        assert self._turn.holders
        group = self._group_of(requests)
        try:
            ahead = self._append_group(group, taken)
        except StorageError:
            group.start.novelty.repair(group.start.t)
            self._unsettled = False
            raise
        self._now = group.newest  # not earlier: no reader may see a database whose facts are not in the log
        for _, report in group.reports if self.listeners else ():
            self._notify(report)
        self._unsettled = ahead is not None
        for request, report in group.reports:
            request.outcome = report
        for request, rejection in group.rejected.items():
            request.outcome = rejection
        self._prepared = ahead

    def _group_of(self, requests: Sequence[Request]) -> Group:
        """Return the prepared group of these requests: what was prepared ahead, if that still holds, and the rest."""
        group, self._prepared = self._prepared, None
        if group is not None and not group.is_begin_of(requests, self._now):
            self._now.novelty.repair(self._now.t)
            group = None
        self._unsettled = True
        group = group or Group(self._now)
        for request in requests[len(group.requests) :]:
            self._prepare(group, request)
        return group

    def _prepare(self, group: Group, request: Request) -> None:
        """Prepare a transaction on top of a group, and make it a part of the group."""
        newest = group.newest
        try:
            prepared = request.preparation(newest, self._time(newest))
            after, report, record = self._result_of(newest, prepared, request.txid)
        except Exception as error:
            group.rejected[request] = error
        else:
            newest.novelty.append(after.t, prepared.facts, prepared.columns)  # the next preparation reads it
            group.reports.append((request, report))
            group.records.append(record)
            group.topics.append(self._topics_of(prepared))
            group.newest = after
        group.requests.append(request)

    def _time(self, before: Snapshot) -> int:
        """Return the time by the clock, in microseconds; warn when the newest transaction is ahead of it."""
        now = self.clock()
        if now < before.instant:
            self._ahead.look(before.instant, now)
        return now

    def _result_of(
        self, before: Snapshot, prepared: Prepared, txid: bytes | None
    ) -> tuple[Snapshot, TxReport, tuple[bytes, bytes]]:
        """Return the database after a transaction, its report, and its record with the txid, or a new one."""
        t, facts, columns = before.t + 1, prepared.facts, prepared.columns
        next_n, instant, index, novelty = prepared.next_n, prepared.instant, before.index, before.novelty
        schema = before.schema if prepared.keeps_schema else before.schema.plus(facts)
        after = Snapshot(index, novelty, schema, before.cache, t, next_n, instant, before.store)
        all_facts = facts if columns is None else log.AllFacts(facts, columns)
        if txid is None:
            self._txid += 1
            txid = self._txid.to_bytes(16)
        return (
            after,
            TxReport(before, after, all_facts, prepared.tempids),
            (txid, self._encode(t, instant, next_n, facts, columns)),
        )

    def _topics_of(self, prepared: Prepared) -> Sequence[int] | None:
        """Return the topics of a transaction; None if the storage does not note them, or if they are not known."""
        return topics_of(prepared.facts) if self._notes and prepared.columns is None else None

    # -- appending

    def _append_group(self, group: Group, taken: int) -> Group | None:
        """Append the records of a group, all or none, and return what was prepared ahead. Requires the turn."""
        start, records, topics = group.start, group.records, _topics_of_group(group.topics)
        if not records:
            self._require_newest(start)
            return None
        sent: Sent = [(records[-1][0], start.t)]  # either all are applied or none, so the last one is enough
        for request, report in group.reports:
            request.report = report
            request.sent = sent
        ahead = None
        try:
            if self._starting is None:
                self.storage.append(records, expected_t=start.t, topics=topics)
            else:
                appending = self._starting.start_append(records, expected_t=start.t, topics=topics)
                ahead = self._prepared_ahead(Group(group.newest), taken, appending)
                appending.result()
        except StorageError as error:
            self._retry(error, records, start.t, sent)
            group.newest.novelty.repair(group.newest.t)  # the storage was away for some time, so begin again
            ahead = None
        return ahead

    def _prepared_ahead(self, group: Group, taken: int, appending: Appending) -> Group | None:
        """Prepare transactions that wait while a group is appended, as long as that takes.

        Args:
            group: an empty one, on top of the one that is appended.
            taken: the number of requests at the begin of the queue that are not part of the group.
        """
        waiting, background, bell = self._waiting, self._background, silent_bell()
        appending.when_done(partial(ring, bell))
        at = taken
        try:
            while not appending.is_done:
                if at - taken >= MAX_GROUP or background.has_less_than(at + LEAST_AHEAD, bell):
                    bell.acquire()
                while at < min(len(waiting), taken + MAX_GROUP) and not appending.is_done:
                    if not self._prepared_next(group, waiting[at]):
                        return group
                    at += 1
        except Exception:  # a `MemoryError`, for example: the transactions are prepared later
            group.start.novelty.repair(group.start.t)
            return None
        background.forget(bell)
        return group if group.requests else None

    def _prepared_next(self, group: Group, request: Request) -> bool:
        """Prepare a transaction ahead; return False if it is the rest of an interrupted attempt, which comes first."""
        if request.outcome is not None or request.sent:
            return False
        if request.begin():
            self._prepare(group, request)
        else:
            group.rejected[request] = CancelledError()  # its future has ended already
            group.requests.append(request)
        return True

    def _racing(self, attempt: Callable[[], T]) -> T:
        """Run an attempt until no other process was first. Requires the turn.

        While other processes commit too, the writer lock is acquired before the attempt, so that its work is not lost.
        """
        assert self._turn.is_mine
        for _ in range(0 if self._contended else _RACES_BEFORE_TURN):
            try:
                return attempt()
            except Conflict:
                self._contended = CONTENDED
                self._settle()
        with self.storage.turn(may_pass=True, doing="a transaction"):
            if self.storage.head() == self._now.t:
                self._contended = max(0, self._contended - 1)
            else:
                self._contended = CONTENDED
                self._settle()
            return attempt()

    def _retry(self, error: StorageError, records: Sequence[tuple[bytes, bytes]], expected_t: int, sent: Sent) -> None:
        """Append records again after a lost answer, unless they are in the log; otherwise raise the error.

        Empties `sent` if it raises an error and certainly nothing was applied.

        Raises: the error of the append if its outcome is known, such as Conflict; Unavailable, if the answer of each
            attempt in the time of `busy_timeout` was lost, and none was applied; UnknownOutcome, if the storage cannot
            be reached to find that out.
        """
        seconds = FAILOVER_SECONDS if self._turn.timeout is None else min(self._turn.timeout, FAILOVER_SECONDS)
        patience, is_first, is_last = Patience(seconds, Event()), True, False
        while isinstance(error, UnknownOutcome):
            if outcome.is_applied(self.storage, error, sent):
                return
            if is_last:
                error = outcome.not_applied(error)
                break
            is_first, is_last = False, not (is_first or patience.wait())
            try:
                self.storage.append(records, expected_t=expected_t)
            except StorageError as again:
                error = again
            else:
                return
        sent.clear()
        raise error

    def _require_newest(self, before: Snapshot) -> None:
        """Raise a Conflict if other processes have committed since, because then a rejection may no longer hold."""
        if self.storage.head() > before.t:
            raise Conflict(":db.error/storage-conflict", f"others have committed since t={before.t}")

    def _release(self) -> None:
        """Release what an interrupted call of this thread still holds. A storage that fails here has failed before."""
        self._turn.give_left_over()
        with suppress(StorageError):
            self.storage.release_turn()


def _topics_of_group(topics: Sequence[Sequence[int] | None]) -> Sequence[int] | None:
    """Return the topics of a group of transactions; None if those of one are not known."""
    known = [each for each in topics if each is not None]
    return None if len(known) < len(topics) else list({topic for each in known for topic in each})


def _first(waiting: deque[Request]) -> list[Request]:
    # By position: other threads append to the queue in the meantime, which an iterator rejects.
    return [waiting[i] for i in range(min(len(waiting), MAX_GROUP))]


def _move(waiting: deque[Request], answered: deque[Request]) -> None:
    while waiting and waiting[0].outcome is not None:
        answered.append(waiting[0])  # an exception before the next line delivers an outcome twice, which does no harm
        waiting.popleft()
