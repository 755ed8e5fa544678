"""The newest database of one store in this process, which catches up from the log and notifies listeners.

    log of the storage ──► catch up ──► novelty, newest database ──► listeners
                                            ▲
    commit.py, when this process commits ───╯

An exception may interrupt any step, for example one of a signal handler or a `MemoryError`. Then memory may differ from
the log, and `_unsettled` is true; the next holder of the turn first brings memory in line with the log.
Law: settled memory agrees with the log up to the newest database, and each listener got the report of each transaction
    once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from socket import gethostname
from sys import _getframe
from types import FrameType

from factstore import log
from factstore.commit.clock import Ahead, machine_clock
from factstore.commit.indexing import Indexing, is_same_log, newest
from factstore.concurrency.locks import CallLock
from factstore.db.database import Database
from factstore.db.snapshot import Snapshot
from factstore.errors import Forked, StoreBusy, TransactError, Unavailable
from factstore.index.cache import Cache
from factstore.index.directory import Index
from factstore.storage import Storage
from factstore.transact import TxReport, report

logger = logging.getLogger("factstore")


class CommitTurn(CallLock):
    """The turn among the threads of one connection."""

    __slots__ = ()

    def reentered(self) -> Exception:
        """Return the error for user code that commits within a commit or a block of its own thread."""
        return transaction_open()

    def timed_out(self) -> Exception:
        """Return the error for a call whose timeout has passed."""
        message = (
            f"another thread of this process has been in a commit for more than {self.timeout} seconds;"
            " this call has changed nothing"
        )
        return StoreBusy(
            ":db.error/store-busy", message, pid=os.getpid(), host=gethostname(), since=None, doing="a transaction"
        )


def transaction_open() -> TransactError:
    """Return the error for a thread that commits, or waits for a commit, within a transaction of its own."""
    text = (
        "this thread is within a transaction (a block of `conn.transaction()`, or a function that a transaction calls),"
        " so it cannot commit another one; make it a part of that transaction"
    )
    return TransactError(":db.error/transaction-open", text)


class Newest:
    """The newest database of one store; it catches up from the log and notifies listeners."""

    def __init__(
        self,
        storage: Storage,
        *,
        cache_bytes: int,
        clock: Callable[[], int] = machine_clock,
        busy_timeout: float | None = None,
    ) -> None:
        self.storage = storage
        self.listeners: list[Callable[[TxReport], None]] = []  # each ignores a report that it has got already
        self.clock = clock  # microseconds since 1970
        self._ahead = Ahead(storage.description)
        self._turn = CommitTurn(timeout=busy_timeout)
        self._unsettled = False  # a change of memory has begun and not ended: memory may differ from the log
        self._notified_t = 0  # the newest transaction of which all listeners were notified
        self._now = newest(storage, Cache(cache_bytes), clock)
        self._indexing = Indexing(storage, lambda: self._now, self.adopt)

    # -- reading

    @property
    def newest(self) -> Snapshot:
        """The newest database this process knows of."""
        return self._now

    def caught_up(self, *, near: bool = False) -> Database:
        """Return the newest database, including commits of other processes.

        Within a transaction of this thread it is the database before that transaction.

        Args:
            near: commits of other processes of which this one was notified are enough; see `Storage.head`.
        """
        return self.newest_snapshot(near=near).database

    def newest_snapshot(self, *, near: bool = False) -> Snapshot:
        """Do the same as `caught_up`, and return the database as a snapshot."""
        try:
            is_behind = self.storage.head(near=near) > self._now.t
        except Forked:
            with self._turn:
                self._reopen()
            return self._now
        if is_behind and not self._turn.is_mine:
            with self._turn:
                self._settle()
            self._consider_indexing()
        return self._now

    def _settle(self) -> None:
        """Bring memory in line with the log, also after an interrupted step. Requires the turn."""
        assert self._turn.holders
        if self._unsettled:
            self._now.novelty.repair(self._now.t)
        self._catch_up()

    def _catch_up(self) -> None:
        """Read new transactions from the log. Requires the turn, and memory that agrees with the log so far."""
        assert self._turn.holders
        self._unsettled = True
        if self.listeners and self._notified_t < self._now.t:
            self._notify_from_log()
        is_all = False
        while not is_all:
            # One read of the log is a snapshot, and an excision leaves its record in the log. If one read does not
            # return all records, the root shows whether there was an excision in between.
            try:
                records, is_all = log.batch(self.storage, self._now.t)
            except Forked:
                self._reopen()
                continue
            if any(record.is_excision for record in records) or not (
                is_all or is_same_log(self.storage, self._now.index)
            ):
                self._reopen()
                is_all = False
                continue
            for record in records:
                self._take_in(record)
        self._unsettled = False

    def _take_in(self, record: log.TxRecord) -> None:
        """Continue from a transaction that another process committed. Requires the turn."""
        before = self._now
        schema, t = before.schema.plus(record.facts), record.t
        after = Snapshot(
            before.index, before.novelty, schema, before.cache, t, record.next_n, record.instant, before.store
        )
        before.novelty.append(t, record.facts, record.columns)
        self._now = after
        if self.listeners:
            self._notify(report(before, after, record.all_facts(), {}))

    def _reopen(self) -> None:
        """Read the store again instead of continuing from memory. Requires the turn.

        Facts were excised, or a failover of a server lost transactions that were not acknowledged.
        """
        assert self._turn.holders
        self._now = newest(self.storage, Cache(self._now.cache.max_bytes), self.clock)
        if self.listeners:
            self._notify_from_log()

    # -- listeners

    def listen(self, listener: Callable[[TxReport], None]) -> int:
        """Notify a listener of every commit after the t that is returned."""
        with self._turn:
            self._settle()
            if not self.listeners:
                self._notified_t = self._now.t
            self.listeners.append(listener)
            return self._now.t

    def all_notified(self) -> None:
        """Return when the listeners have been notified of all transactions that `newest` had when this was called."""
        with self._turn:
            self._settle()

    def _notify(self, tx_report: TxReport) -> None:
        for listener in tuple(self.listeners):
            listener(tx_report)
        self._notified_t = tx_report.t

    def _notify_from_log(self) -> None:
        """Notify the listeners of transactions whose notification was interrupted. Requires the turn."""
        db = self._now.database
        for record in log.read(self.storage, self._notified_t, db.basis_t):
            t = record.t
            after = db if t == db.basis_t else db.as_of(t)
            self._notify(report(db.as_of(t - 1), after, record.all_facts(), {}))

    # -- the index

    def index(self) -> None:
        """Bring the index up to the newest database before this returns."""
        self.caught_up()
        self._indexing.index_now()

    def keep_pace(self) -> None:
        """Wait until the index is not far behind. Only for a thread that is in no commit."""
        self._indexing.keep_pace()

    def adopt(self, index: Index) -> None:
        """Continue with a newer index; existing databases keep theirs."""
        with self._turn:
            self._settle()
            now = self._now
            if index.version <= now.index.version:
                return
            if index.excised_t != now.index.excised_t:
                self._reopen()
            else:
                novelty = now.novelty.after(index.basis_t)
                self._now = Snapshot(index, novelty, now.schema, now.cache, now.t, now.next_n, now.instant, now.store)

    def _consider_indexing(self) -> None:
        """Start indexing if there is enough novelty; log a failure, because the transaction is committed already."""
        try:
            self._indexing.consider(self._now)
        except (Unavailable, RuntimeError, MemoryError):
            logger.warning(
                "indexing %s in the background could not be started", self.storage.description, exc_info=True
            )

    def check_outside(self) -> None:
        """Raise TransactError(:db.error/transaction-open) if the calling thread would wait for itself."""
        if self._turn.is_mine:
            raise transaction_open()

    def alone(self, doing: str) -> Alone:
        """Return a context manager that holds the turn and the writer lock, and gives the newest database."""
        return Alone(self, doing)


class Alone:
    """The turn and the writer lock, held for a `with` block of this package."""

    __slots__ = ("_doing", "_newest", "_of_storage")

    def __init__(self, newest: Newest, doing: str) -> None:
        self._newest = newest
        self._doing = doing
        self._of_storage: AbstractContextManager[None] = nullcontext()

    def __enter__(self) -> Database:
        call, newest = _getframe(1), self._newest
        if not newest._turn.take(call, timeout=newest._turn.timeout):
            raise transaction_open()
        try:
            self._of_storage = newest.storage.turn(owner=call, doing=self._doing)
            self._of_storage.__enter__()
            newest._settle()
        except BaseException:
            self._give(call)
            raise
        return newest.newest.database

    def __exit__(self, *_: object) -> None:
        self._give(_getframe(1))

    def _give(self, call: FrameType) -> None:
        """Release both locks, unless the call no longer holds them."""
        self._of_storage.__exit__(None, None, None)
        self._newest._turn.give(call)
