"""State machines on a store: random transactions, with invariants that are checked on every database value.

    rule or transaction ──► commit ──► compared with the naive model ──► each new database value is checked

A transaction that waits was prepared with a database that is old when it is committed, as if another process had
been slow. So updates that are lost between a read and a write appear without threads.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import getmembers
from itertools import count
from typing import Any, ClassVar, Final, NamedTuple

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, multiple, rule

import factstore
from factstore.connection.connection import Connection
from factstore.db.database import Database
from factstore.errors import TransactError
from factstore.testing.clock import FakeClock
from factstore.testing.invariants import Invariant, InvariantBroken
from factstore.testing.naive.transactions import Facts, NotModelled, Rejected, after, alike, facts_of, renamed
from factstore.transact.forms import read_forms
from factstore.transact.report import TxReport

_NUMBERS: Final = count(1)


class ModelDisagrees(AssertionError):
    """The store and the naive model disagree about a transaction."""


class Prepared(NamedTuple):
    """A transaction that a rule prepared."""

    call: str
    tx_data: Any
    read_t: int  # of the database that it was prepared with
    waits: int  # the number of transactions that are committed before it


def transaction(**strategies: Any) -> Callable[[Callable[..., Any]], Any]:
    """Declare a transaction of a `StoreMachine`: a method of a database and drawn values; it returns tx-data, or None.

    The machine commits the tx-data, at once or after other transactions. It is a legal outcome if the store rejects it
    as a conflict, or a transaction function cancels it; any other error fails the test.

    Args:
        strategies: strategies for the arguments after the database; `target` or `targets`: bundles for the reports.

        @transaction(account=st.sampled_from(ACCOUNTS), amount=st.integers(1, 9))
        def deposit(self, db, account, amount):
            return [[":bank/deposit", account, amount]]
    """
    has_target = "target" in strategies or "targets" in strategies

    def decorate(method: Callable[..., Any]) -> Any:
        def step(machine: StoreMachine, waits: int, **drawn: Any) -> Any:
            report = machine.attempt(method, drawn, waits)
            return (multiple() if report is None else report) if has_target else None

        step.__name__, step.__doc__ = method.__name__, method.__doc__
        declared: Callable[[Any], Any] = rule(waits=st.runner().flatmap(_waits), **strategies)
        return declared(step)

    return decorate


def _waits(machine: StoreMachine) -> st.SearchStrategy[int]:
    return st.integers(0, machine.max_waits)


class StoreMachine(RuleBasedStateMachine):
    """A state machine on a new store in memory, to subclass: add rules, transactions and invariants.

    Every transaction is compared with a naive model, and every new database value is checked: that it keeps the
    invariants, and that older ones have not changed. `TestBank = BankMachine.TestCase` makes it a test.

    Attributes:
        schema: tx-data that declares the attributes; it is committed before the first rule.
        max_waits: the maximum number of transactions that are committed while one waits; 0: none waits.
        conn: the connection, whose clock is `clock`.
        clock: a FakeClock.
    """

    schema: ClassVar[Any] = ()
    max_waits: ClassVar[int] = 2

    def __init__(self) -> None:
        super().__init__()
        self._uri = f"memory:machine {next(_NUMBERS)}"
        self.clock = FakeClock()
        self.conn = self.connect()
        self._waiting: list[Prepared] = []
        self._calls: dict[int, str] = {}  # how each transaction was made, by t
        self._past: list[tuple[Database, Facts]] = [(self.conn.db(), frozenset())]  # by t
        self._invariants = [found for _, found in getmembers(type(self)) if isinstance(found, Invariant)]
        if self.schema:
            self.conn.transact(self.schema)

    def connect(self) -> Connection:
        """Return a connection to the store of the machine; override it for a store that is not in memory."""
        return factstore.connect(self._uri, clock=self.clock)

    def teardown(self) -> None:
        """Close the connection."""
        self.conn.close()

    # -- commits

    def transact(self, tx_data: Any, *, through: Connection | None = None, **options: Any) -> TxReport:
        """Commit a transaction and compare the result with the naive model.

        Args:
            through: another connection to the store of the machine.
            options: those of `Connection.transact`.
        Returns, raises: as `Connection.transact`; ModelDisagrees.
        """
        forms = read_forms(tx_data)
        before = self.conn.db()
        expected = _expected(facts_of(before), forms, before) if not options else NotModelled()
        try:
            report = (through or self.conn).transact(forms, **options)
        except TransactError as error:
            if not isinstance(expected, Exception):
                raise ModelDisagrees(f"the store rejects {forms!r}, which the model accepts: {error}") from error
            if self.conn.db().basis_t != before.basis_t:
                raise ModelDisagrees(f"the store rejects {forms!r}, but a transaction was committed") from error
            raise
        if isinstance(expected, Rejected):
            raise ModelDisagrees(f"the store accepts {forms!r}, which the model rejects: {expected}")
        if not isinstance(expected, Exception):
            _compare(renamed(expected, report), facts_of(report.db_after), forms)
        self._calls.setdefault(report.t, f"transact({forms!r})")
        return report

    def attempt(self, method: Callable[..., Any], drawn: dict[str, Any], waits: int) -> TxReport | None:
        """Prepare a transaction with the newest database, and commit it unless it waits; return its report, or None."""
        db = self.conn.db()
        tx_data = method(self, db, **drawn)
        if tx_data is None:
            return None
        arguments = ", ".join(f"{name}={value!r}" for name, value in drawn.items())
        prepared = Prepared(f"{method.__name__}({arguments})", read_forms(tx_data), db.basis_t, waits)
        if waits:
            self._waiting.append(prepared)
            return None
        report = self._commit(prepared)
        waiting = [other._replace(waits=other.waits - 1) for other in self._waiting]
        self._waiting = [other for other in waiting if other.waits]
        for other in waiting:
            if not other.waits:
                self._commit(other)
        return report

    def _commit(self, prepared: Prepared) -> TxReport | None:
        """Commit a prepared transaction; return None if it was rejected and that is a legal outcome."""
        t = self.conn.db().basis_t
        late = f", prepared with the database of t={prepared.read_t}" if prepared.read_t < t else ""
        self._calls[t + 1] = f"{prepared.call}{late}\n    tx-data: {prepared.tx_data!r}"
        try:
            return self.transact(prepared.tx_data)
        except TransactError as error:
            del self._calls[t + 1]
            if error.category == "conflict" or error.code == ":db.error/cancelled":
                return None
            raise

    # -- checks

    def forget_databases(self) -> None:
        """Replace the databases of a connection that was closed by those of the present one."""
        newest = self.conn.db()
        self._past = [(newest.as_of(t), facts) for t, (_, facts) in enumerate(self._past)]

    def check_invariants(self, *args: Any, **options: Any) -> None:
        """Check the databases after each rule, and the invariants of the machine itself. Called by hypothesis."""
        self.check_databases()
        super().check_invariants(*args, **options)

    def check_databases(self) -> None:
        """Check each database value since the last check, and that one of the older ones has not changed."""
        newest = self.conn.db()
        for t in range(len(self._past), newest.basis_t + 1):
            db = newest if t == newest.basis_t else newest.as_of(t)
            self._past.append((db, facts_of(db)))
            for each in self._invariants:
                self._check(each, db, t)
        t = (7 * newest.basis_t) % len(self._past)
        kept, facts = self._past[t]
        for db in (kept, newest.as_of(t)):
            if _lasting(facts_of(db), db) != _lasting(facts, db):
                raise ModelDisagrees(f"{db!r} has changed: it had {sorted(facts, key=repr)}")

    def _check(self, invariant: Invariant, db: Database, t: int) -> None:
        violation = invariant.violation(self, db)
        if violation is not None:
            why, error = violation
            raise InvariantBroken(f"{invariant.name} does not hold after t={t}: {why}\n{self._story(t)}") from error

    def _story(self, t: int) -> str:
        """Return how a transaction was made, and its datoms."""
        (logged,) = self.conn.log().tx_range(t, t + 1)
        db = self.conn.db()
        datoms = "\n".join(f"    {'+' if d.added else '-'} {d.e} {db.ident(d.a)} {d.v!r}" for d in logged.data[1:])
        return f"the transaction t={t} was made by {self._calls.get(t, 'a rule')}\n{datoms}"


def _lasting(facts: Facts, db: Database) -> Facts:
    """Return the facts that a later index keeps: those of attributes with a history."""
    return frozenset(fact for fact in facts if not db.schema.attribute(fact[1]).no_history)


def _expected(facts: Facts, forms: Any, db: Database) -> Facts | Exception:
    """Return what the model expects of a transaction: the facts after it, or why there are none."""
    try:
        return after(facts, forms, db)
    except (Rejected, NotModelled) as reason:
        return reason


def _compare(expected: Facts, found: Facts, forms: Any) -> None:
    if expected != found and not alike(expected, found):
        missing, more = sorted(expected - found, key=repr), sorted(found - expected, key=repr)
        raise ModelDisagrees(f"after {forms!r} the store lacks {missing} and has {more}")
