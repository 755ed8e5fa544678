"""Commits: how transactions become part of the log, and how the newest database moves on.

    queue ──► prepare each against its predecessors ──► one append for all ──► reports
                            ▲                              │ somebody else was first
                            └────── catch up from the log ◄┘

Transactions that arrive while a commit is under way go into the next append together; each still gets its own t and its
own report, and a failure of one never touches the others.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Event, Lock, Thread, current_thread
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from factstore import log
from factstore.clocks import Ahead, machine_clock
from factstore.datom import Fact
from factstore.db import Database, Snapshot
from factstore.errors import Closed, Conflict, TransactError, UnknownOutcome
from factstore.forks import FORKED
from factstore.index.cache import Cache
from factstore.index.column import Rows
from factstore.index.directory import Index
from factstore.indexing import LEAST_ROWS, Indexing, is_same_log, newest
from factstore.storage import Storage
from factstore.transact import TxReport, prepare, report
from factstore.transact.simple import prepare_simple

T = TypeVar("T")

MAX_GROUP: Final = 1000  # transactions in one append
_RACES_BEFORE_TURN: Final = 2  # lost races after which we ask for the writer's turn instead of trying again
_CONTENDED: Final = 8  # commits in a row, none of another process between them, after which the turn is no longer taken first


class Change(NamedTuple):
    """What a transaction comes to, ready for the log."""

    facts: Sequence[Fact]  # the transaction's own instant first
    tempids: Mapping[str | int, int]
    next_n: int
    instant: int
    columns: Mapping[int, Rows] | None = None  # what is loaded in bulk, asserted, sorted by (e, v)


Preparation: TypeAlias = Callable[[Snapshot, int], Change]  # given what is before and the clock, in microseconds


def preparation_of(tx_data: Any) -> Preparation:
    """Return the preparation of tx-data in whatever form."""
    return lambda before, now: Change(*prepare(before.database, tx_data, now=now))


class Request:
    """A transaction on its way: tx-data or a preparation, and where the report goes."""

    __slots__ = ("future", "preparation", "tx_data")

    def __init__(self, tx_data: Any, preparation: Preparation | None = None) -> None:
        self.tx_data = tx_data
        self.preparation = preparation
        self.future: Future[TxReport] = Future()

    def change(self, before: Snapshot, now: int) -> Change:
        """Prepare the change on top of a database."""
        if self.preparation is not None:
            return self.preparation(before, now)
        simple = prepare_simple(before, self.tx_data, now)
        return Change(*simple) if simple is not None else Change(*prepare(before.database, self.tx_data, now=now))


Outcome: TypeAlias = tuple[Future[TxReport], TxReport | BaseException]  # what a future is to be told


class Committer:
    """The newest database of one store, and the one place of this process that moves it on."""

    def __init__(self, storage: Storage, *, cache_bytes: int, clock: Callable[[], int] = machine_clock) -> None:
        self.storage = storage
        self.listeners: list[Callable[[TxReport], None]] = []
        self.clock = clock  # microseconds since 1970
        self._ahead = Ahead(storage.description)
        self._turn = Lock()
        self._starting = Lock()
        self._queue: deque[Request] = deque()
        self._taken: Sequence[Request] = ()  # what was taken from the queue last
        self._encode = log.Encoder().encode
        self._ids = os.urandom(10)
        self._id = 0
        self._alone: Thread | None = None  # the thread that holds the turn for as long as it likes
        self._background: Thread | None = None
        self._wake = Event()
        self._closing = False
        self._contended = 0  # how many commits are still to take the turn first, since another process committed in between
        self._now = newest(storage, Cache(cache_bytes))
        self._indexing = Indexing(self)

    # -- reading

    @property
    def newest(self) -> Snapshot:
        """The newest database this process knows of."""
        return self._now

    def caught_up(self) -> Database:
        """Return the newest database there is, commits of other processes included."""
        if self.storage.head() > self._now.t:
            with self._turn:
                self._catch_up()
            self._indexing.consider(self._now)
        return self._now.database

    def _catch_up(self) -> None:
        while transactions := log.batch(self.storage, self._now.t):
            # A look at the log sees it as it is at one moment. If no excision is among what came since, and none comes after
            # it, then what was read goes with what is in memory.
            is_last = self.storage.head() == transactions[-1].t
            is_same = not any(transaction.is_excision for transaction in transactions)
            if not is_same or not (is_last or is_same_log(self.storage, self._now.index)):
                self._begin_anew()
                continue
            for transaction in transactions:
                before = self._now
                self._now = self._with(before, transaction)
                if self.listeners:
                    self._tell(report(before, self._now, transaction.all_facts(), {}))
            if is_last:
                return

    def _begin_anew(self) -> None:
        """Go on from what the storage has now, and from nothing that is remembered: facts were taken out of it."""
        before = self._now.t
        self._now = newest(self.storage, Cache(self._now.cache.limit_bytes))
        if self.listeners:
            db = self._now.database
            for transaction in log.read(self.storage, before, db.basis_t):
                t = transaction.t
                after = db if t == db.basis_t else db.as_of(t)
                self._tell(report(db.as_of(t - 1), after, transaction.all_facts(), {}))

    def _with(self, before: Snapshot, transaction: log.Transaction) -> Snapshot:
        before.novelty.append(transaction.t, transaction.facts, transaction.columns)
        return self._after(before, transaction.facts, transaction.instant, transaction.next_n)

    def _after(self, before: Snapshot, facts: Sequence[Fact], instant: int, next_n: int) -> Snapshot:
        """Return what is after facts that go into novelty too."""
        schema = before.schema.plus(facts)
        return Snapshot(before.index, before.novelty, schema, before.cache, before.t + 1, next_n, instant, before.store)

    # -- writing

    def transact(self, tx_data: Any) -> TxReport:
        """Commit tx-data and return the report; raises what `prepare` and the storage raise."""
        if self._contended:
            self._check_not_alone()
            return self.apply(Request(tx_data).change)
        if not self._queue and self._turn.acquire(blocking=False):
            try:
                done = self._commit_simple(tx_data)
            finally:
                self._turn.release()
            if done is not None:
                return done
            return self.apply(Request(tx_data).change if self._contended else preparation_of(tx_data))
        self._check_not_alone()
        return self._enqueue(Request(tx_data)).result()

    def apply(self, preparation: Preparation, *, exclusive: bool = False) -> TxReport:
        """Commit a prepared change and return its report; raises what the preparation and the storage raise.

        Args:
            exclusive: take the writer's turn before preparing, for a change that takes long to prepare.
        """
        self._check_not_alone()
        if exclusive:
            with self._turn, self.storage.turn():
                self._catch_up()
                done = self._commit_alone(preparation)
        elif not self._queue and self._turn.acquire(blocking=False):
            try:
                done = self._racing(lambda: self._commit_alone(preparation))
            finally:
                self._turn.release()
        else:
            done = self._enqueue(Request(None, preparation)).result()
        self._indexing.consider(self._now)
        return done

    @contextmanager
    def alone(self) -> Iterator[Database]:
        """Hold the turn of all processes for a block, and give it the newest database; only `commit_alone` commits meanwhile."""
        self._check_not_alone()
        with self._turn, self.storage.turn():
            self._catch_up()
            self._alone = current_thread()
            try:
                yield self._now.database
            finally:
                self._alone = None
        self._indexing.consider(self._now)

    def commit_alone(self, preparation: Preparation) -> TxReport:
        """Commit a prepared change from within `alone`."""
        return self._commit_alone(preparation)

    def _check_not_alone(self) -> None:
        if self._alone is not None and self._alone is current_thread():
            text = "this thread has a transaction open, which nothing can be committed beside; say it in that transaction"
            raise TransactError(":db.error/transaction-open", text)

    def transact_async(self, tx_data: Any) -> Future[TxReport]:
        """Commit tx-data some time soon; the future gives its report."""
        return self._enqueue(Request(tx_data))

    def apply_async(self, preparation: Preparation) -> Future[TxReport]:
        """Commit a prepared change some time soon."""
        return self._enqueue(Request(None, preparation))

    def _enqueue(self, request: Request) -> Future[TxReport]:
        """Leave a change to the background thread: whatever comes while it commits goes into its next commit."""
        self._queue.append(request)
        if self._background is None:
            self._start_background()
        if not self._wake.is_set():
            self._wake.set()
        if self._closing or current_thread() is self._background:
            self._drain()  # the thread that would is gone or going, or this very one, called back by a future
        return request.future

    def _start_background(self) -> None:
        with self._starting:
            if self._background is None:
                self._background = Thread(target=self._commit_in_background, name="factstore-commit", daemon=True)
                self._background.start()

    def _commit_in_background(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._wake.clear()
            self._drain()

    def _drain(self) -> None:
        while self._queue:
            with self._turn:
                outcomes = self._commit_waiting()
            # After the turn: a future calls back, and who is called may transact.
            for future, outcome in outcomes:
                if isinstance(outcome, TxReport):
                    future.set_result(outcome)
                else:
                    future.set_exception(outcome)
            self._indexing.consider(self._now)

    def close(self) -> None:
        """Commit all that is waiting, and let indexing finish."""
        self._closing = True
        if self._background is not None:
            self._wake.set()
            self._background.join()
        self._drain()
        self._indexing.close()

    def after_fork(self) -> None:
        """End, in a forked child, the futures that only a thread of the parent would end."""
        for future in [request.future for request in (*self._queue, *self._taken)]:
            if future._state != "FINISHED":  # not `done()`, which would wait for a thread that is not here
                future.__init__()  # type: ignore[misc]  # with a lock that nobody holds, and without the parent's callbacks
                future.set_exception(Closed(":db.error/storage-closed", f"{self.storage.description} {FORKED}"))
        self._queue.clear()

    # -- the index

    def index(self) -> None:
        """Bring the index up to the newest database, now."""
        self.caught_up()
        self._indexing.index_now()

    def adopt(self, index: Index) -> None:
        """Go on from a newer index; databases handed out before keep the one they have."""
        with self._turn:
            self._catch_up()
            now = self._now
            if index.version <= now.index.version:
                return
            if index.excised_t != now.index.excised_t:
                self._begin_anew()
            else:
                novelty = now.novelty.after(index.basis_t)
                self._now = Snapshot(index, novelty, now.schema, now.cache, now.t, now.next_n, now.instant, now.store)

    # -- in the turn

    def _commit_waiting(self) -> list[Outcome]:
        self._taken = waiting = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_GROUP))]
        # From here on nobody can cancel them.
        group = [request for request in waiting if request.future.set_running_or_notify_cancel()]
        try:
            return self._racing(lambda: self._commit_group(group))
        except BaseException as error:
            if isinstance(error, Exception):
                return [(request.future, error) for request in group]
            for request in group:
                request.future.set_exception(error)
            raise

    def _racing(self, attempt: Callable[[], T]) -> T:
        """Try until no other process was first; while others commit too, take the writer's turn before the work is done for nothing."""
        for _ in range(0 if self._contended else _RACES_BEFORE_TURN):
            try:
                return attempt()
            except Conflict:
                self._contended = _CONTENDED
                self._catch_up()
        with self.storage.turn():
            if self.storage.head() == self._now.t:
                self._contended = max(0, self._contended - 1)
            else:
                self._contended = _CONTENDED
                self._catch_up()
            return attempt()

    def _commit_simple(self, tx_data: Any) -> TxReport | None:
        """Commit a transaction of plain forms that nobody else waits with; None when it is not one, or when it lost a race.

        The same as `_commit_alone`, said in one breath: this is the path that a stream of small transactions takes.
        """
        before = self._now
        now = self.clock()
        if now < before.instant:
            self._ahead.look(before.instant, now)
        simple = prepare_simple(before, tx_data, now)
        if simple is None:
            return None
        facts, tempids, next_n, instant = simple
        t = before.t + 1
        self._id += 1
        record = (self._ids + self._id.to_bytes(6, "big"), self._encode(t, instant, next_n, facts))
        try:
            self._append((record,), before.t)
        except Conflict:
            self._contended = _CONTENDED
            return None
        before.novelty.append(t, facts)
        after = Snapshot(before.index, before.novelty, before.schema, before.cache, t, next_n, instant, before.store)
        self._now = after
        done = TxReport(before, after, facts, tempids)
        if self.listeners:
            self._tell(done)
        if before.novelty.count > LEAST_ROWS:
            self._indexing.consider(after)
        return done

    def _commit_alone(self, preparation: Preparation) -> TxReport:
        """Commit one transaction that nobody else waits with."""
        before = self._now
        try:
            after, done, record = self._prepared(before, preparation)
        except TransactError:
            self._require_newest(before)
            raise
        try:
            self._append([record], before.t)
        except BaseException:
            before.novelty.truncate(before.t)
            raise
        self._now = after
        if self.listeners:
            self._tell(done)
        return done

    def _commit_group(self, group: list[Request]) -> list[Outcome]:
        """Prepare each transaction on top of the one before it, append them all, and tell the listeners."""
        start = tip = self._now
        done: list[Outcome] = []
        rejected: list[Outcome] = []
        records, told = [], []
        try:
            for request in group:
                try:
                    tip, tx_report, record = self._prepared(tip, request.change)
                except Exception as error:
                    rejected.append((request.future, error))
                    continue
                done.append((request.future, tx_report))
                told.append(tx_report)
                records.append(record)
            if records:
                self._append(records, start.t)
            else:
                self._require_newest(start)
        except BaseException:
            start.novelty.truncate(start.t)
            raise
        # Nobody may see a database before its facts are in the log.
        self._now = tip
        if self.listeners:
            for tx_report in told:
                self._tell(tx_report)
        return rejected + done

    def _prepared(self, before: Snapshot, preparation: Preparation) -> tuple[Snapshot, TxReport, tuple[bytes, bytes]]:
        """Prepare one transaction on top of a database and put its facts into novelty, where only what comes after sees them."""
        t = before.t + 1
        now = self.clock()
        if now < before.instant:
            self._ahead.look(before.instant, now)
        facts, tempids, next_n, instant, columns = preparation(before, now)
        record = self._encode(t, instant, next_n, facts, columns)
        after = self._after(before, facts, instant, next_n)
        self._id += 1
        told = facts if columns is None else log.AllFacts(facts, columns)
        before.novelty.append(t, facts, columns)  # last: nothing that fails may leave facts behind
        return after, report(before, after, told, tempids), (self._ids + self._id.to_bytes(6, "big"), record)

    def _require_newest(self, start: Snapshot) -> None:
        """Raise a Conflict when others have committed since: what was rejected on top of an older database may well be accepted now."""
        if self.storage.head() > start.t:
            raise Conflict(":db.error/storage-conflict", f"others have committed since t={start.t}")

    def _append(self, records: Sequence[tuple[bytes, bytes]], expected_t: int) -> None:
        try:
            self.storage.append(records, expected_t=expected_t)
        except UnknownOutcome:
            # All records or none are there: the last one tells.
            if self.storage.resolve(records[-1][0]) is None:
                raise Conflict(":db.error/storage-conflict", "the append turned out not to have been applied") from None

    def listen(self, listener: Callable[[TxReport], None]) -> int:
        """Tell a listener of every commit from now on; return the t after which that is."""
        self._check_not_alone()
        with self._turn:
            self.listeners.append(listener)
            return self._now.t

    def all_told(self) -> None:
        """Return when the listeners have been told of all that `newest` had when this was called."""
        with self._turn:
            pass

    def _tell(self, tx_report: TxReport) -> None:
        for listener in tuple(self.listeners):
            listener(tx_report)
