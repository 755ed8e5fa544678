"""Interactive transactions: steps that read the changes of earlier steps, committed as one transaction.

While a block is open, no other thread or process commits, so the facts that it has read are unchanged when it ends.
Law: the difference between the databases before and after the block is committed, or nothing if the block raises.
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
from factstore.connection.saving import Saving, check_object, form_of
from factstore.datom import Fact
from factstore.db.database import Database
from factstore.errors import TransactError
from factstore.reads.objects import identified
from factstore.rendering import html_record
from factstore.schema.attribute import TX_INSTANT
from factstore.transact import Nones, Prepared, TxReport, prepare, report
from factstore.values.process_bound import ProcessBound
from factstore.values.quoting import quoted
from factstore.values.types import Stored

Key: TypeAlias = tuple[int, int, Stored]

_OBJECT: Final = "object"  # a tempid
_OVER: Final = "this transaction is over; it accepts no more steps"


class _State(NamedTuple):
    """The steps of a block so far."""

    db: Database  # after the steps
    net: Mapping[
        Key, bool
    ]  # the difference to the database before the block: whether each fact is asserted or retracted
    chosen: int  # the instant, in microseconds since 1970
    tempids: Mapping[str | int, int]


_HERE: Final = "commit it here, because its block holds the writer lock, and send the t of its report"


class Transaction(ProcessBound):
    """A transaction in steps, which `Connection.transaction` gives to its block."""

    _instead = _HERE
    __slots__ = ("_annotations", "_before", "_instant", "_is_open", "_now", "_state", "report")

    def __init__(self, before: Database, annotations: Sequence[Any], now: int) -> None:
        self._before = before
        self._now = now  # by the clock
        self._instant = max(now, before.last_instant)
        self._annotations = annotations  # forms about the transaction itself, of the enclosing `annotate` blocks
        self._is_open = True
        self._state = _State(before, {}, self._instant, {})
        self.report: TxReport | None = None  # once it is committed

    def _repr_html_(self) -> str:
        state = "open" if self._is_open else "rolled back" if self.report is None else f"committed as t {self.report.t}"
        return html_record("Transaction in steps", {"state": state, "changed facts": len(self._state.net)})

    @property
    def db(self) -> Database:
        """The database with the changes of all steps so far."""
        return self._state.db

    @property
    def tempids(self) -> Mapping[str | int, int]:
        """The entity ids of the tempids of all steps."""
        return self._state.tempids

    @property
    def _chosen(self) -> int:
        return self._state.chosen

    def transact(self, tx_data: Any, *, none: Nones = "reject") -> TxReport:
        """Add a step, which reads the changes of earlier ones and is checked like a transaction.

        Tempids are local to a step: the same name in a later step means another entity; refer to earlier ones by their
            ids.
        The changes are committed with the block.
        Returns: the report of this step on `db`.
        Raises: TransactError, and the step has no effect; the block may catch it and continue.
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
        step_report = report(before, db, prepared.facts, prepared.tempids)
        # In one assignment: after an exception of a signal handler, this call has had its whole effect, or none.
        self._state = _State(db, net, chosen, {**self.tempids, **prepared.tempids})
        return step_report

    def add(self, instance: Any) -> int:
        """Add a step that asserts the facts of an object, and return its entity id.

        Args:
            instance: an object of a class with fields, as for `transact`. Fields of None assert nothing.
        Raises: TransactError as `transact` does, also for a value that is no such object.
        """
        form = form_of(self.db, instance, _OBJECT)
        tempids = self.transact([form]).tempids
        return tempids[_OBJECT] if form[":db/id"] == _OBJECT else form[":db/id"]

    def save(self, instance: Any) -> int:
        """Add a step after which the stored entity is exactly this object, and return its entity id.

        Values that the object does not have are retracted. A part (a reference with `Attr(component=True)`) is saved
        with the object, and a part that the object no longer has is retracted. Other objects to which it refers are
        added, and nothing about them is retracted.

        Args:
            instance: an object of a class with fields. Its entity is found by its `:db/id` or a unique identity; an
                object without an entity becomes a new one.
        Raises: TransactError as `transact` does; DatabaseError for an attribute that is not declared.
        """
        saving = Saving(self.db, instance)
        tempids = self.transact(saving.forms).tempids
        return saving.entity if isinstance(saving.entity, int) else tempids[saving.entity]

    def retract(self, instance: Any) -> None:
        """Add a step that retracts all facts of the entity of an object, and of its parts.

        Raises: TransactError(:db.error/not-an-entity), if no entity has the identity of the object.
        """
        check_object(instance)
        eid = identified(self.db, instance)
        if eid is None:
            text = f"no entity has the identity of {quoted(instance)}"
            raise TransactError(":db.error/not-an-entity", text, what="object", got=instance)
        self.transact([[":db/retractEntity", eid]])

    def rollback(self) -> None:
        """Discard all steps; the block may continue to read, and commits nothing."""
        self._is_open, self._state = False, _State(self._before, {}, self._chosen, {})

    def _check_declared(self, facts: Sequence[Fact]) -> None:
        for e, a, _, _, _ in facts:
            if self._before.schema.find(a) is None:
                name = self.db.schema.ident(a)
                text = f"{name} is declared by this very transaction, so it can be used from the next one on"
                raise TransactError(":db.error/not-an-entity", text, what="attribute", got=name, entity=e)

    def _folded(self, facts: Sequence[Fact]) -> dict[Key, bool]:
        """Return the difference including the facts of a step; a fact and its opposite cancel each other."""
        net, find, tx = dict(self._state.net), self._before.schema.attribute, facts[0][0]
        for e, a, v, _, added in facts[1:]:
            key = (e, a, v)
            if net.get(key) is (not added):
                del net[key]
                continue
            if e == tx and added and not find(a).many:
                # A step does not read the values that earlier steps gave the transaction itself.
                for replaced in [earlier for earlier in net if earlier[:2] == (e, a)]:
                    del net[replaced]
            net[key] = added
        return net

    def _facts(self, net: Mapping[Key, bool], chosen: int) -> list[Fact]:
        t, tx = self._before.next_t, self._before.next_tx
        facts = [(e, a, v, t, added) for (e, a, v), added in net.items()]
        facts.sort(key=_retractions_first)
        return [(tx, TX_INSTANT, chosen, t, True), *facts]

    def prepared(self) -> Prepared | None:
        """Return the transaction that the block commits; None if it has no changes."""
        if not self._is_open or self.db is self._before:
            return None
        if self._annotations:
            self.transact(self._annotations)
        state = self._state
        return Prepared(self._facts(state.net, state.chosen), dict(state.tempids), state.db.next_n, state.chosen)

    def end(self) -> None:
        """Accept no more steps."""
        self._is_open = False


def _retractions_first(fact: Fact) -> bool:
    return fact[4]


class TransactionBlock(ProcessBound):
    """The block of `conn.transaction()`: it acquires the writer lock at its begin, and commits the steps at its end."""

    _instead = _HERE
    __slots__ = ("__weakref__", "_annotations", "_committer", "_hold", "_transaction")

    def __init__(self, committer: Committer, annotations: Sequence[Any]) -> None:
        self._committer = committer
        self._annotations = annotations
        self._hold: _Hold | None = None
        self._transaction: Transaction | None = None

    def __enter__(self) -> Transaction:
        if self._hold is not None:
            raise TransactError(":db.error/transaction-over", _OVER)
        self._hold = _Hold(self, _getframe(1))
        try:
            before = self._committer.hold(self._hold)
            self._transaction = Transaction(before, self._annotations, self._committer.clock())
            return self._transaction
        except BaseException as error:
            self._end(self._hold)
            self._committer.ended(error, [])
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._transaction is not None and self._hold is not None
        sent: Sent = []
        try:
            prepared = self._transaction.prepared() if kind is None else None
            if prepared is not None:
                self._transaction.report = self._committer.commit_in(self._hold, lambda _before, _now: prepared, sent)
            self._end(self._hold)
        except BaseException as raised:
            self._end(self._hold)
            self._committer.ended(raised, sent)
            raise

    def _end(self, hold: _Hold) -> None:
        if self._transaction is not None:
            self._transaction.end()
        self._committer.release(hold)
        hold.is_over = True


class _Hold:
    """A block as a holder of locks; it ends with the block, even if an exception prevents `__exit__` from running."""

    may_be_passed = True
    __slots__ = ("_block", "_frame", "is_over", "thread")

    def __init__(self, block: TransactionBlock, frame: FrameType) -> None:
        self._block = ref(block)
        self._frame = frame if _is_plain(frame) else None  # the call that contains the block
        self.thread = get_ident()
        self.is_over = False

    @property
    def is_open(self) -> bool:
        """Whether the block has not ended yet."""
        if self.is_over or self._block() is None:
            return False
        return self._frame is None or is_running(self._frame)


def _is_plain(frame: FrameType) -> bool:
    """Return whether a frame stays on the stack until it ends: no generator or coroutine, and not `contextlib`."""
    suspends = CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR
    return not frame.f_code.co_flags & suspends and frame.f_globals.get("__name__") != "contextlib"
