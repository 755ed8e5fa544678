"""The newest database of one store in this process: how it is read from the storage, kept up, and who is told of what is new.

    log of the storage ──► catch up ──► novelty, newest database ──► listeners
                                            ▲
    commit.py, when this process commits ───╯

Any step may be interrupted by an exception: of a signal handler, or for want of memory. Then memory may differ from the log, and
`_unsettled` says so; whoever has the turn next brings memory in line before anything else.
Law: memory that is settled agrees with the log up to the newest database, and the listeners were told of every transaction once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from socket import gethostname
from sys import _getframe

from factstore import log
from factstore.commit.clock import Ahead, machine_clock
from factstore.commit.indexing import Indexing, is_same_log, newest
from factstore.concurrency.locks import CallLock
from factstore.datom import Fact
from factstore.db.database import Database
from factstore.db.snapshot import Snapshot
from factstore.errors import StoreBusy, TransactError
from factstore.index.cache import Cache
from factstore.index.directory import Index
from factstore.storage import Storage
from factstore.transact import TxReport, report

logger = logging.getLogger("factstore")


class CommitTurn(CallLock):
    """The turn among the threads of one connection."""

    __slots__ = ()

    def reentered(self) -> Exception:
        """Return the error for user code that commits from within a commit or a block of its own thread."""
        return transaction_open()

    def timed_out(self) -> Exception:
        """Return the error for a call that has waited for too long."""
        message = f"another thread of this process has been in a commit for more than {self.timeout} seconds; nothing was committed"
        return StoreBusy(
            ":db.error/store-busy", message, pid=os.getpid(), host=gethostname(), since=None, doing="a transaction"
        )


def transaction_open() -> TransactError:
    """Return the error for whoever commits, or waits for a commit, where the same thread is in the middle of one."""
    text = (
        "this thread is within a transaction (a block of `conn.transaction()`, or a function that a transaction calls),"
        " beside which nothing can be committed; make it a part of that transaction"
    )
    return TransactError(":db.error/transaction-open", text)


class Newest:
    """The newest database of one store, and what keeps it so."""

    def __init__(
        self,
        storage: Storage,
        *,
        cache_bytes: int,
        clock: Callable[[], int] = machine_clock,
        busy_timeout: float | None = None,
    ) -> None:
        self.storage = storage
        self.listeners: list[Callable[[TxReport], None]] = []  # they ignore a report that they have had already
        self.clock = clock  # microseconds since 1970
        self._ahead = Ahead(storage.description)
        self._turn = CommitTurn(timeout=busy_timeout)
        self._unsettled = False  # a step was begun and did not end: memory may differ from the log
        self._told_t = 0  # the newest transaction that all listeners were told of
        self._now = newest(storage, Cache(cache_bytes))
        self._indexing = Indexing(storage, lambda: self._now, self.adopt)

    # -- reading

    @property
    def newest(self) -> Snapshot:
        """The newest database this process knows of."""
        return self._now

    def caught_up(self) -> Database:
        """Return the newest database there is, commits of other processes included.

        Within a transaction of this thread it is the one that the transaction builds on.
        """
        if self.storage.head() > self._now.t and not self._turn.is_mine:
            with self._turn:
                self._settle()
            self._consider_indexing()
        return self._now.database

    def _settle(self) -> None:
        """Make memory what the log says, whatever was interrupted before. Requires the turn."""
        if self._unsettled:
            self._now.novelty.repair(self._now.t)
        self._catch_up()

    def _catch_up(self) -> None:
        """Take in what others have committed. Requires the turn, and that memory is settled up to the newest database."""
        self._unsettled = True
        if self.listeners and self._told_t < self._now.t:
            self._tell_from_log()
        is_all = False
        while not is_all:
            # One look at the log sees it as it is at one moment, and an excision leaves its record there. Where there is more
            # than one look sees, the root has to tell whether there was an excision.
            transactions, is_all = log.batch(self.storage, self._now.t)
            if any(made.is_excision for made in transactions) or not (
                is_all or is_same_log(self.storage, self._now.index)
            ):
                self._begin_anew()
                is_all = False
                continue
            for transaction in transactions:
                self._take_in(transaction)
        self._unsettled = False

    def _take_in(self, transaction: log.TxRecord) -> None:
        before = self._now
        after = self._after(before, transaction.facts, transaction.instant, transaction.next_n)
        before.novelty.append(transaction.t, transaction.facts, transaction.columns)
        self._now = after
        if self.listeners:
            self._tell(report(before, after, transaction.all_facts(), {}))

    def _begin_anew(self) -> None:
        """Go on from what the storage has now, and from nothing that is remembered: facts were taken out of it."""
        self._now = newest(self.storage, Cache(self._now.cache.limit_bytes))
        if self.listeners:
            self._tell_from_log()

    def _after(self, before: Snapshot, facts: Sequence[Fact], instant: int, next_n: int) -> Snapshot:
        """Return what is after facts that are about to go into novelty."""
        schema = before.schema.plus(facts)
        return Snapshot(before.index, before.novelty, schema, before.cache, before.t + 1, next_n, instant, before.store)

    # -- who is told

    def listen(self, listener: Callable[[TxReport], None]) -> int:
        """Tell a listener of every commit from now on; return the t after which that is."""
        with self._turn:
            self._settle()
            if not self.listeners:
                self._told_t = self._now.t
            self.listeners.append(listener)
            return self._now.t

    def all_told(self) -> None:
        """Return when the listeners have been told of all that `newest` had when this was called."""
        with self._turn:
            self._settle()

    def _tell(self, tx_report: TxReport) -> None:
        for listener in tuple(self.listeners):
            listener(tx_report)
        self._told_t = tx_report.t

    def _tell_from_log(self) -> None:
        """Tell the listeners of what was committed when telling them was interrupted."""
        db = self._now.database
        for transaction in log.read(self.storage, self._told_t, db.basis_t):
            t = transaction.t
            after = db if t == db.basis_t else db.as_of(t)
            self._tell(report(db.as_of(t - 1), after, transaction.all_facts(), {}))

    # -- the index

    def index(self) -> None:
        """Bring the index up to the newest database, now."""
        self.caught_up()
        self._indexing.index_now()

    def adopt(self, index: Index) -> None:
        """Go on from a newer index; databases handed out before keep the one they have."""
        with self._turn:
            self._settle()
            now = self._now
            if index.version <= now.index.version:
                return
            if index.excised_t != now.index.excised_t:
                self._begin_anew()
            else:
                novelty = now.novelty.after(index.basis_t)
                self._now = Snapshot(index, novelty, now.schema, now.cache, now.t, now.next_n, now.instant, now.store)

    def _consider_indexing(self) -> None:
        """Start indexing if it is time. What fails here has nothing to do with the transaction that was committed."""
        try:
            self._indexing.consider(self._now)
        except (RuntimeError, MemoryError):
            logger.warning(
                "indexing %s in the background could not be started", self.storage.description, exc_info=True
            )

    def check_outside(self) -> None:
        """Raise TransactError(:db.error/transaction-open) for a call that would wait for the transaction that it is made in."""
        if self._turn.is_mine:
            raise transaction_open()

    def alone(self, doing: str) -> Alone:
        """Return the turn of all processes, to be held by `with`, which gives the newest database."""
        return Alone(self, doing)


class Alone:
    """The turn of all processes, held for a `with` block of this package."""

    __slots__ = ("_doing", "_newest", "_of_storage")

    def __init__(self, newest: Newest, doing: str) -> None:
        self._newest = newest
        self._doing = doing
        self._of_storage: AbstractContextManager[None] = nullcontext()

    def __enter__(self) -> Database:
        call, newest = _getframe(1), self._newest
        if not newest._turn.take(call, timeout=newest._turn.timeout):
            raise transaction_open()
        self._of_storage = newest.storage.turn(owner=call, doing=self._doing)
        self._of_storage.__enter__()
        newest._settle()
        return newest.newest.database

    def __exit__(self, *_: object) -> None:
        self._of_storage.__exit__(None, None, None)
        self._newest._turn.give(_getframe(1))
