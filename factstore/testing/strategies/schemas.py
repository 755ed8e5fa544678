"""The schema that a strategy is made from: tx-data that declares attributes, or a database."""

from __future__ import annotations

from typing import Any, TypeAlias

import factstore
from factstore.db.database import Database
from factstore.schema.attribute import Attribute
from factstore.testing.naive.transactions import modelled

Schema: TypeAlias = Any  # tx-data as EDN text or Python data, or a Database


def database_of(schema: Schema) -> Database:
    """Return the database of a schema: itself, or that of a new store in which the schema was transacted."""
    if isinstance(schema, Database):
        return schema
    with factstore.connect("memory:") as conn:
        return conn.transact(schema).db_after


def writable(db: Database) -> list[Attribute]:
    """Return the attributes of users that transactions can assert, in order of id."""
    return [a for a in modelled(db) if not (a.tuple_attrs or a.insert_only or a.cas_only)]
