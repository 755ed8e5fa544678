"""Commits: how transactions become part of the log, and how the newest database moves on.

    transact ──────────────────────────► prepare ──► append to the log ──► novelty, newest database, listeners
    transact_async ──► background.py ──► prepare each against its predecessors ──► one append for all ──► the same
                                            ▲                              │ another process was first
                                            └────── catch up from the log ◄┘

Transactions that arrive while a commit is under way go into the next append together; each still gets its own t and its
own report, and a failure of one never touches the others.

The append is the one step that counts. An exception that comes after it, of a signal handler for instance, becomes an
`UnknownOutcome` that says so, and whoever has the turn next brings memory in line with the log (newest.py).
Law: after any exception anywhere, the transaction is in the log once or not at all, and memory agrees with the log.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Final, TypeAlias, TypeVar

from factstore import log
from factstore.columns.column import FactArrays
from factstore.commit.background import Background, Report, Request
from factstore.commit.clock import machine_clock
from factstore.commit.indexing import LEAST_ROWS
from factstore.commit.newest import Newest, transaction_open
from factstore.concurrency.forks import FORKED
from factstore.concurrency.locks import Block
from factstore.datom import Fact
from factstore.db.database import Database
from factstore.db.snapshot import Snapshot
from factstore.errors import Closed, Conflict, FactStoreError, Interrupted, StorageError, TransactError, UnknownOutcome
from factstore.storage import Storage
from factstore.transact import Preparation, Prepared, TxReport, prepare, prepare_newest, report
from factstore.transact.shortcut import prepare_simple

T = TypeVar("T")

MAX_GROUP: Final = 1000  # transactions in one append
_RACES_BEFORE_TURN: Final = 2  # lost races after which we ask for the writer's turn instead of trying again
# Forms from which on a transaction takes the writer's turn first: it would lose its races, and other threads of this process cannot
# commit while it is prepared, which others can see then.
_LARGE: Final = 10_000
_CONTENDED: Final = (
    8  # commits in a row, none of another process between them, after which the turn is no longer taken first
)
_SETTLE_SECONDS: Final = 10.0  # how long an interrupted call waits for a commit that another thread makes for it

Record: TypeAlias = tuple[bytes, bytes]  # txid, body
Sent: TypeAlias = list[
    tuple[bytes, int]
]  # the txid of an append that may have been applied, and the t after which; or nothing


class Plain:
    """The preparation of tx-data that was given without any conditions."""

    __slots__ = ("is_simple", "tx_data")

    def __init__(self, tx_data: Any, *, is_simple: bool = True) -> None:
        self.tx_data = tx_data
        self.is_simple = is_simple  # whether it may be of a form that the short cut knows

    def __call__(self, before: Snapshot, now: int) -> Prepared:
        """Prepare the tx-data on top of a database."""
        if type(self.tx_data) is not list and isinstance(self.tx_data, Iterator):
            self.tx_data = list(self.tx_data)  # it gives its forms once, and a lost race makes another attempt
        if self.is_simple:
            return prepare_newest(before, self.tx_data, now)
        return prepare(before.database, self.tx_data, now=now)


class Committer(Newest):
    """The newest database of one store, and the one place of this process that moves it on."""

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
        self._ids = os.urandom(10)
        self._id = 0
        self._turn_of_block: AbstractContextManager[None] = nullcontext()
        self._is_of_parent = False  # as it is in a forked child
        self._contended = (
            0  # how many commits are still to take the turn first, since another process committed in between
        )
        self._background = Background(self._turn, self._commit_waiting)
        self._waiting = self._background.waiting

    # -- writing

    def transact(self, tx_data: Any) -> TxReport:
        """Commit tx-data and return the report; raises what `prepare` and the storage raise."""
        if type(tx_data) is list and len(tx_data) >= _LARGE:
            return self.apply(Plain(tx_data), exclusive=True)
        sent: Sent = []
        try:
            if not (self._contended or self._waiting) and self._turn.enter_at_once():
                try:
                    if self._unsettled:
                        self._settle()
                    done = self._commit_simple(tx_data, sent)
                finally:
                    self._turn.leave()
                if done is not None:
                    return done
                # It is of no simple form, or it has lost a race.
                return self._apply(Plain(tx_data, is_simple=bool(self._contended)), sent)
            return self._apply(Plain(tx_data), sent)
        except BaseException as error:
            self.ended(error, sent)
            raise

    def apply(self, preparation: Preparation, *, exclusive: bool = False) -> TxReport:
        """Commit a prepared change and return its report; raises what the preparation and the storage raise.

        Args:
            exclusive: take the writer's turn before preparing, for a change that takes long to prepare.
        """
        sent: Sent = []
        try:
            if exclusive:
                return self._apply_exclusively(preparation, sent)
            return self._apply(preparation, sent)
        except BaseException as error:
            self.ended(error, sent)
            raise

    def _apply(self, preparation: Preparation, sent: Sent) -> TxReport:
        if self._waiting or not self._turn.enter_at_once():
            return self._answer(Request(preparation, self.future()), sent)
        try:
            if self._unsettled:
                self._settle()
            done = self._racing(lambda: self._commit_one(preparation, sent))
        finally:
            self._turn.leave()
        self._consider_indexing()
        return done

    def _apply_exclusively(self, preparation: Preparation, sent: Sent) -> TxReport:
        with self._turn, self.storage.turn(may_pass=True, doing="a load or a large transaction"):
            self._settle()
            done = self._commit_one(preparation, sent)
        self._consider_indexing()
        return done

    def _answer(self, request: Request, sent: Sent) -> TxReport:
        """Leave a request to the background, and wait for its outcome."""
        self.check_outside()
        future = self._background.add(request)
        try:
            return future.result()
        except BaseException as error:
            if future.done() and not future.cancelled() and future.exception() is error:
                raise
            # This thread was interrupted. The request may still be withdrawn, or else will soon have ended.
            if not future.cancel():
                wait([future], _SETTLE_SECONDS)
            sent += request.sent
            raise

    def transact_async(self, tx_data: Any) -> Future[TxReport]:
        """Commit tx-data some time soon; the future gives its report."""
        return self.apply_async(Plain(tx_data))

    def apply_async(self, preparation: Preparation) -> Future[TxReport]:
        """Commit a prepared change some time soon."""
        request = Request(preparation, self.future())
        try:
            return self._background.add(request)
        except BaseException as error:
            if request.future.cancel():
                raise
            text = f"the transaction was handed over, and may be committed, but then came {error!r}"
            raise UnknownOutcome(":db.error/storage-unknown-outcome", text, txids=request.sent) from error

    def future(self) -> Report:
        """Return a future for the report of a commit."""
        future = Report()
        future.background = self._background
        return future

    # -- blocks of several steps

    def hold(self, block: Block) -> Database:
        """Take the turn of all processes for a block, and return the newest database; only `commit_in` commits until `release`."""
        if not self._turn.take(block, timeout=self._turn.timeout):
            raise transaction_open()
        self._turn_of_block = self.storage.turn(owner=block, may_pass=True, doing="a block of conn.transaction()")
        self._turn_of_block.__enter__()
        self._settle()
        return self._now.database

    def commit_in(self, block: Block, preparation: Preparation, sent: Sent) -> TxReport:
        """Commit a prepared change from within a block. Raises: Conflict, if others had to pass the block and have committed."""
        if not self._turn.is_held_by(block):
            raise _passed()
        try:
            return self._commit_one(preparation, sent)
        except Conflict:
            raise _passed() from None

    def release(self, block: Block) -> None:
        """Give back the turn of a block; a second call does nothing."""
        if self._turn.is_held_by(block):
            self._turn_of_block.__exit__(None, None, None)
            self._turn.give(block)

    def retire(self) -> None:
        """End the background's thread, once all that waits is committed: the connection was dropped without being closed."""
        self._background.retire()

    def close(self) -> None:
        """Commit all that is waiting, and let indexing finish."""
        self._background.close()
        self._indexing.close()

    def after_fork(self) -> None:
        """End, in a forked child, what only a thread of the parent would end."""
        self._is_of_parent = True
        self._background.after_fork(Closed(":db.error/storage-closed", f"{self.storage.description} {FORKED}"))

    # -- in the turn

    def _racing(self, attempt: Callable[[], T]) -> T:
        """Try until no other process was first; while others commit too, take the writer's turn before the work is done for nothing.

        Requires the turn among threads.
        """
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

    def _commit_simple(self, tx_data: Any, sent: Sent) -> TxReport | None:
        """Commit a transaction of plain forms; None when it is not one, or when it lost a race. Requires the turn."""
        before = self._now
        now = self.clock()
        if now < before.instant:
            self._ahead.look(before.instant, now)
        simple = prepare_simple(before, tx_data, now)
        if simple is None:
            return None
        facts, next_n, instant, t = simple.facts, simple.next_n, simple.instant, before.t + 1
        after = Snapshot(before.index, before.novelty, before.schema, before.cache, t, next_n, instant, before.store)
        try:
            done = TxReport(before, after, facts, simple.tempids)
            self._put(before, after, done, facts, None, self._encode(t, instant, next_n, facts), sent)
        except Conflict:
            self._contended = _CONTENDED
            return None
        if before.novelty.count > LEAST_ROWS:
            self._consider_indexing()
        return done

    def _commit_one(self, preparation: Preparation, sent: Sent) -> TxReport:
        """Commit one transaction that nobody else waits with. Requires the turn."""
        before = self._now
        try:
            prepared, done, record = self._prepared(before, preparation)
        except TransactError:
            self._require_newest(before)
            raise
        self._put(before, done.after, done, prepared.facts, prepared.columns, record, sent)
        return done

    def _put(
        self,
        before: Snapshot,
        after: Snapshot,
        done: TxReport,
        facts: Sequence[Fact],
        columns: Mapping[int, FactArrays] | None,
        record: bytes,
        sent: Sent,
    ) -> None:
        """Append one transaction to the log, and go on from there. Requires the turn. Raises: Conflict; memory is as it was."""
        self._id += 1
        txid = self._ids + self._id.to_bytes(6, "big")
        sent.append((txid, before.t))
        try:
            self.storage.append(((txid, record),), expected_t=before.t)
        except StorageError as error:
            self._refused(error, sent)
        self._unsettled = True  # until here memory is behind the log at most, which the next look at the head shows
        before.novelty.append(after.t, facts, columns)
        self._now = after
        if self.listeners:
            self._tell(done)
        self._unsettled = False

    def _prepared(self, before: Snapshot, preparation: Preparation) -> tuple[Prepared, TxReport, bytes]:
        now = self.clock()
        if now < before.instant:
            self._ahead.look(before.instant, now)
        prepared = preparation(before, now)
        facts, columns, next_n, instant = prepared.facts, prepared.columns, prepared.next_n, prepared.instant
        record = self._encode(before.t + 1, instant, next_n, facts, columns)
        after = self._after(before, facts, instant, next_n)
        all_facts = facts if columns is None else log.AllFacts(facts, columns)
        return prepared, report(before, after, all_facts, prepared.tempids), record

    def _txid(self) -> bytes:
        self._id += 1
        return self._ids + self._id.to_bytes(6, "big")

    def _refused(self, error: StorageError, sent: Sent) -> None:
        """Raise the error of an append, unless the append was applied all the same. `sent` is empty then: certainly nothing was."""
        if not isinstance(error, UnknownOutcome):
            sent.clear()
            raise error
        if self._applied(sent) is None:
            sent.clear()
            raise Conflict(":db.error/storage-conflict", "the append turned out not to have been applied") from error

    def _applied(self, sent: Sequence[tuple[bytes, int]]) -> int | None:
        """Return the t under which an append was applied, None if it was not."""
        for txid, after_t in sent:
            while records := self.storage.read_log(after_t):
                for record in records:
                    if record.txid == txid:
                        return record.t
                after_t = records[-1].t
        return None

    def _require_newest(self, start: Snapshot) -> None:
        """Raise a Conflict when others have committed since: what was rejected on top of an older database may well be accepted now."""
        if self.storage.head() > start.t:
            raise Conflict(":db.error/storage-conflict", f"others have committed since t={start.t}")

    # -- many at once

    def _commit_waiting(self, waiting: deque[Request], answered: deque[Request]) -> None:
        """Commit what waits in the background's queue; what has an outcome then moves to the other queue."""
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
        if self._unsettled:
            self._settle()
        for request in group:
            if request.outcome is None and not request.begin():
                request.outcome = CancelledError()  # nobody is told: its future has ended
            elif request.outcome is None and request.sent:
                self._conclude(request, None)  # an earlier attempt was interrupted
        wanted = [request for request in group if request.outcome is None]
        try:
            self._racing(lambda: self._commit_group(wanted))
        except Exception as error:
            self._release()
            self._settle()
            for request in wanted:
                self._conclude(request, error)

    def _conclude(self, request: Request, error: BaseException | None) -> None:
        """Give a request that was interrupted its outcome: its report if its append was applied, else the error; None: try again."""
        if request.outcome is not None:
            return
        try:
            applied = self._applied(request.sent) is not None
        except StorageError as unanswered:
            request.outcome = _unknown(error, request.sent, unanswered)
            return
        request.sent = ()
        if applied:
            request.outcome = request.report
        elif error is not None:
            request.outcome = error

    def _commit_group(self, group: list[Request]) -> None:
        """Prepare each transaction on top of the one before it, append them all, and tell the listeners. Requires the turn."""
        start = tip = self._now
        rejected: dict[Request, Exception] = {}
        made: list[tuple[Request, TxReport]] = []
        records: list[Record] = []
        self._unsettled = True
        for request in group:
            try:
                prepared, done, record = self._prepared(tip, request.preparation)
            except Exception as error:
                rejected[request] = error
                continue
            before, tip = tip, done.after
            before.novelty.append(tip.t, prepared.facts, prepared.columns)  # for those that come after it
            made.append((request, done))
            records.append((self._txid(), record))
        try:
            self._append_group(start, made, records)
        except StorageError:
            start.novelty.repair(start.t)
            self._unsettled = False
            raise
        self._now = tip  # nobody may see a database before its facts are in the log
        for _, done in made if self.listeners else ():
            self._tell(done)
        self._unsettled = False
        for request, done in made:
            request.outcome = done
        for request, rejection in rejected.items():
            request.outcome = rejection

    def _append_group(
        self, start: Snapshot, made: Sequence[tuple[Request, TxReport]], records: Sequence[Record]
    ) -> None:
        if not records:
            self._require_newest(start)
            return
        sent: Sent = [(records[-1][0], start.t)]  # all are applied or none is: the last one tells
        for request, done in made:
            request.report = done
            request.sent = sent
        try:
            self.storage.append(records, expected_t=start.t)
        except StorageError as error:
            self._refused(error, sent)

    # -- after an exception

    def _release(self) -> None:
        """Give back what an interrupted call of this thread has left taken. A storage that fails here has said so before."""
        self._turn.give_left_over()
        with suppress(StorageError):
            self.storage.release_turn()

    def ended(self, error: BaseException, sent: Sent) -> None:
        """Give back what an interrupted call still held; raise `UnknownOutcome` if its transaction was committed all the same.

        So any other exception says for certain that nothing was committed.
        """
        if isinstance(error, FactStoreError) and not sent:
            return
        self._release()
        if (
            not sent or isinstance(error, UnknownOutcome) or self._is_of_parent
        ):  # what becomes of it, the parent is told
            return
        try:
            t = self._applied(sent)
        except StorageError as unanswered:
            raise _unknown(error, sent, unanswered) from error
        if t is not None and isinstance(error, SystemExit | GeneratorExit):
            error.add_note(f"the transaction was committed as t={t}")  # the program ends, which nothing may replace
        elif t is not None:
            kind = Interrupted if isinstance(error, KeyboardInterrupt) else UnknownOutcome
            text = f"the transaction was committed as t={t}; its report was lost to {error!r}, which came after that"
            raise kind(":db.error/storage-unknown-outcome", text, t=t, txids=[txid for txid, _ in sent]) from error


def _first(waiting: deque[Request]) -> list[Request]:
    # By position: other threads add to the queue meanwhile, which an iterator does not bear.
    return [waiting[i] for i in range(min(len(waiting), MAX_GROUP))]


def _move(waiting: deque[Request], answered: deque[Request]) -> None:
    while waiting and waiting[0].outcome is not None:
        answered.append(waiting[0])  # an exception between the two steps delivers an outcome twice, which does nothing
        waiting.popleft()


def _unknown(
    error: BaseException | None, sent: Sequence[tuple[bytes, int]], unanswered: StorageError
) -> UnknownOutcome:
    text = f"the commit was interrupted by {error!r}, and the log cannot be read to see whether it was applied: {unanswered}"
    return UnknownOutcome(":db.error/storage-unknown-outcome", text, txids=[txid for txid, _ in sent])


def _passed() -> Conflict:
    text = (
        "others have committed while this block was open, since it took longer than their busy_timeout;"
        " nothing was committed, run it again"
    )
    return Conflict(":db.error/storage-conflict", text)
