"""Interactive transactions: several steps that read what was said so far, committed as one transaction or not at all.

While a block is open nobody else commits, in no process: what it read is still so when it ends.
Law: what is committed is the difference between the databases before and after the block; a block that raises leaves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from inspect import CO_ASYNC_GENERATOR, CO_COROUTINE, CO_GENERATOR
from sys import _getframe
from threading import get_ident
from types import FrameType, TracebackType
from typing import Any, Final, NamedTuple, TypeAlias
from weakref import ref

from factstore.commit.commit import Committer
from factstore.commit.outcome import Sent
from factstore.concurrency.locks import is_running
from factstore.datom import Fact
from factstore.db.database import Database
from factstore.errors import TransactError
from factstore.schema.attribute import TX_INSTANT
from factstore.transact import Nones, Prepared, TxReport, prepare, report
from factstore.values.types import Stored

Key: TypeAlias = tuple[int, int, Stored]

_OVER: Final = "this transaction is over; nothing more can be said in it"


class _State(NamedTuple):
    """What was said in a block so far."""

    db: Database  # with all of it
    net: Mapping[Key, bool]  # the difference
    chosen: int  # the instant, in microseconds since 1970
    tempids: Mapping[str | int, int]


class Transaction:
    """A transaction in the making: what `Connection.transaction` gives to its block."""

    __slots__ = ("_before", "_instant", "_is_open", "_now", "_said", "_state", "report")

    def __init__(self, before: Database, said: Sequence[Any], now: int) -> None:
        self._before = before
        self._now = now  # by the clock
        self._instant = max(now, before.last_instant)
        self._said = said  # of the transaction itself, by the blocks around
        self._is_open = True
        self._state = _State(before, {}, self._instant, {})
        self.report: TxReport | None = None  # once it is committed

    @property
    def db(self) -> Database:
        """The database with what was said so far."""
        return self._state.db

    @property
    def tempids(self) -> Mapping[str | int, int]:
        """What the tempids of all steps became."""
        return self._state.tempids

    @property
    def _chosen(self) -> int:
        return self._state.chosen

    def transact(self, tx_data: Any, *, none: Nones = "reject") -> TxReport:
        """Say something more, which reads what was said before; checked as a transaction of its own, and committed with the block.

        Its tempids are its own: a name that an earlier step gave means another entity here; that one is found by its id.
        Returns: what this step does to `db`.
        Raises: TransactError, and the step did nothing; go on, or let it end the block.
        """
        if not self._is_open:
            raise TransactError(":db.error/transaction-over", _OVER)
        before, start = self.db, self._before
        prepared = prepare(
            replace(before, basis_t=start.basis_t, last_instant=start.last_instant), tx_data, now=self._now, none=none
        )
        self._check_declared(prepared.facts)
        chosen = prepared.instant if prepared.instant != self._instant else self._chosen
        net = self._folded(prepared.facts)
        db = start.plus(self._facts(net, chosen), instant=chosen, next_n=prepared.next_n)
        made = report(before, db, prepared.facts, prepared.tempids)
        # In one step: an exception of a signal handler leaves the whole of this call, or nothing of it.
        self._state = _State(db, net, chosen, {**self.tempids, **prepared.tempids})
        return made

    def rollback(self) -> None:
        """Forget all that was said; the block may go on reading, and commits nothing."""
        self._is_open, self._state = False, _State(self._before, {}, self._chosen, {})

    def _check_declared(self, facts: Sequence[Fact]) -> None:
        for e, a, _, _, _ in facts:
            if self._before.schema.find(a) is None:
                name = self.db.schema.ident(a)
                text = f"{name} is declared by this very transaction, so it can be used from the next one on"
                raise TransactError(":db.error/not-an-entity", text, what="attribute", got=name, entity=e)

    def _folded(self, facts: Sequence[Fact]) -> dict[Key, bool]:
        """Return the difference with the facts of a step: what it takes back is none any more."""
        net, find, tx = dict(self._state.net), self._before.schema.attribute, facts[0][0]
        for e, a, v, _, added in facts[1:]:
            key = (e, a, v)
            if net.get(key) is (not added):
                del net[key]
                continue
            if e == tx and added and not find(a).many:
                # Steps do not read what earlier ones said of the transaction itself.
                for other in [known for known in net if known[:2] == (e, a)]:
                    del net[other]
            net[key] = added
        return net

    def _facts(self, net: Mapping[Key, bool], chosen: int) -> list[Fact]:
        t, tx = self._before.next_t, self._before.next_tx
        facts = [(e, a, v, t, added) for (e, a, v), added in net.items()]
        facts.sort(key=_retractions_first)
        return [(tx, TX_INSTANT, chosen, t, True), *facts]

    def prepared(self) -> Prepared | None:
        """Return what the block comes to, None when it says nothing."""
        if not self._is_open or self.db is self._before:
            return None
        if self._said:
            self.transact(self._said)
        state = self._state
        return Prepared(self._facts(state.net, state.chosen), dict(state.tempids), state.db.next_n, state.chosen)

    def end(self) -> None:
        """Say nothing more."""
        self._is_open = False


def _retractions_first(fact: Fact) -> bool:
    return fact[4]


class TransactionBlock:
    """The block of `conn.transaction()`: takes the turn of all processes, and commits what was said when it ends."""

    __slots__ = ("__weakref__", "_committer", "_hold", "_made", "_said")

    def __init__(self, committer: Committer, said: Sequence[Any]) -> None:
        self._committer = committer
        self._said = said
        self._hold: _Hold | None = None
        self._made: Transaction | None = None

    def __enter__(self) -> Transaction:
        if self._hold is not None:
            raise TransactError(":db.error/transaction-over", _OVER)
        self._hold = _Hold(self, _getframe(1))
        try:
            before = self._committer.hold(self._hold)
            self._made = Transaction(before, self._said, self._committer.clock())
            return self._made
        except BaseException as error:
            self._end(self._hold)
            self._committer.ended(error, [])
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._made is not None and self._hold is not None
        sent: Sent = []
        try:
            prepared = self._made.prepared() if kind is None else None
            if prepared is not None:
                self._made.report = self._committer.commit_in(self._hold, lambda _before, _now: prepared, sent)
            self._end(self._hold)
        except BaseException as raised:
            self._end(self._hold)
            self._committer.ended(raised, sent)
            raise

    def _end(self, hold: _Hold) -> None:
        if self._made is not None:
            self._made.end()
        self._committer.release(hold)
        hold.is_over = True


class _Hold:
    """The hold of a block on the turn. It ends with the block, also when an exception keeps `__exit__` from giving it back."""

    may_be_passed = True
    __slots__ = ("_block", "_frame", "is_over", "thread")

    def __init__(self, block: TransactionBlock, frame: FrameType) -> None:
        self._block = ref(block)
        self._frame = frame if _is_plain(frame) else None  # the call that the block is a part of
        self.thread = get_ident()
        self.is_over = False

    @property
    def is_open(self) -> bool:
        """Whether the block has not ended yet."""
        if self.is_over or self._block() is None:
            return False
        return self._frame is None or is_running(self._frame)


def _is_plain(frame: FrameType) -> bool:
    """Whether a frame stays on its thread's stack until it ends: no generator or coroutine, and nobody's who enters for another."""
    suspends = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR
    return not frame.f_code.co_flags & suspends and frame.f_globals.get("__name__") != "contextlib"
