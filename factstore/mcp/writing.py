"""The tools that write, which a server offers only if it is allowed to. None of them erases facts."""

from __future__ import annotations

from typing import Any, Final

from factstore.errors import TransactError
from factstore.mcp.reading import named
from factstore.mcp.session import Session
from factstore.mcp.tools import Answer

BY: Final = ":overseer/by"  # the attribute of a transaction with the name of the process that made it
_SCHEMA: Final[list[dict[str, Any]]] = [
    {
        ":db/ident": BY,
        ":db/valueType": ":db.type/string",
        ":db/cardinality": ":db.cardinality/one",
        ":db/doc": "On a transaction: the process that made it, if that is not the job's own worker.",
    }
]


def transact(session: Session, tx_data: str, key: str) -> Answer:
    """Commit a transaction, signed with the name of this client. Try it with the tool suppose first.

    A call with a key that was used before commits nothing, so a client can repeat a call whose answer was lost.

    Args:
        tx_data: the transaction, a vector in EDN: [{:person/name "Ann"} [:db/retract 17 :person/age 7]].
        key: a text that no other transaction has, such as import-2026-01-31.
    """
    if not key.strip():
        raise TransactError(":db.error/invalid-option", "key is a text that is not empty", option="key", got=key)
    forms = session.vector(tx_data, "tx_data")
    if session.conn.db().schema.find(BY) is None:
        session.conn.transact(_SCHEMA)
    with session.conn.annotate({BY: session.who}):
        report = session.conn.transact(forms, key=key)
    return {"t": report.t, "tempids": named(report.tempids), "datoms": report.size}


WRITES: Final = (transact,)
