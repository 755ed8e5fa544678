"""Rules to mix into a `StoreMachine`: any transactions over its schema, and maintenance of its store.

    class TestStore(Maintenance, AnyTransactions, StoreMachine): ...

No rule has a precondition: hypothesis shrinks such machines less well.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import rule

from factstore import maintain
from factstore.errors import TransactError
from factstore.testing.strategies.entities import Values
from factstore.testing.strategies.mistakes import Invalid, invalid_on
from factstore.testing.strategies.transactions import of_database

if TYPE_CHECKING:
    from factstore.testing.machine import StoreMachine as _Machine
else:
    _Machine = object


def any_transaction() -> st.SearchStrategy[list[Any]]:
    """Return a strategy for the argument of a rule: a transaction that is valid on the store of the machine."""
    return st.runner().flatmap(lambda machine: of_database(machine.conn.db(), machine.values, machine.max_forms))


def any_mistake() -> st.SearchStrategy[Invalid]:
    """Return a strategy for the argument of a rule: a transaction that the store of the machine must reject."""
    return st.runner().flatmap(lambda machine: invalid_on(machine.conn.db(), machine.values))


class AnyTransactions(_Machine):
    """Rules that commit any valid transaction on the store, and try any invalid one.

    Attributes:
        values: ident → the strategy for single values of an attribute.
        max_forms: the maximum number of forms in a transaction.
    """

    values: ClassVar[Values] = {}
    max_forms: ClassVar[int] = 3

    @rule(tx_data=any_transaction())
    def transact_any(self, tx_data: list[Any]) -> None:
        """Commit a valid transaction."""
        self.transact(tx_data)

    @rule(invalid=any_mistake())
    def transact_invalid(self, invalid: Invalid) -> None:
        """Try a transaction that must be rejected with a certain error."""
        try:
            self.transact(invalid.tx_data)
        except TransactError as error:
            assert error.code == invalid.code, error
        else:
            raise AssertionError(f"{invalid.tx_data} was committed, expected {invalid.code}")


class Maintenance(_Machine):
    """Rules that maintain the store, and must change no database."""

    @rule()
    def index(self) -> None:
        """Publish an index of all transactions so far."""
        self.conn._committer.index()

    @rule()
    def reindex(self) -> None:
        """Build the index from the log."""
        maintain.reindex(self.conn)

    @rule()
    def collect(self) -> None:
        """Delete the blocks that no index refers to."""
        maintain.collect(self.conn)

    @rule()
    def reopen(self) -> None:
        """Close the connection and open another one."""
        connection = self.connect()
        self.conn.close()
        self.conn = connection
        self.forget_databases()

    @rule()
    def check_store(self) -> None:
        """Compare the index with the log, row by row."""
        found = maintain.check(self.conn)
        assert found.ok, found.problems
