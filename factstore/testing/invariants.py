"""Invariants: conditions on every database value of a store, as queries for violations or as functions."""

from __future__ import annotations

from typing import Any

import factstore
from factstore.db.database import Database
from factstore.errors import FactStoreError
from factstore.values.quoting import described


class InvariantBroken(AssertionError):
    """An invariant does not hold in a database; the message names the transaction that broke it."""


class Invariant:
    """A condition on every database value; see `invariant`."""

    def __init__(self, condition: Any, inputs: tuple[Any, ...]) -> None:
        self._condition = condition
        self._inputs = inputs
        self.name = getattr(condition, "__name__", "invariant")

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def violation(self, machine: Any, db: Database) -> tuple[str, Exception | None] | None:
        """Return why the invariant does not hold in a database, and the exception with which it says so, if any."""
        if callable(self._condition):
            return self._by_function(machine, db)
        found = factstore.q(self._condition, db, *self._inputs)
        return (f"the query found {found!r}", None) if found not in (None, False) and found != set() else None

    def _by_function(self, machine: Any, db: Database) -> tuple[str, Exception | None] | None:
        try:
            result = self._condition(machine, db)
        except AssertionError as error:
            return str(error) or "it raised AssertionError", error
        if result is False:
            return "it returned False", None
        if result not in (None, True):
            raise _wrong(
                f"expected True, False or None from the invariant {self.name}, got {described(result)}", result
            )
        return None


def invariant(condition: Any = None, /, *inputs: Any) -> Any:
    """Declare an invariant of a `StoreMachine`: a condition on every database value, also between two transactions.

    Args:
        condition: a query for violations, which must find nothing; or, as a decorator, a method of the machine and a
            database, which asserts, or returns False.
        inputs: inputs of the query after the database.
    Raises: FactStoreError(:db.error/invalid-invariant) without a condition. A condition on the machine itself is a
        `hypothesis.stateful.invariant`.

        no_debts = invariant("[:find ?account ?balance :where [?account :account/balance ?balance] [(< ?balance 0)]]")

        @invariant
        def money_is_neither_made_nor_lost(self, db):
            assert 100 == sum(d.v for d in db.datoms("aevt", ":account/balance"))
    """
    if condition is None:
        raise _wrong(
            "expected a query, or a method of the machine and a database, as the condition of an invariant", None
        )
    return Invariant(condition, inputs)


def _wrong(text: str, got: Any) -> FactStoreError:
    return FactStoreError(":db.error/invalid-invariant", text, got=got)
