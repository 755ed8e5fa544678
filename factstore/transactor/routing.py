"""A committer that sends its transactions to the transactor, if the store has one, and commits them itself otherwise.

Only transactions are sent. Blocks of `conn.transaction()`, loads and excisions hold the writer lock of the store, and
are committed here; the transactor waits meanwhile.
Law: the two ways differ in who prepares a transaction, not in its outcome or its errors.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from factstore import log
from factstore.commit.background import PendingReport
from factstore.commit.clock import machine_clock
from factstore.commit.commit import Committer
from factstore.commit.conditions import Conditional
from factstore.db.snapshot import Snapshot
from factstore.errors import Closed, Interrupted, TransactError, UnknownOutcome
from factstore.schema.attribute import FIRST_FREE_ID
from factstore.storage import Led, Storage
from factstore.storage.protocol import TXID_BYTES
from factstore.transact import Preparation, TxReport
from factstore.transactor import messages
from factstore.transactor.client import Client
from factstore.transactor.frames import MOST_BYTES
from factstore.transactor.messages import Committed
from factstore.transactor.sent import Pending, Sent

if TYPE_CHECKING:
    from factstore.index.build import Watch

_SETTLE_SECONDS: Final = 10.0  # how long an interrupted call waits for the answer
_LEAST_PATIENCE: Final = 0.5  # seconds in the queue of the transactor, where other transactions always are
_PAUSES: Final = 10  # a client waits for a longer pause than the transactor, which so is the first to build an index
_FOR_EVER: Final = float("inf")


class RoutingCommitter(Committer):
    """The committer of a store that can have a transactor."""

    def __init__(
        self,
        storage: Storage,
        *,
        cache_bytes: int,
        clock: Callable[[], int] = machine_clock,
        busy_timeout: float | None = None,
    ) -> None:
        super().__init__(storage, cache_bytes=cache_bytes, clock=clock, busy_timeout=busy_timeout)
        assert isinstance(storage, Led)
        self._leadership = storage.leadership
        self._client = Client(storage.leadership, storage.description, partial(LateReport, self))
        self._txids = count(int.from_bytes(os.urandom(10)) << 48)  # an index of them grows at one end
        self._indexing.pauses = _PAUSES
        self._patience = _FOR_EVER if busy_timeout is None else max(busy_timeout, _LEAST_PATIENCE)

    def transact(self, tx_data: Any) -> TxReport:
        """Commit tx-data and return the report; raises what `prepare` and the storage raise."""
        if not self._leadership.term:
            return super().transact(tx_data)
        return self._sent(tx_data)

    def transact_async(self, tx_data: Any) -> PendingReport:
        """Commit tx-data in the background; the future gives its report."""
        if not self._leadership.term:
            return super().transact_async(tx_data)
        return self._pending(tx_data)

    def apply(self, preparation: Preparation, *, exclusive: bool = False) -> TxReport:
        """Commit a change and return its report; raises what the preparation and the storage raise."""
        if exclusive or not self._leadership.term or not isinstance(preparation, Conditional):
            return super().apply(preparation, exclusive=exclusive)
        return self._sent(preparation.tx_data, preparation)

    def apply_async(self, preparation: Preparation) -> PendingReport:
        """Commit a change in the background; the future gives its report."""
        if not self._leadership.term or not isinstance(preparation, Conditional):
            return super().apply_async(preparation)
        return self._pending(preparation.tx_data, preparation)

    def _sent(self, tx_data: Any, transaction: Conditional | None = None) -> TxReport:
        """Send tx-data, or the transaction with options that it belongs to, and return the report."""
        self.check_outside()
        sent = Sent(self._next_txid(), self._payload(tx_data, transaction), self._patience)
        try:
            self._client.add(sent)
            sent.wait()
            return sent.result()
        except BaseException as error:
            self._interrupted(error, sent)
            raise
        finally:
            del sent  # see `Sent.result`

    def _pending(self, tx_data: Any, transaction: Conditional | None = None) -> PendingReport:
        """Do the same, but return a future."""
        payload = self._payload(tx_data, transaction)
        pending = Pending(self._next_txid(), payload, self._patience, self.future())
        self._client.add_pending(pending)
        return pending.future

    def _next_txid(self) -> bytes:
        return next(self._txids).to_bytes(TXID_BYTES)

    def _payload(self, tx_data: Any, transaction: Conditional | None) -> bytes:
        """Return tx-data, or the transaction with options that it belongs to, as bytes.

        Raises: TransactError, if it contains anything but data, or is too large.
        """
        try:
            payload = messages.packed_forms(tx_data) if transaction is None else messages.packed(transaction)
        except TypeError as error:
            # What cannot be sent is mostly wrong, too: then the preparation raises the same error as everywhere.
            prepare = transaction or Conditional(tx_data, "reject", None, None, {})
            prepare(self.newest_snapshot(), self.clock())
            text = f"a transaction that a transactor commits consists of data: {error}; register functions by name"
            raise TransactError(":db.error/not-data", text) from error
        if len(payload) > MOST_BYTES - 1024:
            text = (
                f"a transaction of {len(payload):,} bytes is too large for the transactor, which accepts"
                f" {MOST_BYTES:,}: make several of it, or use conn.load"
            )
            raise TransactError(":db.error/frame-too-large", text, bytes=len(payload), limit=MOST_BYTES)
        return payload

    def _interrupted(self, error: BaseException, sent: Sent) -> None:
        """Raise `UnknownOutcome` if a call was interrupted whose transaction was, or may be, committed."""
        if sent.outcome is error:
            return
        if not sent.wait(_SETTLE_SECONDS):
            text = f"{error!r} interrupted the call, and the transactor has not answered; it may be committed"
            kind = Interrupted if isinstance(error, KeyboardInterrupt) else UnknownOutcome
            raise kind(":db.error/storage-unknown-outcome", text, txids=[sent.txid]) from error
        if isinstance(sent.outcome, TxReport):
            self.ended(error, [(sent.txid, sent.outcome.t - 1)])

    # -- the end

    def retire(self) -> None:
        """End the threads of a dropped connection when all waiting transactions are committed."""
        self._client.retire()
        super().retire()

    def close(self, *, wait: bool = True, progress: Watch | None = None) -> None:
        """Wait for the outcome of all transactions, and for indexing, or abandon it."""
        self._client.close()
        super().close(wait=wait, progress=progress)

    def after_fork(self) -> None:
        """End, in a forked child, the futures that only a thread of the parent would end."""
        super().after_fork()
        self._client.after_fork(Closed(":db.error/storage-closed", "was opened before this process was forked"))


class LateReport(TxReport):
    """The report of a transaction that the transactor committed; its databases are read when they are requested."""

    __slots__ = ("_answer", "_committer")

    def __init__(self, committer: Committer, answer: Committed) -> None:
        self._committer = committer
        self._answer = answer
        self._tempids: Mapping[str | int, int] = answer.tempids
        self._datoms = None

    @property
    def t(self) -> int:
        """The t of the transaction."""
        return self._answer.t

    def __getattr__(self, name: str) -> Any:
        """Read the databases and the facts, for an attribute that is not there yet."""
        if name not in ("_after", "_before", "_facts"):
            raise AttributeError(name)
        self._before, self._after, self._facts = _read(self._committer, self._answer)
        return getattr(self, name)


def _read(committer: Committer, answer: Committed) -> tuple[Any, Any, Any]:
    """Return the databases before and after a transaction, and its facts."""
    t = answer.t
    newest = committer.newest_snapshot(near=True)  # the answer has told that it is at least t
    records = list(log.read(committer.storage, max(t - 2, 0), t))
    next_n, instant = (records[0].next_n, records[0].instant) if t > 1 else (FIRST_FREE_ID, 0)
    after = records[-1]
    if answer.is_repeat:
        return newest.database.as_of(t - 1), newest.database.as_of(t), after.all_facts()
    return (
        _at(newest, t - 1, next_n, instant),
        _at(newest, t, after.next_n, after.instant),
        after.all_facts(),
    )


def _at(newest: Snapshot, t: int, next_n: int, instant: int) -> Snapshot:
    """Return the database as it was after t; like any earlier database, it has the newest schema."""
    return Snapshot(newest.index, newest.novelty, newest.schema, newest.cache, t, next_n, instant, newest.store)
