"""Commits: transactions are appended to the log, and the newest database of this process moves on.

    transact ──────────────────────────► prepare ──► append to the log ──► novelty, newest database, listeners
    transact_async ──► background.py ──► prepare each against its predecessors ──► one append for all ──► the same
                                            ▲                              │ another process was first
                                            └────── catch up from the log ◄┘

There are two ways to commit: one transaction (`_commit_one`), and many that wait (`_commit_group`). Transactions that
arrive during a commit are appended together; each has its own t and its own report, and a rejection of one does not
affect the others.

Only the append takes effect. An exception after it, of a signal handler for example, becomes an `UnknownOutcome`
(outcome.py), and the next holder of the turn brings memory in line with the log (newest.py).
Law: after any exception anywhere, the transaction is in the log once or not at all, and memory agrees with the log.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, wait
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from threading import Event
from typing import Any, Final, TypeVar

from factstore import log
from factstore.columns.topics import topics_of
from factstore.commit import outcome
from factstore.commit.background import Awaited, Background, PendingReport, Report, Request
from factstore.commit.clock import machine_clock
from factstore.commit.following import Newest, transaction_open
from factstore.commit.indexing import LEAST_ROWS
from factstore.commit.outcome import Sent
from factstore.concurrency.forks import FORKED
from factstore.concurrency.locks import Block
from factstore.db.database import Database
from factstore.db.snapshot import Snapshot
from factstore.errors import Closed, Conflict, FactStoreError, StorageError, TransactError, UnknownOutcome
from factstore.index.build import Watch
from factstore.storage import Noting, Storage
from factstore.storage.patience import FAILOVER_SECONDS, Patience
from factstore.transact import Preparation, Prepared, TxReport, prepare, prepare_list

T = TypeVar("T")

MAX_GROUP: Final = 1000  # transactions in one append
_RACES_BEFORE_TURN: Final = 2  # lost races after which the writer lock is requested before the next attempt
# Number of forms from which on a transaction acquires the writer lock before it is prepared. Otherwise it would lose
# its races. Other threads of this process cannot commit during its preparation, and the writer lock shows that to other
# processes.
_LARGE: Final = 10_000
# After this number of commits in a row without one of another process, the writer lock is no longer acquired first.
_CONTENDED: Final = 8
_SETTLE_SECONDS: Final = 10.0  # how long an interrupted call waits for another thread that commits its transaction


class _Once:
    """The preparation of tx-data that may be an iterator, which yields its forms once; a lost race needs them again."""

    __slots__ = ("_tx_data",)

    def __init__(self, tx_data: Any) -> None:
        self._tx_data = tx_data

    def __call__(self, before: Snapshot, now: int) -> Prepared:
        """Prepare the tx-data on top of a database."""
        if isinstance(self._tx_data, Iterator):
            self._tx_data = list(self._tx_data)
        return prepare(before, self._tx_data, now=now)


class Committer(Newest):
    """The newest database of one store, and the only object of this process that commits to it."""

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
        self._turn_of_block: AbstractContextManager[None] = nullcontext()
        self._is_of_parent = False  # True in a forked child
        self._notes = isinstance(storage, Noting) and storage.notes
        self._contended = 0  # how many commits must acquire the writer lock first, because another process commits too
        self._background = Background(self._turn, self._commit_waiting)
        self._waiting = self._background.waiting

    # -- writing

    def transact(self, tx_data: Any) -> TxReport:
        """Commit tx-data and return the report; raises what `prepare` and the storage raise."""
        if type(tx_data) is list:
            return self.apply(partial(prepare_list, tx_data), exclusive=len(tx_data) >= _LARGE)
        return self.apply(_Once(tx_data))

    def apply(self, preparation: Preparation, *, exclusive: bool = False) -> TxReport:
        """Commit a change and return its report; raises what the preparation and the storage raise.

        Args:
            exclusive: acquire the writer lock before the preparation, for a change that takes long to prepare.
        """
        sent: Sent = []
        try:
            if exclusive:
                report = self._commit_alone(preparation, sent)
            elif self._waiting or not self._turn.enter_at_once():
                return self._answer(preparation, sent)
            else:
                try:
                    if self._unsettled:
                        self._settle()
                    try:
                        done = None if self._contended else self._commit_one(preparation, sent)
                    except Conflict:
                        self._contended, done = _CONTENDED, None
                    report = done or self._racing(partial(self._commit_one, preparation, sent))
                finally:
                    self._turn.leave()
            if exclusive or self._now.novelty.count > LEAST_ROWS:
                self._consider_indexing()
            return report
        except BaseException as error:
            self.ended(error, sent)
            raise

    def _commit_alone(self, preparation: Preparation, sent: Sent) -> TxReport:
        with self._turn, self.storage.turn(may_pass=True, doing="a load or a large transaction"):
            self._settle()
            return self._commit_one(preparation, sent)

    def _answer(self, preparation: Preparation, sent: Sent) -> TxReport:
        """Add a request to the background's queue, and wait for its outcome."""
        self.check_outside()
        future = self.future()
        request = Awaited(preparation, future)
        self._background.add(request)
        try:
            return future.result()
        except BaseException as error:
            if future.done() and not future.cancelled() and future.exception() is error:
                raise
            # This thread was interrupted. Cancel the request; if that is too late, it ends soon.
            if not future.cancel():
                wait([future], _SETTLE_SECONDS)
            sent += request.sent
            raise

    def transact_async(self, tx_data: Any) -> PendingReport:
        """Commit tx-data in the background; the future gives its report."""
        return self.apply_async(_Once(tx_data))

    def apply_async(self, preparation: Preparation) -> PendingReport:
        """Commit a change in the background; the future gives its report."""
        future = self.future()
        request = Awaited(preparation, future)
        try:
            self._background.add(request)
        except BaseException as error:
            if future.cancel():
                raise
            text = f"the transaction is in the queue and may be committed, but adding it raised {error!r}"
            raise UnknownOutcome(":db.error/storage-unknown-outcome", text, txids=request.sent) from error
        return future

    def submit(self, requests: Sequence[Request]) -> None:
        """Add requests to the queue; their futures get the outcomes, in the background thread."""
        self._background.add(*requests)

    @property
    def waiting(self) -> int:
        """The number of requests that have no outcome yet."""
        return len(self._waiting)

    def future(self) -> Report:
        """Return a future for the report of a commit."""
        future = Report()
        future.background = self._background
        return future

    # -- blocks of several steps

    def hold(self, block: Block) -> Database:
        """Acquire the turn and the writer lock for a block until `release`, and return the newest database."""
        if not self._turn.take(block, timeout=self._turn.timeout):
            raise transaction_open()
        self._turn_of_block = self.storage.turn(owner=block, may_pass=True, doing="a block of conn.transaction()")
        self._turn_of_block.__enter__()
        self._settle()
        return self._now.database

    def commit_in(self, block: Block, preparation: Preparation, sent: Sent) -> TxReport:
        """Commit a change within a block. Raises: Conflict, if others passed the block and have committed."""
        if not self._turn.is_held_by(block):
            raise outcome.passed()
        try:
            return self._commit_one(preparation, sent)
        except Conflict:
            raise outcome.passed() from None

    def release(self, block: Block) -> None:
        """Release the turn and the writer lock of a block; a second call does nothing."""
        if self._turn.is_held_by(block):
            self._turn_of_block.__exit__(None, None, None)
            self._turn.give(block)

    def retire(self) -> None:
        """End the background thread of a dropped connection when all waiting requests are committed."""
        self._background.retire()

    def close(self, *, wait: bool = True, progress: Watch | None = None) -> None:
        """Commit all waiting requests, and wait for indexing, or abandon it."""
        self._background.close()
        self._indexing.close(wait=wait, progress=progress)

    def after_fork(self) -> None:
        """End, in a forked child, the futures that only a thread of the parent would end."""
        self._is_of_parent = True
        self._background.after_fork(Closed(":db.error/storage-closed", f"{self.storage.description} {FORKED}"))

    # -- one transaction

    def _racing(self, attempt: Callable[[], T]) -> T:
        """Run an attempt until no other process was first. Requires the turn.

        While other processes commit too, the writer lock is acquired before the attempt, so that its work is not lost.
        """
        assert self._turn.is_mine
        for _ in range(0 if self._contended else _RACES_BEFORE_TURN):
            try:
                return attempt()
            except Conflict:
                self._contended = _CONTENDED
                self._settle()
        with self.storage.turn(may_pass=True, doing="a transaction"):
            if self.storage.head() == self._now.t:
                self._contended = max(0, self._contended - 1)
            else:
                self._contended = _CONTENDED
                self._settle()
            return attempt()

    def _commit_one(self, preparation: Preparation, sent: Sent) -> TxReport:
        """Prepare and commit one transaction, and continue from it. Requires the turn.

        Raises: Conflict, when another process was first; memory is unchanged then.
        """
        assert self._turn.holders
        before, now = self._now, self.clock()
        if now < before.instant:
            self._ahead.look(before.instant, now)
        try:
            prepared = preparation(before, now)
        except TransactError:
            self._require_newest(before)
            raise
        after, report, record = self._result_of(before, prepared, None)
        sent.append((record[0], before.t))
        try:
            self.storage.append((record,), expected_t=before.t, topics=self._topics_of(prepared))
        except StorageError as error:
            self._retry(error, (record,), before.t, sent)
        # Before the next line, memory is at most behind the log, which the next read of the head shows.
        self._unsettled = True
        before.novelty.append(after.t, prepared.facts, prepared.columns)
        self._now = after
        if self.listeners:
            self._notify(report)
        self._unsettled = False
        return report

    def _time(self, before: Snapshot) -> int:
        """Return the time by the clock, in microseconds; warn when the newest transaction is ahead of it."""
        now = self.clock()
        if now < before.instant:
            self._ahead.look(before.instant, now)
        return now

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

    # -- many transactions

    def _commit_waiting(self, waiting: deque[Request], answered: deque[Request]) -> None:
        """Commit the requests in the background's queue; requests that have an outcome move to the other queue."""
        try:
            with self._turn:
                group = _first(waiting)
                self._commit_requests(group)
                _move(waiting, answered)
        except BaseException as error:
            self._release()
            with self._turn:
                for request in _first(waiting):
                    self._conclude(request, error)
                _move(waiting, answered)
            if not isinstance(error, Exception):
                raise
        self._consider_indexing()

    def _commit_requests(self, group: Sequence[Request]) -> None:
        """Give each request an outcome. Requires the turn."""
        assert self._turn.is_mine
        if self._unsettled:
            self._settle()
        for request in group:
            if request.outcome is None and not request.begin():
                request.outcome = CancelledError()  # its future has ended already
            elif request.outcome is None and request.sent:
                self._conclude(request, None)  # an earlier attempt was interrupted
        open_requests = [request for request in group if request.outcome is None]
        try:
            self._racing(lambda: self._commit_group(open_requests))
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

    def _commit_group(self, group: list[Request]) -> None:
        """Prepare each transaction on top of the one before it, append all, notify the listeners. Requires the turn."""
        assert self._turn.holders
        start = newest = self._now
        rejected: dict[Request, Exception] = {}
        reports: list[tuple[Request, TxReport]] = []
        records: list[tuple[bytes, bytes]] = []  # txid, body
        topics: list[Sequence[int] | None] = []
        self._unsettled = True
        for request in group:
            try:
                prepared = request.preparation(newest, self._time(newest))
                after, report, record = self._result_of(newest, prepared, request.txid)
            except Exception as error:
                rejected[request] = error
                continue
            newest.novelty.append(after.t, prepared.facts, prepared.columns)  # the next preparation reads it
            reports.append((request, report))
            records.append(record)
            topics.append(self._topics_of(prepared))
            newest = after
        try:
            self._append_group(start, reports, records, _topics_of_group(topics))
        except StorageError:
            start.novelty.repair(start.t)
            self._unsettled = False
            raise
        self._now = newest  # not earlier: no reader may see a database whose facts are not in the log
        for _, report in reports if self.listeners else ():
            self._notify(report)
        self._unsettled = False
        for request, report in reports:
            request.outcome = report
        for request, rejection in rejected.items():
            request.outcome = rejection

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

    def _append_group(
        self,
        start: Snapshot,
        reports: Sequence[tuple[Request, TxReport]],
        records: Sequence[tuple[bytes, bytes]],
        topics: Sequence[int] | None,
    ) -> None:
        """Append the records of a group, all or none. Requires the turn."""
        if not records:
            self._require_newest(start)
            return
        sent: Sent = [(records[-1][0], start.t)]  # either all are applied or none, so the last one is enough
        for request, report in reports:
            request.report = report
            request.sent = sent
        try:
            self.storage.append(records, expected_t=start.t, topics=topics)
        except StorageError as error:
            self._retry(error, records, start.t, sent)

    # -- after an exception

    def _release(self) -> None:
        """Release what an interrupted call of this thread still holds. A storage that fails here has failed before."""
        self._turn.give_left_over()
        with suppress(StorageError):
            self.storage.release_turn()

    def ended(self, error: BaseException, sent: Sent) -> None:
        """Release what an interrupted call still holds; raise `UnknownOutcome` if its transaction was committed.

        So any other exception means that nothing was committed.
        """
        if isinstance(error, FactStoreError) and not sent:
            return
        self._release()
        # In a forked child the parent, not the child, gets the outcome.
        if sent and not outcome.is_stated(error, sent) and not self._is_of_parent:
            outcome.raise_if_committed(self.storage, error, sent)


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
