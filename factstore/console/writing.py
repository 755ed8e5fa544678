"""Writes of the console: every transaction states who made it.

The attributes that the console itself needs are declared by its first write.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from factstore import edn
from factstore.console.page import BY, PageRequest
from factstore.editing import saved
from factstore.errors import FactStoreError, TransactError
from factstore.transact import with_

if TYPE_CHECKING:
    from factstore.transact import TxReport

SCHEMA: Final = [
    {":db/ident": BY, ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one",
     ":db/doc": "The name of the person who made this transaction in the console."},
    *saved.SCHEMA,
]  # fmt: skip


def commit(request: PageRequest, tx_data: Any, *, key: str | None = None) -> TxReport:
    """Commit a transaction in the name of the person.

    Args:
        key: idempotency key, so that a button that is pressed twice commits once.
    Raises: TransactError; ReadOnly for a console that does not write.
    """
    declare(request, tx_data)
    with request.conn.annotate({BY: request.who}):
        return request.conn.transact(tx_data, key=key)


def signing(request: PageRequest) -> AbstractContextManager[None]:
    """Return the block in which every transaction of the connection states the name of the person.

    Raises: ReadOnly for a console that does not write.
    """
    declare(request)
    return request.conn.annotate({BY: request.who})


def declare(request: PageRequest, tx_data: Any = "[]") -> None:
    """Declare the attributes of the console, if they are missing and the transaction for which it is done is valid.

    Raises: ReadOnly; TransactError.
    """
    request.check_writable()
    db = request.conn.db()
    if db.schema.find(BY) is None:
        with_(with_(db, SCHEMA).db_after, tx_data)
        request.conn.transact(SCHEMA)


def speculated(request: PageRequest, tx_data: str) -> TxReport:
    """Return the report of a transaction that is not committed."""
    return with_(request.conn.db(), _forms(tx_data))


def _forms(text: str) -> Any:
    forms = edn.read(text)
    if not isinstance(forms, list):
        message = 'a transaction is a vector of forms, [{:person/name "Ann"}]'
        raise TransactError(":db.error/invalid-tx-form", message, expected="a vector", got=forms)
    return forms


def sentence_of(request: PageRequest, error: FactStoreError) -> str:
    """Return the sentence of an error; only its code if a sentence could quote a hidden value."""
    return "the details may name hidden attributes and are not shown" if request.hidden else error.message
