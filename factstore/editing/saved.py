"""Queries that are saved as facts, so that they have authors and a history like all other facts.

The console, the shell and every program that knows the two attributes share them.
Law: after `save(conn, name, text)`, `saved(conn.db())[name]` is that text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from factstore.errors import QueryError

if TYPE_CHECKING:
    from factstore.connection.connection import Connection
    from factstore.db.database import Database
    from factstore.transact import TxReport

NAME, TEXT = ":console.query/name", ":console.query/text"
SCHEMA: Final = [
    {":db/ident": NAME, ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one",
     ":db/unique": ":db.unique/identity", ":db/doc": "The name of a saved query."},
    {":db/ident": TEXT, ":db/valueType": ":db.type/string", ":db/cardinality": ":db.cardinality/one",
     ":db/doc": "The text of a saved query."},
]  # fmt: skip


def saved(db: Database) -> dict[str, str]:
    """Return the texts of all saved queries, in order of their names."""
    from factstore.query import q

    if db.schema.find(NAME) is None or db.schema.find(TEXT) is None:
        return {}
    return dict(sorted(q(f"[:find ?name ?text :where [?q {NAME} ?name] [?q {TEXT} ?text]]", db)))


def facts_of(name: str, text: str) -> list[Any]:
    """Return the transaction data that saves a query; the attributes must be declared (`SCHEMA`).

    Raises: QueryError(:db.error/invalid-query) for an empty name.
    """
    if not name.strip():
        raise QueryError(":db.error/invalid-query", "a query is saved under a name, and none was given")
    return [{NAME: name.strip(), TEXT: text}]


def save(conn: Connection, name: str, text: str) -> TxReport:
    """Save a query under a name; an earlier one of that name stays in the history. Declares the attributes first.

    Raises: QueryError(:db.error/invalid-query) for an empty name; ReadOnly.
    """
    facts, schema = facts_of(name, text), conn.db().schema
    if schema.find(NAME) is None or schema.find(TEXT) is None:
        conn.transact(SCHEMA)
    return conn.transact(facts)
