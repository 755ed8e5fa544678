"""Strategies of hypothesis for values, transactions and queries, made from a schema.

    from factstore.testing import strategies as fs

    @given(fs.transactions(SCHEMA))
    def test_any_transaction(tx_data): ...

    values.py          values of each type, with the corner cases of the type
    entities.py        entity maps
    transactions.py    valid transactions and histories
    mistakes.py        invalid transactions, with the error that each must raise
    queries.py         queries over the attributes of a schema
    faults.py          faults of a storage
    schedules.py       schedules of simulated processes

A *schema* is tx-data that declares attributes (EDN text or Python data), or a database. All strategies shrink, to fewer
and smaller forms, earlier attributes and plainer values.
"""

from factstore.testing.strategies.entities import entities
from factstore.testing.strategies.faults import faults
from factstore.testing.strategies.mistakes import Invalid, invalid_transactions
from factstore.testing.strategies.queries import queries
from factstore.testing.strategies.schedules import schedules
from factstore.testing.strategies.transactions import databases, histories, transactions
from factstore.testing.strategies.values import values

__all__ = [
    "Invalid",
    "databases",
    "entities",
    "faults",
    "histories",
    "invalid_transactions",
    "queries",
    "schedules",
    "transactions",
    "values",
]
