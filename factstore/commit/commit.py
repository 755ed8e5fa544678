"""Commits: transactions are appended to the log, and the newest database of this process moves on.

    transact ──────────────────────────► prepare ──► append to the log ──► novelty, newest database, listeners
    transact_async ──► background.py ──► groups.py: prepare each on top of the one before, one append for all

If another process was first, the committer catches up from the log, and prepares again. There are two ways to commit:
one transaction (`_commit_one`), and many that wait (groups.py). Transactions that arrive during a commit are appended
together; each has its own t and its own report, and a rejection of one does not affect the others.

Only the append takes effect. An exception after it, of a signal handler for example, becomes an `UnknownOutcome`
(outcome.py), and the next holder of the turn brings memory in line with the log (following.py).
Law: after any exception anywhere, the transaction is in the log once or not at all, and memory agrees with the log.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, Final

from factstore.commit import outcome
from factstore.commit.background import Awaited, PendingReport, Report, Request
from factstore.commit.clock import machine_clock
from factstore.commit.following import transaction_open
from factstore.commit.groups import CONTENDED, GroupCommitter
from factstore.commit.indexing import LEAST_ROWS
from factstore.commit.outcome import Sent
from factstore.concurrency.forks import FORKED
from factstore.concurrency.locks import Block
from factstore.db.database import Database
from factstore.db.snapshot import Snapshot
from factstore.errors import Closed, Conflict, FactStoreError, StorageError, TransactError, UnknownOutcome
from factstore.index.build import Watch
from factstore.storage import Storage
from factstore.transact import Preparation, Prepared, TxReport, prepare, prepare_list

# Number of forms from which on a transaction acquires the writer lock before it is prepared. Otherwise it would lose
# its races. Other threads of this process cannot commit during its preparation, and the writer lock shows that to other
# processes.
_LARGE: Final = 10_000
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


class Committer(GroupCommitter):
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
        self._turn_of_block: AbstractContextManager[None] = nullcontext()
        self._is_of_parent = False  # True in a forked child

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
                        self._contended, done = CONTENDED, None
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

    def when_delivered(self, call: Callable[[], object]) -> None:
        """Call a function whenever outcomes of requests were delivered, all of a group before; perhaps also again."""
        self._background.when_delivered = call

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
